"""What is left on the loop, and what still works beside it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from pathlib import Path

import ppinfra_async
from tests.waiting import until

_PACKAGE = str(Path(ppinfra_async.__file__).parent)


async def settled(tasks: int) -> None:
    """Return when not more than *tasks* tasks are left on the loop."""
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


def our_tasks() -> set[str]:
    """Return the names of all coroutines of the package that run as tasks, but the simulator's.

    Counting all tasks would count the simulator's, one per connection that is kept for later.
    """
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        filename = code.co_filename if code is not None else ""
        if _is_ours(filename):
            found.add(getattr(task.get_coro(), "__qualname__", ""))
        elif task.get_name().startswith("ppinfra_async.") and ".testing." not in task.get_name():
            # A task group wraps what it runs, and names the task after it.
            found.add(task.get_name())
    return found


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE) and f"{os.sep}testing{os.sep}" not in filename


def _is_work(filename: str) -> bool:
    # What calls the work may still be on its way out when the work is done.
    return filename.startswith(_PACKAGE) and not filename.endswith("_threads.py")


def at_work() -> list[str]:
    """Return which functions of the package other threads are executing now, one per thread.

    Idle worker threads are not counted: they are anyio's, for whoever needs one on this loop.
    """
    found = []
    for thread, innermost in sys._current_frames().items():
        if thread != threading.get_ident():
            codes = [frame.f_code for frame, _ in traceback.walk_stack(innermost)]
            ours = [code.co_name for code in codes if _is_work(code.co_filename)]
            found += ours[:1]
    return found

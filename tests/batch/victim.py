"""Processes that run a batch until they are killed: at a chosen entry of the journal, or anywhere.

Run by path. Each line on its standard input is an order as JSON, for which it forks a process, so
that hundreds need not import everything anew. On the standard output that says ``pid``, ``planned
<jobs to send>``, ``sent <task id>``, ``at <entry>`` where it stops, and ``ended`` or ``crashed``; it
waits for its end then, after which ``gone`` follows.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import PIL.PngImagePlugin  # noqa: F401  # what a batch imports when it needs it: once for all here

from ppinfra_async import Client, Polling
from ppinfra_async.batch import Batch, Listeners, Manifest, Plan
from ppinfra_async.journal import Journal, Work

T = TypeVar("T")


def tell(*words: object) -> None:
    # In one piece: a print that is not buffered is several, and a kill between them leaves half a line.
    os.write(sys.stdout.fileno(), f"{' '.join(map(str, words))}\n".encode())


class TellingJournal(Journal):
    """A journal that stops for ever before or after its *number*-th entry of a name, if one is given."""

    def __init__(self, path: Path, *, is_to_be_kept: bool = True, point: Any = None) -> None:
        super().__init__(path, is_to_be_kept=is_to_be_kept)
        self.entry: str = point[0] if point else ""
        self.side: str = point[1] if point else ""
        self.left: int = point[2] if point else 0

    async def write(self, work: Work[T], *, begins: bool = False) -> T:
        """Do what a journal does, or stop."""
        is_it = self.entry == getattr(work, "func", work).__name__
        self.left -= is_it
        is_it = is_it and self.left == 0
        if is_it and self.side == "before":
            await self.stop()
        result = await super().write(work, begins=begins)
        if is_it:
            await self.stop()
        if isinstance(result, Plan):
            tell("planned", result.to_send)
        return result

    async def stop(self) -> None:
        """Wait for the end."""
        tell("at", self.entry)
        await anyio.sleep_forever()


async def main(order: dict[str, Any]) -> None:
    polling = Polling(min_interval=0.01, max_interval=0.05, polls_per_second=500)
    async with Client(order["key"], base_url=order["url"], polling=polling) as client:
        batch = Batch(
            client=client,
            manifest=Manifest.from_file(Path(order["manifest"])),
            folder=Path(order["folder"]),
            max_in_flight=order["max_in_flight"],
            listeners=Listeners(on_sent=lambda _, task_id: tell("sent", task_id)),
            journal=partial(TellingJournal, point=order["point"]),
        )
        await batch.run()
    tell("ended")


def serve() -> None:
    for line in sys.stdin:
        if pid := os.fork():
            os.waitpid(pid, 0)
            tell("gone")
            continue
        tell("pid", os.getpid())
        try:
            anyio.run(main, json.loads(line))
        except BaseException:
            traceback.print_exc()
            tell("crashed")
        # Whoever kills it can be sure that its number is still its own.
        while True:
            signal.pause()


if __name__ == "__main__":
    serve()

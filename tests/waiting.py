"""Waiting for something that no event announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; fail when it does not within five seconds."""
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110  # what is looked at has no event
            await anyio.sleep(0.001)


async def settled(tasks: int) -> None:
    """Return when not more than *tasks* tasks are left on the loop."""
    await until(lambda: len(asyncio.all_tasks()) <= tasks)

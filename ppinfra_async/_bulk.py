"""Runs a list of jobs with a fixed number of workers; refuses to make a task per job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")

_AT_ONCE = 64


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Await *work* for all *items*, pulled one by one, so many at the same time."""
    shared = iter(items)

    async def worker() -> None:
        for item in shared:
            await work(item)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(worker)

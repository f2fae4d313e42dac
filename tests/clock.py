"""A simulator whose tasks are done when a test says so, however slow the machine is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define

from ppinfra_async.testing import Simulator


@define
class Clock:
    """Seconds since the epoch; they pass by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def stopped_simulator() -> AsyncIterator[tuple[Simulator, Clock]]:
    """Run a simulator whose tasks take a minute of a clock that stands still."""
    clock = Clock()
    async with Simulator(queue=0, processing=60, tiny_images=True, clock=clock) as simulator:
        yield simulator, clock

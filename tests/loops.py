"""An event loop whose time jumps: a wait of hours takes no time, and a deadlock is loud.

Time jumps over real I/O and over worker threads too, so sockets and files belong to the real lane.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 2.0


class _JumpingSelector(selectors.DefaultSelector):
    """Advances time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(_PATIENCE)
            if not events:
                raise RuntimeError("deadlock: every task waits and no deadline is set")
            return events
        events = super().select(0)
        if not events:
            self.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, which starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run *main* to its end on a ``JumpingLoop``."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())

"""An event loop whose time jumps: a wait of hours takes no time, and a deadlock is loud.

Time jumps over real I/O and over worker threads too, so sockets and files belong to the real lane,
unless a test can tell when a thread is busy.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 2.0
_PAUSE = 0.001


class _JumpingSelector(selectors.DefaultSelector):
    """Advances time instead of waiting."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        super().__init__()
        self.now = 0.0
        self._busy = busy

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(_PATIENCE)
            if not events:
                raise RuntimeError("deadlock: every task waits and no deadline is set")
            return events
        events = super().select(0)
        if not events and self._busy():
            return super().select(_PAUSE)
        if not events:
            self.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, which starts at 0."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._jumping = _JumpingSelector(busy)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_in_virtual_time(
    main: Callable[[], Coroutine[Any, Any, T]], busy: Callable[[], bool] = lambda: False
) -> T:
    """Run *main* to its end on a ``JumpingLoop``; time stands still while *busy* says so."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(busy)) as runner:
        return runner.run(main())

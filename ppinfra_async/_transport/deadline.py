"""Ends what takes too long, with a deadline that moves for next to nothing; refuses to say why.

Every call has one, and a submit moves it with every step. A cancel scope of anyio costs several times
as much, and `asyncio.timeout` sets a timer anew whenever it is moved.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """Ends its block quietly, *seconds* after it began or after the last ``move``.

    A block that returns was in time; what stands behind it is only reached when it was not. Somebody
    else's cancellation goes through, as with ``asyncio.timeout``.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._rang = False
        self._cancelled_before = 0
        self.move(seconds)

    def move(self, seconds: float) -> None:
        """Let *seconds* from now be the end."""
        self._end = self._loop.time() + seconds
        if self._alarm is not None and self._end < self._alarm.when():
            self._set_alarm()

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        self._cancelled_before = task.cancelling()
        self._set_alarm()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if self._alarm is not None:
            self._alarm.cancel()
        if not self._rang or task is None:
            return False
        # One that is left over is somebody else's.
        is_ours = task.uncancel() <= self._cancelled_before
        return is_ours and kind is asyncio.CancelledError

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._end, self._ring)

    def _ring(self) -> None:
        if self._end > self._loop.time():
            # It was moved meanwhile: one timer is enough for all moves.
            self._set_alarm()
        elif self._task is not None:
            self._rang = True
            self._task.cancel()

"""Worker threads of a client: bounded, and known while they work; refuses to stop one in its work.

They are anyio's, which end with the event loop. Its default limiter is left alone, so that the
application's own ``to_thread`` calls never wait behind pictures.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class WorkerThreads:
    """Runs blocking work, so much of it at the same time.

    A thread cannot be stopped: it works on when its caller was cancelled. ``idle`` waits for it then.

    Attributes:
        limiter: Hands out the places.
    """

    def __init__(self, at_once: int) -> None:
        self.limiter = anyio.CapacityLimiter(at_once)
        self._lock = threading.Lock()
        self._at_work = 0
        self._is_awaited = False
        self._ended = anyio.Event()

    async def run(
        self,
        work: Callable[[Unpack[Arguments]], T],
        *arguments: *Arguments,
        abandon_on_cancel: bool = False,
    ) -> T:
        """Return what *work* returns in a thread; *abandon_on_cancel* as in ``anyio.to_thread``."""
        loop = asyncio.get_running_loop()
        has_left = False

        def counted() -> T:
            with self._lock:
                if has_left:
                    # The caller was cancelled before this began; nobody gets what is raised here.
                    raise asyncio.CancelledError
                self._at_work += 1
            try:
                return work(*arguments)
            finally:
                with self._lock:
                    self._at_work -= 1
                    is_awaited = self._is_awaited
                if is_awaited:
                    # A loop that was closed meanwhile has nobody who waits.
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(self._note_end)

        try:
            return await anyio.to_thread.run_sync(
                counted, limiter=self.limiter, abandon_on_cancel=abandon_on_cancel
            )
        except BaseException:
            with self._lock:
                has_left = True
            raise

    async def idle(self, patience: float) -> None:
        """Wait until no thread is at work, at most *patience* seconds: a dead drive keeps one for ever."""
        with self._lock:
            self._is_awaited = True
        with anyio.move_on_after(patience):
            while self._at_work:
                await self._ended.wait()

    def _note_end(self) -> None:
        self._ended.set()
        self._ended = anyio.Event()

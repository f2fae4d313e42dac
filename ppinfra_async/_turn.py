"""Who goes next, and how long somebody waits; refuses to know what for."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from heapq import heapify, heappop, heappush

import anyio


class _Unlimited:
    """Stands for a cancel scope that nothing ends."""

    cancelled_caught = False


_UNLIMITED = nullcontext(_Unlimited())


def until(deadline: float) -> AbstractContextManager[anyio.CancelScope | _Unlimited, bool | None]:
    """Return a cancel scope that ends at *deadline*, or what costs nothing when that is never."""
    return _UNLIMITED if deadline == float("inf") else anyio.CancelScope(deadline=deadline)


class Turn:
    """A lock that goes to whoever came first, also to one that had it before and comes back."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def take_now(self) -> bool:
        """Take it if it is free, and tell so."""
        is_free = not self._taken
        self._taken = True
        return is_free

    async def take(self, ticket: int) -> None:
        """Wait until it is the turn of *ticket*."""
        if self.take_now():
            return
        waiter = (ticket, asyncio.Event())
        heappush(self._waiting, waiter)
        try:
            await waiter[1].wait()
        except BaseException:
            if waiter[1].is_set():
                self.hand_on()
            else:
                self._waiting.remove(waiter)
                heapify(self._waiting)
            raise

    def hand_on(self) -> None:
        """Give it to the next, if anybody waits."""
        if self._waiting:
            heappop(self._waiting)[1].set()
        else:
            self._taken = False

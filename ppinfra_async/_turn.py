"""Who goes next; refuses to know what for."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import anyio


class Turn:
    """A lock that goes to whoever came first, also to one that had it before and comes back."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, anyio.Event]] = []

    async def take(self, ticket: int) -> None:
        """Wait until it is the turn of *ticket*."""
        if not self._taken:
            self._taken = True
            return
        waiter = (ticket, anyio.Event())
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

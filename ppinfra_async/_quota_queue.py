"""Lets the submits of one endpoint go in the order they came, when the quota says so; decides nothing.

A queue may be shared by clients, also by clients of several event loops in several threads: what is
decided is guarded by a lock that is held for a moment only, and a waiter is woken in its own loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

import anyio
from attrs import define, field

from ppinfra_async._sansio.quota import Quota, QuotaState, Sent, Wait
from ppinfra_async._sansio.submit import Cause

_MANY_GONE = 64


@define(eq=False)
class _Waiter:
    """One submit in the queue.

    Attributes:
        ticket: Its place in the order of arrival.
        images: How many images it asks for.
        loop: Where it waits.
        woken: Set when it is worth asking again.
        is_gone: It no longer waits; it leaves the queue when it comes to the front.
    """

    ticket: int
    images: int
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    woken: asyncio.Event = field(factory=asyncio.Event)
    is_gone: bool = False

    def __lt__(self, other: _Waiter) -> bool:
        return self.ticket < other.ticket

    def wake(self) -> bool:
        """Wake it; tell whether its loop is still there."""
        if self.loop is _running_loop():
            self.woken.set()
            return True
        try:
            self.loop.call_soon_threadsafe(self.woken.set)
        except RuntimeError:
            return False
        return True


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class QuotaTimeoutError(Exception):
    """No turn in time; ``wait`` is how many seconds it would have taken still, if that is known."""

    def __init__(self, wait: float | None) -> None:
        super().__init__(wait)
        self.wait = wait


class QuotaQueue:
    """The submits of one endpoint that wait for its quota: first come, first served."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        # Reentrant: what is collected while it is held may leave the queue.
        self._lock = threading.RLock()
        self._tickets = count()
        self._waiting: list[_Waiter] = []
        self._gone = 0
        self._clock: Callable[[], float] = float

    def ticket(self) -> int:
        """Return the next place in the order of arrival."""
        return next(self._tickets)

    def too_large(self, images: int) -> bool:
        """Tell whether so many images can never go at once."""
        return self._quota.too_large(images)

    async def enter(self, ticket: int, images: int, patience: float | None) -> Sent:
        """Wait for the turn of *ticket*; what is returned is to be handed back with its outcome.

        Args:
            ticket: From ``ticket``; a submit that was refused keeps its own and so its place.
            images: How many images it asks for.
            patience: Seconds that it may wait, or None.

        Raises:
            QuotaTimeoutError: when it would have to wait longer, or has waited so long.
        """
        waiter = _Waiter(ticket, images)
        with self._lock:
            heappush(self._waiting, waiter)
        try:
            return await self._turn_of(waiter, patience)
        except BaseException:
            self._leave(waiter)
            raise

    async def _turn_of(self, waiter: _Waiter, patience: float | None) -> Sent:
        deadline = float("inf") if patience is None else anyio.current_time() + patience
        while True:
            waiter.woken.clear()
            decision = self._ask(waiter)
            if isinstance(decision, Sent):
                return decision
            now = anyio.current_time()
            if deadline < decision.until < float("inf"):
                raise QuotaTimeoutError(decision.until - now)
            if deadline <= now:
                raise QuotaTimeoutError(None)
            with anyio.move_on_after(min(deadline, decision.until) - now):
                await waiter.woken.wait()

    def _ask(self, waiter: _Waiter) -> Sent | Wait:
        """Let it go if it is the first and the quota says so, or return how long it waits."""
        with self._lock:
            if self._first() is not waiter:
                return Wait(float("inf"))
            now = self._now()
            decision = self._quota.decide(waiter.images, now)
            if isinstance(decision, Wait):
                return decision
            heappop(self._waiting)
            sent = self._quota.sent(waiter.images, now)
            self._wake_first()
            return sent

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            waiter.is_gone = True
            self._gone += 1
            if self._gone > _MANY_GONE and 2 * self._gone > len(self._waiting):
                self._waiting = [each for each in self._waiting if not each.is_gone]
                heapify(self._waiting)
                self._gone = 0
            self._wake_first()

    def _first(self) -> _Waiter | None:
        """Return who is first, passing over those who have left or whose loop was closed under them."""
        while self._waiting and (self._waiting[0].is_gone or self._waiting[0].loop.is_closed()):
            self._gone -= heappop(self._waiting).is_gone
        return self._waiting[0] if self._waiting else None

    def _wake_first(self) -> None:
        while (first := self._first()) is not None and not first.wake():
            # Closed in this very moment.
            heappop(self._waiting)

    def _now(self) -> float:
        """Return the loop's time; without a loop, by the clock of the one that was here last."""
        if (loop := _running_loop()) is not None:
            self._clock = loop.time
        return self._clock()

    # --- what became of those that went ---

    def accepted(self, sent: Sent) -> None:
        """Note that the service took it."""
        self._note(lambda now: self._quota.accepted(sent, now))

    def refused(self, sent: Sent, retry_after: float | None, cause: Cause) -> None:
        """Note a 429: everything waits."""
        self._note(lambda now: self._quota.refused(sent, now, retry_after, cause))

    def not_sent(self, sent: Sent) -> None:
        """Note that it certainly did not reach the service."""
        self._note(lambda _: self._quota.not_sent(sent))

    def lost(self, sent: Sent) -> None:
        """Note that it may have been counted."""
        self._note(lambda now: self._quota.lost(sent, now))

    def _note(self, noting: Callable[[float], None]) -> None:
        with self._lock:
            noting(self._now())
            self._wake_first()

    # --- what is known ---

    def hopeless(self) -> bool:
        """Tell whether nothing but refusals came for ten minutes."""
        with self._lock:
            return self._quota.hopeless(self._now())

    def state(self) -> QuotaState:
        """Return what is known of the quota now."""
        with self._lock:
            return self._quota.state(self._now())

    def estimate(self, images: int) -> float:
        """Return the seconds until so many images could all have been sent, behind those that wait."""
        with self._lock:
            ahead = sum(waiter.images for waiter in self._waiting if not waiter.is_gone)
            return self._quota.estimate(ahead + images, self._now())

    def __len__(self) -> int:
        return len(self._waiting) - self._gone

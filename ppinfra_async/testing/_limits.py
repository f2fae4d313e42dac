"""Decides whether a rate limit lets something pass; reads no clock and waits for nobody.

Whether the service's images-per-minute window slides or is fixed is not documented, so all three
common kinds are here. Each has one method, ``take(amount, now)``: it counts the amount and answers
None, or counts nothing and answers the seconds until it would fit, which are never 0. Who comes
exactly then, on the same clock, is let through.
"""

import math
from collections import deque
from typing import Literal, Protocol

from attrs import define, field

Window = Literal["sliding", "fixed", "bucket"]


class Limiter(Protocol):
    """What every kind of limit can do."""

    def take(self, amount: int, now: float) -> float | None:
        """Count *amount* at *now* (seconds) and answer None, or answer the seconds to wait."""
        ...  # pragma: no cover


@define
class SlidingWindow:
    """At most *limit* in any span of *seconds*."""

    limit: int
    seconds: float
    _taken: deque[tuple[float, int]] = field(factory=deque, init=False)
    _total: int = field(default=0, init=False)

    def take(self, amount: int, now: float) -> float | None:
        """Count, or say how long until enough of the past has left the window."""
        while self._taken and self._taken[0][0] + self.seconds <= now:
            self._total -= self._taken.popleft()[1]
        over = self._total + amount - self.limit
        if over <= 0:
            self._taken.append((now, amount))
            self._total += amount
            return None
        for when, taken in self._taken:
            over -= taken
            if over <= 0:
                return _until(when + self.seconds, now)
        return math.inf


@define
class FixedWindow:
    """At most *limit* in each span of *seconds*; the first span starts at *phase* (seconds)."""

    limit: int
    seconds: float
    phase: float = 0.0
    _end: float = field(default=-math.inf, init=False)
    _total: int = field(default=0, init=False)

    def take(self, amount: int, now: float) -> float | None:
        """Count, or say how long until the next span starts."""
        if now >= self._end:
            self._end, self._total = self._end_of_span(now), 0
        if amount > self.limit:
            return math.inf
        if self._total + amount <= self.limit:
            self._total += amount
            return None
        return _until(self._end, now)

    def _end_of_span(self, now: float) -> float:
        spans = math.floor((now - self.phase) / self.seconds) + 1
        # The quotient of a time at a border may be rounded to either side of it.
        while (end := self.phase + spans * self.seconds) <= now:
            spans += 1
        return end


@define
class TokenBucket:
    """A bucket of *limit* tokens that refills evenly, *limit* every *seconds*; starts full."""

    limit: int
    seconds: float
    _full_at: float = field(default=-math.inf, init=False)

    def take(self, amount: int, now: float) -> float | None:
        """Count, or say how long until the bucket holds enough."""
        if amount > self.limit:
            return math.inf
        # The time at which it will be full tells what it holds, without adding up roundings.
        ready = self._full_at - (self.limit - amount) * self.seconds / self.limit
        if now < ready:
            return _until(ready, now)
        self._full_at = max(self._full_at, now) + amount * self.seconds / self.limit
        return None


def _until(when: float, now: float) -> float:
    wait = when - now
    while now + wait < when:
        wait = math.nextafter(wait, math.inf)
    return wait


def limiter(kind: Window, limit: int, seconds: float, phase: float = 0.0) -> Limiter:
    """Make a limiter of the named kind."""
    if kind == "sliding":
        return SlidingWindow(limit, seconds)
    if kind == "fixed":
        return FixedWindow(limit, seconds, phase)
    return TokenBucket(limit, seconds)

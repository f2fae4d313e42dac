"""Decides whether a rate limit lets something pass; reads no clock and waits for nobody.

Whether the service's images-per-minute window slides or is fixed is not documented, so all three
common kinds are here. Each has one method, ``take(amount, now)``, which answers 0.0 and counts the
amount, or answers the seconds until it would fit and counts nothing.
"""

import math
from collections import deque
from typing import Literal, Protocol

from attrs import define, field

Window = Literal["sliding", "fixed", "bucket"]


class Limiter(Protocol):
    """What every kind of limit can do."""

    def take(self, amount: int, now: float) -> float:
        """Count *amount* at *now* and answer 0.0, or answer the seconds to wait."""
        ...  # pragma: no cover


@define
class SlidingWindow:
    """At most *limit* in any span of *seconds*."""

    limit: int
    seconds: float
    _taken: deque[tuple[float, int]] = field(factory=deque, init=False)
    _total: int = field(default=0, init=False)

    def take(self, amount: int, now: float) -> float:
        """Count, or say how long until enough of the past has left the window."""
        while self._taken and self._taken[0][0] <= now - self.seconds:
            self._total -= self._taken.popleft()[1]
        over = self._total + amount - self.limit
        if over <= 0:
            self._taken.append((now, amount))
            self._total += amount
            return 0.0
        for when, taken in self._taken:
            over -= taken
            if over <= 0:
                return when + self.seconds - now
        return math.inf


@define
class FixedWindow:
    """At most *limit* in each span of *seconds*; the first span starts at *phase*."""

    limit: int
    seconds: float
    phase: float = 0.0
    _window: float = field(default=-math.inf, init=False)
    _total: int = field(default=0, init=False)

    def take(self, amount: int, now: float) -> float:
        """Count, or say how long until the next span starts."""
        window = math.floor((now - self.phase) / self.seconds)
        if window != self._window:
            self._window, self._total = window, 0
        if amount > self.limit:
            return math.inf
        if self._total + amount <= self.limit:
            self._total += amount
            return 0.0
        return self.phase + (window + 1) * self.seconds - now


@define
class TokenBucket:
    """A bucket of *limit* tokens that refills evenly, *limit* every *seconds*; starts full."""

    limit: int
    seconds: float
    _tokens: float = field(init=False)
    _at: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.limit)

    def take(self, amount: int, now: float) -> float:
        """Count, or say how long until the bucket holds enough."""
        if amount > self.limit:
            return math.inf
        rate = self.limit / self.seconds
        if now > self._at:
            self._tokens = min(self.limit, self._tokens + (now - self._at) * rate)
            self._at = now
        # The grain keeps a caller who waits exactly as told from being a rounding error early.
        if self._tokens + 1e-9 >= amount:
            self._tokens -= amount
            return 0.0
        return (amount - self._tokens) / rate


def limiter(kind: Window, limit: int, seconds: float, phase: float = 0.0) -> Limiter:
    """Make a limiter of the named kind."""
    if kind == "sliding":
        return SlidingWindow(limit, seconds)
    if kind == "fixed":
        return FixedWindow(limit, seconds, phase)
    return TokenBucket(limit, seconds)

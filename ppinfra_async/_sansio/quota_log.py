"""Remembers how many images went when, within a bounded size; refuses to know any limit.

An entry gathers what lies within ``GRAIN`` seconds, so that a thousand submits a second need no more
memory than twenty. What an entry may be wrong by is on the safe side: the log of answers puts its
images at the latest of their times, the log of sendings at the earliest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque

from attrs import define, field

GRAIN = 0.05
MEMORY = 200.0
"""Seconds that are remembered: three windows and a little."""

_SAMPLE = 64
_ENOUGH = 16
_MARGIN = 0.9
_MARGIN_SECONDS = 0.02


@define
class Log:
    """Images by time, and their running total."""

    times: list[float] = field(factory=list, init=False)
    totals: list[int] = field(factory=list, init=False)
    _begin: float = field(default=float("-inf"), init=False)
    _dropped: int = field(default=0, init=False)

    def used(self, now: float, span: float) -> int:
        """Return the images whose time plus *span* seconds is still to come at *now*."""
        gone = bisect_right(self.times, now, key=lambda when: when + span)
        return self._total() - self._total_before(gone)

    def after(self, when: float) -> int:
        """Return the images of all times later than *when*."""
        return self._total() - self._total_before(bisect_right(self.times, when))

    def few_at(self, images: int, span: float) -> float:
        """Return when no more than *images* are left of what is used for *span* seconds each."""
        surplus = self._total() - images
        if surplus <= self._dropped:
            return float("-inf")
        return self.times[bisect_left(self.totals, surplus)] + span

    def entries(self) -> list[tuple[float, int]]:
        """Return time and images of each entry, oldest first."""
        before = [self._dropped, *self.totals]
        counts = (total - earlier for total, earlier in zip(self.totals, before, strict=False))
        return list(zip(self.times, counts, strict=True))

    def add_latest(self, when: float, images: int) -> None:
        """Add *images* at *when*, which no time before was later than; others may move up to it."""
        if self.times and when - self._begin < GRAIN:
            self.times[-1] = max(self.times[-1], when)
            self.totals[-1] += images
            return
        self._begin = when
        self.times.append(when)
        self.totals.append(self._total() + images)
        self._forget(when)

    def add_earliest(self, when: float, images: int) -> None:
        """Add *images* at *when*, in any order; they may move back to an entry just before."""
        place = bisect_right(self.times, when)
        if place and when - self.times[place - 1] < GRAIN:
            place -= 1
        else:
            self.times.insert(place, when)
            self.totals.insert(place, self._total_before(place))
        # The tail is short: no more than what was sent while this one was under way.
        for later in range(place, len(self.totals)):
            self.totals[later] += images
        self._forget(self.times[-1])

    def _total(self) -> int:
        return self.totals[-1] if self.totals else self._dropped

    def _total_before(self, place: int) -> int:
        return self.totals[place - 1] if place else self._dropped

    def _forget(self, now: float) -> None:
        if self.times[0] >= now - 2 * MEMORY:
            return
        gone = bisect_left(self.times, now - MEMORY)
        self._dropped = self._total_before(gone)
        del self.times[:gone], self.totals[:gone]


@define
class Durations:
    """How long the last submits took, from sending to the answer; seconds."""

    _last: deque[float] = field(factory=lambda: deque(maxlen=_SAMPLE), init=False)
    _shared: float | None = field(default=None, init=False)

    def add(self, seconds: float) -> None:
        """Note one."""
        self._last.append(seconds)
        self._shared = None

    def shared(self) -> float:
        """Return the part that every submit can be trusted to take; 0 as long as few are known.

        Two submits are counted at least as far apart as the answer of the first and the sending of
        the second, plus this: where it goes is the same for both. Trusted is what lies as far below
        the shortest as the middle lies above it, so that a wide spread leaves nothing.
        """
        if self._shared is None:
            self._shared = self._estimate()
        return self._shared

    def _estimate(self) -> float:
        if len(self._last) < _ENOUGH:
            return 0.0
        ordered = sorted(self._last)
        shortest, middle = ordered[0], ordered[len(ordered) // 2]
        return max(0.0, (2 * shortest - middle) * _MARGIN - _MARGIN_SECONDS)

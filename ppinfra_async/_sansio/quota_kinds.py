"""The kinds of limiter that the service may have, each as one hypothesis; refuses to weigh them.

A hypothesis says "this kind of window, and a limit between ``low`` and ``high``". What is known of a
submit is that it was counted between its sending and its answer. So each hypothesis answers with
what is sure: that a submit fits, or that it cannot fit.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

from attrs import define, field, frozen

from ppinfra_async._sansio.quota_log import Log

WINDOW = 60.0
PHASE = 2.0
"""Seconds within which the border of a fixed window is looked for."""

_FINE = 0.004
"""Width, as a part of the limit, that is never halved."""

_ROUNDING = 1e-6
"""Seconds by which the same time may differ when it is computed in two ways."""

Kind = Literal["sliding", "fixed", "bucket"]


@frozen
class Event:
    """One answered submit: when it was sent and answered (seconds), how many images, how it ended.

    ``ahead`` are the images that were sent no later than it and are not answered yet.
    """

    sent: float
    answered: float
    images: int
    ok: bool
    ahead: int = 0


@define
class Traffic:
    """What went through and what is under way, whatever the limiter may be."""

    by_answer: Log = field(factory=Log)
    by_sending: Log = field(factory=Log)
    under_way: int = 0

    def most(self, since: float) -> int:
        """Return how many images may have been counted after *since*, those under way included."""
        return self.by_answer.after(since) + self.under_way

    def most_before(self, event: Event, since: float) -> int:
        """Return how many images, itself included, may have been counted when *event* was.

        Of an accepted one, those that were sent later are left out: when they were, more of the
        past had been forgotten too. That they fitted as well is evidence of their own.
        """
        counted = self.by_answer.after(since) + event.ahead + event.images
        return counted - self.by_sending.after(event.sent) if event.ok else counted

    def least(self, since: float) -> int:
        """Return how many images were certainly counted after *since*."""
        return self.by_sending.after(since)

    def accepted(self, event: Event) -> None:
        """Add an accepted one."""
        self.by_answer.add_latest(event.answered, event.images)
        self.by_sending.add_earliest(event.sent, event.images)


class Hypothesis(Protocol):
    """A kind of limiter whose limit is at least ``low`` and below ``high``."""

    weight: float
    low: int
    high: int

    @property
    def kind(self) -> Kind:
        """Its kind."""
        ...  # pragma: no cover

    def free_at(self, images: int, now: float, traffic: Traffic) -> float:
        """Return from when on *images* surely fit if nothing else is sent; inf if that is open."""
        ...  # pragma: no cover

    def fits(self, event: Event, traffic: Traffic) -> bool | None:
        """Tell whether *event* surely fitted, or surely did not; None if that is open."""
        ...  # pragma: no cover

    def note(self, event: Event) -> None:
        """Keep what its own state has to know of *event*."""
        ...  # pragma: no cover

    def halves(self) -> list[Hypothesis]:
        """Return two of half the width and weight each."""
        ...  # pragma: no cover


def is_wide(hypothesis: Hypothesis) -> bool:
    """Tell whether it is worth while to halve it."""
    return hypothesis.high - hypothesis.low > max(1, _FINE * hypothesis.low)


@define
class _Windowed:
    """What sliding and fixed windows share: their state is in the traffic."""

    weight: float
    low: int
    high: int

    def note(self, event: Event) -> None:
        pass


@define
class Sliding(_Windowed):
    """No more than the limit in any 60 s."""

    kind: Kind = field(default="sliding", init=False)

    def free_at(self, images: int, now: float, traffic: Traffic) -> float:
        room = self.low - images - traffic.under_way
        if room < 0:
            return math.inf
        return max(now, traffic.by_answer.few_at(room, WINDOW))

    def fits(self, event: Event, traffic: Traffic) -> bool | None:
        most = traffic.most_before(event, event.sent - WINDOW)
        if most <= self.low:
            return True
        least = traffic.least(event.answered - WINDOW) + event.images
        return False if least >= self.high else None

    def halves(self) -> list[Hypothesis]:
        middle = (self.low + self.high) // 2
        return [
            Sliding(self.weight / 2, self.low, middle),
            Sliding(self.weight / 2, middle, self.high),
        ]


@define
class Fixed(_Windowed):
    """No more than the limit in each 60 s; they begin at ``phase``, or up to ``PHASE`` later."""

    phase: float
    kind: Kind = field(default="fixed", init=False)

    def _begun(self, when: float) -> float:
        return math.floor((when - self.phase) / WINDOW) * WINDOW + self.phase

    def free_at(self, images: int, now: float, traffic: Traffic) -> float:
        border = self._begun(now - PHASE)
        room = self.low - images - traffic.under_way
        if room < 0:
            return math.inf
        if traffic.by_answer.after(border) <= room:
            return now
        # Between the earliest and the latest that the next border may be, some may have come.
        next_border = border + WINDOW
        if traffic.by_answer.after(next_border) > room:
            next_border += WINDOW
        return max(now, next_border + PHASE)

    def fits(self, event: Event, traffic: Traffic) -> bool | None:
        most = traffic.most_before(event, self._begun(event.sent - PHASE))
        if most <= self.low:
            return True
        # What was sent just when a border had surely passed is the rule: it waited for that.
        begun = self._begun(event.answered) + PHASE - _ROUNDING
        least = traffic.least(begun) + event.images
        return False if least >= self.high else None

    def halves(self) -> list[Hypothesis]:
        middle = (self.low + self.high) // 2
        return [
            Fixed(self.weight / 2, self.low, middle, self.phase),
            Fixed(self.weight / 2, middle, self.high, self.phase),
        ]


@define
class Bucket:
    """A bucket of as many tokens as the limit, which refills evenly within 60 s.

    ``late`` and ``early`` bound when it will be full: for the limit ``low`` if everything was
    counted at its answer, for ``high - 1`` if everything was counted at its sending.
    """

    weight: float
    low: int
    high: int
    late: float
    early: float
    kind: Kind = field(default="bucket", init=False)

    def free_at(self, images: int, now: float, traffic: Traffic) -> float:
        return self._free_at(images, now, traffic.under_way)

    def _free_at(self, images: int, now: float, ahead: int) -> float:
        if images > self.low:
            return math.inf
        late = max(self.late, now) + ahead * WINDOW / self.low if ahead else self.late
        return max(now, late - (self.low - images) * WINDOW / self.low)

    def fits(self, event: Event, traffic: Traffic) -> bool | None:
        limit = self.high - 1
        if event.images > limit:
            return False
        later = traffic.by_sending.after(event.sent) if event.ok else 0
        latest = self._free_at(event.images, event.sent, event.ahead - later)
        if latest <= event.sent:
            return True
        earliest = self.early - (limit - event.images) * WINDOW / limit
        return False if earliest > event.answered else None

    def note(self, event: Event) -> None:
        if event.ok:
            self._take(event)
        else:
            self._deny(event)

    def _take(self, event: Event) -> None:
        self.late = max(self.late, event.answered) + event.images * WINDOW / self.low
        self.early = max(self.early, event.sent) + event.images * WINDOW / (self.high - 1)
        self.settle(event.answered)

    def _deny(self, event: Event) -> None:
        # A wide one keeps its two ends as they are, however wrong: the halves are between them.
        if is_wide(self):
            return
        # It held less than was asked for.
        limit = self.high - 1
        self.early = max(self.early, event.sent + max(0.0, 1 - event.images / limit) * WINDOW)
        self.late = max(self.late, self.early)

    def settle(self, now: float) -> None:
        """Forget what it owes beyond all of its tokens: more it cannot owe."""
        if not is_wide(self):
            self.early = min(self.early, now + WINDOW)
            self.late = min(self.late, now + WINDOW)

    def may_be_empty(self, now: float) -> None:
        """Note that others may have taken everything."""
        self.late = now + WINDOW

    def overdrawn(self, now: float) -> bool:
        """Tell whether more was accepted than it can have held."""
        return self.early > now + WINDOW

    def halves(self) -> list[Hypothesis]:
        middle, weight = (self.low + self.high) // 2, self.weight / 2
        return [
            Bucket(weight, self.low, middle, self.late, self._full_at(middle - 1)),
            Bucket(weight, middle, self.high, self._full_at(middle), self.early),
        ]

    def _full_at(self, limit: int) -> float:
        """Return when it would be full with *limit*, by what is known for the two ends."""
        # As long as a bucket is never full, that time is linear in the time for one token.
        slow, fast = 1 / self.low, 1 / (self.high - 1)
        part = (1 / limit - fast) / (slow - fast)
        return self.early + part * (self.late - self.early)

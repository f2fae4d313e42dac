"""Remembers how long each class of work took and when to ask about the next; refuses to look at tasks.

A class is endpoint, model, steps, pixels and images. While little is known of it, the same model's
other work speaks for it, then the endpoint's, then anything. For each class several clocks are
learned, each by how well it told the end so far; see ``Clock``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from enum import IntEnum
from typing import NamedTuple

from attrs import define, field, frozen

from ppinfra_async._sansio.completion import VAGUE, CompletionTimes, Masses, bins_between
from ppinfra_async._sansio.poll_plan import PollPlan, plan_polls
from ppinfra_async.options import Polling
from ppinfra_async.requests import Request

_ENOUGH = 5
"""So many completions of a class speak for themselves."""

_GROWN = 1.2
_GROWN_BY = 50
"""A class is looked at anew when its completions have grown by a fifth, at least by one and at most by 50."""

_REST = 2.0
"""Seconds between two looks at one class. One takes about two milliseconds of the event loop's time."""

_APART = 0.05
"""Seconds between two looks at any classes."""

_CLASSES = 256
"""Classes that are remembered, as many fine as coarse ones: what was not used for longest goes."""

_PLANS = 64
"""Plans per class and clock, for different prices and scales."""

_UNIT_STEP = 1.5
_NATURAL = 10.0
"""What an announced remaining time is made to be, so that its bins are as fine as those of seconds."""

_CLEARLY_BETTER = 0.9
"""A clock other than the plain age takes over when it is expected to cost so much less."""

_SHORTEST_ANNOUNCED, _LONGEST_ANNOUNCED = 1.0, 86_400.0


class Clock(IntEnum):
    """From when, and in what unit, the age of a task is taken.

    The service may queue a task, and may say when it begins, how far it is, or how long it will still
    take; or say nothing, or lie. Each clock is learned like the plain age, so one that lies is found
    to tell the end badly, and is not followed.

    Attributes:
        SUBMIT: Seconds since the submit.
        PROCESSING: Seconds since it was first seen in ``PROCESSING``, or halfway from the poll before.
        ETA: Share of the ``eta`` that was said first.
        PROGRESS: Share of the remaining time that followed from the first ``progress_percent``.
    """

    SUBMIT = 0
    PROCESSING = 1
    ETA = 2
    PROGRESS = 3


@frozen(cache_hash=True)
class Work:
    """A class of work, as fine as can be told from a request."""

    path: str
    model_name: str
    steps: int
    pixels: int
    images: int

    @classmethod
    def of(cls, request: Request) -> Work:
        """Return what *request* asks for."""
        width, height = getattr(request, "width", None), getattr(request, "height", None)
        return cls(
            path=request.path,
            model_name=str(getattr(request, "model_name", "")),
            steps=getattr(request, "steps", None) or 0,
            pixels=(width or 0) * (height or 0),
            images=request.images_asked,
        )


class Reading(NamedTuple):
    """A clock of one task.

    Attributes:
        clock: Which one.
        origin: Its zero, in seconds of the client's clock.
        unit: Seconds of one of its units.
    """

    clock: Clock
    origin: float
    unit: float = 1.0

    @classmethod
    def of_remaining(cls, clock: Clock, now: float, seconds: float) -> Reading:
        """Return a clock that stands at 0 now and at ``_NATURAL`` when *seconds* are over."""
        within = min(max(seconds, _SHORTEST_ANNOUNCED), _LONGEST_ANNOUNCED)
        return cls(clock, now, within / _NATURAL)

    def at(self, time: float) -> float:
        """Return what it shows at *time*, at least 0."""
        return max(0.0, (time - self.origin) / self.unit)


Readings = tuple[Reading, ...]


@define
class _Looks:
    """Spreads the looks at all classes of a client: each takes a moment of the event loop's time."""

    _next_at: float = field(default=-math.inf, init=False)

    def may(self, now: float) -> bool:
        """Tell whether one may be taken now, and if so, count it as taken."""
        if now < self._next_at:
            return False
        self._next_at = now + _APART
        return True


@define
class _Learned:
    """What one clock tells about one class.

    Attributes:
        found: The distribution that was found at the last look.
        looks_taken: How often this clock of this class was looked at.
    """

    polling: Polling
    looks: _Looks
    coarser: _Learned | None
    times: CompletionTimes = field(factory=CompletionTimes, init=False)
    found: Masses | None = field(default=None, init=False)
    looks_taken: int = field(default=0, init=False)
    _look_at_count: int = field(default=_ENOUGH, init=False)
    _look_not_before: float = field(default=-math.inf, init=False)
    _plans: dict[tuple[float, int], PollPlan] = field(factory=dict, init=False)

    def plan(self, price: float, unit: float, now: float) -> PollPlan | None:
        """Return the plan for *price*, in units of *unit* seconds, or None while too little is known."""
        count = self.times.count
        if count < _ENOUGH:
            return None if self.coarser is None else self.coarser.plan(price, unit, now)
        if count >= self._look_at_count and now >= self._look_not_before and self.looks.may(now):
            self._look(now)
        # What is cheap in a coarse unit is dear in a fine one; half more or less matters little.
        step = 0 if unit == 1.0 else round(math.log(unit, _UNIT_STEP))
        return self._plans.get((price, step)) or self._planned(price, step)

    def _look(self, now: float) -> None:
        """Look at what was noted since the last look."""
        count = self.times.count
        self.found = self.times.fit(self._belief())
        self._plans.clear()
        self._look_at_count = min(math.ceil(count * _GROWN), count + _GROWN_BY)
        self._look_not_before = now + _REST
        self.looks_taken += 1

    def _planned(self, price: float, step: int) -> PollPlan | None:
        if self.found is None:
            return None
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        unit = _UNIT_STEP**step
        plan = self._plans[price, step] = plan_polls(
            self.found,
            price=price / unit,
            floor=self.polling.min_interval / unit,
            ceiling=self.polling.max_interval / unit,
        )
        return plan

    def _belief(self) -> Masses:
        coarser = self.coarser
        if coarser is None or coarser.times.count <= self.times.count:
            # It knows nothing that this class does not.
            return VAGUE
        return coarser.found or VAGUE


@define
class WorkClass:
    """All that is known of one class of work."""

    clocks: tuple[_Learned, ...]

    @classmethod
    def under(cls, coarser: WorkClass | None, polling: Polling, looks: _Looks) -> WorkClass:
        """Return a class of which nothing is known but what *coarser* says."""
        known = [None] * len(Clock) if coarser is None else coarser.clocks
        return cls(tuple(_Learned(polling, looks, known[clock]) for clock in Clock))

    def note(self, readings: Readings, after: float, until: float) -> None:
        """Note that a task ended later than *after* and not later than *until*."""
        for reading in readings:
            begin, end = reading.at(after), reading.at(until)
            bins = bins_between(begin, end)
            learned: _Learned | None = self.clocks[reading.clock]
            while learned is not None:
                learned.times.note(bins)
                learned = learned.coarser

    def pause(self, readings: Readings, price: float, now: float) -> float | None:
        """Return the seconds until the next poll is best, or None while nothing is known.

        Of all clocks that this task has, the one that promises the least cost is followed.
        """
        if len(readings) == 1:
            # Most have one clock only, and nothing to compare it with.
            clock, origin, unit = readings[0]
            plan = self.clocks[clock].plan(price, unit, now)
            return None if plan is None else plan.pause((now - origin) / unit) * unit
        least, best = math.inf, None
        for reading in readings:
            plan = self.clocks[reading.clock].plan(price, reading.unit, now)
            if plan is None:
                continue
            age = reading.at(now)
            cost = plan.cost_from(age) * reading.unit
            if cost < least:
                least, best = cost * _CLEARLY_BETTER, plan.pause(age) * reading.unit
        return best


@define
class Experience:
    """The classes of one client."""

    polling: Polling
    _looks: _Looks = field(factory=_Looks, init=False)
    _anything: WorkClass = field(init=False)
    _coarse: OrderedDict[tuple[str, ...], WorkClass] = field(factory=OrderedDict, init=False)
    _fine: OrderedDict[Work, WorkClass] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with nothing known."""
        self._anything = WorkClass.under(None, self.polling, self._looks)

    def of(self, work: Work) -> WorkClass:
        """Return what is known of *work*."""
        known = self._fine.get(work)
        if known is not None:
            self._fine.move_to_end(work)
            return known
        endpoint = self._of_many((work.path,), self._anything)
        model = self._of_many((work.path, work.model_name), endpoint)
        known = self._fine[work] = WorkClass.under(model, self.polling, self._looks)
        if len(self._fine) > _CLASSES:
            self._fine.popitem(last=False)
        return known

    def _of_many(self, name: tuple[str, ...], coarser: WorkClass) -> WorkClass:
        """Return what is known of a coarser class."""
        known = self._coarse.pop(name, None) or WorkClass.under(coarser, self.polling, self._looks)
        self._coarse[name] = known
        if len(self._coarse) > _CLASSES:
            self._coarse.popitem(last=False)
        return known

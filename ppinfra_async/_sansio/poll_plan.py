"""Plans at what times to ask about a task whose completion time is known as a distribution; asks nobody.

A poll costs its price in seconds, each second between the end and the poll that notices it costs one.
The cheapest plan follows by dynamic programming from the last time backwards: at each time that a poll
finds the task unfinished, the next poll goes where

    price · P(unfinished now) + E[delay if it ends until then] + cost from then on

is least. Times are a grid that is finer where an end is likelier: the best pause is in proportion to
the square root of one by the density there, so that each pause gets about as many times to choose from.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from attrs import frozen

from ppinfra_async._sansio.completion import EDGES, Masses

_TIMES = 160
"""How many times the grid has. 80 are enough but for low prices and broad distributions."""

_IGNORED = 0.0005
"""Share of the completions at either end that the grid leaves out."""

_LATE_GROWTH = 0.25
"""Later than everything known, the pauses grow with the age of the task."""

_LATE_POLLS = 3
"""So many polls such a task is thought to need."""


@frozen
class PollPlan:
    """When to ask about a task of some age, and what waiting for it costs from then on.

    Ages are seconds since the task began.

    Attributes:
        cost: Seconds that a new task is expected to cost: price · polls + delay.
    """

    cost: float
    _first: float
    _times: tuple[float, ...]
    _nexts: tuple[float, ...]
    _costs: tuple[float, ...]
    _floor: float
    _ceiling: float

    def pause(self, age: float) -> float:
        """Return how long to wait until the next poll of a task that is unfinished at *age*.

        Never below the floor interval, never above the ceiling: where the plan asks later than that,
        the polls in between are spread evenly.
        """
        times = self._times
        place = bisect_right(times, age)
        if place == 0:
            pause = self._first - age
        elif place == len(times):
            pause = age * _LATE_GROWTH
        else:
            low, high = times[place - 1], times[place]
            early, late = self._nexts[place - 1], self._nexts[place]
            pause = early + (late - early) * (age - low) / (high - low) - age
        if pause <= self._floor:
            return self._floor
        if pause > self._ceiling:
            pause = max(self._floor, pause / math.ceil(pause / self._ceiling))
        return pause

    def cost_from(self, age: float) -> float:
        """Return what a task that is unfinished at *age* is expected to cost from then on."""
        place = bisect_right(self._times, age)
        return self.cost if place == 0 else self._costs[place - 1]


def plan_polls(masses: Masses, *, price: float, floor: float, ceiling: float) -> PollPlan:
    """Return the cheapest plan.

    Args:
        masses: Distribution of the completion time over the bins of ``completion``.
        price: Seconds of delay that one poll is worth.
        floor: Shortest pause between two polls, in seconds.
        ceiling: Longest pause, in seconds.
    """
    grid = _Grid.over(masses)
    last = len(grid.times) - 1
    nexts, costs = [last] * (last + 1), [0.0] * (last + 1)
    costs[last] = grid.unfinished(last) * price * _LATE_POLLS
    reach = last
    for now in range(last - 1, -1, -1):
        nexts[now], costs[now] = grid.best(now, reach, costs, price, floor, ceiling)
        # The later the poll, the later the one after it: no need to look behind it again.
        reach = nexts[now]
    first, cost = grid.best(None, last, costs, price, floor, ceiling)
    early = (cost / max(grid.unfinished(now), 1e-9) for now, cost in enumerate(costs[:-1]))
    return PollPlan(
        cost=cost,
        first=grid.times[first],
        times=tuple(grid.times),
        nexts=tuple(grid.times[then] for then in nexts),
        costs=(*early, price * _LATE_POLLS),
        floor=floor,
        ceiling=ceiling,
    )


@frozen
class _Grid:
    """Times to choose from, with the distribution up to each of them."""

    times: list[float]
    finished: list[float]
    moments: list[float]
    """Mean completion time of those that are finished, times their share."""

    @classmethod
    def over(cls, masses: Masses) -> _Grid:
        below = [0.0, *accumulate(masses)]
        first = max(0, bisect_right(below, _IGNORED * below[-1]) - 1)
        end = bisect_right(below, (1 - _IGNORED) * below[-1])
        moments = [0.0, *accumulate(_moments(masses))]
        weights = [
            math.sqrt(mass * (high - low))
            for mass, low, high in zip(
                masses[first:end], EDGES[first:end], EDGES[first + 1 : end + 1], strict=True
            )
        ]
        grid = cls([], [], [])
        for place, part in _evenly(weights):
            number = first + place
            mass, low, high = masses[number], EDGES[number], EDGES[number + 1]
            time = low + part * (high - low)
            grid.times.append(time)
            grid.finished.append(below[number] + part * mass)
            grid.moments.append(moments[number] + part * mass * (low + time) / 2)
        return grid

    def unfinished(self, place: int) -> float:
        return 1 - self.finished[place]

    def best(
        self,
        now: int | None,
        reach: int,
        costs: Sequence[float],
        price: float,
        floor: float,
        ceiling: float,
    ) -> tuple[int, float]:
        """Return the best place of the next poll and the cost from *now* on; None is the beginning.

        The cost is weighed with the share that is unfinished then.
        """
        if now is None:
            time, finished, moment, start = 0.0, 0.0, 0.0, 0
        else:
            time, finished, moment = self.times[now], self.finished[now], self.moments[now]
            start = now + 1
        each = price * (1 - finished)
        best, least = reach, math.inf
        for place in range(start, reach + 1):
            then = self.times[place]
            pause = then - time
            if pause < floor and place < reach:
                continue
            delay = then * (self.finished[place] - finished) - self.moments[place] + moment
            polls = 1 if pause <= ceiling else math.ceil(pause / ceiling)
            cost = each * polls + delay + costs[place]
            if cost < least:
                best, least = place, cost
        return best, least


def _moments(masses: Masses) -> list[float]:
    return [
        mass * (low + high) / 2
        for mass, low, high in zip(masses, EDGES[:-1], EDGES[1:], strict=True)
    ]


def _evenly(weights: list[float]) -> list[tuple[int, float]]:
    """Return places that divide *weights* into equal parts: each a number and a part of its weight."""
    below = [0.0, *accumulate(weights)]
    places = []
    for number in range(_TIMES):
        wanted = below[-1] * number / (_TIMES - 1)
        place = min(max(bisect_right(below, wanted) - 1, 0), len(weights) - 1)
        places.append((place, min(1.0, (wanted - below[place]) / weights[place])))
    return places

"""Clients that ask at fixed ages, the optimum among them; refuses to learn anything.

Whoever knows nothing but a task's age asks at a fixed sequence of ages, so that a whole world is
evaluated at once.
"""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from poll_contenders.worlds import Cdf, Times

_GRID = 2400
_LATE_POLLS = 3


@frozen
class Bill:
    """What a client paid in one world.

    Attributes:
        polls: Polls of each task.
        delay: Seconds from each task's end to the poll that noticed it.
    """

    polls: Times
    delay: Times

    def cost(self, price: float, of: slice = slice(None)) -> float:
        """Return price · polls + delay per task, in seconds."""
        return float(np.mean(price * self.polls[of] + self.delay[of]))


def asking_at(ages: Times, took: Times) -> Bill:
    """Return the bill of whoever asks at these ages until a poll finds the task done."""
    place = np.searchsorted(ages, took, side="left")
    return Bill(place + 1.0, ages[place] - took)


def fixed(interval: float, took: Times) -> Bill:
    """Ask every *interval* seconds."""
    polls = np.maximum(np.ceil(took / interval), 1)
    return Bill(polls, polls * interval - took)


def geometric(took: Times, first: float = 1.0, growth: float = 1.5, most: float = 10.0) -> Bill:
    """Ask with growing pauses, as careful clients of other services do."""
    ages, pause = [first], first
    while ages[-1] < took.max():
        pause = min(pause * growth, most)
        ages.append(ages[-1] + pause)
    return asking_at(np.array(ages), took)


def optimal_ages(cdf: Cdf, end: float, price: float, floor: float, ceiling: float) -> Times:
    """Return the ages at which somebody asks who knows the distribution: dynamic programming.

    Its grid is evenly spaced and fifteen times finer than the client's, and it shares no code with it.
    """
    times = np.linspace(0, end, _GRID)
    finished = cdf(times)
    moments = np.concatenate([[0.0], np.cumsum(np.diff(finished) * (times[1:] + times[:-1]) / 2)])
    costs = np.zeros(_GRID)
    nexts = np.full(_GRID, _GRID - 1)
    costs[-1] = (1 - finished[-1]) * price * _LATE_POLLS
    for now in range(_GRID - 2, -1, -1):
        first = int(np.searchsorted(times, times[now] + floor - 1e-9))
        last = int(np.searchsorted(times, times[now] + ceiling + 1e-9))
        first = max(now + 1, min(first, _GRID - 1))
        then = np.arange(first, max(last, first + 1))
        delay = times[then] * (finished[then] - finished[now]) - moments[then] + moments[now]
        cost = price * (1 - finished[now]) + delay + costs[then]
        best = int(np.argmin(cost))
        nexts[now], costs[now] = then[best], cost[best]
    ages, place = [], 0
    while place < _GRID - 1:
        place = int(nexts[place])
        ages.append(float(times[place]))
    # Beyond the grid next to nothing is left.
    while ages[-1] < 40 * end:
        ages.append(ages[-1] + max(floor, min(ceiling, ages[-1] / 4)))
    return np.array(ages)


def same_delay(delay: float, took: Times) -> float:
    """Return the polls per task of the fixed interval whose mean delay is *delay* seconds."""
    low, high = 1e-3, float(took.max())
    for _ in range(60):
        middle = math.sqrt(low * high)
        if float(np.mean(fixed(middle, took).delay)) < delay:
            low = middle
        else:
            high = middle
    return float(np.mean(fixed(low, took).polls))

"""Learns how long a kind of work takes from intervals in which tasks ended; refuses to plan polls.

Nobody tells a client when a task ended: it only knows that the end lay between two polls. Taking the
moment of the notice for the end would feed back upwards, since later polls would then look right. So
each completion is kept as its interval, and the distribution is the one that explains the intervals
best: expectation-maximization over a histogram with logarithmic bins, smoothed in every step (EMS;
Silverman et al. 1990, https://doi.org/10.1111/j.2517-6161.1990.tb01788.x). It assumes no shape: a
service with cold and warm starts has two humps.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import accumulate

from attrs import define, field

_SHORTEST = 0.05
_LONGEST = 3600.0
_WIDTH = 0.05
"""Each bin is 5 % longer than the one before it: half of the narrowest spread that is worth knowing."""

BINS = math.ceil(math.log(_LONGEST / _SHORTEST) / _WIDTH)
EDGES = tuple([0.0] + [_SHORTEST * math.exp(_WIDTH * number) for number in range(BINS)])
"""Seconds at which the bins begin and end: bin k is what lies between ``EDGES[k]`` and ``EDGES[k + 1]``."""

Masses = tuple[float, ...]
"""The probability of each bin; together 1."""

VAGUE: Masses = (1 / BINS,) * BINS
"""What is believed before anything is known: any order of magnitude."""

_REMEMBERED = 256
"""Completions that are looked back at."""

_FORGETTING = 0.99
"""Each completion counts so much less than the one after it: the service's load changes."""

_BELIEF = 0.5
"""What was believed before counts as much as so many completions."""

_STEPS = 4
_FROM_NOTHING = 12
"""So many steps more when there is no earlier result to start from."""

_BANDWIDTH = 1.1
"""Of the smoothing, in units of Silverman's rule of thumb. Too smooth costs less than too rough: the
best of 0.3 to 1.6 over spreads of 0.1 to 1 and over two humps."""

_WIDEST_BANDWIDTH = 8.0

Bins = tuple[int, int]
"""The bins in which a task ended: from the first up to, without, the second."""


def bins_between(after: float, until: float) -> Bins:
    """Return the bins that lie closest to what is above *after* and up to *until*; at least one."""
    first, end = _nearest_edge(after), _nearest_edge(until)
    if first < end:
        return first, end
    middle = max(0.0, after + until) / 2
    only = min(bisect_right(EDGES, middle) - 1, BINS - 1)
    return only, only + 1


def _nearest_edge(seconds: float) -> int:
    below = min(bisect_right(EDGES, max(0.0, seconds)) - 1, BINS - 1)
    is_nearer = seconds - EDGES[below] < EDGES[below + 1] - seconds
    return below if is_nearer else below + 1


@define
class CompletionTimes:
    """What is known of how long one kind of work takes.

    Attributes:
        count: Completions noted so far.
    """

    count: int = 0
    _recent: deque[Bins] = field(factory=lambda: deque(maxlen=_REMEMBERED), init=False)
    _masses: Masses | None = field(default=None, init=False)

    def note(self, bins: Bins) -> None:
        """Note in which bins a task ended; see ``bins_between``."""
        self._recent.append(bins)
        self.count += 1

    def fit(self, belief: Masses) -> Masses:
        """Return the distribution that explains what was noted, with *belief* where that says little."""
        weights: defaultdict[Bins, float] = defaultdict(float)
        weight = 1.0
        for bins in reversed(self._recent):
            weights[bins] += weight
            weight *= _FORGETTING
        start, steps = self._masses, _STEPS
        if start is None:
            start, steps = belief, _STEPS + _FROM_NOTHING
        self._masses = explain(weights.items(), belief, start, steps)
        return self._masses


def explain(
    observed: Iterable[tuple[Bins, float]], belief: Masses, start: Masses, steps: int
) -> Masses:
    """Return the masses that explain *observed* intervals, each with its weight, best.

    Args:
        observed: Intervals of bins and how much each counts.
        belief: What is believed anyway; every bin needs some mass.
        start: Masses to begin with, likewise.
        steps: How often they are improved.
    """
    observed = list(observed)
    total = sum(weight for _, weight in observed)
    share = total / (total + _BELIEF)
    anyway = [(1 - share) * mass for mass in belief]
    masses: Sequence[float] = start
    for _ in range(steps):
        explained = _expected(observed, masses, total)
        smooth = _smoothed(explained, _bandwidth(explained, total))
        masses = [share * mass + least for mass, least in zip(smooth, anyway, strict=True)]
    return tuple(masses)


def _expected(
    observed: list[tuple[Bins, float]], masses: Sequence[float], total: float
) -> list[float]:
    """Return where the completions are expected if they are distributed by *masses*."""
    below = [0.0, *accumulate(masses)]
    # Within an interval every bin gets in proportion to its mass: noted at its ends, added up below.
    changes = [0.0] * (BINS + 1)
    for (first, end), weight in observed:
        factor = weight / (total * (below[end] - below[first]))
        changes[first] += factor
        changes[end] -= factor
    return [mass * factor for mass, factor in zip(masses, accumulate(changes[:-1]), strict=True)]


def _bandwidth(masses: list[float], total: float) -> float:
    """Return how far to smooth, in bins: by the spread of the densest half, as there may be two humps."""
    below = [0.0, *accumulate(masses)]
    half = below[-1] / 2
    narrowest, end = BINS, 0
    for first in range(BINS):
        while end < BINS and below[end] - below[first] < half:
            end += 1
        if below[end] - below[first] < half:
            break
        narrowest = min(narrowest, end - first)
    # Half of a normal distribution lies within 1.35 standard deviations.
    return min(_BANDWIDTH * 0.9 * narrowest / 1.35 / math.pow(total, 0.2), _WIDEST_BANDWIDTH)


def _smoothed(masses: Sequence[float], bandwidth: float) -> Sequence[float]:
    """Return *masses* smoothed as by a normal kernel: three moving averages come close to one."""
    variance = bandwidth * bandwidth / 3
    # So many whole bins on both sides spread less than that; a part of the next ones does the rest.
    whole = int((math.sqrt(1 + 12 * variance) - 1) / 2)
    spread = whole * (whole + 1) / 3
    part = (variance - spread) * (whole + 0.5) / ((whole + 1) ** 2 - variance)
    for _ in range(3):
        masses = _averaged(masses, whole, part)
    return masses


def _averaged(masses: Sequence[float], whole: int, part: float) -> Sequence[float]:
    """Return the moving average over *whole* bins on both sides and *part* of the next ones."""
    # What would fall over an end is thrown back, so that the whole mass stays.
    pad = whole + 1
    padded = [*reversed(masses[:pad]), *masses, *reversed(masses[-pad:])]
    below = [0.0, *accumulate(padded)]
    scale = 1 / (2 * (whole + part) + 1)
    inner = zip(below[1:], below[2 * whole + 2 :], strict=False)
    outer = zip(padded, padded[2 * pad :], strict=False)
    return [
        scale * (high - low + part * (left + right))
        for (low, high), (left, right) in zip(inner, outer, strict=False)
    ]

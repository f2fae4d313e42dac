"""Worlds in which tasks take time that no client is told; refuses to know how a client asks.

Everything is in virtual seconds. A world draws, for tasks submitted at given times, how long each takes
until its end; some also say from when on a task is in PROCESSING.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Times = NDArray[np.float64]
Cdf = Callable[[Times], Times]


@frozen
class Drawn:
    """What happened in a world.

    Attributes:
        submitted: When each task was submitted, rising.
        queued: How long each was in the queue.
        took: How long each took until its end, the queue included.
        known: What somebody could have known of the distribution of each: index into ``cdfs``.
        cdfs: Distributions, each with a time by which practically all of it has ended.
    """

    submitted: Times
    queued: Times
    took: Times
    known: NDArray[np.int64]
    cdfs: Sequence[tuple[Cdf, float]]


@frozen
class World:
    """One way in which a service may behave.

    Attributes:
        goal: Share of the optimum's cost that is not to be exceeded, or None where there is none.
        sigma: Spread of the logarithm for a log-normal one.
    """

    name: str
    draw: Callable[[np.random.Generator, int], Drawn]
    goal: float | None
    sigma: float | None = field(default=None)


def normal_cdf(deviations: Times) -> Times:
    """Return the share of a normal distribution below so many standard deviations."""
    return np.array([0.5 * math.erfc(-deviation / math.sqrt(2)) for deviation in deviations])


def lognormal_cdf(median: float, sigma: float) -> Cdf:
    return lambda times: normal_cdf(np.log(np.maximum(times, 1e-9) / median) / sigma)


def lognormal_end(median: float, sigma: float) -> float:
    return median * math.exp(4 * sigma)


def arrivals(source: np.random.Generator, count: int, rate: float) -> Times:
    """Return when so many tasks are submitted, at *rate* per second on average."""
    return np.cumsum(source.exponential(1 / rate, count))


def lognormal(median: float, sigma: float, rate: float = 1.0) -> World:
    def draw(source: np.random.Generator, count: int) -> Drawn:
        return _stationary(
            arrivals(source, count, rate),
            median * np.exp(sigma * source.standard_normal(count)),
            lognormal_cdf(median, sigma),
            lognormal_end(median, sigma),
        )

    goal = 1.10 if sigma <= 0.5 else 1.20
    return World(f"log-normal {median:g} s, σ {sigma:g}", draw, goal, sigma)


def cold_and_warm(
    warm: tuple[float, float], cold: tuple[float, float], share: float, rate: float = 1.0
) -> World:
    """Return a world with two humps: a *share* of the tasks meets a worker that is warm already."""

    def draw(source: np.random.Generator, count: int) -> Drawn:
        is_warm = source.random(count) < share
        median = np.where(is_warm, warm[0], cold[0])
        sigma = np.where(is_warm, warm[1], cold[1])
        below_warm, below_cold = lognormal_cdf(*warm), lognormal_cdf(*cold)
        return _stationary(
            arrivals(source, count, rate),
            median * np.exp(sigma * source.standard_normal(count)),
            lambda times: share * below_warm(times) + (1 - share) * below_cold(times),
            lognormal_end(*cold),
        )

    return World(f"warm {warm[0]:g} s, cold {cold[0]:g} s", draw, 1.20)


def drifting(low: float, high: float, sigma: float, period: float, rate: float = 1.0) -> World:
    """Return a world whose median goes up and down between *low* and *high* in *period* seconds."""
    steps = 64
    medians = np.exp(np.linspace(math.log(low), math.log(high), steps))

    def draw(source: np.random.Generator, count: int) -> Drawn:
        submitted = arrivals(source, count, rate)
        phase = 0.5 - 0.5 * np.cos(2 * math.pi * submitted / period)
        median = low * (high / low) ** phase
        return Drawn(
            submitted,
            np.zeros(count),
            median * np.exp(sigma * source.standard_normal(count)),
            np.rint(phase * (steps - 1)).astype(np.int64),
            [(lognormal_cdf(m, sigma), lognormal_end(m, sigma)) for m in medians],
        )

    return World(f"drifting {low:g}–{high:g} s in {period / 60:g} min", draw, 1.20)


def queueing(service: float, sigma: float, workers: int, period: float) -> World:
    """Return a world with a queue that builds up and drains: the load swings around what it can do."""

    def draw(source: np.random.Generator, count: int) -> Drawn:
        capacity = workers / (service * math.exp(sigma * sigma / 2))
        steady = np.cumsum(source.exponential(1.0, count)) / (0.8 * capacity)
        # Twice as dense at the crest as in the mean, hardly anything in the trough.
        submitted = steady + period / (2 * math.pi) * 0.9 * np.cos(2 * math.pi * steady / period)
        submitted = np.maximum.accumulate(submitted - submitted.min())
        works = service * np.exp(sigma * source.standard_normal(count))
        free = [0.0] * workers
        queued = np.zeros(count)
        for number in range(count):
            begin = max(submitted[number], heapq.heappop(free))
            queued[number] = begin - submitted[number]
            heapq.heappush(free, begin + works[number])
        took = queued + works
        ordered = np.sort(took)

        def below(times: Times) -> Times:
            return np.searchsorted(ordered, times, side="right") / count

        return Drawn(
            submitted,
            queued,
            took,
            np.zeros(count, dtype=np.int64),
            [(below, float(ordered[-1]) * 1.01)],
        )

    return World(f"queue before {workers} workers of {service:g} s", draw, None)


def _stationary(submitted: Times, took: Times, cdf: Cdf, end: float) -> Drawn:
    count = len(took)
    return Drawn(submitted, np.zeros(count), took, np.zeros(count, dtype=np.int64), [(cdf, end)])


WORLDS = (
    *(lognormal(median, sigma) for median in (4, 15, 60) for sigma in (0.1, 0.2, 0.3, 0.5, 1.0)),
    cold_and_warm((4, 0.2), (30, 0.3), 0.8),
    cold_and_warm((15, 0.15), (60, 0.2), 0.7),
    drifting(4, 15, 0.3, 3600),
    drifting(15, 60, 0.2, 7200),
    queueing(4, 0.3, 8, 1800),
    queueing(15, 0.2, 16, 3600),
)

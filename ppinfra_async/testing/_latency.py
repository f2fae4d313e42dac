"""Draws how long a simulated task waits and works; never waits itself."""

import math
import random
from collections.abc import Callable, Sequence

Draw = Callable[[random.Random], float]
Latency = float | str | Draw
"""Seconds as a number, a text such as ``"lognormal:3.8,0.3"``, or a function of a seeded random."""


def uniform(low: float, high: float) -> Draw:
    """Draw evenly between *low* and *high* seconds."""
    return lambda source: source.uniform(low, high)


def lognormal(median: float, sigma: float) -> Draw:
    """Draw log-normally around *median* seconds; *sigma* is the spread of the logarithm."""
    return lambda source: source.lognormvariate(math.log(median), sigma)


def exponential(mean: float) -> Draw:
    """Draw exponentially with *mean* seconds."""
    return lambda source: source.expovariate(1 / mean)


def mixture(parts: Sequence[tuple[float, Latency]]) -> Draw:
    """Draw from one of several latencies, each with its weight: ``[(0.9, 2), (0.1, 30)]``."""
    weights = [weight for weight, _ in parts]
    draws = [as_draw(part) for _, part in parts]
    return lambda source: source.choices(draws, weights)[0](source)


def as_draw(latency: Latency) -> Draw:
    """Read a latency in any of its forms.

    Texts are ``constant:S``, ``uniform:LOW,HIGH``, ``lognormal:MEDIAN,SIGMA``,
    ``exponential:MEAN`` or a bare number, all in seconds.
    """
    if isinstance(latency, str):
        return _parse(latency)
    if callable(latency):
        return latency
    seconds = float(latency)
    return lambda _: seconds


def _parse(text: str) -> Draw:
    name, _, rest = text.rpartition(":")
    numbers = [float(part) for part in rest.split(",")]
    if name in {"", "constant"}:
        return as_draw(*numbers)
    makers: dict[str, Callable[..., Draw]] = {
        "uniform": uniform,
        "lognormal": lognormal,
        "exponential": exponential,
    }
    if name not in makers:
        raise ValueError(f"unknown latency {text!r}: one of constant, {', '.join(makers)}")
    return makers[name](*numbers)

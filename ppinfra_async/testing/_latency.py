"""Draws how long a simulated task waits and works; never waits itself."""

import math
import random
from collections.abc import Callable, Mapping, Sequence

from ppinfra_async.testing._checks import ensure_number

Draw = Callable[[random.Random], float]
Latency = float | str | Draw
"""Seconds as a number, a text such as ``"lognormal:3.8,0.3"``, or a function of a seeded random."""


def uniform(low: float, high: float) -> Draw:
    """Draw evenly between *low* and *high* seconds.

    Raises:
        ValueError: not 0 ≤ *low* ≤ *high*, or not finite.
    """
    ensure_number("the low end of a uniform latency", low, 0)
    ensure_number("the high end of a uniform latency", high, low)
    return lambda source: source.uniform(low, high)


def lognormal(median: float, sigma: float) -> Draw:
    """Draw log-normally around *median* seconds; *sigma* is the spread of the logarithm.

    Raises:
        ValueError: the median is not above 0, the spread below 0, or one not finite.
    """
    ensure_number("the median of a lognormal latency", median, 0, open_low=True)
    ensure_number("the sigma of a lognormal latency", sigma, 0)
    return lambda source: source.lognormvariate(math.log(median), sigma)


def exponential(mean: float) -> Draw:
    """Draw exponentially with *mean* seconds.

    Raises:
        ValueError: the mean is not above 0, or not finite.
    """
    ensure_number("the mean of an exponential latency", mean, 0, open_low=True)
    return lambda source: source.expovariate(1 / mean)


def mixture(parts: Sequence[tuple[float, Latency]]) -> Draw:
    """Draw from one of several latencies, each with its weight: ``[(0.9, 2), (0.1, 30)]``.

    Raises:
        ValueError: there is no part, a weight is negative, all are 0, or a part is no latency.
    """
    weights = [weight for weight, _ in parts]
    for weight in weights:
        ensure_number("a weight of a mixture", weight, 0)
    ensure_number("the sum of the weights of a mixture", sum(weights), 0, open_low=True)
    draws = [as_draw(part) for _, part in parts]
    return lambda source: source.choices(draws, weights)[0](source)


def as_draw(latency: Latency) -> Draw:
    """Read a latency in any of its forms.

    Texts are ``constant:S``, ``uniform:LOW,HIGH``, ``lognormal:MEDIAN,SIGMA``,
    ``exponential:MEAN`` or a bare number, all in seconds. A function of one's own is asked once per
    task and not tried before.

    Raises:
        ValueError: a text has another form, or a number is negative or not finite.
    """
    if isinstance(latency, str):
        return _parse(latency)
    if callable(latency):
        return latency
    ensure_number("a latency", latency, 0)
    seconds = float(latency)
    return lambda _: seconds


def _parse(text: str) -> Draw:
    name, _, rest = text.rpartition(":")
    maker, count = _MAKERS.get(name, (None, 0))
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if maker is None or len(numbers) != count:
        raise ValueError(f"a latency is {_FORMS}, got {text!r}.")
    return maker(*numbers)


_FORMS = "S, constant:S, uniform:LOW,HIGH, lognormal:MEDIAN,SIGMA or exponential:MEAN (seconds)"
_MAKERS: Mapping[str, tuple[Callable[..., Draw], int]] = {
    "": (as_draw, 1),
    "constant": (as_draw, 1),
    "uniform": (uniform, 2),
    "lognormal": (lognormal, 2),
    "exponential": (exponential, 1),
}

"""The three limiters and the latencies, as pure functions."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async.testing import as_draw, exponential, lognormal, mixture, uniform
from ppinfra_async.testing._limits import FixedWindow, SlidingWindow, TokenBucket, limiter


def test_sliding_window_forgets_what_is_older_than_its_span() -> None:
    """Ten a minute: the eleventh waits until the first has left."""
    limit = SlidingWindow(10, 60)
    assert [limit.take(4, at) for at in (0.0, 10.0)] == [0, 0]
    assert limit.take(4, 20.0) == 40
    assert limit.take(2, 20.0) == 0
    assert limit.take(8, 20.0) == 50
    assert limit.take(4, 60.0) == 0
    assert limit.take(11, 500.0) == math.inf


def test_fixed_window_starts_anew_at_its_phase() -> None:
    """All of the limit fits just before and just after the boundary."""
    limit = FixedWindow(10, 60, phase=5)
    assert limit.take(10, 64.0) == 0
    assert limit.take(1, 64.0) == 1
    assert limit.take(10, 65.0) == 0
    assert limit.take(11, 200.0) == math.inf


def test_token_bucket_starts_full_and_refills_evenly() -> None:
    """One token comes back every six seconds."""
    limit = TokenBucket(10, 60)
    assert limit.take(10, 0.0) == 0
    assert limit.take(2, 6.0) == 6
    assert limit.take(2, 12.0) == 0
    assert limit.take(10, 1000.0) == 0
    assert limit.take(11, 5000.0) == math.inf


@given(
    kind=st.sampled_from(["sliding", "fixed", "bucket"]),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 12)), max_size=60),
)
def test_no_limiter_grants_too_much_and_its_wait_is_enough(
    kind: str, steps: list[tuple[float, int]]
) -> None:
    """Never more than the kind allows in any minute; whoever waits as told gets through."""
    limit = limiter(kind, 10, 60.0)  # type: ignore[arg-type]  # drawn from its values
    now, granted = 0.0, []
    for pause, amount in steps:
        now += pause
        wait = limit.take(amount, now)
        if math.isinf(wait):
            assert amount > 10
            continue
        if wait:
            now += wait * (1 + 1e-9)
            assert limit.take(amount, now) == 0
        granted.append((now, amount))
    allowed = 10 if kind == "sliding" else 20
    for start, _ in granted:
        assert sum(n for at, n in granted if start <= at < start + 60 - 1e-6) <= allowed


@pytest.mark.parametrize(
    ("latency", "low", "high"),
    [
        (2, 2, 2),
        ("1.5", 1.5, 1.5),
        ("constant:1.5", 1.5, 1.5),
        ("uniform:1,2", 1, 2),
        (uniform(3, 4), 3, 4),
        ("lognormal:3.8,0.01", 3.5, 4.1),
        (lognormal(5, 0.0), 4.999, 5.001),
        ("exponential:1", 0, 50),
        (exponential(2), 0, 100),
        (mixture([(0.5, 1), (0.5, "9")]), 1, 9),
    ],
)
def test_latencies_have_many_forms(latency: float | str, low: float, high: float) -> None:
    """Each form draws seconds from its range, equally for equal seeds."""
    draw = as_draw(latency)
    first = [draw(random.Random(7)) for _ in range(3)]
    assert len(set(first)) == 1
    assert low <= first[0] <= high


def test_an_unknown_latency_is_named() -> None:
    """A typo is an error, not zero seconds."""
    with pytest.raises(ValueError, match="gaussian"):
        as_draw("gaussian:1,2")

"""The three limiters and the latencies, as pure functions."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async.testing import as_draw, exponential, lognormal, mixture, uniform
from ppinfra_async.testing._limits import FixedWindow, SlidingWindow, TokenBucket, limiter


def test_sliding_window_forgets_what_is_older_than_its_span() -> None:
    """Ten a minute: the eleventh waits until the first has left."""
    limit = SlidingWindow(10, 60)
    assert [limit.take(4, at) for at in (0.0, 10.0)] == [None, None]
    assert limit.take(4, 20.0) == 40
    assert limit.take(2, 20.0) is None
    assert limit.take(8, 20.0) == 50
    assert limit.take(4, 60.0) is None
    assert limit.take(11, 500.0) == math.inf


def test_fixed_window_starts_anew_at_its_phase() -> None:
    """All of the limit fits just before and just after the boundary."""
    limit = FixedWindow(10, 60, phase=5)
    assert limit.take(10, 64.0) is None
    assert limit.take(1, 64.0) == 1
    assert limit.take(10, 65.0) is None
    assert limit.take(11, 200.0) == math.inf


def test_token_bucket_starts_full_and_refills_evenly() -> None:
    """One token comes back every six seconds."""
    limit = TokenBucket(10, 60)
    assert limit.take(10, 0.0) is None
    assert limit.take(2, 6.0) == 6
    assert limit.take(2, 12.0) is None
    assert limit.take(10, 1000.0) is None
    assert limit.take(11, 5000.0) == math.inf


KINDS = st.sampled_from(["sliding", "fixed", "bucket"])
# A clock that counts from a start, and one that counts since the epoch.
STARTS = st.one_of(st.just(0.0), st.floats(0, 1e3), st.floats(1.7e9, 2e9))
SPANS = st.one_of(st.sampled_from([60.0, 6.0, 1.0, 0.3, 0.1]), st.floats(0.01, 100))
# In spans: anywhere, or where one ends as nearly as numbers can tell.
PAUSES = st.one_of(st.floats(0, 1.5), st.integers(0, 3).map(float))


@given(
    kind=KINDS,
    start=STARTS,
    seconds=SPANS,
    steps=st.lists(st.tuples(PAUSES, st.integers(1, 12)), max_size=40),
)
def test_no_limiter_grants_too_much_and_its_wait_is_enough(
    kind: Any, start: float, seconds: float, steps: list[tuple[float, int]]
) -> None:
    """Never more than the kind allows in any minute; whoever waits exactly as told gets through."""
    limit = limiter(kind, 10, seconds, start)
    now, granted = start, []
    for pause, amount in steps:
        now += pause * seconds
        wait = limit.take(amount, now)
        if wait == math.inf:
            assert amount > 10
            continue
        if wait is not None:
            assert wait > 0
            now += wait
            assert limit.take(amount, now) is None
        granted.append((now, amount))
    allowed = 10 if kind == "sliding" else 20
    for first, _ in granted:
        assert sum(n for at, n in granted if first <= at < first + seconds * (1 - 1e-4)) <= allowed
        if kind == "bucket":
            assert all(
                sum(n for at, n in granted if first <= at <= last)
                <= 10 + 10 * (last - first) / seconds + 1e-3
                for last, _ in granted
                if last >= first
            )


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_a_wait_is_enough_to_the_last_bit(kind: Any) -> None:
    """On a clock near zero, where a difference of times is rounded."""
    source = random.Random(1)
    for _ in range(2000):
        seconds, now = source.uniform(0.1, 60), source.uniform(0, 0.1)
        limit = limiter(kind, 10, seconds)
        limit.take(10, now)
        now += source.uniform(0, seconds / 2)
        wait = limit.take(5, now)
        if wait is not None:
            assert limit.take(5, now + wait) is None


@given(start=STARTS, seconds=SPANS, spans=st.lists(st.integers(0, 3), max_size=20))
def test_a_fixed_window_never_counts_past_its_limit(
    start: float, seconds: float, spans: list[int]
) -> None:
    """At the borders, where rounding could begin a span twice: between two borders it is one."""
    limit = FixedWindow(8, seconds, start)
    now = start
    for count in spans:
        now += count * seconds
        limit.take(8, now)
        wait = limit.take(1, now)
        assert wait is not None
        assert 0 < wait <= seconds * (1 + 1e-4)


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

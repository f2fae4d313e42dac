"""How long to pause before trying again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Retries
from ppinfra_async._sansio.retry import delay
from tests.strategies import draws

many_retries = st.builds(Retries, attempts=st.integers(1, 10**6), max_wait=st.floats(0, 1e6))
asked = st.none() | st.floats(0, 1e9)


@pytest.mark.parametrize(
    ("attempt", "least", "most"),
    [(1, 0.25, 0.5), (2, 0.5, 1), (3, 1, 2), (4, 2, 4), (7, 16, 32), (8, 30, 60), (99, 30, 60)],
)
def test_the_pause_doubles(attempt: int, least: float, most: float) -> None:
    """From half a second up to the longest, spread over the upper half by the draw."""
    retries = Retries(attempts=100, max_wait=60)

    assert delay(retries, attempt=attempt, draw=0) == least
    assert delay(retries, attempt=attempt, draw=0.5) == (least + most) / 2
    assert delay(retries, attempt=attempt, draw=1 - 2**-53) == pytest.approx(most)


@given(many_retries, st.integers(1, 10**7), draws, asked)
def test_a_pause_is_never_negative_nor_too_long(
    retries: Retries, attempt: int, draw: float, retry_after: float | None
) -> None:
    """Whatever the service asks for; after the last attempt there is none."""
    wait = delay(retries, attempt=attempt, draw=draw, retry_after=retry_after)

    if attempt >= retries.attempts:
        assert wait is None
    else:
        assert wait is not None
        assert 0 <= wait <= retries.max_wait


@given(many_retries, draws, st.floats(0, 1e9))
def test_what_the_service_asks_for_is_waited(
    retries: Retries, draw: float, retry_after: float
) -> None:
    """In full, up to the longest pause."""
    wait = delay(
        retries.__class__(attempts=2, max_wait=retries.max_wait),
        attempt=1,
        draw=draw,
        retry_after=retry_after,
    )

    assert wait is not None
    assert wait >= min(retry_after, retries.max_wait)


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(None, 0.25), (0, 0.25), (0.1, 0.25), (7, 7), (60, 60), (3600, 60)]
)
def test_retry_after_examples(retry_after: float | None, wait: float) -> None:
    """The longer of what the service asks and our own pause, never above the longest."""
    assert delay(Retries(max_wait=60), attempt=1, draw=0, retry_after=retry_after) == wait


def test_one_attempt_means_no_second() -> None:
    """`attempts` counts tries, not repetitions."""
    assert delay(Retries(attempts=1), attempt=1, draw=0) is None
    assert delay(Retries(attempts=2), attempt=1, draw=0) is not None
    assert delay(Retries(attempts=2), attempt=2, draw=0, retry_after=5) is None


def test_no_wait_at_all() -> None:
    """A longest pause of 0 is allowed, for tests and for the impatient."""
    assert delay(Retries(max_wait=0), attempt=1, draw=0.5, retry_after=5) == 0

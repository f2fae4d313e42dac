"""When the next submit may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Limits
from ppinfra_async._sansio.quota import PATIENCE, Quota

arrivals = st.lists(
    st.tuples(st.floats(0, 40) | st.sampled_from([0.0, 1.0, 60.0, 61.0]), st.integers(1, 8)),
    max_size=40,
)


def pinned(limit: int) -> Quota:
    return Quota(Limits(images_per_minute=limit))


def send_all(quota: Quota, gaps: list[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """Send one after the other as early as allowed; return (asked, sent, images) of each."""
    now, log = 1000.0, []
    for gap, images in gaps:
        now += gap
        asked, now = now, quota.ready_at(images, now)
        quota.sent(images, now)
        log.append((asked, now, images))
    return log


@given(st.integers(8, 30), arrivals)
def test_a_pinned_limit_is_kept_over_every_minute(
    limit: int, gaps: list[tuple[float, int]]
) -> None:
    """Wherever the service's window begins; and nobody overtakes."""
    log = send_all(pinned(limit), gaps)

    for _, begin, _ in log:
        assert sum(images for _, when, images in log if begin <= when <= begin + 60) <= limit
    assert all(asked <= when for asked, when, _ in log)
    assert [when for _, when, _ in log] == sorted(when for _, when, _ in log)


@given(st.integers(8, 30), arrivals)
def test_nothing_waits_longer_than_it_must(limit: int, gaps: list[tuple[float, int]]) -> None:
    """A submit that waited would have broken the limit of 61 s a moment earlier."""
    log = send_all(pinned(limit), gaps)

    for position, (asked, when, images) in enumerate(log):
        if when > asked:
            early = when - 0.001
            recent = (count for _, then, count in log[:position] if early - 61 < then)
            assert sum(recent) + images > limit


@given(st.integers(8, 30), arrivals, st.integers(1, 8))
def test_later_and_larger_is_not_sooner(
    limit: int, gaps: list[tuple[float, int]], images: int
) -> None:
    """The answer grows with the time of asking and with the number of images."""
    quota = pinned(limit)
    log = send_all(quota, gaps)
    now = log[-1][1] if log else 1000.0

    times = [quota.ready_at(images, now + wait) for wait in (0, 1, 30, 61, 100)]

    assert times == sorted(times)
    assert quota.ready_at(images, now + 200) == now + 200
    assert quota.ready_at(1, now) <= quota.ready_at(images, now)


def test_the_window_slides() -> None:
    """Room comes back 61 s after each submit, one by one."""
    quota = pinned(10)
    for when, images in ((0, 4), (10, 4), (20, 2)):
        assert quota.ready_at(images, when) == when
        quota.sent(images, when)

    assert quota.ready_at(1, 30) == 61
    assert quota.ready_at(4, 30) == 61
    assert quota.ready_at(5, 30) == 71
    assert quota.ready_at(8, 30) == 71
    assert quota.ready_at(9, 30) == 81
    assert quota.ready_at(4, 60.9) == 61
    assert quota.ready_at(4, 61) == 61
    assert quota.ready_at(8, 75) == 75


def test_what_did_not_reach_the_service_does_not_count() -> None:
    """A submit that failed before its end is taken back, once."""
    quota = pinned(8)
    quota.sent(8, 0)
    assert quota.ready_at(8, 1) == 61

    quota.not_sent(8, 0)
    quota.not_sent(8, 0)
    quota.not_sent(3, 0)

    assert quota.ready_at(8, 1) == 1
    quota.sent(4, 1)
    assert quota.ready_at(4, 2) == 2
    assert quota.ready_at(5, 2) == 62


@pytest.mark.parametrize(
    ("limit", "images", "too_large"), [(7, 8, True), (8, 8, False), (1, 2, True), (10, 1, False)]
)
def test_more_images_than_the_limit_never_fit(limit: int, images: int, *, too_large: bool) -> None:
    """Waiting would not help."""
    assert pinned(limit).too_large(images) is too_large


def test_nothing_is_too_large_for_an_unknown_limit() -> None:
    """The service will tell."""
    assert not Quota(Limits()).too_large(8)


def test_an_unknown_limit_holds_nothing_back() -> None:
    """Until the service says 429, and nothing is noted for it."""
    quota = Quota(Limits())
    for _ in range(100):
        assert quota.ready_at(8, 5) == 5
        quota.sent(8, 5)
        quota.accepted()

    assert not quota.one_at_a_time
    assert not quota.hopeless(10_000)


def test_refusals_in_a_row_pause_longer_each_time() -> None:
    """From two seconds to half a minute; then submits go one at a time."""
    quota = Quota(Limits())
    now, pauses = 0.0, []
    for _ in range(7):
        quota.refused(now, None)
        pauses.append(quota.ready_at(1, now) - now)
        now = quota.ready_at(1, now)

    assert pauses == [2, 4, 8, 16, 30, 30, 30]
    assert quota.one_at_a_time

    quota.accepted()
    quota.refused(now, None)
    assert quota.ready_at(1, now) - now == 2
    assert quota.one_at_a_time


def test_what_was_refused_together_is_one_refusal() -> None:
    """Twenty that went together do not make the pause longer than one would."""
    quota = Quota(Limits())
    for _ in range(20):
        quota.refused(0, None)
    first = quota.ready_at(1, 0)
    quota.refused(first, None)

    assert 2 <= first <= 4
    assert quota.ready_at(1, first) == first + 4


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(None, 2), (0, 2), (0.5, 0.5), (7, 7), (60, 60), (3600, 60)]
)
def test_the_service_may_say_how_long(retry_after: float | None, pause: float) -> None:
    """Up to the longest we wait; "0" is no reason to ask again without a break."""
    quota = Quota(Limits(), longest_retry_after=60)

    quota.refused(100, retry_after)

    assert quota.ready_at(1, 100) == 100 + pause
    assert quota.ready_at(1, 500) == 500


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """The latest time that was asked for holds."""
    quota = Quota(Limits())
    quota.refused(0, 30)
    quota.refused(1, 5)

    assert quota.ready_at(1, 1) == 30


def test_a_refusal_counts_beside_a_pinned_limit() -> None:
    """The later of both."""
    quota = pinned(8)
    quota.sent(8, 0)
    quota.refused(1, 10)
    assert quota.ready_at(1, 1) == 61

    quota.refused(50, 30)
    assert quota.ready_at(1, 50) == 80
    assert quota.one_at_a_time


def test_nothing_but_refusals_is_given_up() -> None:
    """After ten minutes without a single success, counted from the first refusal."""
    quota = Quota(Limits())
    for when in range(0, 600, 100):
        quota.refused(when, None)
    assert PATIENCE == 600
    assert not quota.hopeless(600)
    assert quota.hopeless(601)

    quota.accepted()
    assert not quota.hopeless(601)
    quota.refused(700, None)
    assert not quota.hopeless(1300)
    assert quota.hopeless(1301)


def test_refusals_far_apart_are_not_one_story() -> None:
    """An app that asks once in an hour is not given up for the 429 of an hour ago."""
    quota = Quota(Limits())
    quota.refused(0, None)
    quota.refused(3600, None)

    assert not quota.hopeless(3601)


@pytest.mark.parametrize("ceiling", [0, 60])
def test_no_refusal_is_answered_at_once(ceiling: float) -> None:
    """However short a pause is asked or allowed, a picture is not uploaded again within half a second."""
    quota = Quota(Limits(), longest_retry_after=ceiling)
    quota.refused(10, 0.001)

    assert quota.ready_at(1, 10) == 10.5


waits = st.none() | st.floats(0, 100)


@given(st.lists(st.tuples(st.floats(0, 100), waits), max_size=20))
def test_no_refusal_lets_anything_go_earlier(refusals: list[tuple[float, float | None]]) -> None:
    """Pauses only grow, and always last."""
    quota = Quota(Limits())
    now = 0.0
    for gap, retry_after in refusals:
        now += gap
        before = quota.ready_at(1, now)
        quota.refused(now, retry_after)
        after = quota.ready_at(1, now)
        assert now < after or retry_after
        assert before <= after <= max(before, now + 60)

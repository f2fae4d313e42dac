"""What went when, within a bounded size."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.quota_log import GRAIN, MEMORY, Durations, Log

gaps = st.lists(
    st.tuples(st.floats(0, 3) | st.sampled_from([0.0, 0.01, 30.0]), st.integers(1, 8)), max_size=60
)


def filled(entries: list[tuple[float, int]]) -> Log:
    log = Log()
    for when, images in entries:
        log.add_latest(when, images)
    return log


def in_time(steps: list[tuple[float, int]], start: float = 1000.0) -> list[tuple[float, int]]:
    entries = []
    for gap, images in steps:
        start += gap
        entries.append((start, images))
    return entries


@given(gaps, st.floats(0, 200), st.floats(1, 60))
def test_never_less_is_in_use_than_there_was(
    steps: list[tuple[float, int]], later: float, span: float
) -> None:
    """And at most what came within the grain before is too much."""
    entries = in_time(steps)
    log, now = filled(entries), (entries[-1][0] if entries else 1000.0) + later

    used = log.used(now, span)

    assert used >= sum(images for when, images in entries if when + span > now)
    assert used <= sum(images for when, images in entries if when + span + GRAIN > now)


@given(gaps, st.integers(0, 40), st.floats(1, 60))
def test_room_comes_back_at_the_time_that_was_said(
    steps: list[tuple[float, int]], images: int, span: float
) -> None:
    """Not a moment before, and then for sure, on the same clock."""
    log = filled(in_time(steps))

    when = log.few_at(images, span)

    if when == -math.inf:
        assert log.used(0.0, span) <= images
    else:
        assert log.used(when, span) <= images < log.used(math.nextafter(when, 0), span)


@given(gaps, st.randoms(use_true_random=False), st.floats(0, 100))
def test_what_was_sent_is_put_early(
    steps: list[tuple[float, int]], shuffle: object, back: float
) -> None:
    """In whatever order it is added, never more counts as later than was."""
    entries = in_time(steps)
    order = list(entries)
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    log = Log()
    for when, images in order:
        log.add_earliest(when, images)
    since = (entries[-1][0] if entries else 1000.0) - back

    later = log.after(since)

    assert later <= sum(images for when, images in entries if when > since)
    assert log.times == sorted(log.times)
    assert log.totals == sorted(log.totals)
    assert sum(images for _, images in log.entries()) == sum(images for _, images in entries)


def test_the_window_slides() -> None:
    """Each entry leaves when its span is over, exactly."""
    log = filled([(0.0, 4), (10.0, 4), (20.0, 2)])

    assert [log.used(now, 60) for now in (20, 59.9, 60, 70, 80)] == [10, 10, 6, 2, 0]
    assert [log.few_at(images, 60) for images in (10, 9, 6, 5, 2, 0)] == [
        -math.inf, 60, 60, 70, 70, 80,
    ]  # fmt: skip
    assert log.after(0.0) == 6
    assert log.entries() == [(0.0, 4), (10.0, 4), (20.0, 2)]


@pytest.mark.parametrize("add", [Log.add_latest, Log.add_earliest])
def test_a_thousand_a_second_need_no_memory(add: object) -> None:
    """The size is bounded by the grain, however many there are."""
    log = Log()
    for step in range(100_000):
        add(log, step / 1000, 1)  # type: ignore[operator]

    assert len(log.times) <= 100 / GRAIN + 2
    assert log.used(99.999, 60) == pytest.approx(60_000, abs=1000 * GRAIN)


def test_what_is_long_past_is_forgotten() -> None:
    """Its images are no longer in use."""
    log = filled([(0.0, 5), (3 * MEMORY, 1)])

    assert log.times == [3 * MEMORY]
    assert log.entries() == [(3 * MEMORY, 1)]
    assert log.used(3 * MEMORY, 60) == 1
    assert log.few_at(1, 60) == -math.inf
    assert log.few_at(0, 60) == 3 * MEMORY + 60


def durations(*seconds: float) -> Durations:
    log = Durations()
    for each in seconds:
        log.add(each)
    return log


def test_few_durations_are_trusted_with_nothing() -> None:
    """Sixteen are needed."""
    assert durations(*[10.0] * 15).shared() == 0
    assert durations(*[10.0] * 16).shared() == pytest.approx(10 * 0.9 - 0.02)


def test_only_what_is_common_to_all_is_trusted() -> None:
    """A wide spread leaves nothing, a narrow one nearly all; the last 64 count."""
    wide = durations(*[0.1 + 0.1 * step for step in range(30)])
    narrow = durations(*[10 + 0.05 * step for step in range(30)])

    assert wide.shared() == 0
    assert narrow.shared() == pytest.approx((20 - 10.75) * 0.9 - 0.02)
    assert narrow.shared() == narrow.shared()
    for _ in range(64):
        narrow.add(2.0)
    assert narrow.shared() == pytest.approx(1.78)

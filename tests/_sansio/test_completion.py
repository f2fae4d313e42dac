"""What is learned of completion times from the intervals in which tasks ended."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.completion import (
    BINS,
    EDGES,
    VAGUE,
    Bins,
    CompletionTimes,
    Masses,
    _bandwidth,
    _smoothed,
    bins_between,
    explain,
)
from ppinfra_async._sansio.poll_plan import PollPlan, plan_polls
from tests.worlds import lognormal, mixed, polls_of, quantile, spread, times_of

seconds = st.floats(0, 5000) | st.sampled_from([0.0, 0.05, 3600.0, 1e300])
intervals = st.tuples(seconds, seconds).map(lambda pair: (min(pair), max(pair)))
some_bins = intervals.map(lambda pair: bins_between(*pair))
widths = st.floats(0.01, 8)
beliefs = st.sampled_from([VAGUE, mixed((0.99, lognormal(15, 0.2)), (0.01, VAGUE))])


def mean_and_variance(masses: list[float] | Masses) -> tuple[float, float]:
    """Return both in numbers of bins."""
    mean = sum(number * mass for number, mass in enumerate(masses))
    return mean, sum((number - mean) ** 2 * mass for number, mass in enumerate(masses))


def noted(bins: list[Bins]) -> CompletionTimes:
    times = CompletionTimes()
    for pair in bins:
        times.note(pair)
    return times


def asked_every(pause: float, times: list[float]) -> list[Bins]:
    """Return in which bins these tasks ended for somebody who asks every *pause* seconds."""
    polls = [math.floor(time / pause) for time in times]
    return [bins_between(number * pause, (number + 1) * pause) for number in polls]


# --- bins -------------------------------------------------------------------------------------------


def test_edges_rise_from_nothing_to_an_hour() -> None:
    """Each bin is 5 % longer than the one before it, but the first, which begins at zero."""
    assert (len(EDGES), EDGES[0]) == (BINS + 1, 0.0)
    assert EDGES[-2] <= 3600 <= EDGES[-1] * math.exp(0.05)
    for low, high in pairwise(EDGES[1:]):
        assert high / low == pytest.approx(math.exp(0.05))


@given(intervals)
def test_an_interval_is_one_bin_at_least(interval: tuple[float, float]) -> None:
    """Whatever is put in, there is a place for it."""
    first, end = bins_between(*interval)

    assert 0 <= first < end <= BINS


@given(intervals)
def test_bins_end_closest_to_where_the_interval_does(interval: tuple[float, float]) -> None:
    """No other edge is nearer, on either side, unless it is so narrow that one bin holds it."""
    after, until = interval
    first, end = bins_between(after, until)

    if end - first > 1:
        nearest = [min(EDGES, key=lambda edge: abs(edge - at)) for at in (after, until)]
        assert abs(EDGES[first] - after) == pytest.approx(abs(nearest[0] - after))
        assert abs(EDGES[end] - until) == pytest.approx(abs(nearest[1] - until))
    elif until <= EDGES[-1]:
        assert EDGES[first] <= until
        assert after <= EDGES[end]


def test_narrow_and_endless_intervals() -> None:
    """One bin around a moment; the last one for what takes longer than an hour."""
    first, end = bins_between(15, 15)
    assert end == first + 1
    assert EDGES[first] <= 15 < EDGES[end]

    assert bins_between(0, 0) == (0, 1)
    assert bins_between(9000, 9001) == (BINS - 1, BINS)
    assert bins_between(0, 9000) == (0, BINS)


# --- the fit ----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(some_bins, st.floats(0.01, 100)), min_size=1, max_size=30), beliefs)
def test_masses_are_positive_and_together_one(
    observed: list[tuple[Bins, float]], belief: Masses
) -> None:
    """Whatever was observed, at the ends of the scale too."""
    masses = explain(observed, belief, belief, 5)

    assert len(masses) == BINS
    assert min(masses) > 0
    assert sum(masses) == pytest.approx(1, abs=1e-9)


@given(st.lists(some_bins, min_size=1, max_size=20), st.lists(some_bins, max_size=20), beliefs)
def test_a_fit_may_go_on_from_the_one_before(
    before: list[Bins], later: list[Bins], belief: Masses
) -> None:
    """It stays a distribution, and everything is counted."""
    times = noted(before)
    times.fit(belief)
    for bins in later:
        times.note(bins)
    masses = times.fit(belief)

    assert times.count == len(before) + len(later)
    assert min(masses) > 0
    assert sum(masses) == pytest.approx(1, abs=1e-9)


@given(some_bins, st.integers(5, 60))
def test_what_is_seen_again_and_again_is_believed(bins: Bins, count: int) -> None:
    """Nearly all the mass goes there, but for what smoothing moves next to it."""
    masses = noted([bins] * count).fit(VAGUE)

    near = masses[max(0, bins[0] - 8) : bins[1] + 8]
    assert sum(near) >= 0.95 * count / (count + 1)


def test_little_is_learned_from_little() -> None:
    """Of one completion, a third of the mass stays with what was believed."""
    masses = noted([bins_between(10, 11)]).fit(VAGUE)
    assert sum(masses[: BINS // 4]) == pytest.approx(1 / 12)

    believed = mixed((0.9, lognormal(60, 0.1)), (0.1, VAGUE))
    masses = noted([bins_between(10, 11)]).fit(believed)
    assert sum(masses[bins_between(40, 90)[0] : bins_between(40, 90)[1]]) > 0.3


@pytest.mark.parametrize("pause", [0.5, 2, 5])
@pytest.mark.parametrize(("median", "sigma"), [(15, 0.2), (15, 0.5), (60, 1.0)])
def test_much_data_brings_the_truth(median: float, sigma: float, pause: float) -> None:
    """Median and spread, though nobody saw an end, from polls at fixed intervals."""
    masses = noted(asked_every(pause, times_of(256, median, sigma))).fit(VAGUE)

    assert quantile(masses, 0.5) == pytest.approx(median, rel=0.08)
    assert spread(masses) == pytest.approx(sigma, rel=0.2)


def test_two_humps_are_found() -> None:
    """No shape is assumed: warm and cold workers, and nothing between."""
    warm, cold = times_of(180, 4, 0.2), times_of(76, 40, 0.2, seed=1)
    both = warm + cold
    Random(2).shuffle(both)
    masses = noted(asked_every(1, both)).fit(VAGUE)

    below = dict(zip(EDGES, accumulate([0.0, *masses]), strict=True))
    between = [share for edge, share in below.items() if 8 < edge < 20]
    assert max(between) - min(between) < 0.03
    assert between[0] == pytest.approx(0.7, abs=0.12)


def test_the_latest_count_most() -> None:
    """The load of a service changes: the same completions in another order tell something else."""
    early, late = [bins_between(9, 11)] * 100, [bins_between(18, 22)] * 100

    assert quantile(noted(early + late).fit(VAGUE), 0.5) > 17
    assert quantile(noted(late + early).fit(VAGUE), 0.5) < 12


def test_a_slower_service_is_noticed() -> None:
    """150 completions after everything takes twice as long, so does what is believed."""
    times = noted(asked_every(1, times_of(300, 15, 0.3)))
    times.fit(VAGUE)
    for number, bins in enumerate(asked_every(1, times_of(150, 30, 0.3, seed=1))):
        times.note(bins)
        if number % 30 == 29:
            masses = times.fit(VAGUE)

    assert quantile(masses, 0.5) > 0.85 * 30


def test_old_completions_are_dropped() -> None:
    """What was noted more than 256 completions ago leaves no trace, and takes no memory."""
    recent = asked_every(1, times_of(256, 15, 0.3))
    long_ago = [bins_between(100, 200)] * 1000

    assert noted(long_ago + recent).fit(VAGUE) == noted(recent).fit(VAGUE)


# --- feedback ---------------------------------------------------------------------------------------


def learn_by_asking(times: list[float], price: float, *, at_notice: bool) -> Masses:
    """Learn from one task after the other, each asked about by the plan that the others led to."""
    known, masses, draw = CompletionTimes(), VAGUE, Random(3).random
    plan: PollPlan | None = None
    for number, time in enumerate(times):
        spread_by = 1 + 0.1 * (draw() - 0.5)
        polls = [1.0 * i for i in range(1, 400)] if plan is None else polls_of(plan, time * 1.2)
        polls = [0.0, *(poll * spread_by for poll in polls)]
        place = bisect_left(polls, time)
        known.note(bins_between(polls[place if at_notice else place - 1], polls[place]))
        if number % 10 == 9:
            masses = known.fit(VAGUE)
            plan = plan_polls(masses, price=price, floor=0.25, ceiling=10)
    return masses


@pytest.mark.parametrize(("median", "sigma"), [(15, 0.2), (15, 0.5), (4, 0.3)])
def test_asking_by_what_was_learned_does_not_mislead(median: float, sigma: float) -> None:
    """Polls of our own plan tell the truth; taking the notice for the end would feed back upwards."""
    times = times_of(300, median, sigma)
    ours = quantile(learn_by_asking(times, 1.0, at_notice=False), 0.5)
    naive = quantile(learn_by_asking(times, 1.0, at_notice=True), 0.5)

    assert ours == pytest.approx(median, rel=0.08)
    assert naive > 1.12 * median


@pytest.mark.parametrize(("median", "sigma"), [(15, 0.2), (15, 0.5), (60, 1.0)])
def test_the_spread_survives_feedback(median: float, sigma: float) -> None:
    """It neither narrows nor widens from plan to plan."""
    masses = learn_by_asking(times_of(300, median, sigma), 0.15, at_notice=False)

    assert spread(masses) == pytest.approx(sigma, rel=0.25)


# --- smoothing --------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.integers(0, BINS - 1), st.floats(0.01, 1), min_size=1, max_size=6), widths
)
def test_smoothing_keeps_the_mass(heaps: dict[int, float], bandwidth: float) -> None:
    """Nothing is lost over an end, nothing comes in."""
    masses = [heaps.get(number, 0.0) for number in range(BINS)]

    assert sum(_smoothed(masses, bandwidth)) == pytest.approx(sum(masses))


@given(st.integers(40, BINS - 41), st.integers(40, BINS - 41), st.floats(0, 1), widths)
def test_smoothing_adds_its_own_variance(
    one: int, other: int, share: float, bandwidth: float
) -> None:
    """The mean stays, and the spread grows by the bandwidth exactly."""
    masses = [0.0] * BINS
    masses[one] += share
    masses[other] += 1 - share
    smooth = _smoothed(masses, bandwidth)

    mean, variance = mean_and_variance(masses)
    assert min(smooth) > -1e-12
    assert mean_and_variance(list(smooth)) == pytest.approx(
        (mean, variance + bandwidth**2), abs=1e-6
    )


@given(st.integers(20, 200), st.floats(0.05, 1), st.floats(1, 100))
def test_the_bandwidth_follows_spread_and_amount(place: int, sigma: float, total: float) -> None:
    """More is smoothed where the completions spread, less when there are many; never without end."""
    wide, narrow = lognormal(EDGES[place], sigma), lognormal(EDGES[place], sigma / 2)
    bandwidth = _bandwidth(list(wide), total)

    assert 0 < _bandwidth(list(narrow), total) <= bandwidth <= 8
    assert _bandwidth(list(wide), 32 * total) <= bandwidth


def test_two_humps_are_smoothed_like_one() -> None:
    """The distance between them is not their spread."""
    hump, other = lognormal(4, 0.2), lognormal(40, 0.2)

    bandwidth = _bandwidth(list(mixed((0.6, hump), (0.4, other))), 50)
    assert bandwidth < 2.5 * _bandwidth(list(hump), 50)

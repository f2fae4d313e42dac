"""What is believed of the service's limiter, and what each kind of limiter lets through."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.quota_belief import Belief, Outlook
from ppinfra_async._sansio.quota_kinds import Bucket, Event, Fixed, Hypothesis, Sliding, Traffic
from ppinfra_async._sansio.quota_probes import Probes
from ppinfra_async.testing._limits import Limiter, Window, limiter


def traffic_of(*entries: tuple[float, int]) -> Traffic:
    traffic = Traffic()
    for when, images in entries:
        traffic.accepted(Event(when, when, images, ok=True))
    return traffic


def event(when: float, images: int = 1, *, ok: bool = False, seconds: float = 0.0) -> Event:
    return Event(when, when + seconds, images, ok=ok)


# --- one hypothesis ---


def true_hypothesis(kind: Window, limit: int, phase: float) -> Hypothesis:
    if kind == "sliding":
        return Sliding(1.0, limit, limit + 1)
    if kind == "fixed":
        return Fixed(1.0, limit, limit + 1, phase - 1.0)
    return Bucket(1.0, limit, limit + 1, -math.inf, -math.inf)


@given(
    st.sampled_from(["sliding", "fixed", "bucket"]),
    st.integers(1, 20),
    st.floats(0, 60),
    st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 8), st.floats(0, 3), st.floats(0, 1)),
        max_size=60,
    ),
)
def test_the_truth_is_never_contradicted(
    kind: Window,
    limit: int,
    phase: float,
    steps: list[tuple[float, int, float, float]],
) -> None:
    """Whatever is tried, sent one after the other and counted at any moment before the answer."""
    server, truth, traffic = (
        limiter(kind, limit, 60.0, phase),
        true_hypothesis(kind, limit, phase),
        Traffic(),
    )
    now = 1000.0
    for gap, images, seconds, part in steps:
        now += gap
        free = truth.free_at(images, now, traffic)
        ok = server.take(images, now + seconds * part) is None
        answer = Event(now, now + seconds, images, ok=ok)

        assert truth.fits(answer, traffic) in {None, ok}
        if free <= now:
            assert ok

        truth.note(answer)
        if ok:
            traffic.accepted(answer)
        now += seconds


@given(
    st.sampled_from(["sliding", "fixed", "bucket"]),
    st.integers(8, 20),
    st.floats(0, 60),
    st.lists(st.integers(1, 8), min_size=1, max_size=40),
)
def test_what_waits_for_its_time_is_accepted(
    kind: Window, limit: int, phase: float, sizes: list[int]
) -> None:
    """And loses little by it: a fixed window's phase is known to two seconds only."""
    server, truth, traffic = (
        limiter(kind, limit, 60.0, phase),
        true_hypothesis(kind, limit, phase),
        Traffic(),
    )
    now = 1000.0
    for images in sizes:
        # A moment later: whether a time and the same time after a sum are equal is rounding.
        now = truth.free_at(images, now, traffic) + 1e-6
        assert server.take(images, now) is None
        answer = event(now, images, ok=True)
        truth.note(answer)
        traffic.accepted(answer)


def test_a_sliding_window_counts_what_is_under_way() -> None:
    """What is not answered is in use for ever; what can never fit, never fits."""
    sliding, traffic = Sliding(1.0, 10, 12), traffic_of((0, 4), (10, 4))
    traffic.under_way = 2

    assert sliding.free_at(4, 20, traffic) == 60
    assert sliding.free_at(8, 20, traffic) == 70
    assert sliding.free_at(9, 20, traffic) == math.inf
    assert [sliding.fits(event(20, images), traffic_of((0, 8))) for images in (2, 3, 4)] == [
        True, None, False,
    ]  # fmt: skip


def test_a_fixed_window_waits_for_its_border() -> None:
    """Up to the latest that it may be; what came close to it may count for either side."""
    fixed, traffic = Fixed(1.0, 10, 11, 30.0), traffic_of((0, 8))

    assert fixed.free_at(2, 10, traffic) == 10
    assert fixed.free_at(3, 10, traffic) == 32
    assert fixed.free_at(11, 10, traffic) == math.inf
    assert fixed.free_at(10, 33, traffic) == 33
    assert fixed.fits(event(10, 3), traffic) is False
    assert fixed.fits(event(31, 3), traffic) is None
    assert fixed.fits(event(32, 3), traffic) is True
    assert fixed.free_at(10, 31.5, traffic_of((0, 8), (31, 1))) == 92


def test_a_bucket_fills_evenly() -> None:
    """It is full at first, holds no more than the limit, and owes no more than that."""
    bucket, traffic = Bucket(1.0, 10, 11, -math.inf, -math.inf), Traffic()
    bucket.note(event(0, 10, ok=True))

    assert bucket.free_at(1, 0, traffic) == 6
    assert bucket.free_at(10, 0, traffic) == 60
    assert bucket.free_at(11, 0, traffic) == math.inf
    assert bucket.fits(event(5, 1), traffic) is False
    assert bucket.fits(event(5, 1, seconds=2), traffic) is None
    assert bucket.fits(event(6, 1), traffic) is True
    assert bucket.fits(event(600, 11), traffic) is False

    bucket.note(event(0, 10, ok=True))
    assert bucket.free_at(10, 0, traffic) == 60

    bucket.note(event(30, 5))
    assert bucket.free_at(5, 30, traffic) == 30
    bucket.note(event(30, 2))
    assert bucket.free_at(5, 30, traffic) == 48

    traffic.under_way = 2
    assert bucket.free_at(3, 30, traffic) == 48


@pytest.mark.parametrize(
    "wide",
    [Sliding(0.5, 600, 624), Fixed(0.5, 600, 624, 7.0), Bucket(0.5, 600, 624, 50.0, 40.0)],
)
def test_halves_share_what_the_whole_had(wide: Hypothesis) -> None:
    """Width, weight and state; neither says more than the whole could not."""
    low, high = wide.halves()

    assert (low.low, low.high, high.low, high.high) == (600, 612, 612, 624)
    assert low.weight == high.weight == 0.25
    assert low.kind == high.kind == wide.kind
    sure = [each.free_at(100, 0, Traffic()) for each in (wide, low, high)]
    assert sure[0] == sure[1] >= sure[2]


# --- the belief ---


def filled(server: Limiter, images: int = 1) -> tuple[Belief, Traffic]:
    """Send at time 0 until the server refuses."""
    traffic = Traffic()
    while server.take(images, 0.0) is None:
        traffic.accepted(event(0.0, images, ok=True))
    return Belief.after_refusal(event(0.0, images), traffic), traffic


@pytest.mark.parametrize("images", [1, 2, 4])
def test_the_first_refusal_tells_the_limit_to_its_size(images: int) -> None:
    """What was accepted fits into it, and no more than one more would."""
    belief, _ = filled(limiter("sliding", 12, 60.0), images)

    heavy = {h.low for h in belief.hypotheses if h.weight > 0.01 and h.kind == "sliding"}
    assert heavy == set(range(12, 12 + images))
    assert belief.kind() is None
    assert belief.limit() in range(12, 12 + images)
    assert sum(h.weight for h in belief.hypotheses) == pytest.approx(1)


def test_a_bucket_is_told_from_a_window_by_one_answer() -> None:
    """Between the refusal and the end of the minute only a bucket lets something through."""
    belief, traffic = filled(limiter("bucket", 10, 60.0))
    outlook = belief.outlook(1, 0.0, traffic)
    assert outlook.sure_at(0.99) >= 60
    assert 5 <= outlook.sure_at(0.3) < 10

    assert belief.learn(event(7.0, ok=True), traffic)

    assert belief.likeliest().low == 10
    assert sum(h.weight for h in belief.hypotheses if h.kind == "sliding") < 0.1


def test_a_submit_that_is_too_large_for_some_is_judged_by_the_others() -> None:
    """Where it never fits there is nothing to wait for; and nothing at all if it never does."""
    belief, traffic = filled(limiter("sliding", 10, 60.0), 5)

    assert belief.outlook(12, 0.0, traffic).sure_at(0.99) < math.inf
    assert belief.outlook(100, 0.0, traffic).steps == []
    assert Outlook([]).sure_at(0.5) == math.inf


def test_a_belief_ends_with_the_second_refusal_that_surprises() -> None:
    """One may have another cause; long after the first it is the first again."""
    belief, traffic = filled(limiter("sliding", 10, 60.0))

    assert belief.learn(event(100.0), traffic)
    assert belief.learn(event(2000.0), traffic)
    assert not belief.learn(event(2010.0), traffic)


def test_a_belief_ends_with_an_acceptance_that_surprises() -> None:
    """The limit is larger than anything that was thought of."""
    belief, traffic = filled(limiter("sliding", 100, 60.0))
    many = event(1.0, 250, ok=True)
    assert not belief.learn(many, traffic)
    traffic.accepted(many)

    after = Belief.after_surprise(many, traffic)

    assert after.limit() >= 250


def test_what_may_have_been_accepted_fills_a_bucket_and_teaches_nothing() -> None:
    """The weights stay."""
    belief, traffic = filled(limiter("bucket", 10, 60.0))
    before = [h.weight for h in belief.hypotheses]
    buckets = [h for h in belief.hypotheses if h.kind == "bucket" and h.low >= 10]
    full = [h.free_at(h.low, 30.0, traffic) for h in buckets]

    belief.suppose(event(30.0, 1, ok=True))

    assert [h.weight for h in belief.hypotheses] == before
    assert all(
        h.free_at(h.low, 30.0, traffic) > then for h, then in zip(buckets, full, strict=True)
    )


def test_a_large_limit_is_narrowed_down() -> None:
    """Begun in steps of a few per cent, halved where the weight is."""
    server = limiter("bucket", 600, 60.0)
    belief, traffic = filled(server)
    now = 0.0
    for step in range(3000):
        now += 0.097
        answer = event(now, ok=server.take(1, now) is None)
        if not belief.learn(answer, traffic):
            pytest.fail(f"surprised at step {step}")
        if answer.ok:
            traffic.accepted(answer)

    likeliest = belief.likeliest()
    assert belief.kind() == "bucket"
    assert likeliest.high - likeliest.low <= 3
    assert abs(likeliest.low - 600) <= 12
    assert len(belief.hypotheses) < 100


def test_a_limit_that_went_through_already_is_weighed_by_it() -> None:
    """A bucket that would have been overdrawn is hardly believed in."""
    traffic = traffic_of(*[(0.5 * step, 1) for step in range(100)])
    belief = Belief.after_refusal(event(50.0), traffic)

    buckets = {h.low: h.weight for h in belief.hypotheses if h.kind == "bucket"}
    light = [weight for low, weight in buckets.items() if low < 50]
    assert max(buckets, key=lambda low: buckets[low]) > 50
    assert all(weight < max(buckets.values()) / 20 for weight in light)


# --- probes ---

UNSURE = Outlook([(10.0, 0.3), (20.0, 0.3), (30.0, 0.4)])


def test_the_more_is_in_hand_the_bolder_a_probe() -> None:
    """And with much in hand one goes that nothing speaks for."""
    probes = Probes()
    assert probes.at(UNSURE, 1, 5.0) == 20
    for _ in range(60):
        probes.accepted(probe=False)
    assert probes.at(UNSURE, 1, 5.0) == 10
    for _ in range(100):
        probes.accepted(probe=False)
    assert probes.at(UNSURE, 1, 5.0) == 5
    probes.sent(5.0)
    probes.under_way = 0
    assert probes.at(UNSURE, 1, 5.0) == 10
    never = Outlook([(math.inf, 1.0)])
    assert probes.at(never, 1, 6.0) == 12
    probes.refused(12.0, probe=False)
    probes.credit = 3
    assert probes.at(never, 1, 13.0) == 612
    probes.credit = 1
    assert probes.at(never, 1, 13.0) == math.inf
    probes.surprised()
    assert probes.at(never, 1, 13.0) == 13


def test_a_refused_probe_is_paid_for_and_makes_the_next_wait_longer() -> None:
    """With nothing in hand there is none; an accepted one makes the wait short again."""
    probes = Probes()
    probes.refused(0.0, probe=True)
    assert probes.at(UNSURE, 1, 5.0) == math.inf
    probes.credit = 2
    assert probes.at(UNSURE, 1, 5.0) == 10
    probes.refused(10.0, probe=True)
    probes.refused(11.0, probe=True)
    probes.refused(12.0, probe=False)
    probes.credit = 2
    assert probes.at(UNSURE, 1, 15.0) == 30
    probes.accepted(probe=True)
    probes.refused(100.0, probe=True)
    probes.credit = 2
    assert probes.at(UNSURE, 1, 100.0) == 110


def test_other_refusals_do_not_stop_all_probes() -> None:
    """They are paid as far as there is something; when the belief begins anew a probe goes soon."""
    probes = Probes()
    for _ in range(5):
        probes.refused(0.0, probe=False)
    assert probes.credit == 0
    probes.accepted(probe=False)
    never = Outlook([(math.inf, 1.0)])
    assert probes.at(never, 1, 1.0) == math.inf

    probes.contradicted(1.0)

    assert probes.at(never, 1, 2.0) == 61


def test_no_more_probes_than_allowed_are_under_way() -> None:
    """Nor more than can be paid for."""
    probes = Probes()
    probes.credit = 2.5
    probes.under_way = 1

    assert probes.at(UNSURE, 1, 0.0) == math.inf
    assert probes.at(UNSURE, 30, 0.0) == 10
    probes.under_way = 3
    assert probes.at(UNSURE, 30, 0.0) == math.inf

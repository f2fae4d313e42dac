"""When the next submit may go: pinned limits, the start, pauses, and what users are told."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from itertools import count

import pytest
from attrs import define, field
from hypothesis import assume, given
from hypothesis import strategies as st

from ppinfra_async import Limits
from ppinfra_async._sansio.quota import Go, Quota, Sent, Wait
from ppinfra_async._sansio.quota_pause import PATIENCE
from ppinfra_async.testing._limits import Limiter, Window, limiter


def pinned(limit: int) -> Quota:
    return Quota(Limits(images_per_minute=limit))


def send(quota: Quota, images: int, now: float) -> Sent:
    decision = quota.decide(images, now)
    assert isinstance(decision, Go), decision
    return quota.sent(images, now)


def accept(quota: Quota, images: int, now: float, seconds: float = 0.0) -> None:
    quota.accepted(send(quota, images, now), now + seconds)


@define
class Play:
    """A server, a queue of requests, and submits that take as long as they are told to.

    A submit is sent, counted after a part of its duration, and answered at its end.
    """

    quota: Quota
    server: Limiter | None
    durations: list[tuple[float, float]]
    sizes: list[int]
    now: float = 1000.0
    counted: list[tuple[float, int]] = field(factory=list)
    sent: list[tuple[float, int]] = field(factory=list)
    refused: int = 0
    alone: int = 0
    _events: list[tuple[float, int, str, tuple[int, float, Sent]]] = field(factory=list)
    _order: Iterator[int] = field(factory=count)
    _queue: list[int] = field(init=False)
    _under_way: set[int] = field(factory=set)
    _lonely: bool = False
    _drawn: Iterator[int] = field(factory=count)

    def __attrs_post_init__(self) -> None:
        self._queue = list(range(len(self.sizes)))

    def run(self, end: float) -> None:
        """Go on until everything is through."""
        wake = self.now
        while self._queue or self._events:
            wake = self._send(wake)
            at = self._events[0][0] if self._events else math.inf
            self.now = min(at, wake)
            assert self.now < end, "somebody is lost"
            if at <= wake:
                self._next_event()
                wake = self.now

    def _send(self, wake: float) -> float:
        while self._queue and wake <= self.now:
            ticket = self._queue[0]
            decision = self.quota.decide(self.sizes[ticket], self.now)
            if isinstance(decision, Wait):
                assert decision.until > self.now
                return decision.until
            assert not self._lonely
            assert not (decision.alone and self._lonely)
            heapq.heappop(self._queue)
            self._lonely = decision.alone
            self.alone += decision.alone
            self._start(ticket, self.quota.sent(self.sizes[ticket], self.now))
        return wake if self._queue else math.inf

    def _start(self, ticket: int, sent: Sent) -> None:
        self.sent.append((self.now, ticket))
        self._under_way.add(ticket)
        seconds, part = self.durations[next(self._drawn) % len(self.durations)]
        job = (ticket, self.now + seconds, sent)
        heapq.heappush(self._events, (self.now + seconds * part, next(self._order), "count", job))

    def _next_event(self) -> None:
        _, _, what, (ticket, end, sent) = heapq.heappop(self._events)
        if what == "count":
            taken = self.server is None or self.server.take(sent.images, self.now) is None
            if taken:
                self.counted.append((self.now, sent.images))
            answer = "yes" if taken else "no"
            heapq.heappush(self._events, (end, next(self._order), answer, (ticket, end, sent)))
            return
        self._under_way.remove(ticket)
        self._lonely = self._lonely and not sent.alone
        if what == "yes":
            self.quota.accepted(sent, self.now)
            return
        self.refused += 1
        self.quota.refused(sent, self.now, None)
        heapq.heappush(self._queue, ticket)


sizes_lists = st.lists(st.integers(1, 8), min_size=1, max_size=40)
any_durations = st.lists(
    st.tuples(st.floats(0, 20) | st.sampled_from([0.0, 0.5]), st.floats(0, 1)),
    min_size=1,
    max_size=15,
)


@given(st.integers(8, 30), sizes_lists, any_durations)
def test_a_pinned_limit_is_kept_in_every_minute_at_the_server(
    limit: int, sizes: list[int], durations: list[tuple[float, float]]
) -> None:
    """Whatever the submits take and whenever they are counted; nobody overtakes, nobody is lost."""
    assume(len(sizes) < 16 or min(seconds for seconds, _ in durations) == 0)
    play = Play(pinned(limit), None, durations, sizes)

    play.run(end=100_000)

    for begin, _ in play.counted:
        within = (images for when, images in play.counted if begin <= when < begin + 60 - 1e-9)
        assert sum(within) <= limit
    assert [ticket for _, ticket in play.sent] == list(range(len(sizes)))


@given(
    st.integers(8, 20),
    st.lists(st.integers(1, 8), min_size=40, max_size=80),
    st.floats(1, 20),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_what_all_submits_take_is_not_waited_for(
    limit: int, sizes: list[int], base: float, part: float, extra: list[float]
) -> None:
    """Where a part of the duration is common to all, the limit is kept although less is waited."""
    # The server counts at the same place of the common part, anywhere in the rest.
    durations = [(base + more, (base * part + more * part) / (base + more)) for more in extra]
    play = Play(pinned(limit), None, durations, sizes)

    play.run(end=100_000)

    for begin, _ in play.counted:
        within = (images for when, images in play.counted if begin <= when < begin + 60 - 1e-9)
        assert sum(within) <= limit


@given(st.sampled_from(["sliding", "fixed", "bucket"]), st.integers(8, 20), sizes_lists)
def test_a_pinned_limit_is_never_refused(kind: Window, limit: int, sizes: list[int]) -> None:
    """By no kind of window."""
    play = Play(pinned(limit), limiter(kind, limit, 60.0, 7.0), [(0.5, 0.3), (3.0, 0.9)], sizes)

    play.run(end=100_000)

    assert play.refused == 0


@given(
    st.sampled_from(["sliding", "fixed", "bucket"]),
    st.integers(8, 30),
    st.floats(0, 60),
    st.lists(st.integers(1, 8), min_size=1, max_size=80),
    st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.5, 1)), min_size=1, max_size=15),
)
def test_everybody_gets_through_an_unknown_limit(
    kind: Window,
    limit: int,
    phase: float,
    sizes: list[int],
    durations: list[tuple[float, float]],
) -> None:
    """Sooner or later; and nobody goes beside a probe."""
    play = Play(Quota(Limits()), limiter(kind, limit, 60.0, phase), durations, sizes)

    play.run(end=1000 + 600 + 240 * len(sizes))

    assert sorted(images for _, images in play.counted) == sorted(sizes)


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_an_unknown_limit_is_learnt(kind: Window) -> None:
    """After an hour nearly all of it is used, and next to nothing is refused."""
    sizes = [1 + (7 * step) % 3 for step in range(700)]
    play = Play(Quota(Limits()), limiter(kind, 20, 60.0, 31.0), [(0.5, 0.9), (1.0, 0.9)], sizes)

    play.run(end=20_000)

    minutes = (play.now - 1000) / 60
    assert sum(sizes) / minutes > 0.9 * 18
    assert play.refused < 0.03 * len(play.sent) + 10
    state = play.quota.state(play.now)
    assert state.limit in range(18, 22)
    assert state.accepted == 700
    assert state.refused == play.refused
    assert play.alone


# --- a pinned limit, exactly ---


def test_room_comes_back_a_minute_after_the_answer() -> None:
    """What is under way is in use."""
    quota = pinned(10)
    first, second = send(quota, 4, 0), send(quota, 4, 0)

    assert quota.decide(3, 1) == Wait(math.inf)
    assert quota.decide(2, 1) == Go()
    quota.accepted(first, 2)
    quota.accepted(second, 5)

    assert quota.decide(2, 5) == Go()
    assert quota.decide(3, 5) == Wait(62.1)
    assert quota.decide(7, 5) == Wait(65.1)
    assert quota.decide(3, 62.1) == Go()
    assert quota.decide(10, 65.1) == Go()


@pytest.mark.parametrize(
    ("limit", "images", "too_large"), [(7, 8, True), (8, 8, False), (1, 2, True), (10, 1, False)]
)
def test_more_images_than_the_limit_never_fit(limit: int, images: int, *, too_large: bool) -> None:
    """Waiting would not help."""
    assert pinned(limit).too_large(images) is too_large
    assert not Quota(Limits()).too_large(images)


def test_what_did_not_reach_the_service_does_not_count() -> None:
    """And what is noted twice counts once."""
    quota = pinned(8)
    sent = send(quota, 8, 0)
    assert quota.decide(1, 1) == Wait(math.inf)

    quota.not_sent(sent)
    quota.not_sent(sent)
    quota.accepted(sent, 1)
    quota.refused(sent, 1, 5)
    quota.lost(sent, 1)

    assert quota.decide(8, 1) == Go()


@pytest.mark.parametrize("quota", [pinned(8), Quota(Limits())])
def test_what_may_have_reached_it_counts_at_the_latest(quota: Quota) -> None:
    """From the moment on at which it was given up."""
    sent = send(quota, 8, 0)
    quota.lost(sent, 30)

    assert quota.state(31).used == 8
    assert quota.state(91).used == 0
    assert quota.state(31).accepted == 0
    assert quota.decide(8, 90.1) == Go()


def test_a_refusal_stops_a_pinned_limit_too() -> None:
    """Another process may share the key; the limit itself stays what it was said to be."""
    quota = pinned(8)
    quota.refused(send(quota, 4, 0), 1, 30)

    assert quota.decide(1, 2) == Wait(31)
    assert quota.decide(8, 31) == Go()
    assert quota.state(2).limit == 8
    assert quota.state(2).paused == 29


# --- an unknown limit ---


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 8), st.floats(0, 30)), max_size=60))
def test_a_lone_submit_never_waits_before_the_first_refusal(
    steps: list[tuple[float, int, float]],
) -> None:
    """Nothing is known that it could wait for."""
    quota, now = Quota(Limits()), 0.0
    for gap, images, seconds in steps:
        now += gap
        assert quota.decide(images, now) == Go()
        sent = quota.sent(images, now)
        now += seconds
        quota.accepted(sent, now)
    assert quota.state(now).limit is None
    assert quota.state(now).free is None
    assert quota.estimate(1000, now) == 0


def test_the_start_is_slow_and_doubles() -> None:
    """Four at once, then as many as were accepted."""
    quota = Quota(Limits())
    waves = []
    for _ in range(5):
        wave = []
        while isinstance(quota.decide(1, 0), Go):
            wave.append(quota.sent(1, 0))
        waves.append(len(wave))
        assert quota.decide(1, 0) == Wait(math.inf)
        for sent in wave:
            quota.accepted(sent, 1)

    assert waves == [4, 4, 8, 16, 32]


def test_after_a_refusal_all_wait_and_those_under_way_come_home() -> None:
    """Then something is decided; whoever does not come is not waited for longer than ten seconds."""
    quota = Quota(Limits())
    first, second, third = (send(quota, 4, 0) for _ in range(3))
    quota.accepted(first, 1)
    quota.refused(second, 2, None)

    assert quota.decide(4, 2) == Wait(3)
    assert quota.decide(4, 4) == Wait(12)
    assert isinstance(quota.decide(4, 12), Wait)
    assert quota.state(12).limit is not None

    quota.lost(third, 13)
    assert isinstance(quota.decide(1, 13), Go | Wait)


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, 1), (0, 1), (0.001, 0.5), (0.5, 0.5), (7, 7), (60, 60), (3600, 60)],
)
@pytest.mark.parametrize("cause", ["quota", "overload"])
def test_the_service_may_say_how_long(cause: str, retry_after: float | None, pause: float) -> None:
    """Up to the longest we wait, and never without a break."""
    quota = Quota(Limits(), longest_retry_after=60)
    quota.refused(send(quota, 1, 100), 100, retry_after, cause)  # type: ignore[arg-type]

    assert quota.decide(1, 100) == Wait(100 + pause)
    assert quota.state(100).paused == pause
    assert isinstance(quota.decide(1, 100 + pause), Go)


def test_refusals_in_a_row_pause_longer_each_time() -> None:
    """From one second to half a minute; an accepted one ends it."""
    quota, now, pauses = Quota(Limits()), 0.0, []
    for _ in range(7):
        quota.refused(send(quota, 1, now), now, None, "overload")
        wait = quota.decide(1, now)
        assert isinstance(wait, Wait)
        pauses.append(wait.until - now)
        now = wait.until

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    accept(quota, 1, now)
    quota.refused(send(quota, 1, now), now, None, "overload")
    assert quota.decide(1, now) == Wait(now + 1)


def test_what_was_refused_together_is_one_refusal() -> None:
    """Many that went together make no longer pause than one; a shorter one does not end a longer."""
    quota = pinned(30)
    together = [send(quota, 1, 0) for _ in range(20)]
    for sent in together[1:]:
        quota.refused(sent, 0, None)
    assert quota.decide(1, 0) == Wait(1)

    quota.refused(together[0], 0.5, 20)
    assert quota.decide(1, 0.5) == Wait(20.5)


def test_an_overload_teaches_nothing_about_the_limit() -> None:
    """One at a time until it is over, then everything goes as before."""
    quota = Quota(Limits())
    first, second = send(quota, 1, 0), send(quota, 1, 0)
    quota.refused(first, 1, None, "overload")

    assert quota.decide(1, 2) == Wait(math.inf)
    quota.accepted(second, 2)
    quota.refused(send(quota, 1, 2), 3, None, "overload")
    assert quota.decide(1, 4) == Go(alone=True)
    probe = quota.sent(1, 4)
    assert quota.decide(1, 100) == Wait(math.inf)
    quota.accepted(probe, 5)

    assert quota.state(5).limit is None
    assert quota.decide(1, 5) == Go()


def test_nothing_but_refusals_is_given_up() -> None:
    """After ten minutes without a single success, counted from the first refusal of that story."""
    quota = Quota(Limits())

    def refuse(now: float) -> None:
        quota.refused(quota.sent(1, now), now, None)

    for when in range(0, 600, 100):
        refuse(when)
    assert PATIENCE == 600
    assert not quota.hopeless(600)
    assert quota.hopeless(601)
    quota.accepted(quota.sent(1, 601), 601)
    assert not quota.hopeless(10_000)
    refuse(20_000)
    refuse(23_600)
    assert not quota.hopeless(23_601)


def test_what_fits_nothing_that_is_believed_in_is_tried_alone() -> None:
    """Only trying can tell."""
    quota = Quota(Limits())
    for now in (0.0, 5.0, 10.0):
        accept(quota, 4, now)
    quota.refused(quota.sent(1, 11.0), 11.0, None)
    quota.decide(1, 30.0)

    small = send(quota, 1, 80.0)
    assert quota.decide(1000, 80.0) == Wait(math.inf)
    quota.accepted(small, 81.0)
    assert quota.decide(1000, 81.0) == Go(alone=True)


def test_a_limit_that_was_raised_is_found() -> None:
    """By a probe that nothing speaks for, from time to time."""
    quota = Quota(Limits())
    play = Play(quota, limiter("sliding", 10, 60.0), [(0.2, 0.9)], [1] * 300)
    play.run(end=10_000)
    more = Play(quota, limiter("sliding", 40, 60.0), [(0.2, 0.9)], [1] * 1500, now=play.now)

    more.run(end=play.now + 1.2 * 60 * 1500 / 40 + 1800)

    limit = quota.state(more.now).limit
    assert limit is not None
    assert limit >= 38


def test_a_limit_that_was_lowered_is_found() -> None:
    """After a few refusals."""
    quota = Quota(Limits())
    play = Play(quota, limiter("sliding", 40, 60.0), [(0.2, 0.9)], [1] * 300)
    play.run(end=10_000)
    less = Play(quota, limiter("sliding", 10, 60.0), [(0.2, 0.9)], [1] * 200, now=play.now)

    less.run(end=play.now + 60 * 40)

    assert quota.state(less.now).limit in range(9, 12)
    assert less.refused < 25


def test_an_account_without_quota_is_hopeless_also_after_long_pauses() -> None:
    """A ``Retry-After`` of more than three minutes does not make each refusal a story of its own."""
    quota, now = Quota(Limits(images_per_minute=8), longest_retry_after=300), 0.0
    while not quota.hopeless(now):
        quota.refused(send(quota, 1, now), now, 250)
        now += 250
        assert now < 2000


@define
class Counting(Quota):
    """A quota that notes how many probes were under way at once since its limit was known."""

    known_since: float = math.inf
    most: int = 0

    def sent(self, images: int, now: float) -> Sent:
        sent = super().sent(images, now)
        if self._belief is not None and self._belief.is_settled():
            self.known_since = min(self.known_since, now)
        if now > self.known_since + 10:
            # Those of before are home by then.
            self.most = max(self.most, self._probes.under_way)
        return sent


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_above_a_known_limit_there_is_one_probe_at_a_time(kind: Window) -> None:
    """Also on a large account, which may try a few at once until it knows."""
    quota = Counting(Limits())
    play = Play(quota, limiter(kind, 300, 60.0, 995.0), [(0.2, 0.6), (0.6, 0.3)], [1] * 6000)
    play.run(end=1000 + 1800)

    assert quota.known_since < 1000 + 300
    assert quota.most == 1


# --- others who use the account ---


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
@pytest.mark.parametrize("limit", [10, 60])
def test_a_quota_that_others_used_up_before_is_used_soon(kind: Window, limit: int) -> None:
    """What was refused for their sake is not taken for a tiny limit."""
    server = limiter(kind, limit, 60.0, 990.0)
    for number in range(limit):
        assert server.take(1, 995.0 + number / limit) is None
    play = Play(Quota(Limits()), server, [(0.1, 0.3), (0.3, 0.2)], [1] * limit * 8)

    # Eight minutes' work: it is through.
    play.run(end=1000 + 780)

    assert play.refused <= 40


def test_a_quota_that_others_used_while_we_rested_keeps_its_limit() -> None:
    """A refusal right after a rest says nothing of what was learned before it."""
    quota, server = Quota(Limits()), limiter("sliding", 10, 60.0)
    Play(quota, server, [(0.1, 0.3)], [1] * 60).run(end=2000)
    assert quota.state(2000).limit == 10
    for _ in range(10):
        assert server.take(1, 3000.0) is None
    play = Play(quota, server, [(0.1, 0.3)], [1] * 30, now=3010.0)
    play.run(end=3010 + 240)

    assert quota.state(play.now).limit == 10


def test_while_others_use_it_up_only_one_is_under_way() -> None:
    """Each refusal costs an upload."""
    quota = Quota(Limits())
    first = [send(quota, 1, 0.0) for _ in range(4)]
    for sent in first:
        quota.refused(sent, 0.5, None)
    send(quota, 1, 1.5)

    assert quota.decide(1, 1.6) == Wait(math.inf)
    assert quota.state(2.0).limit is None


def test_refusals_for_longer_than_a_minute_are_about_the_limit() -> None:
    """What others used before has left every window by then, though nothing of ours went through."""
    quota, now = Quota(Limits()), 0.0
    while quota.state(now).limit is None:
        decision = quota.decide(1, now)
        if isinstance(decision, Wait):
            now = decision.until
            continue
        quota.refused(quota.sent(1, now), now, 20.0)
        quota.decide(1, now)
        assert now <= 100

    assert now > 60
    assert (quota.state(now).limit or 10) < 8


def test_a_limit_below_all_documented_ones_is_tried_again_and_again() -> None:
    """Others may have stopped; where it is really so small that costs little."""
    quota, server = Quota(Limits()), limiter("sliding", 3, 60.0)
    play = Play(quota, server, [(0.1, 0.3)], [1] * 324)

    # Two hours would be enough for 360.
    play.run(end=1000 + 7200)

    assert quota.state(play.now).limit == 3
    assert play.refused <= 40


# --- what users are told ---


def test_the_state_says_what_is_known_of_a_pinned_limit() -> None:
    """Images that are used, free, under way; nothing is guessed."""
    quota = pinned(10)
    accept(quota, 4, 0)
    send(quota, 3, 1)
    state = quota.state(2)

    assert (state.limit, state.is_pinned, state.kind) == (10, True, None)
    assert (state.used, state.free, state.paused) == (7, 3, 0)
    assert (state.accepted, state.refused) == (1, 0)
    assert quota.state(60.1).free == 7


def test_the_state_names_the_kind_once_it_is_known() -> None:
    """And what is free now."""
    quota = Quota(Limits())
    play = Play(quota, limiter("bucket", 10, 60.0), [(0.2, 0.9)], [1, 2, 4, 1, 3] * 60)
    play.run(end=10_000)

    state = quota.state(play.now)

    assert (state.kind, state.limit, state.is_pinned) == ("bucket", 10, False)
    assert state.free is not None
    assert quota.state(play.now + 120).free == 10


def test_an_estimate_says_when_so_many_can_have_been_sent() -> None:
    """By the limit, after what is in use, and after a pause."""
    quota = pinned(10)
    assert [quota.estimate(images, 0) for images in (0, 1, 10, 11, 20, 21, 100)] == [
        0, 0, 0, 60, 60, 120, 540,
    ]  # fmt: skip
    accept(quota, 4, 0)
    assert [quota.estimate(images, 20) for images in (6, 7, 10, 16, 17)] == [
        0, 40.1, 40.1, 60, 100.1,
    ]  # fmt: skip

    under_way = send(quota, 6, 20)
    assert quota.estimate(1, 20) == 40.1
    quota.refused(under_way, 21, 60)
    assert quota.estimate(1, 21) == 60


def test_an_estimate_of_a_limit_that_was_learnt() -> None:
    """A bucket of ten takes sixty images in about five minutes more."""
    quota = Quota(Limits())
    play = Play(quota, limiter("bucket", 10, 60.0), [(0.2, 0.9)], [1, 2, 4, 1, 3] * 60)
    play.run(end=10_000)

    assert quota.estimate(10, play.now + 120) == 0
    assert quota.estimate(60, play.now + 120) == pytest.approx(300, rel=0.05)

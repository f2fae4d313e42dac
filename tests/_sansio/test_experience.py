"""How long each class of work takes, by several clocks, and when that says to ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import ImageInput, Img2Img, Polling
from ppinfra_async._sansio.completion import BINS
from ppinfra_async._sansio.experience import Clock, Experience, Reading, Readings, Work, WorkClass
from ppinfra_async._sansio.schedule import Schedule
from ppinfra_async.requests import Request
from tests.worlds import WORK, Saying, follow, honest, lying, quantile, silent, times_of

PRICE = 0.15
FRESH: Readings = (Reading(Clock.SUBMIT, 1000.0),)
"""The clock of a task that was submitted at 1000."""


def experience() -> Experience:
    return Experience(Polling(min_interval=0.25, max_interval=1000))


def teach(known: WorkClass, times: list[float], clock: Clock = Clock.SUBMIT) -> None:
    """Let tasks have taken so long, each noticed within a second."""
    for time in times:
        known.note((Reading(clock, 0.0),), time - 0.5, time + 0.5)


def first_poll(known: WorkClass, now: float = 1000.0) -> float | None:
    """Return after how long a task submitted at 1000 would be asked about; it may look anew."""
    return known.pause((Reading(Clock.SUBMIT, now),), PRICE, now)


def looks(known: WorkClass) -> int:
    return sum(learned.looks_taken for learned in known.clocks)


# --- classes ----------------------------------------------------------------------------------------


def picture() -> ImageInput:
    return ImageInput.from_bytes(b"png")


def test_work_is_told_from_the_request() -> None:
    """Endpoint, model, steps, pixels and images: what the time depends on."""
    request = Img2Img(
        model_name="sd", image=picture(), prompt="cat", width=512, height=768, steps=30, image_num=4
    )

    assert Work.of(request) == Work(
        path=request.path, model_name="sd", steps=30, pixels=512 * 768, images=4
    )
    assert Work.of(evolve(request, prompt="dog", seed=3)) == Work.of(request)


def test_work_without_a_size_is_a_class_too() -> None:
    """The service takes the source's size then; and an endpoint need not have models or steps."""
    assert Work.of(Img2Img(model_name="sd", image=picture(), prompt="cat", width=512)).pixels == 0

    class Plain(Request):
        path = "/v3/async/plain"

    assert Work.of(Plain()) == Work("/v3/async/plain", "", 0, 0, Plain().images_asked)


def test_the_same_work_is_the_same_class() -> None:
    """What one task taught is there for the next."""
    known = experience()

    assert known.of(WORK) is known.of(evolve(WORK))
    assert known.of(WORK) is not known.of(evolve(WORK, steps=21))


def test_nothing_is_known_before_five_completions() -> None:
    """And with the fifth, something is."""
    known = experience().of(WORK)
    teach(known, [15, 16, 15, 14])
    assert first_poll(known) is None

    teach(known, [15])
    pause = first_poll(known)
    assert pause is not None
    assert 1 < pause < 15


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(evolve(WORK, steps=50), id="same model"),
        pytest.param(evolve(WORK, model_name="other"), id="same endpoint"),
        pytest.param(evolve(WORK, path="/v3/async/other"), id="anything"),
    ],
)
def test_few_completions_leave_the_word_to_the_coarser_class(other: Work) -> None:
    """Its own are heard from the fifth on; until then it is asked about like any new class."""
    known = experience()
    mine = known.of(WORK)
    teach(mine, [5.0] * 4)
    teach(known.of(other), [60.0] * 40)

    pause = first_poll(mine)
    assert pause is not None
    assert pause == first_poll(known.of(evolve(WORK, images=8)))
    assert mine.clocks[Clock.SUBMIT].found is None

    teach(mine, [5.0])
    assert first_poll(mine, 1010.0) != pause
    found = mine.clocks[Clock.SUBMIT].found
    assert found is not None
    assert quantile(found, 0.5) == pytest.approx(5, rel=0.1)


def test_the_nearest_coarser_class_speaks() -> None:
    """The same model's other work, not another model's, though there is more of that."""
    known = experience()
    teach(known.of(evolve(WORK, model_name="other")), [200.0] * 100)
    teach(known.of(evolve(WORK, steps=50)), [20.0] * 60)

    pause = first_poll(known.of(WORK))
    assert pause is not None
    assert 10 < pause < 25


def test_many_completions_need_nobody_else() -> None:
    """What other classes take changes next to nothing for a class that is known well."""
    alone, beside = experience(), experience()
    teach(beside.of(evolve(WORK, steps=50)), times_of(200, 60, 0.2))
    first_poll(beside.of(evolve(WORK, model_name="new")), 900.0)
    first_poll(beside.of(evolve(WORK, steps=99)), 910.0)
    for known in (alone, beside):
        teach(known.of(WORK), times_of(100, 10, 0.2, seed=1))

    assert first_poll(beside.of(WORK)) == pytest.approx(first_poll(alone.of(WORK)), rel=0.05)


def test_what_the_coarser_class_says_is_believed_where_the_finer_is_silent() -> None:
    """Of five completions of its own, a tenth of the belief is still the coarser one's."""
    known = experience()
    teach(known.of(evolve(WORK, steps=50)), [60.0] * 40)
    mine = known.of(WORK)
    first_poll(mine, 900.0)
    teach(mine, [5.0] * 5)
    first_poll(mine)

    found = mine.clocks[Clock.SUBMIT].found
    assert found is not None
    assert quantile(found, 0.5) == pytest.approx(5, rel=0.1)
    assert quantile(found, 0.96) == pytest.approx(60, rel=0.2)


def test_a_coarser_class_is_not_believed_for_what_it_heard_from_this_one() -> None:
    """Its word is this class's own, then, and would count twice."""
    known = experience()
    mine = known.of(WORK)
    teach(mine, [15.0] * 5)
    first_poll(known.of(evolve(WORK, steps=50)), 900.0)
    first_poll(mine)

    learned = mine.clocks[Clock.SUBMIT]
    assert learned.coarser is not None
    assert learned.coarser.found is not None
    assert learned.found is not None
    # A quarter of all orders of magnitude has a quarter of what vague belief there is.
    assert sum(learned.found[: BINS // 4]) == pytest.approx(0.5 / 5.4 / 4, rel=0.05)


def test_a_model_is_remembered_while_it_is_in_use() -> None:
    """Though there come and go more models, and though its classes come and go."""
    known = experience()
    teach(known.of(WORK), [15.0] * 10)
    for number in range(600):
        known.of(evolve(WORK, model_name=f"model {number}"))
        known.of(evolve(WORK, steps=1000 + number))

    assert first_poll(known.of(evolve(WORK, steps=1))) is not None
    learned = known.of(evolve(WORK, steps=2)).clocks[Clock.SUBMIT].coarser
    assert learned is not None
    assert learned.times.count == 10


def test_classes_are_bounded_and_the_latest_are_kept() -> None:
    """A thousand sizes of a thousand models do not fill the memory."""
    known = experience()
    kept = known.of(WORK)
    for number in range(1000):
        known.of(evolve(WORK, model_name=f"model {number}"))
        assert known.of(WORK) is kept

    assert len(known._fine) <= 256
    assert len(known._coarse) <= 256
    assert known.of(evolve(WORK, model_name="model 0")).clocks[Clock.SUBMIT].times.count == 0


def test_plans_are_bounded() -> None:
    """However many prices and units there are; the same one is not planned twice."""
    known = experience().of(WORK)
    teach(known, [15.0] * 10)
    first_poll(known)
    learned = known.clocks[Clock.SUBMIT]
    for number in range(300):
        plan = learned.plan(0.1 + number / 100, 1.0, 1000.0)
        assert plan is not None
        assert learned.plan(0.1 + number / 100, 1.0, 1000.0) is plan
        assert len(learned._plans) <= 64


# --- looks ------------------------------------------------------------------------------------------


def test_looks_at_one_class_are_rare() -> None:
    """At first with every completion, later with every fifth part more; never twice in two seconds."""
    known = experience().of(WORK)
    looked_at: list[float] = []
    for number in range(1000):
        now = 1000.0 + number / 2
        teach(known, [15.0])
        before = looks(known)
        first_poll(known, now)
        if looks(known) > before:
            looked_at.append(now)

    assert 20 <= len(looked_at) <= 50
    assert min(late - early for early, late in pairwise(looked_at)) >= 2


def test_nothing_new_means_no_look() -> None:
    """However often, and at whatever price, a class is asked."""
    known = experience().of(WORK)
    teach(known, [15.0] * 100)
    for number in range(50):
        known.pause(FRESH, 0.1 + number, 1000.0 + 10 * number)

    assert looks(known) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.2)), min_size=10, max_size=40))
def test_looks_at_all_classes_are_spread(asked: list[tuple[int, float]]) -> None:
    """Each takes milliseconds of the event loop's time: no two within a twentieth of a second."""
    all_known = experience()
    classes = [all_known.of(evolve(WORK, steps=number)) for number in range(4)]
    for known in classes:
        teach(known, [15.0] * 6)
    now, looked_at = 1000.0, list[float]()
    for which, wait in asked:
        now += wait
        before = sum(map(looks, classes))
        first_poll(classes[which], now)
        taken = sum(map(looks, classes)) - before
        looked_at += [now] * taken

    assert all(late - early >= 0.049 for early, late in pairwise(looked_at))
    assert len(looked_at) >= 1


def test_a_look_that_was_put_off_is_taken_later() -> None:
    """Until then nothing is known of the class, rather than something wrong."""
    known = experience()
    one, other = known.of(WORK), known.of(evolve(WORK, path="/v3/async/other"))
    teach(one, [15.0] * 5)
    teach(other, [15.0] * 5)

    assert first_poll(one, 1000.0) is not None
    assert first_poll(other, 1000.01) is None
    assert first_poll(other, 1000.06) is not None


# --- clocks -----------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False), st.floats(0, 1e9), st.floats(0, 1e9))
def test_any_announcement_makes_a_usable_clock(seconds: float, now: float, later: float) -> None:
    """An eta may be 0, negative, or longer than the age of the universe."""
    reading = Reading.of_remaining(Clock.ETA, now, seconds)

    assert 0 < reading.unit < math.inf
    assert 0 <= reading.at(now + later) < math.inf
    assert reading.at(now - 1) == 0


def test_an_announced_time_is_ten_units() -> None:
    """So that its bins are as fine as those of seconds."""
    assert Reading.of_remaining(Clock.ETA, 100, 40).at(140) == pytest.approx(10)
    assert Reading(Clock.SUBMIT, 100).at(140) == 40


readings_of_a_task = st.tuples(
    st.sampled_from(Clock), st.floats(0, 1000), st.floats(0, 1e308) | st.floats(0, 100)
).map(lambda drawn: Reading.of_remaining(*drawn))


@given(
    st.lists(st.tuples(readings_of_a_task, st.floats(0, 500)), min_size=5, max_size=8),
    st.lists(readings_of_a_task, min_size=1, max_size=4),
    st.floats(0, 1e6),
    st.floats(1e-3, 1e3),
)
def test_any_experience_gives_a_usable_pause(
    ends: list[tuple[Reading, float]], readings: list[Reading], age: float, price: float
) -> None:
    """Above nothing, below twice the ceiling, for any clocks; the schedule cuts the rest."""
    known = experience().of(WORK)
    for reading, took in ends:
        known.note((reading,), reading.origin + took, reading.origin + took + 1)

    pause = known.pause(tuple(readings), price, 1000 + age)
    assert pause is None or 0 < pause < 2000


def test_each_clock_is_learned_by_itself() -> None:
    """A task without such a clock is not told by it."""
    known = experience().of(WORK)
    teach(known, [15.0] * 10, Clock.PROCESSING)

    assert known.pause((Reading(Clock.SUBMIT, 1000.0),), PRICE, 1000.0) is None
    assert known.pause((Reading(Clock.PROCESSING, 1000.0),), PRICE, 1000.0) is not None
    both = (Reading(Clock.SUBMIT, 900.0), Reading(Clock.PROCESSING, 1000.0))
    assert known.pause(both, PRICE, 1000.0) == known.pause(both[1:], PRICE, 1000.0)


def test_the_clock_that_tells_the_end_best_is_followed() -> None:
    """A narrow one, unless the plain age is nearly as good."""
    known = experience().of(WORK)
    teach(known, times_of(60, 30, 0.8))
    teach(known, times_of(60, 15, 0.1), Clock.PROCESSING)
    teach(known, times_of(60, 15, 0.79), Clock.ETA)
    for clock in Clock:
        # One after the other, as looks are spread.
        known.pause((Reading(clock, 1000.0),), PRICE, 1000.0 + clock)
    plain, processing, eta = (
        Reading(clock, 1000.0) for clock in (Clock.SUBMIT, Clock.PROCESSING, Clock.ETA)
    )

    def pause(*readings: Reading) -> float | None:
        return known.pause(readings, PRICE, 1000.0)

    assert pause(plain, processing) == pause(processing)
    assert pause(processing, plain) == pause(processing)
    assert pause(plain, processing, eta) == pause(processing)


def test_a_clock_that_is_hardly_better_is_not_followed() -> None:
    """The plain age cannot lie; something must be gained by believing another."""
    known = experience().of(WORK)
    teach(known, times_of(200, 15, 0.40))
    teach(known, times_of(200, 15, 0.36), Clock.ETA)
    plain, eta = (Reading(clock, 1000.0) for clock in (Clock.SUBMIT, Clock.ETA))
    alone = [known.pause((reading,), PRICE, 1000.0 + reading.clock) for reading in (plain, eta)]
    costs = [
        plan.cost
        for clock in (Clock.SUBMIT, Clock.ETA)
        if (plan := known.clocks[clock].plan(PRICE, 1.0, 1010.0)) is not None
    ]

    assert 0.9 * costs[0] < costs[1] < costs[0]
    assert alone[0] != alone[1]
    assert known.pause((plain, eta), PRICE, 1000.0) == alone[0]


# --- whole stories ----------------------------------------------------------------------------------


def cost_of(saying: Saying, *, queue: bool = False, sigma: float = 0.3) -> float:
    """Return what a task costs in the end, if the service talks like that."""
    times, random = times_of(220, 12, sigma), Random(7)
    queued = [random.uniform(0, 25) if queue else 0.0 for _ in times]
    took = [wait + time for wait, time in zip(queued, times, strict=True)]
    schedule = Schedule(Polling(price=PRICE))
    return follow(schedule, took, queued=queued, saying=saying).cost(PRICE, first=80)


def test_an_honest_service_is_asked_less() -> None:
    """Who says how long it will still take, or how far it is, is believed once that proved true."""
    assert cost_of(honest) < 0.6 * cost_of(silent)
    assert cost_of(lambda done, whole: (whole - done, 0.0)) < 0.6 * cost_of(silent)
    assert cost_of(lambda done, whole: (0.0, 100 * done / whole)) < 0.8 * cost_of(silent)


LIES: dict[str, Saying] = {
    "constant": lying,
    "nearly done": lambda _done, _whole: (0.1, 99.0),
    "hardly begun": lambda _done, _whole: (600.0, 1.0),
    "negative": lambda _done, _whole: (-5.0, -5.0),
    "more than all": lambda _done, _whole: (0.0, 150.0),
    "beyond reason": lambda _done, _whole: (1e308, 1e-320),
    "noise": lambda done, whole: (17 * done % 29, 1 + 31 * whole % 97),
    "the opposite": lambda done, _whole: (done + 1, 100 / (1 + done)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_service_is_seen_through(lie: str) -> None:
    """Waiting costs at most a tenth more than if it had said nothing."""
    assert cost_of(LIES[lie]) <= 1.1 * cost_of(silent)


def test_a_queue_is_told_from_the_work() -> None:
    """Time since PROCESSING tells the end better than time since the submit, if the queue varies."""
    times, random = times_of(220, 12, 0.2), Random(7)
    queued = [random.uniform(0, 60) for _ in times]
    took = [wait + time for wait, time in zip(queued, times, strict=True)]
    known = follow(Schedule(Polling(price=PRICE)), took, queued=queued).cost(PRICE, first=80)
    unknown = follow(Schedule(Polling(price=PRICE)), took).cost(PRICE, first=80)

    assert known < 0.85 * unknown


@pytest.mark.parametrize(("before", "after"), [(10.0, 20.0), (20.0, 10.0)])
def test_the_plan_follows_a_service_that_changes(before: float, after: float) -> None:
    """150 completions after all takes twice or half as long, waiting costs what it has to."""
    schedule = Schedule(Polling(price=PRICE))
    follow(schedule, times_of(200, before, 0.2))
    changed = follow(schedule, times_of(350, after, 0.2, seed=1), begin=10_000)
    settled = follow(Schedule(Polling(price=PRICE)), times_of(350, after, 0.2, seed=1))

    assert changed.cost(PRICE, first=150) <= 1.15 * settled.cost(PRICE, first=150)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
def test_experience_pays(sigma: float) -> None:
    """After a while, far fewer polls than of the first tasks, with no more delay."""
    times = times_of(250, 15, sigma)
    story = follow(Schedule(Polling(price=PRICE)), times)
    best_fixed: Callable[[float], float] = lambda pause: sum(  # noqa: E731
        PRICE * math.ceil(time / pause) + math.ceil(time / pause) * pause - time for time in times
    )
    rival = min(best_fixed(number / 4) / len(times) for number in range(1, 40))

    assert story.cost(PRICE, first=50) <= 0.9 * rival

"""Which task is asked about next, when, and when waiting ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Polling, TaskStatus, errors
from ppinfra_async._sansio.experience import Clock, Reading, Work
from ppinfra_async._sansio.schedule import Ask, Expire, Schedule
from tests.strategies import draws
from tests.worlds import WORK, follow, times_of

QUEUED, PROCESSING, UNKNOWN = TaskStatus.QUEUED, TaskStatus.PROCESSING, TaskStatus.UNKNOWN

pollings = st.builds(
    lambda least, span, **others: Polling(min_interval=least, max_interval=least + span, **others),
    least=st.floats(0.01, 2),
    span=st.floats(0, 10),
    polls_per_second=st.floats(0.5, 50),
    processing_deadline=st.floats(0.5, 60),
    total_deadline=st.floats(0.5, 120),
)

announced = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 120)
"""An eta or a percentage: the service may say anything."""

answers = st.tuples(st.sampled_from([QUEUED, PROCESSING, UNKNOWN]), announced, announced)

submits = st.none() | st.just(0.0) | st.floats(0, 60)
"""How long ago a task was submitted, or None when nobody knows."""

lessons = st.lists(st.floats(0.3, 30), max_size=8)
"""How long earlier tasks took; five are experience."""

steps = st.one_of(
    st.tuples(st.just("watch"), st.tuples(st.integers(0, 5), submits)),
    st.tuples(st.just("forget"), st.integers(0, 5)),
    st.tuples(st.just("hint"), st.integers(0, 5)),
    st.tuples(st.just("answer"), answers),
    st.tuples(st.just("fail"), st.none() | st.floats(0, 30)),
    st.tuples(st.just("end"), st.just(0)),
    # More often than the rest, so that something happens.
    st.tuples(st.just("answer"), answers),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("wait"), st.floats(0, 5)),
)


def taught(polling: Polling, times: list[float]) -> Schedule:
    """Return a schedule that knows how long tasks took, by every clock, each to half a second."""
    schedule = Schedule(polling)
    readings = tuple(Reading(clock, 0.0) for clock in Clock)
    for time in times:
        schedule._experience.of(WORK).note(readings, max(0.0, time - 0.25), time + 0.25)
    return schedule


@define
class Life:
    """A schedule in use, beside a simple record of what must be true of it."""

    schedule: Schedule
    now: float = 100.0
    since: dict[str, float] = field(factory=dict)
    deadline: dict[str, float] = field(factory=dict)
    not_before: dict[str, float] = field(factory=dict)
    waits: dict[str, int] = field(factory=dict)
    under_way: list[tuple[str, int]] = field(factory=list)
    asked_at: list[float] = field(factory=list)
    last_asked: dict[str, float] = field(factory=dict)
    paused_until: float = 0.0
    expired: list[str] = field(factory=list)

    @property
    def polling(self) -> Polling:
        return self.schedule.polling

    def do(self, what: str, value: Any, draw: float) -> None:
        match what:
            case "watch":
                self.watch(f"task {value[0]}", draw, value[1])
            case "forget":
                self.schedule.forget(f"task {value}")
                self.gone(f"task {value}")
            case "hint":
                self.hint(f"task {value}")
            case "answer" | "fail" | "end" if self.under_way:
                self.end_poll(what, value, draw)
            case "go on":
                self.now = max(self.now, self.schedule.wake_at() or 0.0)
            case "wait":
                self.now += value
        self.take_all()

    def watch(self, task_id: str, draw: float, ago: float | None) -> None:
        submitted_at = None if ago is None else self.now - ago
        self.schedule.watch(task_id, self.now, draw, work=WORK, submitted_at=submitted_at)
        if task_id not in self.since:
            self.since[task_id] = self.now
            self.waits[task_id] = self.waits.get(task_id, 0) + 1
            self.deadline[task_id] = self.now + self.polling.total_deadline
            if ago is not None and ago < self.polling.min_interval:
                self.not_before[task_id] = self.now + self.polling.min_interval

    def hint(self, task_id: str) -> None:
        self.schedule.hint(task_id, self.now)
        if (task_id, self.waits.get(task_id)) in self.under_way:
            return
        # Not later than usual, but neither sooner than the floor allows.
        asked_at = self.last_asked.get(task_id)
        if asked_at is None:
            self.not_before.pop(task_id, None)
        else:
            self.not_before[task_id] = asked_at + self.polling.min_interval

    def gone(self, task_id: str) -> None:
        for record in (self.since, self.deadline, self.not_before, self.last_asked):
            record.pop(task_id, None)

    def end_poll(self, what: str, value: Any, draw: float) -> None:
        task_id, wait = self.under_way.pop(0)
        self.schedule.returned()
        is_stale = task_id in self.since and self.waits[task_id] != wait
        if is_stale and what != "fail":
            # Those who waited before asked that; the poller does not pass it on.
            return
        match what:
            case "end":
                self.schedule.ended(task_id, self.now)
                self.gone(task_id)
            case "answer":
                status, eta, percent = value
                self.schedule.answered(
                    task_id, status, self.now, draw, eta=eta, progress_percent=percent
                )
                if status is PROCESSING and task_id in self.deadline:
                    late = self.now + self.polling.processing_deadline
                    self.deadline[task_id] = min(self.deadline[task_id], late)
            case "fail":
                self.schedule.failed(task_id, self.now, draw, value)
                if value is not None:
                    pause = min(max(value, self.polling.min_interval), self.polling.max_interval)
                    self.paused_until = max(self.paused_until, self.now + pause)
        if what != "end" and task_id in self.since and not is_stale:
            self.not_before[task_id] = self.now + self.polling.min_interval

    def take_all(self) -> None:
        while (taken := self.schedule.take(self.now)) is not None:
            assert taken.task_id in self.since, "forgotten or ended"
            match taken:
                case Ask(task_id):
                    self.check_ask(task_id)
                    self.under_way.append((task_id, self.waits[task_id]))
                    self.asked_at.append(self.now)
                    self.last_asked[task_id] = self.now
                case Expire(task_id, waited):
                    assert self.now >= self.deadline[task_id]
                    assert waited == self.now - self.since[task_id]
                    self.expired.append(task_id)
                    self.gone(task_id)
        self.check_rest()

    def check_ask(self, task_id: str) -> None:
        assert self.now < self.deadline[task_id]
        assert self.now >= self.not_before.get(task_id, 0.0)
        assert self.now >= self.paused_until
        gap = 1 / self.polling.polls_per_second
        for number, asked_at in enumerate(reversed(self.asked_at), start=1):
            # In any time, no more than the budget of this time and of one beat.
            assert self.now >= asked_at + number * gap - self.schedule.budget.allowance - 1e-9

    def check_rest(self) -> None:
        """Nothing is lost: what waits has a next time, and it is later than now."""
        assert len(self.schedule) == len(self.since)
        assert all(task_id in self.schedule for task_id in self.since)
        assert all(self.now < deadline for deadline in self.deadline.values())
        wake_at = self.schedule.wake_at()
        if not self.since:
            assert wake_at is None
        else:
            assert wake_at is not None
            assert self.now < wake_at <= min(self.deadline.values())


@given(pollings, lessons, st.lists(st.tuples(steps, draws), min_size=20, max_size=40))
def test_any_life_keeps_all_promises(
    polling: Polling, times: list[float], life: list[tuple[tuple[str, Any], float]]
) -> None:
    """No task lost or asked after its end; floors, deadlines, budget and pauses are kept."""
    under_test = Life(taught(polling, times))
    for number in range(3):
        under_test.watch(f"task {number}", 0.5, 0.0)

    for (what, value), draw in life:
        under_test.do(what, value, draw)


@given(pollings, lessons, st.integers(1, 8), answers | st.none(), submits)
def test_every_task_ends_exactly_once(
    polling: Polling,
    times: list[float],
    tasks: int,
    answer: tuple[TaskStatus, float | None, float | None] | None,
    ago: float | None,
) -> None:
    """Left alone with answers that never end, each one expires at its deadline."""
    life = Life(taught(polling, times))
    for number in range(tasks):
        life.watch(f"task {number}", 0.5, ago)

    for _ in range(20_000):
        if (wake_at := life.schedule.wake_at()) is None:
            break
        life.now = max(life.now, wake_at)
        life.take_all()
        while life.under_way:
            life.end_poll("answer" if answer else "fail", answer, 0.5)

    assert sorted(life.expired) == [f"task {number}" for number in range(tasks)]
    assert len(life.schedule) == 0
    assert life.schedule.wake_at() is None


@given(
    pollings,
    lessons,
    submits,
    st.lists(st.tuples(st.none() | answers, draws, st.floats(0, 3)), max_size=10),
)
def test_every_interval_is_within_floor_and_ceiling(
    polling: Polling,
    times: list[float],
    ago: float | None,
    life: list[tuple[tuple[TaskStatus, float | None, float | None] | None, float, float]],
) -> None:
    """From an answer, or a failure, to the next question; only the deadline may come first."""
    schedule = taught(polling, times)
    schedule.watch("t", 0, 0.5, work=WORK, submitted_at=None if ago is None else -ago)
    for answer, draw, delay in life:
        wake_at = schedule.wake_at()
        assert wake_at is not None
        if not isinstance(schedule.take(wake_at), Ask):
            return
        answered = wake_at + delay
        schedule.returned()
        if answer:
            status, eta, percent = answer
            schedule.answered("t", status, answered, draw, eta=eta, progress_percent=percent)
        else:
            schedule.failed("t", answered, draw)
        planned = schedule._polls.first()
        assert planned is not None
        interval = planned[0] - answered
        assert interval >= polling.min_interval - 1e-9
        assert interval <= polling.max_interval + 1e-9


def calm(**options: Any) -> Schedule:
    return Schedule(Polling(**{"polls_per_second": 1000, **options}))


def submit(schedule: Schedule, task_id: str, now: float, draw: float = 0.5) -> None:
    """Begin to wait for a task that was submitted just now, of a kind that nobody knows."""
    schedule.watch(task_id, now, draw, submitted_at=now)


def next_ask(schedule: Schedule) -> tuple[float, str]:
    """Go to the next poll; return when and whom."""
    now = schedule.wake_at()
    assert now is not None
    taken = schedule.take(now)
    assert isinstance(taken, Ask)
    return now, taken.task_id


def test_questions_come_less_and_less_often() -> None:
    """After a second, then with growing pauses up to five seconds, on the next beat each time."""
    schedule = calm()
    submit(schedule, "t", 0)
    times = []
    for _ in range(7):
        now, _ = next_ask(schedule)
        times.append(now)
        schedule.returned()
        schedule.answered("t", QUEUED, now, 0.5)

    pauses = [later - earlier for earlier, later in zip([0, *times], times, strict=False)]
    # 2.25 and 3.375 of them do not end on a beat.
    assert pauses == pytest.approx([1, 1.5, 2.3, 3.4, 5, 5, 5])


def test_draws_spread_tasks_that_began_together() -> None:
    """Up to 15 % to both sides."""
    schedule = calm()
    submit(schedule, "early", 0, 0)
    submit(schedule, "late", 0, 1 - 2**-53)

    times, names = zip(next_ask(schedule), next_ask(schedule), strict=True)
    # 0.85 and 1.15 lie between two beats.
    assert times == pytest.approx((0.8, 1.1))
    assert names == ("early", "late")


def test_what_is_due_at_about_the_same_time_is_asked_together() -> None:
    """Waking the event loop up costs as much as a poll; the budget of a beat may go at once."""
    schedule = calm(polls_per_second=100)
    for number in range(12):
        submit(schedule, f"t{number}", 0.07 + number / 200)

    times = [next_ask(schedule)[0] for _ in range(12)]

    # The beat at 1.1 is the nearest to all; ten of them are the budget of a beat.
    assert times[:11] == [pytest.approx(1.1)] * 11
    assert times[11:] == [pytest.approx(1.11)]


# --- when a task is first asked about ---------------------------------------------------------------


@pytest.mark.parametrize("work", [None, WORK])
def test_a_task_of_unknown_age_is_asked_about_at_once(work: Work | None) -> None:
    """It may be done long since: it comes from a journal, or from another process."""
    schedule = taught(Polling(), [15.0] * 20)
    schedule.watch("t", 100, 0.5, work=work)

    assert next_ask(schedule) == (100, "t")


def test_a_new_task_is_first_asked_about_when_it_may_be_done() -> None:
    """By experience with such work; a task of which less is known, after a second."""
    schedule = taught(Polling(max_interval=60), [15.0] * 20)
    schedule.watch("known", 100, 0.5, work=WORK, submitted_at=100)
    schedule.watch("of unknown kind", 100, 0.5, submitted_at=100)

    assert next_ask(schedule) == (101, "of unknown kind")
    when, _ = next_ask(schedule)
    assert 110 < when < 116


def test_who_begins_to_wait_late_does_not_wait_again() -> None:
    """A task that should have been asked about before is asked about at once, any other in time."""
    for polling in (Polling(), Polling(max_interval=60)):
        schedule = taught(polling, [15.0] * 20)
        schedule.watch("t", 160, 0.5, work=WORK, submitted_at=100)
        assert next_ask(schedule) == (160, "t")

    schedule.watch("soon", 160, 0.5, work=WORK, submitted_at=155)
    when, _ = next_ask(schedule)
    assert 165 < when < 171

    schedule.watch("of unknown kind", 200, 0.5, submitted_at=198)
    assert next_ask(schedule) == (200, "of unknown kind")
    assert schedule.budget.level == 0


def test_tasks_that_are_known_are_spread_less() -> None:
    """By 5 % to both sides: farther off the best time, they would cost more than they spare."""
    first = []
    for draw in (0, 0.5, 1 - 2**-53):
        schedule = taught(Polling(max_interval=60), [15.0] * 50)
        schedule.watch("t", 100, draw, work=WORK, submitted_at=100)
        first.append(next_ask(schedule)[0] - 100)

    early, middle, late = first
    assert 14 < middle < 16
    assert early == pytest.approx(0.95 * middle, abs=0.11)
    assert late == pytest.approx(1.05 * middle, abs=0.11)


def test_the_shortest_pause_ends_on_a_beat_too() -> None:
    """The next one after it: not sooner than the floor allows."""
    schedule = taught(Polling(price=0.001), [15.0] * 50)
    schedule.watch("t", 0, 0.5, work=WORK, submitted_at=0)
    schedule.hint("t", 15)
    assert schedule.take(15) == Ask("t")
    schedule.answered("t", QUEUED, 15.07, 0.5)

    assert schedule.wake_at() == pytest.approx(15.4)


def test_dear_polls_are_planned_later() -> None:
    """The price is that of the budget at present, not the configured one."""
    schedule = taught(Polling(max_interval=60), [12.0, 14.0, 15.0, 16.0, 18.0] * 10)
    schedule.watch("cheap", 100, 0.5, work=WORK, submitted_at=100)
    for number in range(6):
        schedule.budget.spend(90.0 + number, 0.0)
    schedule.watch("dear", 100, 0.5, work=WORK, submitted_at=100)

    (early, first), (late, second) = next_ask(schedule), next_ask(schedule)
    assert (first, second) == ("cheap", "dear")
    assert late > early + 1


# --- experience -------------------------------------------------------------------------------------


def finish(
    schedule: Schedule, task_id: str, begin: float, *asked: tuple[float, TaskStatus]
) -> None:
    """Let a task be submitted, asked about at some times, and be done a second after the last."""
    now = begin
    schedule.watch(task_id, begin, 0.5, work=WORK, submitted_at=begin)
    for now, status in asked:
        schedule.hint(task_id, now)
        assert schedule.take(now) == Ask(task_id)
        schedule.returned()
        schedule.answered(task_id, status, now, 0.5)
    schedule.hint(task_id, now + 1)
    assert schedule.take(now + 1) == Ask(task_id)
    schedule.returned()
    schedule.ended(task_id, now + 1)


def test_what_ended_is_learned_from() -> None:
    """From the poll that found it unfinished last to the one that found it done; then it is gone."""
    schedule = calm(max_interval=60)
    for number in range(60):
        begin = number * 100.0
        finish(schedule, f"t{number}", begin, (begin + 5, QUEUED), (begin + 19, PROCESSING))
    assert len(schedule) == 0
    assert schedule.wake_at() is None

    schedule.watch("new", 7000, 0.5, work=WORK, submitted_at=7000)
    when, _ = next_ask(schedule)
    assert 7016 < when < 7021


def test_only_an_end_is_learned_from() -> None:
    """Not that nobody wants to know any more, nor a deadline, nor a task of unknown age."""
    schedule = calm(total_deadline=30)
    for number in range(20):
        begin = number * 100.0
        schedule.watch(f"forgotten {number}", begin, 0.5, work=WORK, submitted_at=begin)
        schedule.forget(f"forgotten {number}")
        schedule.watch(f"attached {number}", begin, 0.5, work=WORK)
        schedule.ended(f"attached {number}", begin + 15)
        schedule.watch(f"expired {number}", begin, 0.5, work=WORK, submitted_at=begin)
        assert schedule.take(begin + 30) == Expire(f"expired {number}", 30)
        schedule.ended("nobody", begin + 30)

    submit(schedule, "new", 5000)
    schedule.watch("known", 5000, 0.5, work=WORK, submitted_at=5000)
    assert {next_ask(schedule)[0], next_ask(schedule)[0]} == {5001}


def test_other_work_is_not_the_same_work() -> None:
    """Each class has its own experience."""
    schedule = taught(Polling(max_interval=100, price=1), [50.0] * 60)
    slow = evolve(WORK, steps=100)
    for _ in range(60):
        schedule._experience.of(slow).note((Reading(Clock.SUBMIT, 0.0),), 89, 91)
    schedule.watch("slow", 0, 0.5, work=slow, submitted_at=0)
    schedule.watch("fast", 1, 0.5, work=WORK, submitted_at=1)

    (early, first), (late, _) = next_ask(schedule), next_ask(schedule)
    assert first == "fast"
    assert 35 < early < 53
    assert 75 < late < 94


def test_after_a_failure_experience_waits() -> None:
    """Failures double the pause, whatever is known; the answer after them brings experience back."""
    schedule = taught(Polling(polls_per_second=1000), [15.0] * 50)
    schedule.watch("t", 0, 0.5, work=WORK, submitted_at=0)
    next_ask(schedule)
    schedule.answered("t", QUEUED, 14.5, 0.5)
    known = next_ask(schedule)[0] - 14.5
    assert known < 1

    schedule.failed("t", 15, 0.5)
    assert schedule.wake_at() == pytest.approx(15 + 2 * 2.25, abs=0.06)
    schedule.answered("t", QUEUED, 15, 0.5)
    assert schedule.wake_at() < 16  # type: ignore[operator]  # it waits for something


def clocks(schedule: Schedule) -> dict[Clock, tuple[float, float]]:
    """Return zero and unit of the clocks that the task t has."""
    return {clock: (origin, unit) for clock, origin, unit in schedule._waiting["t"].readings}


def test_processing_began_halfway_between_two_polls() -> None:
    """When it was first seen; nothing moves it afterwards."""
    schedule = calm()
    schedule.watch("t", 100, 0.5, work=WORK, submitted_at=100)
    for now, status in ((104, QUEUED), (108, PROCESSING), (112, QUEUED), (116, PROCESSING)):
        schedule.hint("t", now)
        assert schedule.take(now) == Ask("t")
        schedule.answered("t", status, now + 0.5, 0.5)

    assert clocks(schedule) == {Clock.SUBMIT: (100, 1), Clock.PROCESSING: (106, 1)}


def test_the_first_announcement_is_what_counts() -> None:
    """Of eta and progress alike, from when it was asked for; later ones are not learned from."""
    schedule = calm()
    schedule.watch("t", 100, 0.5, work=WORK, submitted_at=100)
    for now, eta, percent in ((104, 0, 0), (108, 40, 25), (112, 5, 90)):
        schedule.hint("t", now)
        assert schedule.take(now) == Ask("t")
        schedule.answered("t", PROCESSING, now + 0.5, 0.5, eta=eta, progress_percent=percent)

    # In PROCESSING since 102, a quarter done at 108: three quarters will take 18 s.
    assert clocks(schedule) == {
        Clock.SUBMIT: (100, 1),
        Clock.PROCESSING: (102, 1),
        Clock.ETA: (108, pytest.approx(4)),
        Clock.PROGRESS: (108, pytest.approx(1.8)),
    }


@pytest.mark.parametrize(
    ("eta", "percent"), [(None, None), (0, 0), (-5, -5), (None, 100), (None, 250), (-1e308, 1e308)]
)
def test_what_announces_nothing_is_no_clock(eta: float | None, percent: float | None) -> None:
    """Samples show 0 even at success."""
    schedule = calm()
    schedule.watch("t", 100, 0.5, work=WORK, submitted_at=100)
    next_ask(schedule)
    schedule.answered("t", PROCESSING, 102, 0.5, eta=eta, progress_percent=percent)

    assert set(clocks(schedule)) == {Clock.SUBMIT, Clock.PROCESSING}


def test_progress_in_the_queue_is_no_clock() -> None:
    """Nothing began yet; and of an attached task nothing is noted at all."""
    schedule = calm()
    schedule.watch("t", 100, 0.5, work=WORK, submitted_at=100)
    next_ask(schedule)
    schedule.answered("t", QUEUED, 102, 0.5, progress_percent=50)
    assert set(clocks(schedule)) == {Clock.SUBMIT}

    schedule.forget("t")
    schedule.watch("t", 100, 0.5, work=WORK)
    schedule.answered("t", PROCESSING, 102, 0.5, eta=5, progress_percent=50)
    assert clocks(schedule) == {}


# --- whole stories ----------------------------------------------------------------------------------


def most_within(times: list[float], seconds: float) -> int:
    """Return the most of them in any such span."""
    return max(sum(begin <= when < begin + seconds for when in times) for begin in times)


def test_a_short_budget_makes_polls_dear_and_few() -> None:
    """Each is asked for at a better time then; and when it is over, everything is as before."""
    schedule = Schedule(Polling(polls_per_second=2))
    follow(schedule, times_of(60, 10, 0.2), every=10)
    calm_story = follow(schedule, times_of(30, 10, 0.2), begin=1_000, every=10)
    assert schedule.budget.level == 0

    crowd = follow(schedule, times_of(300, 10, 0.2), begin=2_000, every=0.5)
    assert schedule.budget.level > 0
    asked = sorted(
        2_000 + 0.5 * number + age for number, ages in enumerate(crowd.ages) for age in ages
    )
    assert most_within(asked, 10) <= 2 * 10 + 1
    assert sum(crowd.polls[100:250]) / 150 < 0.75 * sum(calm_story.polls) / 30

    after = follow(schedule, times_of(60, 10, 0.2), begin=4_000, every=10)
    assert schedule.budget.level == 0
    assert sum(after.polls[30:]) >= 0.85 * sum(calm_story.polls)


def test_no_task_is_starved_by_others() -> None:
    """With a budget that is far too small for all, each is asked about before its deadline."""
    schedule = Schedule(Polling(polls_per_second=5, total_deadline=1800))
    story = follow(schedule, times_of(500, 10, 0.3), every=0.01)

    assert min(story.polls) >= 1
    assert max(story.delays) < 500 / 5 * 1.5


def test_one_refusal_halves_the_polls_of_all() -> None:
    """Once per story, however many polls were under way; answers bring them back."""
    schedule = calm(polls_per_second=20, total_deadline=10_000)
    for number in range(600):
        submit(schedule, f"t{number}", 0)
    for number in range(3):
        schedule.failed(f"t{number}", 0, 0.5, 2)

    def polls_per_second(count: int, *, answer: bool) -> float:
        times = []
        for _ in range(count):
            now, name = next_ask(schedule)
            schedule.returned()
            times.append(now)
            if answer:
                schedule.answered(name, QUEUED, now, 0.5)
        return (count - 1) / (times[-1] - times[0])

    assert polls_per_second(100, answer=False) == pytest.approx(10, rel=0.05)
    polls_per_second(300, answer=True)
    assert polls_per_second(100, answer=True) == pytest.approx(20, rel=0.05)


def test_failures_of_some_slow_down_all() -> None:
    """A service that fails is not helped by polls; nor is one of them forgotten."""
    schedule = calm(polls_per_second=20)
    for number in range(60):
        submit(schedule, f"t{number}", 0)
    for number in range(20):
        schedule.failed(f"t{number}", 0, 0.5)
    times = []
    for _ in range(40):
        times.append(next_ask(schedule)[0])
        schedule.returned()

    assert [late - early for early, late in pairwise(times[2:])] == pytest.approx(
        [1 / 20 / 0.9**20] * 37
    )
    assert len(schedule) == 60


# --- trouble, deadlines and bounds ------------------------------------------------------------------


def test_failures_double_the_pause() -> None:
    """An answer forgives them."""
    schedule = calm(max_interval=100)
    submit(schedule, "t", 0)
    now, _ = next_ask(schedule)
    schedule.failed("t", now, 0.5)
    assert schedule.wake_at() == pytest.approx(now + 1.5 * 2)
    now, _ = next_ask(schedule)
    schedule.failed("t", now, 0.5)
    assert schedule.wake_at() == pytest.approx(now + 2.25 * 4)
    now, _ = next_ask(schedule)
    schedule.answered("t", QUEUED, now, 0.5)
    assert schedule.wake_at() == pytest.approx(now + 3.4)


def test_endless_failures_do_not_overflow() -> None:
    """A task may wait for days."""
    schedule = calm(total_deadline=1e9)
    submit(schedule, "t", 0)
    for _ in range(2000):
        now, _ = next_ask(schedule)
        schedule.returned()
        schedule.failed("t", now, 0.5)

    assert schedule.wake_at() == now + 10


def test_a_last_look_before_the_deadline() -> None:
    """So that a result is not missed by a moment; the end comes on time."""
    schedule = calm(total_deadline=7)
    submit(schedule, "t", 0)
    for _ in range(3):
        now, _ = next_ask(schedule)
        schedule.returned()
        schedule.answered("t", QUEUED, now, 0.5)

    assert next_ask(schedule) == (6.5, "t")
    schedule.returned()
    schedule.answered("t", QUEUED, 6.6, 0.5)
    when, _ = next_ask(schedule)
    assert pytest.approx(when) == 6.85
    schedule.answered("t", QUEUED, 6.9, 0.5)
    assert schedule.wake_at() == 7
    assert schedule.take(7) == Expire("t", 7)
    assert schedule.take(7) is None


def test_time_in_the_queue_is_not_the_tasks_fault() -> None:
    """The shorter deadline runs from the first PROCESSING, also when it waits again later."""
    schedule = calm(processing_deadline=10, total_deadline=100)
    submit(schedule, "t", 0)
    schedule.answered("t", QUEUED, 50, 0.5)
    schedule.answered("t", PROCESSING, 60, 0.5)
    schedule.answered("t", QUEUED, 65, 0.5)
    schedule.answered("t", PROCESSING, 66, 0.5)

    assert schedule.take(69.9) == Ask("t")
    assert schedule.take(70) == Expire("t", 70)


def test_the_total_deadline_stays() -> None:
    """PROCESSING shortly before it does not prolong it."""
    schedule = calm(processing_deadline=600, total_deadline=100)
    submit(schedule, "t", 0)
    schedule.answered("t", PROCESSING, 99, 0.5)

    assert schedule.take(100) == Expire("t", 100)


def test_a_late_caller_still_learns_of_the_deadline() -> None:
    """With how long was really waited."""
    schedule = calm(total_deadline=10)
    submit(schedule, "t", 5)

    assert schedule.take(500) == Expire("t", 495)
    assert schedule.take(500) is None
    assert "t" not in schedule


def test_watching_twice_is_watching_once() -> None:
    """Neither the plan nor the deadline moves."""
    schedule = calm(total_deadline=10)
    submit(schedule, "t", 0)
    submit(schedule, "t", 5)

    assert len(schedule) == 1
    assert next_ask(schedule) == (1, "t")
    assert schedule.take(10) == Expire("t", 10)


def test_a_forgotten_task_leaves_no_trace() -> None:
    """Also when it is forgotten while its poll is under way, or was never known."""
    schedule = calm()
    submit(schedule, "t", 0)
    next_ask(schedule)
    schedule.forget("t")
    schedule.forget("nobody")
    schedule.returned()
    schedule.answered("t", PROCESSING, 2, 0.5)
    schedule.failed("t", 2, 0.5)
    schedule.hint("t", 2)

    assert (len(schedule), "t" in schedule) == (0, False)
    assert schedule.wake_at() is None
    assert schedule.take(10_000) is None


def test_a_hint_is_followed_at_once() -> None:
    """As soon as the budget allows, and by one question only."""
    schedule = calm(polls_per_second=1)
    submit(schedule, "a", 0)
    submit(schedule, "b", 0.2)
    assert next_ask(schedule) == (1, "a")
    schedule.hint("b", 1.1)

    assert schedule.take(1.1) is None
    assert next_ask(schedule) == (2, "b")
    assert schedule.take(3) is None


def test_a_hint_during_a_poll_is_not_lost() -> None:
    """The answer may be older than the hint: it is asked again after the floor, once."""
    schedule = calm()
    submit(schedule, "t", 0)
    now, _ = next_ask(schedule)
    for _ in range(20):
        schedule.hint("t", now + 0.01)
    assert schedule.take(now + 0.02) is None
    schedule.returned()
    schedule.answered("t", PROCESSING, now + 0.1, 0.5)

    again, _ = next_ask(schedule)
    assert again == pytest.approx(now + 0.1 + 0.25)
    schedule.answered("t", PROCESSING, now + 0.5, 0.5)
    assert (schedule.wake_at() or 0.0) > now + 1


def test_hints_keep_the_floor() -> None:
    """Whoever hints all the time gets no more polls than that."""
    schedule = calm()
    submit(schedule, "t", 0)
    now, _ = next_ask(schedule)
    schedule.answered("t", PROCESSING, now, 0.5)
    schedule.hint("t", now + 0.1)

    assert next_ask(schedule) == (now + 0.25, "t")


def test_many_old_tasks_leave_room_for_new_ones() -> None:
    """Five thousand that are attached at once take half of the budget until all had their turn."""
    schedule = calm(polls_per_second=20)
    for number in range(5000):
        schedule.watch(f"old {number}", 0, 0.5)
    submit(schedule, "new", 0)
    asked = ""
    while asked != "new":
        now, asked = next_ask(schedule)
        schedule.returned()

    assert now < 2


def test_a_hint_does_not_break_the_floor() -> None:
    """A task that was asked about a moment ago may be asked again when its time has come."""
    schedule = calm()
    submit(schedule, "t", 0)
    assert next_ask(schedule) == (1, "t")
    schedule.answered("t", QUEUED, 1.05, 0.5)
    for now in (1.1, 1.15):
        schedule.hint("t", now)
        assert schedule.take(now) is None

    assert next_ask(schedule) == (1.25, "t")
    schedule.answered("t", QUEUED, 5, 0.5)
    schedule.hint("t", 5.1)
    assert next_ask(schedule) == (5.1, "t")


@pytest.mark.parametrize("status", [QUEUED, None])
def test_a_hint_during_a_poll_waits_for_its_answer(status: TaskStatus | None) -> None:
    """That may be older than the hint: then it is asked again as soon as the floor allows, once."""
    schedule = calm()
    submit(schedule, "t", 0)
    assert next_ask(schedule) == (1, "t")
    schedule.hint("t", 1.1)
    assert schedule.take(100) is None

    if status is None:
        schedule.failed("t", 1.5, 0.5)
    else:
        schedule.answered("t", status, 1.5, 0.5)
    assert next_ask(schedule) == (1.75, "t")
    schedule.answered("t", QUEUED, 1.75, 0.5)
    assert schedule.wake_at() == pytest.approx(1.75 + 2.25, abs=0.051)


def test_many_tasks_of_unknown_age_take_turns() -> None:
    """They take half of the budget, so that those that were submitted now are asked about in time."""
    schedule = calm(polls_per_second=20)
    for number in range(100):
        schedule.watch(f"old {number}", 0, 0.5)
    for number in range(5):
        submit(schedule, f"new {number}", 1)
    asked = {}
    for _ in range(105):
        now, name = next_ask(schedule)
        schedule.returned()
        asked[name] = now

    assert asked["old 0"] == 0
    assert asked["old 99"] == pytest.approx(99 * 2 / 20)
    assert max(asked[f"new {number}"] for number in range(5)) < 2.5

    schedule.watch("much later", 50, 0.5)
    assert schedule.take(50) == Ask("much later")


def test_turns_end_before_the_deadline() -> None:
    """Each task is asked about once at least, as far as the budget goes."""
    schedule = calm(polls_per_second=20, total_deadline=3)
    for number in range(32):
        schedule.watch(f"old {number}", 0, 0.5)
    asked = set()
    while (now := schedule.wake_at()) is not None:
        taken = schedule.take(now)
        if isinstance(taken, Ask):
            schedule.returned()
            asked.add(taken.task_id)

    assert len(asked) == 32


def test_the_budget_is_one_for_all() -> None:
    """A thousand tasks that began together are asked one after the other, each once."""
    schedule = calm(polls_per_second=20, max_interval=100, total_deadline=1000)
    for number in range(1000):
        submit(schedule, f"t{number}", 0)
    times, names = [], set()
    for _ in range(1000):
        now, name = next_ask(schedule)
        schedule.returned()
        times.append(now)
        names.add(name)

    assert len(names) == 1000
    assert times[0] == 1
    # Two of them were asked ahead of their time.
    assert times[-1] == pytest.approx(1 + 997 / 20)


def test_at_most_64_polls_are_under_way() -> None:
    """The 65th waits for the end of one before it, while deadlines go on."""
    schedule = calm(total_deadline=50)
    for number in range(70):
        submit(schedule, f"t{number}", 0)
    for _ in range(64):
        next_ask(schedule)

    assert schedule.take(49) is None
    assert schedule.wake_at() == 50
    schedule.returned()
    assert schedule.wake_at() == pytest.approx(1)
    assert isinstance(schedule.take(49), Ask)
    assert schedule.take(49.5) is None
    assert isinstance(schedule.take(50), Expire)


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(0, 0.25), (0.1, 0.25), (3, 3), (10, 10), (3600, 10)]
)
def test_a_rate_limit_pauses_all_polls(retry_after: float, pause: float) -> None:
    """For as long as the service asks, within floor and ceiling."""
    schedule = calm()
    submit(schedule, "a", 0)
    submit(schedule, "b", 0)
    now, name = next_ask(schedule)
    schedule.returned()
    schedule.failed(name, now, 0.5, retry_after)

    other, _ = next_ask(schedule)
    assert other == pytest.approx(now + pause)


def test_memory_follows_what_is_waiting() -> None:
    """Tasks that came and went, and hints by the thousand, leave nothing behind."""
    schedule = calm()
    for number in range(5000):
        submit(schedule, f"t{number}", number / 100)
        schedule.forget(f"t{number - 10}")
    for number in range(5000):
        schedule.hint("t4999", number)

    assert len(schedule) == 10
    for table in (schedule._polls, schedule._deadlines):
        assert sum(map(len, table._keys.values())) < 100
        assert len(table._times) < 100


def service_error(status: int | None) -> errors.ServiceError:
    return errors.ServiceError("no", status=status)


TRANSIENT: list[errors.PPInfraError] = [
    errors.RateLimitedError("429"),
    errors.ProtocolError("HTML", status=403),
    errors.ProtocolError("bad JSON", status=200),
    service_error(None),
    service_error(200),
    service_error(408),
    service_error(425),
    service_error(500),
    service_error(503),
]
FINAL: list[errors.PPInfraError] = [
    errors.InvalidKeyError("403"),
    errors.InsufficientBalanceError("400"),
    errors.NotAllowedError("403"),
    errors.InvalidRequestError("400"),
    errors.ContentRejectedError("400"),
    service_error(400),
    service_error(409),
    service_error(410),
]
EARLY: list[errors.PPInfraError] = [errors.TaskNotFoundError("404"), service_error(404)]


def kind_of(error: errors.PPInfraError) -> str:
    return f"{type(error).__name__} {getattr(error, 'status', '')}"


@pytest.mark.parametrize("error", TRANSIENT, ids=kind_of)
def test_unknown_is_not_failed(error: errors.PPInfraError) -> None:
    """A poll that brought nothing keeps the task waiting, however late."""
    schedule = calm()
    submit(schedule, "t", 0)

    assert schedule.is_transient("t", error, 1)
    assert schedule.is_transient("t", error, 1000)


@pytest.mark.parametrize("error", FINAL, ids=kind_of)
def test_a_clear_no_ends_waiting(error: errors.PPInfraError) -> None:
    """Asking again would get the same answer."""
    schedule = calm()
    submit(schedule, "t", 0)

    assert not schedule.is_transient("t", error, 1)


@pytest.mark.parametrize("error", EARLY, ids=kind_of)
def test_a_new_task_may_be_unknown_for_a_moment(error: errors.PPInfraError) -> None:
    """For ten seconds; later it is unknown for good, as is one that nobody waits for."""
    schedule = calm()
    submit(schedule, "t", 100)

    assert schedule.is_transient("t", error, 109.9)
    assert not schedule.is_transient("t", error, 110)
    assert not schedule.is_transient("nobody", error, 100)


@pytest.mark.parametrize("error", EARLY, ids=kind_of)
def test_a_known_task_is_not_given_up_for_one_stray_404(error: errors.PPInfraError) -> None:
    """For half a minute after the service last spoke of it."""
    schedule = calm()
    submit(schedule, "t", 0)
    schedule.answered("t", QUEUED, 100, 0.5)
    schedule.failed("t", 110, 0.5)

    assert schedule.is_transient("t", error, 129.9)
    assert not schedule.is_transient("t", error, 130)

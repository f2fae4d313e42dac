"""Which task is asked about next, when, and when waiting ends."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Polling, TaskStatus, errors
from ppinfra_async._sansio.schedule import Ask, Expire, Schedule
from tests.strategies import draws

QUEUED, PROCESSING, UNKNOWN = TaskStatus.QUEUED, TaskStatus.PROCESSING, TaskStatus.UNKNOWN

pollings = st.builds(
    lambda least, span, **others: Polling(min_interval=least, max_interval=least + span, **others),
    least=st.floats(0.01, 2),
    span=st.floats(0, 10),
    polls_per_second=st.floats(0.5, 50),
    processing_deadline=st.floats(0.5, 60),
    total_deadline=st.floats(0.5, 120),
)

steps = st.one_of(
    st.tuples(st.just("watch"), st.integers(0, 5)),
    st.tuples(st.just("forget"), st.integers(0, 5)),
    st.tuples(st.just("hint"), st.integers(0, 5)),
    st.tuples(st.just("answer"), st.sampled_from([QUEUED, PROCESSING, UNKNOWN])),
    st.tuples(st.just("fail"), st.none() | st.floats(0, 30)),
    # More often than the rest, so that something happens.
    st.tuples(st.just("answer"), st.sampled_from([QUEUED, PROCESSING, UNKNOWN])),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("go on"), st.just(0)),
    st.tuples(st.just("wait"), st.floats(0, 5)),
)


@define
class Life:
    """A schedule in use, beside a simple record of what must be true of it."""

    polling: Polling
    schedule: Schedule = field(init=False)
    now: float = 100.0
    since: dict[str, float] = field(factory=dict)
    deadline: dict[str, float] = field(factory=dict)
    not_before: dict[str, float] = field(factory=dict)
    under_way: list[str] = field(factory=list)
    asked_at: list[float] = field(factory=list)
    paused_until: float = 0.0
    expired: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.schedule = Schedule(self.polling)

    def do(self, what: str, value: Any, draw: float) -> None:
        match what:
            case "watch":
                self.watch(f"task {value}", draw)
            case "forget":
                self.forget(f"task {value}")
            case "hint":
                self.schedule.hint(f"task {value}", self.now)
                self.not_before.pop(f"task {value}", None)
            case "answer" | "fail" if self.under_way:
                self.end_poll(what, value, draw)
            case "go on":
                self.now = max(self.now, self.schedule.wake_at() or 0.0)
            case "wait":
                self.now += value
        self.take_all()

    def watch(self, task_id: str, draw: float) -> None:
        self.schedule.watch(task_id, self.now, draw)
        if task_id not in self.since:
            self.since[task_id] = self.now
            self.deadline[task_id] = self.now + self.polling.total_deadline
            self.not_before[task_id] = self.now + self.polling.min_interval

    def forget(self, task_id: str) -> None:
        self.schedule.forget(task_id)
        for record in (self.since, self.deadline, self.not_before):
            record.pop(task_id, None)

    def end_poll(self, what: str, value: Any, draw: float) -> None:
        task_id = self.under_way.pop(0)
        self.schedule.returned()
        if what == "answer":
            self.schedule.answered(task_id, value, self.now, draw)
            if value is PROCESSING and task_id in self.deadline:
                late = self.now + self.polling.processing_deadline
                self.deadline[task_id] = min(self.deadline[task_id], late)
        else:
            self.schedule.failed(task_id, self.now, draw, value)
            if value is not None:
                pause = min(max(value, self.polling.min_interval), self.polling.max_interval)
                self.paused_until = max(self.paused_until, self.now + pause)
        if task_id in self.since:
            self.not_before[task_id] = self.now + self.polling.min_interval

    def take_all(self) -> None:
        while (taken := self.schedule.take(self.now)) is not None:
            assert taken.task_id in self.since, "forgotten or ended"
            match taken:
                case Ask(task_id):
                    self.check_ask(task_id)
                    self.under_way.append(task_id)
                    self.asked_at.append(self.now)
                case Expire(task_id, waited):
                    assert self.now >= self.deadline[task_id]
                    assert waited == self.now - self.since[task_id]
                    self.expired.append(task_id)
                    self.forget(task_id)
        self.check_rest()

    def check_ask(self, task_id: str) -> None:
        assert self.now < self.deadline[task_id]
        assert self.now >= self.not_before.get(task_id, 0.0)
        assert self.now >= self.paused_until
        gap = 1 / self.polling.polls_per_second
        for number, asked_at in enumerate(reversed(self.asked_at), start=1):
            # In any time, no more than the budget of this time and of one beat.
            assert self.now >= asked_at + number * gap - self.schedule.allowance - 1e-9

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


@given(pollings, st.lists(st.tuples(steps, draws), min_size=20, max_size=40))
def test_any_life_keeps_all_promises(
    polling: Polling, life: list[tuple[tuple[str, Any], float]]
) -> None:
    """No task lost or asked after its end; floors, deadlines, budget and pauses are kept."""
    under_test = Life(polling)
    for number in range(3):
        under_test.watch(f"task {number}", 0.5)

    for (what, value), draw in life:
        under_test.do(what, value, draw)

    budget = polling.polls_per_second
    for begin in under_test.asked_at:
        within = [when for when in under_test.asked_at if begin <= when < begin + 1]
        assert len(within) <= budget + 1


@given(pollings, st.integers(1, 8), st.data())
def test_every_task_ends_exactly_once(polling: Polling, tasks: int, data: st.DataObject) -> None:
    """Left alone with answers that never end, each one expires at its deadline."""
    life = Life(polling)
    for number in range(tasks):
        life.watch(f"task {number}", 0.5)
    answer = data.draw(st.sampled_from([QUEUED, PROCESSING, None]))

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
    st.lists(st.tuples(st.sampled_from([QUEUED, None]), draws, st.floats(0, 3)), max_size=10),
)
def test_every_interval_is_within_floor_and_ceiling(
    polling: Polling, answers: list[tuple[TaskStatus | None, float, float]]
) -> None:
    """From an answer, or a failure, to the next question; only the deadline may come first."""
    schedule = Schedule(polling)
    schedule.watch("t", 0, 0.5)
    for status, draw, delay in answers:
        wake_at = schedule.wake_at()
        assert wake_at is not None
        if not isinstance(schedule.take(wake_at), Ask):
            return
        answered = wake_at + delay
        schedule.returned()
        if status:
            schedule.answered("t", status, answered, draw)
        else:
            schedule.failed("t", answered, draw)
        planned = schedule._polls.first()
        assert planned is not None
        interval = planned[0] - answered
        assert interval >= polling.min_interval - 1e-9
        assert interval <= polling.max_interval + 1e-9


def calm(**options: Any) -> Schedule:
    return Schedule(Polling(**{"polls_per_second": 1000, **options}))


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
    schedule.watch("t", 0, 0.5)
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
    schedule.watch("early", 0, 0)
    schedule.watch("late", 0, 1 - 2**-53)

    times, names = zip(next_ask(schedule), next_ask(schedule), strict=True)
    assert times == pytest.approx((0.9, 1.2))
    assert names == ("early", "late")


def test_what_is_due_at_about_the_same_time_is_asked_together() -> None:
    """Waking the event loop up costs as much as a poll; the budget of a beat may go at once."""
    schedule = calm(polls_per_second=100)
    for number in range(12):
        schedule.watch(f"t{number}", 0.011 + number / 200, 0.5)

    times = [next_ask(schedule)[0] for _ in range(12)]

    # All are due by the beat at 1.1; ten of them are the budget of a beat.
    assert times[:11] == [pytest.approx(1.1)] * 11
    assert times[11:] == [pytest.approx(1.11)]


@pytest.mark.parametrize(("budget", "at_once"), [(1, 1), (20, 3), (1000, 101)])
def test_the_budget_of_a_beat_is_all_that_may_go_at_once(budget: float, at_once: int) -> None:
    """One more than fits into a tenth of a second."""
    schedule = calm(polls_per_second=budget, max_interval=10)
    assert 1 + schedule.allowance * budget == pytest.approx(at_once)


def test_failures_double_the_pause() -> None:
    """An answer forgives them."""
    schedule = calm(max_interval=100)
    schedule.watch("t", 0, 0.5)
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
    schedule.watch("t", 0, 0.5)
    for _ in range(2000):
        now, _ = next_ask(schedule)
        schedule.returned()
        schedule.failed("t", now, 0.5)

    assert schedule.wake_at() == now + 10


def test_a_last_look_before_the_deadline() -> None:
    """So that a result is not missed by a moment; the end comes on time."""
    schedule = calm(total_deadline=7)
    schedule.watch("t", 0, 0.5)
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
    schedule.watch("t", 0, 0.5)
    schedule.answered("t", QUEUED, 50, 0.5)
    schedule.answered("t", PROCESSING, 60, 0.5)
    schedule.answered("t", QUEUED, 65, 0.5)
    schedule.answered("t", PROCESSING, 66, 0.5)

    assert schedule.take(69.9) == Ask("t")
    assert schedule.take(70) == Expire("t", 70)


def test_the_total_deadline_stays() -> None:
    """PROCESSING shortly before it does not prolong it."""
    schedule = calm(processing_deadline=600, total_deadline=100)
    schedule.watch("t", 0, 0.5)
    schedule.answered("t", PROCESSING, 99, 0.5)

    assert schedule.take(100) == Expire("t", 100)


def test_a_late_caller_still_learns_of_the_deadline() -> None:
    """With how long was really waited."""
    schedule = calm(total_deadline=10)
    schedule.watch("t", 5, 0.5)

    assert schedule.take(500) == Expire("t", 495)
    assert schedule.take(500) is None
    assert "t" not in schedule


def test_watching_twice_is_watching_once() -> None:
    """Neither the plan nor the deadline moves."""
    schedule = calm(total_deadline=10)
    schedule.watch("t", 0, 0.5)
    schedule.watch("t", 5, 0.5)

    assert len(schedule) == 1
    assert next_ask(schedule) == (1, "t")
    assert schedule.take(10) == Expire("t", 10)


def test_a_forgotten_task_leaves_no_trace() -> None:
    """Also when it is forgotten while its poll is under way, or was never known."""
    schedule = calm()
    schedule.watch("t", 0, 0.5)
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
    schedule.watch("a", 0, 0.5)
    schedule.watch("b", 0, 0.5)
    assert next_ask(schedule) == (1, "a")
    schedule.hint("b", 1.2)

    assert schedule.take(1.2) is None
    assert next_ask(schedule) == (2, "b")
    assert schedule.take(3) is None


def test_the_budget_is_one_for_all() -> None:
    """A thousand tasks that began together are asked one after the other, each once."""
    schedule = calm(polls_per_second=20, max_interval=100, total_deadline=1000)
    for number in range(1000):
        schedule.watch(f"t{number}", 0, 0.5)
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
        schedule.watch(f"t{number}", 0, 0.5)
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
    schedule.watch("a", 0, 0.5)
    schedule.watch("b", 0, 0.5)
    now, name = next_ask(schedule)
    schedule.returned()
    schedule.failed(name, now, 0.5, retry_after)

    other, _ = next_ask(schedule)
    assert other == pytest.approx(now + pause)


def test_memory_follows_what_is_waiting() -> None:
    """Tasks that came and went, and hints by the thousand, leave nothing behind."""
    schedule = calm()
    for number in range(5000):
        schedule.watch(f"t{number}", 0, 0.5)
        schedule.forget(f"t{number - 10}")
    for _ in range(5000):
        schedule.hint("t4999", 0)

    assert len(schedule) == 10
    assert len(schedule._polls._heap) < 200
    assert len(schedule._deadlines._heap) < 200


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
    schedule.watch("t", 0, 0.5)

    assert schedule.is_transient("t", error, 1)
    assert schedule.is_transient("t", error, 1000)


@pytest.mark.parametrize("error", FINAL, ids=kind_of)
def test_a_clear_no_ends_waiting(error: errors.PPInfraError) -> None:
    """Asking again would get the same answer."""
    schedule = calm()
    schedule.watch("t", 0, 0.5)

    assert not schedule.is_transient("t", error, 1)


@pytest.mark.parametrize("error", EARLY, ids=kind_of)
def test_a_new_task_may_be_unknown_for_a_moment(error: errors.PPInfraError) -> None:
    """For ten seconds; later it is unknown for good, as is one that nobody waits for."""
    schedule = calm()
    schedule.watch("t", 100, 0.5)

    assert schedule.is_transient("t", error, 109.9)
    assert not schedule.is_transient("t", error, 110)
    assert not schedule.is_transient("nobody", error, 100)


@pytest.mark.parametrize("error", EARLY, ids=kind_of)
def test_a_known_task_is_not_given_up_for_one_stray_404(error: errors.PPInfraError) -> None:
    """For half a minute after the service last spoke of it."""
    schedule = calm()
    schedule.watch("t", 0, 0.5)
    schedule.answered("t", QUEUED, 100, 0.5)
    schedule.failed("t", 110, 0.5)

    assert schedule.is_transient("t", error, 129.9)
    assert not schedule.is_transient("t", error, 130)

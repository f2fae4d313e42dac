"""The one loop that asks about all waiting tasks, on virtual time and a scripted service."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from ppinfra_async import Polling
from ppinfra_async._background import Background
from ppinfra_async._poller import Poller, Watched
from ppinfra_async._sansio.experience import Work
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async.errors import (
    InvalidKeyError,
    PPInfraError,
    ProtocolError,
    RateLimitedError,
    ServiceError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, PollFailed, TaskPolled
from tests.answers import reply
from tests.loops import run_in_virtual_time
from tests.scripted import ScriptedTransport
from tests.service import (
    CANCELED,
    FAILED,
    PROCESSING,
    QUEUED,
    SUCCEED,
    Answer,
    not_found,
    scripted_service,
    status,
)
from tests.worlds import WORK


@define
class World:
    """A poller, what it stands on, and what it tells."""

    service: ScriptedTransport
    polling: Polling = field(factory=Polling)
    background: Background = field(factory=Background)
    events: list[Event] = field(factory=list)

    poller: Poller = field(init=False)

    @poller.default
    def _make_poller(self) -> Poller:
        return Poller(
            self.service,
            self.background,
            polling=self.polling,
            draw=lambda: 0.5,
            emit=self.events.append,
        )

    @property
    def failures(self) -> list[PPInfraError]:
        return [event.error for event in self.events if isinstance(event, PollFailed)]

    @property
    def is_empty(self) -> bool:
        return len(self.poller) == 0 and len(self.poller._schedule) == 0


def play(
    answers: Sequence[Answer] | Callable[[str], Awaitable[Answer]],
    scene: Callable[[World], Coroutine[Any, Any, Any]],
    **polling: float,
) -> World:
    """Run *scene* in virtual time; return the world as it was left."""
    world = World(scripted_service(answers), Polling(**polling))

    async def main() -> None:
        try:
            await scene(world)
        finally:
            await world.background.stop()

    run_in_virtual_time(main)
    return world


# --- the end of a task ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", [SUCCEED, FAILED, CANCELED])
def test_wait_returns_at_the_end(end: str) -> None:
    """Waiting lasts until the service names an end, whichever, and then nothing is left of it."""

    async def scene(world: World) -> None:
        watched = await world.poller.wait("t")
        assert watched.latest is not None
        assert watched.latest.status_text == end
        assert watched.polls == 4

    world = play([status(QUEUED), status(PROCESSING), status(PROCESSING), status(end)], scene)

    assert world.service.asked == ["t"] * 4
    assert world.is_empty
    kinds = [type(event) for event in world.events]
    assert kinds == [TaskPolled] * 4


def test_status_that_nobody_knows_is_waited_out() -> None:
    """An unknown status string is not an end."""

    async def scene(world: World) -> None:
        watched = await world.poller.wait("t")
        assert watched.latest is not None
        assert watched.latest.status_text == SUCCEED

    world = play([status("TASK_STATUS_DREAMING")] * 5 + [status(SUCCEED)], scene)

    assert len(world.service.asked) == 6


# --- several waiters ------------------------------------------------------------------------------


def test_many_waiters_share_one_stream_of_polls() -> None:
    """Twenty who wait for the same task ask the service no more often than one."""

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(world.poller.wait, "t")

    world = play([status(QUEUED), status(PROCESSING), status(SUCCEED)], scene)

    assert world.service.asked == ["t"] * 3
    assert world.is_empty


def test_cancelled_waiter_leaves_no_trace() -> None:
    """When the only one who waits is cancelled, the task is forgotten and not asked about again."""

    async def scene(world: World) -> None:
        with anyio.move_on_after(30):
            await world.poller.wait("t")
        assert world.is_empty
        world.service.calls.clear()
        await anyio.sleep(1000)

    world = play([status(PROCESSING)], scene)

    assert world.service.asked == []


def test_waiter_cancelled_during_a_poll_leaves_no_trace() -> None:
    """An answer that comes when nobody waits any more changes nothing."""

    async def late(task_id: str) -> Answer:
        await anyio.sleep(20)
        return status(PROCESSING)

    async def scene(world: World) -> None:
        with anyio.move_on_after(10):
            await world.poller.wait("t")
        await anyio.sleep(1000)
        assert world.is_empty

    world = play(late, scene)

    assert world.service.asked == ["t"]
    assert world.poller._schedule._under_way == 0


def test_late_answer_does_not_end_a_new_wait() -> None:
    """Who begins to wait again is not told by an answer to those before, but by its own."""
    calls: list[str] = []

    async def answer(task_id: str) -> Answer:
        calls.append(task_id)
        if len(calls) == 1:
            await anyio.sleep(60)
            return status(FAILED)
        return status(SUCCEED if anyio.current_time() >= 100 else PROCESSING)

    async def scene(world: World) -> None:
        with anyio.move_on_after(10):
            await world.poller.wait("t")
        watched = await world.poller.wait("t")
        assert watched.latest is not None
        assert watched.latest.status_text == SUCCEED
        assert 100 <= anyio.current_time() < 111

    world = play(answer, scene)

    assert world.is_empty


def test_late_answer_teaches_nothing_about_a_new_wait() -> None:
    """It belongs to a question of another time: neither eta nor PROCESSING is taken from it."""

    async def late(task_id: str) -> Answer:
        await anyio.sleep(60)
        return status(PROCESSING, task={"status": PROCESSING, "eta": 7, "progress_percent": 50})

    async def scene(world: World) -> None:
        with anyio.move_on_after(10):
            await world.poller.wait("t")
        await anyio.sleep(49.9)
        listener = Listener()
        watched = await world.poller.watch("t", work=WORK, submitted_at=anyio.current_time())
        watched.listeners.add(listener)
        await anyio.sleep(0.5)
        assert (len(world.events), watched.latest) == (1, None)
        [clock] = world.poller._schedule._waiting["t"].readings
        assert clock.origin == pytest.approx(59.9)

    play(late, scene)


def test_others_go_on_when_one_waiter_is_cancelled() -> None:
    """Cancelling one of three takes nothing from the other two."""
    ended: list[str] = []

    async def scene(world: World) -> None:
        async def wait(name: str, patience: float) -> None:
            with anyio.move_on_after(patience):
                await world.poller.wait("t")
                ended.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "first", 1000)
            group.start_soon(wait, "impatient", 5)
            group.start_soon(wait, "last", 1000)

    world = play([status(PROCESSING)] * 10 + [status(SUCCEED)], scene)

    assert sorted(ended) == ["first", "last"]
    assert len(world.service.asked) == 11
    assert world.is_empty


def test_tasks_are_told_apart() -> None:
    """Each waiter gets the answer about its own task."""

    async def answer(task_id: str) -> Answer:
        return status(SUCCEED, reason=f"about {task_id}")

    seen: dict[str, str] = {}

    async def scene(world: World) -> None:
        async def wait(task_id: str) -> None:
            watched = await world.poller.wait(task_id)
            assert watched.latest is not None
            seen[task_id] = watched.latest.reason

        async with anyio.create_task_group() as group:
            for task_id in ("a", "b", "c"):
                group.start_soon(wait, task_id)

    play(answer, scene)

    assert seen == {"a": "about a", "b": "about b", "c": "about c"}


# --- what is not an end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        pytest.param(TransportFailure("cut"), ServiceError, id="cut connection"),
        pytest.param(
            reply(500, {"code": 500, "reason": "GET_RESULT_FAILED"}), ServiceError, id="read failed"
        ),
        pytest.param(reply(503, {"reason": "SERVICE_NOT_AVAILABLE"}), ServiceError, id="503"),
        pytest.param(reply(502, b"<html>502 Bad Gateway</html>"), ProtocolError, id="502 page"),
        pytest.param(reply(403, b"<html>blocked</html>"), ProtocolError, id="403 page"),
        pytest.param(reply(404, b"<html>no such page</html>"), ProtocolError, id="404 page"),
        pytest.param(reply(200, b"<html>maintenance</html>"), ProtocolError, id="200 page"),
        pytest.param(reply(200, b""), ProtocolError, id="empty"),
        pytest.param(reply(200, b'{"task": {"sta'), ProtocolError, id="half of it"),
        pytest.param(reply(200, {"task": {"status": 4}}), ProtocolError, id="status 4"),
        pytest.param(reply(200, {"task": []}), ProtocolError, id="task is a list"),
        pytest.param(reply(200, []), ProtocolError, id="list"),
        pytest.param(reply(200, {}), ProtocolError, id="empty object"),
        pytest.param(reply(429, {"reason": "RATE_LIMIT_EXCEEDED"}), RateLimitedError, id="429"),
        pytest.param(reply(429, b"slow down"), RateLimitedError, id="429 text"),
        pytest.param(not_found(), TaskNotFoundError, id="early 404"),
    ],
)
def test_trouble_while_asking_is_not_an_end(trouble: Answer, kind: type[PPInfraError]) -> None:
    """Whatever a status call brings instead of a status, the task goes on waiting and is had."""

    async def scene(world: World) -> None:
        watched = await world.poller.wait("t")
        assert watched.latest is not None
        assert watched.latest.status_text == SUCCEED

    world = play([trouble, trouble, status(SUCCEED)], scene)

    assert [type(error) for error in world.failures] == [kind, kind]
    assert {error.task_id for error in world.failures} == {"t"}
    assert {error.billed for error in world.failures} <= {"yes", "unknown"}


def test_cut_connection_is_told_with_its_cause() -> None:
    """The event says what happened on the wire."""
    failure = TransportFailure("the server cut the connection")

    async def scene(world: World) -> None:
        await world.poller.wait("t")

    world = play([failure, status(SUCCEED)], scene)

    assert world.failures[0].message == (
        "The status of the task could not be read: the server cut the connection."
    )
    assert world.failures[0].__cause__ is failure


def test_retry_after_pauses_the_polls_of_all_tasks() -> None:
    """One 429 with Retry-After holds every status call of the client back for that long."""
    times: list[tuple[str, float]] = []

    async def answer(task_id: str) -> Answer:
        times.append((task_id, anyio.current_time()))
        if len(times) == 1:
            return reply(429, {"reason": "RATE_LIMIT_EXCEEDED"}, retry_after="8")
        return status(SUCCEED)

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(world.poller.wait, "a")
            group.start_soon(world.poller.wait, "b")

    # So few that no two of them are asked at once.
    play(answer, scene, polls_per_second=5)

    refused_at = times[0][1]
    assert sorted(task_id for task_id, _ in times[1:]) == ["a", "b"]
    assert min(at for _, at in times[1:]) == refused_at + 8


def test_a_hundred_bad_polls_are_not_an_end() -> None:
    """No number of failures is counted as the task's own."""

    async def scene(world: World) -> None:
        await world.poller.wait("t")

    world = play([reply(502, b"<html>")] * 100 + [status(SUCCEED)], scene, total_deadline=10_000)

    assert len(world.failures) == 100


# --- what is ----------------------------------------------------------------------------------------


def test_wrong_key_ends_waiting_with_the_task_id() -> None:
    """A key that is refused will not get better by asking again; each waiter has its own error."""
    errors: list[InvalidKeyError] = []

    async def scene(world: World) -> None:
        async def wait() -> None:
            with pytest.raises(InvalidKeyError) as caught:
                await world.poller.wait("t")
            errors.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)

    world = play([reply(403, {"code": 403, "reason": "INVALID_API_KEY"})], scene)

    assert [(error.task_id, error.billed) for error in errors] == [("t", "yes"), ("t", "yes")]
    assert errors[0] is not errors[1]
    assert world.service.asked == ["t"]
    assert world.is_empty


def test_unknown_id_is_told_after_a_grace() -> None:
    """A new task may be unknown for a moment; after ten seconds a 404 is believed."""
    times: list[float] = []

    async def answer(task_id: str) -> Answer:
        times.append(anyio.current_time())
        return not_found()

    async def scene(world: World) -> None:
        with pytest.raises(TaskNotFoundError) as caught:
            await world.poller.wait("t")
        assert caught.value.task_id == "t"

    world = play(answer, scene)

    assert all(at < 10 for at in times[:-1])
    assert 10 <= times[-1] < 20
    assert world.is_empty


# --- deadlines --------------------------------------------------------------------------------------


def test_total_deadline_ends_waiting_with_the_last_word() -> None:
    """Waiting ends at the deadline with a timeout that says how the task stood and that it is paid."""

    async def scene(world: World) -> None:
        with pytest.raises(TaskTimeoutError) as caught:
            await world.poller.wait("t")
        assert anyio.current_time() == 300
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.task_id, caught.value.billed) == ("t", "yes")
        assert caught.value.message == (
            "The task was not done after 300 s (last: TASK_STATUS_QUEUED). The task goes on "
            "and is billed; await the error's .task, or attach to the id, to wait on."
        )

    world = play([status(QUEUED)], scene, total_deadline=300, processing_deadline=60)

    assert world.is_empty


def test_processing_deadline_counts_from_the_first_processing() -> None:
    """Time in the queue is not the task's fault."""

    async def answer(task_id: str) -> Answer:
        return status(QUEUED if anyio.current_time() < 500 else PROCESSING)

    async def scene(world: World) -> None:
        with pytest.raises(TaskTimeoutError, match="TASK_STATUS_PROCESSING"):
            await world.poller.wait("t")
        assert 560 <= anyio.current_time() <= 571

    play(answer, scene, processing_deadline=60)


def test_deadline_tells_the_last_trouble() -> None:
    """When the last poll failed, the timeout says why."""

    async def scene(world: World) -> None:
        with pytest.raises(TaskTimeoutError, match="could not be read: no answer within 30 s"):
            await world.poller.wait("t")

    play([TransportFailure("no answer within 30 s")], scene, total_deadline=60)


def test_deadline_without_any_answer_says_so() -> None:
    """A service that is silent altogether is named as silent."""

    async def silent(task_id: str) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError

    async def scene(world: World) -> None:
        with pytest.raises(TaskTimeoutError, match=r"\(last: no answer\)"):
            await world.poller.wait("t")

    play(silent, scene, total_deadline=60)


def test_waiting_again_after_a_deadline_begins_anew() -> None:
    """The deadline is that of the waiting, not of the task."""

    async def answer(task_id: str) -> Answer:
        return status(QUEUED if anyio.current_time() < 100 else SUCCEED)

    async def scene(world: World) -> None:
        with pytest.raises(TaskTimeoutError):
            await world.poller.wait("t")
        watched = await world.poller.wait("t")
        assert watched.latest is not None
        assert watched.latest.status_text == SUCCEED
        assert watched.since == 60

    play(answer, scene, total_deadline=60)


# --- when it asks -----------------------------------------------------------------------------------


def lasting(seconds: float) -> Callable[[str], Awaitable[Answer]]:
    """Return a service that is done with each task so long after the time in its name."""

    async def answer(task_id: str) -> Answer:
        is_done = anyio.current_time() >= float(task_id) + seconds
        return status(SUCCEED if is_done else PROCESSING)

    return answer


def test_task_of_another_time_is_asked_about_at_once() -> None:
    """Who attaches to an id need not wait for what was done long since."""

    async def scene(world: World) -> None:
        await anyio.sleep(100)
        watched = await world.poller.wait("t")
        assert (anyio.current_time(), watched.polls) == (100, 1)

    play([status(SUCCEED)], scene)


def test_new_task_is_not_asked_about_at_once() -> None:
    """Nothing is done in its first quarter of a second."""

    async def scene(world: World) -> None:
        watched = await world.poller.watch("t", work=WORK, submitted_at=anyio.current_time())
        await world.poller.until_ended(watched)
        assert (anyio.current_time(), watched.polls) == (1, 1)

    play([status(SUCCEED)], scene)


async def polls_of(world: World, count: int, *, work: Work | None) -> list[int]:
    """Wait for tasks one after the other; return how many polls each took."""
    polls = []
    for _ in range(count):
        now = anyio.current_time()
        watched = await world.poller.watch(f"{now}", work=work, submitted_at=now)
        await world.poller.until_ended(watched)
        polls.append(watched.polls)
    return polls


def test_experience_saves_polls() -> None:
    """Once some tasks have ended, the next ones are asked about when they may be done."""

    async def scene(world: World) -> None:
        polls = await polls_of(world, 40, work=WORK)
        assert sum(polls[:4]) >= 4 * 5
        assert sum(polls[-4:]) <= 4 * 4
        assert await polls_of(world, 4, work=None) == polls[:4]

    play(lasting(12.3), scene)


def test_announced_ends_save_more_polls() -> None:
    """What the service says about the end is passed on, and learned from."""
    polls: list[int] = []

    async def honest(task_id: str) -> Answer:
        # Between 5 and 60 s, so that without a word nobody could know.
        begun, now = float(task_id), anyio.current_time()
        whole = 5 + (begun * 7919) % 55
        left = begun + whole - now
        if left <= 0:
            return status(SUCCEED)
        return status(PROCESSING, task={"status": PROCESSING, "eta": left, "progress_percent": 0})

    async def scene(world: World) -> None:
        polls.extend(await polls_of(world, 60, work=WORK))

    play(honest, scene)
    assert sum(polls[-20:]) / 20 < 0.7 * sum(polls[:5]) / 5


# --- hints ------------------------------------------------------------------------------------------


def test_hint_asks_at_once() -> None:
    """Somebody who knows that a task is done need not wait for its turn."""

    async def answer(task_id: str) -> Answer:
        return status(SUCCEED if anyio.current_time() >= 50.2 else PROCESSING)

    async def scene(world: World) -> None:
        async def hint() -> None:
            await anyio.sleep(50.2)
            world.poller.hint("t")

        async with anyio.create_task_group() as group:
            group.start_soon(hint)
            await world.poller.wait("t")
        assert anyio.current_time() == 50.2

    play(answer, scene)


def test_hint_about_a_task_nobody_waits_for_is_nothing() -> None:
    """A webhook may know tasks that this client does not."""

    async def scene(world: World) -> None:
        world.poller.hint("elsewhere")
        await world.poller.wait("t")

    world = play([status(SUCCEED)], scene)

    assert world.service.asked == ["t"]


# --- listeners --------------------------------------------------------------------------------------


class Listener:
    """Somebody who reads updates."""


def test_listener_keeps_a_task_watched_and_hears_every_change() -> None:
    """A listener counts as somebody who wants to know, as long as it lives."""

    async def scene(world: World) -> None:
        listener, seen = Listener(), list[str]()
        watched = await world.poller.watch("t")
        watched.listeners.add(listener)
        while not watched.ended.is_set():
            await world.background.wait(watched.changed)
            assert watched.latest is not None
            seen.append(watched.latest.status_text)
        assert seen == [QUEUED, PROCESSING, SUCCEED]
        assert watched.is_wanted

    world = play([status(QUEUED), status(PROCESSING), status(SUCCEED)], scene)

    assert world.is_empty


def test_dropped_listener_ends_the_polls() -> None:
    """When the last listener is gone, the next poll is not sent and the task is forgotten."""

    async def scene(world: World) -> None:
        listener = Listener()
        watched = await world.poller.watch("t")
        watched.listeners.add(listener)
        await world.background.wait(watched.changed)
        del listener
        gc.collect()
        world.service.calls.clear()
        await anyio.sleep(1000)
        assert world.is_empty

    world = play([status(PROCESSING)], scene)

    assert world.service.asked == []
    assert world.poller._schedule._under_way == 0


def test_listener_outlives_a_waiter() -> None:
    """A waiter that leaves does not take the task from those who listen."""

    async def scene(world: World) -> None:
        listener = Listener()
        watched = await world.poller.watch("t")
        watched.listeners.add(listener)
        with anyio.move_on_after(5):
            await world.poller.wait("t")
        await anyio.sleep(5)
        assert len(world.poller) == 1
        del listener

    play([status(PROCESSING)], scene)


# --- life -------------------------------------------------------------------------------------------


def test_close_ends_every_wait_with_its_task_id() -> None:
    """Who waits when the client is closed is told the id, that it goes on, and how to go on."""
    told: list[tuple[str, str]] = []

    async def scene(world: World) -> None:
        async def wait(task_id: str) -> None:
            with pytest.raises(TaskTimeoutError) as caught:
                await world.poller.wait(task_id)
            told.append((str(caught.value.task_id), caught.value.message))

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "a")
            group.start_soon(wait, "b")
            await anyio.sleep(10)
            world.poller.close()

    world = play([status(PROCESSING)], scene)

    text = (
        "We stopped waiting because the client was closed. The task goes on and is billed; attach "
        "to its id with another client."
    )
    assert sorted(told) == [("a", text), ("b", text)]
    assert world.is_empty


def test_wait_after_close_is_told_the_task_id() -> None:
    """Who was let in before the client was closed and comes here late gets no bare error."""

    async def scene(world: World) -> None:
        world.background.closed = True
        with pytest.raises(TaskTimeoutError, match="the client was closed") as caught:
            await world.poller.wait("t")
        assert caught.value.task_id == "t"

    play([status(PROCESSING)], scene)


def test_crash_of_the_transport_reaches_every_waiter() -> None:
    """A defect in the background is loud for all who wait, with its cause."""
    causes: list[BaseException | None] = []

    async def crash(task_id: str) -> Answer:
        raise ZeroDivisionError

    async def scene(world: World) -> None:
        async def wait(task_id: str) -> None:
            with pytest.raises(RuntimeError, match="crashed") as caught:
                await world.poller.wait(task_id)
            causes.append(caught.value.__cause__)

        async with anyio.create_task_group() as group:
            for task_id in ("a", "b", "b"):
                group.start_soon(wait, task_id)

    play(crash, scene)

    assert [type(cause) for cause in causes] == [ZeroDivisionError] * 3


async def test_release_is_for_the_entry_that_is_there() -> None:
    """Releasing an entry whose place a newer one has taken does not touch the newer one."""
    world = World(scripted_service([status(PROCESSING)]))
    await world.poller.watch("t")
    world.poller.release(Watched("t", since=0.0))
    assert len(world.poller) == 1
    await world.background.stop()


def test_end_of_one_makes_room_for_the_next() -> None:
    """At most 64 questions are open; the 65th is asked as soon as one of them is answered."""
    asked: list[str] = []
    first_ends, others_end = anyio.Event(), anyio.Event()

    async def answer(task_id: str) -> Answer:
        asked.append(task_id)
        await (first_ends if task_id == asked[0] else others_end).wait()
        return status(SUCCEED)

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:
            for number in range(65):
                group.start_soon(world.poller.wait, str(number))
            await anyio.sleep(5)
            assert len(asked) == 64
            first_ends.set()
            await anyio.sleep(0.1)
            assert len(asked) == 65
            others_end.set()

    world = play(answer, scene, polls_per_second=1000)
    assert world.is_empty

"""The handle of one task: awaiting it, its images one by one, what the service says about it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from ppinfra_async import (
    Client,
    GeneratedImage,
    Polling,
    Retries,
    TaskResult,
    TaskStatus,
)
from ppinfra_async._sansio.wire import HttpCall, TransportFailure
from ppinfra_async.errors import (
    BadImageError,
    DownloadError,
    ImageError,
    IncompleteResultError,
    InvalidKeyError,
    PPInfraError,
    ResultExpiredError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, PollFailed, ResultDelivered
from ppinfra_async.testing import Call, Fault, Simulator
from tests.answers import reply
from tests.clock import stopped_simulator
from tests.conftest import FAST_POLLING
from tests.exchanges import Exchange, Page, Serving
from tests.leftovers import settled
from tests.loops import run_in_virtual_time
from tests.pictures import draw_picture
from tests.requesting import img2img
from tests.scripted import ScriptedTransport
from tests.service import (
    CANCELED,
    FAILED,
    HOST,
    PROCESSING,
    QUEUED,
    SUCCEED,
    Answer,
    answering,
    not_found,
    scripted_service,
    served,
    status,
)
from tests.waiting import until

NO_PAUSE = Retries(attempts=2, max_wait=0)
QUICK = Polling(min_interval=0.001, max_interval=0.002, polls_per_second=1000)
PNG = served(draw_picture(16, 12, "PNG"))


async def never() -> Page:
    await anyio.sleep_forever()
    raise AssertionError


def serving(*answers: Answer) -> ScriptedTransport:
    """Return a service that gives *answers* about a task, and its pictures."""
    return scripted_service(answers, {f"{HOST}/{number}": PNG for number in range(4)})


@asynccontextmanager
async def connected(
    service: ScriptedTransport,
    polling: Polling = QUICK,
    on_event: Callable[[Event], None] | None = None,
) -> AsyncIterator[Client]:
    """Open a client of a scripted service."""
    async with Client("key", base_url="http://127.0.0.1:9", polling=polling) as client:
        client._on_event = on_event
        client._connect(service)
        yield client


def of_image(index: int) -> Callable[[Call], bool]:
    return lambda call: call.index == index


# --- awaiting ---------------------------------------------------------------------------------------


async def test_awaiting_twice_gives_the_same_result(client: Client, simulator: Simulator) -> None:
    """The second time nothing is asked or fetched again."""
    task = await client.submit(img2img(image_num=2))
    first = await task
    asked = simulator.counters.snapshot()

    assert await task is first
    assert await task.result() is first
    assert await task.result(timeout=0) is first
    assert [image.index for image in first.images] == [0, 1]
    assert (first.task_id, first.missing) == (task.id, 0)
    assert simulator.counters == asked


async def test_handle_shows_its_id(client: Client) -> None:
    """What is printed is what another client can attach to."""
    task = client.attach("0f8b")

    assert (repr(task), task.id, task.request) == ("Task('0f8b')", "0f8b", None)


async def test_waiters_of_one_task_share_everything(simulator: Simulator) -> None:
    """Ten waiters cost one stream of polls and one download per picture, and get the same object."""
    events: list[Event] = []
    results: list[TaskResult] = []
    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, on_event=events.append
    ) as client:
        task = await client.submit(img2img(image_num=3))

        async def wait() -> None:
            results.append(await task)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(wait)
        assert len(client._poller) == 0
        assert not client.unfinished

    assert {id(result) for result in results} == {id(results[0])}
    assert simulator.counters.downloads == 3
    assert simulator.tasks[task.id].polls == results[0].timing.polls
    assert [type(event) for event in events].count(ResultDelivered) == 1


async def test_waiter_that_is_cancelled_while_downloading_leaves_it_to_the_others() -> None:
    """The one who fetches for all may leave; the next one takes over."""
    service = serving(status(SUCCEED, images=1))
    gate = anyio.Event()

    async def gated() -> Page:
        await gate.wait()
        return PNG

    service.pages = {f"{HOST}/0": gated}
    results: list[TaskResult] = []
    async with connected(service) as client:
        task = client.attach("t")

        async def wait() -> None:
            results.append(await task)

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as leaving:
                group.start_soon(wait)
                async with anyio.create_task_group() as inner:

                    async def leave() -> None:
                        await until(lambda: bool(service.fetched))
                        leaving.cancel()
                        gate.set()

                    inner.start_soon(leave)
                    await task
        assert leaving.cancelled_caught
        assert not client.unfinished

    assert [len(result.images) for result in results] == [1]


async def test_cancelled_waiter_leaves_no_trace() -> None:
    """Nobody asks about a task that nobody waits for; it is known as unfinished and can be had later."""
    async with (
        stopped_simulator() as (simulator, clock),
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        task = await client.submit(img2img())
        waiting = asyncio.ensure_future(task.result())
        await until(lambda: simulator.counters.polls == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(client._poller) == 0
        assert len(client._poller._schedule) == 0
        assert list(client.unfinished) == [task]

        clock.now += 61
        assert len((await task).images) == 1
        assert not client.unfinished


# --- timeouts and deadlines -------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["timeout", "deadline", "close", "key"])
async def test_task_that_may_not_exist_is_not_called_paid(way: str) -> None:
    """Somebody typed the id, and the service has not said a word about it."""
    answers: dict[str, Answer] = {"key": reply(403, {"code": 403, "reason": "INVALID_API_KEY"})}
    service = serving(answers.get(way, TransportFailure("no connection")))
    events: list[Event] = []
    async with connected(service, Polling(total_deadline=1), events.append) as client:
        waiting = asyncio.ensure_future(
            client.attach("typo").result(timeout=0.01 if way == "timeout" else None)
        )
        await until(lambda: len(client._poller) == 1 or waiting.done())
        if way == "close":
            await client.close()
        with pytest.raises(PPInfraError) as caught:
            await waiting

    assert (caught.value.task_id, caught.value.billed) == ("typo", "unknown")
    told = {event.error.billed for event in events if isinstance(event, PollFailed)}
    assert told <= {"unknown"}
    assert told or way != "deadline"
    assert "If the service has such a task" in caught.value.message or way == "key"


async def test_timeout_carries_the_handle_and_the_task_goes_on() -> None:
    """`timeout=` ends the waiting, not the task: its error is awaited to wait on."""
    service = serving(status(PROCESSING))
    async with connected(service) as client:
        task = client.attach("t")
        with pytest.raises(TimeoutError) as caught:
            await task.result(timeout=0.01)
        error = caught.value
        assert isinstance(error, TaskTimeoutError)
        assert (error.task, error.task_id, error.billed) == (task, "t", "yes")
        assert error.message == (
            "The timeout passed before the task was done. The task goes on and is billed; await the "
            "error's .task to wait on."
        )
        assert list(client.unfinished) == [task]

        service.polls = answering(status(SUCCEED, images=1))
        assert len((await error.task).images) == 1


async def test_timeout_covers_the_downloads() -> None:
    """A picture that does not come ends with the same error."""
    service = serving(status(SUCCEED, images=1))
    service.pages = {f"{HOST}/0": never}
    async with connected(service) as client:
        before = len(asyncio.all_tasks()) + 2
        task = client.attach("t")
        with pytest.raises(TaskTimeoutError) as caught:
            await task.result(timeout=0.02)
        assert caught.value.task is task
        await settled(before)

        service.pages = {f"{HOST}/0": PNG}
        assert len((await task).images) == 1


def test_total_deadline_carries_the_handle_too() -> None:
    """The deadline of `Polling` ends an await without a timeout, and waiting can begin again."""
    service = serving(status("TASK_STATUS_DREAMING"))

    async def main() -> None:
        async with connected(service, Polling(total_deadline=100)) as client:
            task = client.attach("t")
            with pytest.raises(TaskTimeoutError, match="TASK_STATUS_DREAMING") as caught:
                await task
            assert anyio.current_time() == 100
            assert caught.value.task is task

            service.polls = answering(status(FAILED, reason="woke up"))
            with pytest.raises(TaskFailedError, match="woke up"):
                await caught.value.task

    run_in_virtual_time(main)


def test_unknown_id_is_told_after_the_early_grace() -> None:
    """An id that nobody knows is an error, once it cannot be a task that is too new."""
    service = serving(not_found())

    async def main() -> None:
        async with connected(service, Polling()) as client:
            with pytest.raises(TaskNotFoundError) as caught:
                await client.attach("nobody's")
            assert caught.value.task_id == "nobody's"
            assert anyio.current_time() >= 10
            assert not client.unfinished

    run_in_virtual_time(main)


def test_own_tasks_are_learned_from() -> None:
    """A submit's handle knows when and what was asked: later tasks are asked about less, late ones now."""
    client = Client("key", base_url="http://127.0.0.1:9")
    service = ScriptedTransport(submits=[Exchange()])

    async def answer(call: HttpCall) -> Exchange:
        is_done = anyio.current_time() >= service.began[-1] + 12.3
        return Exchange(then=status(FAILED if is_done else PROCESSING))

    async def polls_of_one(patience: float = 0.0) -> int:
        before = len(service.asked)
        task = await client.submit(img2img())
        await anyio.sleep(patience)
        with pytest.raises(TaskFailedError):
            await task
        return len(service.asked) - before

    async def main() -> None:
        service.polls = answer
        client._connect(service)
        async with client:
            polls = [await polls_of_one() for _ in range(40)]
            assert max(polls[-4:]) < min(polls[:4])
            begin = anyio.current_time()
            assert await polls_of_one(patience=60) == 1
            assert anyio.current_time() == begin + 60

    run_in_virtual_time(main, busy=lambda: client._images.threads.limiter.borrowed_tokens > 0)


# --- other ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(FAILED, reason="out of memory"), "The task failed: out of memory."),
        (status(CANCELED, reason="by an operator"), "The task canceled: by an operator."),
        (status(SUCCEED), "The service says that the task succeeded and lists no image."),
    ],
    ids=["failed", "canceled", "without an image"],
)
async def test_failed_task_is_an_error_with_its_reason(answer: Answer, message: str) -> None:
    """The service's word is final: it is told each time and asked for once."""
    service = serving(answer)
    async with connected(service) as client:
        task = client.attach("t")
        for _ in range(2):
            with pytest.raises(TaskFailedError) as caught:
                await task
            error = caught.value
            assert (error.message, error.task_id, error.billed) == (message, "t", "unknown")
        assert not client.unfinished

    assert service.asked == ["t"]


async def test_fewer_images_than_asked_is_a_success() -> None:
    """The service filters some; the result says how many are missing."""
    async with (
        Simulator(queue=0, processing=0, tiny_images=True) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        simulator.faults.order("submit", Fault.outcome(produced=2))
        result = await (await client.submit(img2img(image_num=4)))

    assert (len(result.images), result.missing) == (2, 2)


async def test_wrong_key_while_waiting_keeps_the_task_known(simulator: Simulator) -> None:
    """The key may be mended, and the task is paid: it stays in `unfinished`."""
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        task = await client.submit(img2img())
        simulator.faults.order("poll", Fault.status(403, "INVALID_API_KEY"))
        with pytest.raises(InvalidKeyError) as caught:
            await task
        assert caught.value.task_id == task.id
        assert list(client.unfinished) == [task]

        assert len((await task).images) == 1


BAD_DOWNLOADS = [
    (Fault.status(404), ResultExpiredError),
    (Fault.status(500), DownloadError),
    (Fault.status(400), DownloadError),
    (Fault.cut_in_reply(60), DownloadError),
    (Fault.cut_after_read(), DownloadError),
    (Fault.wrong_length(+10), DownloadError),
    (Fault.wrong_length(-10), DownloadError),
    (Fault.wrong_length(200_000_000), BadImageError),
    (Fault.html(200), BadImageError),
    (Fault.not_an_image(b'{"code": 1}', "application/json"), BadImageError),
    (Fault.not_an_image(b""), BadImageError),
    (Fault.not_an_image(draw_picture(8, 8, "GIF"), "image/gif"), BadImageError),
    (Fault.bomb(), BadImageError),
]


@pytest.mark.parametrize(
    ("fault", "kind"),
    BAD_DOWNLOADS,
    ids=[
        "gone", "500", "400", "cut in the body", "cut", "too short", "too long", "far too long",
        "page", "JSON", "empty", "GIF", "bomb",
    ],
)  # fmt: skip
async def test_image_that_cannot_be_had_leaves_the_others(
    simulator: Simulator, fault: Fault, kind: type[ImageError]
) -> None:
    """The error has the good ones and says which one is missing, why and that it is paid."""
    simulator.faults.order("download", fault, times=None, when=of_image(1))
    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, retries=NO_PAUSE
    ) as client:
        task = await client.submit(img2img(image_num=3))
        with pytest.raises(IncompleteResultError) as caught:
            await task

        result, error = caught.value.result, caught.value
        assert [image.index for image in result.images] == [0, 2]
        assert [type(failed) for failed in result.failed] == [kind]
        for told in (error, result.failed[0]):
            assert (told.task_id, told.billed) == (task.id, "yes")
        assert (result.failed[0].index, result.missing) == (1, 0)
        assert not client.unfinished


async def test_images_that_could_not_be_had_are_tried_again(simulator: Simulator) -> None:
    """Awaiting the same handle again is another try."""
    simulator.faults.order("download", Fault.html(200), when=of_image(1))
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        task = await client.submit(img2img(image_num=2))
        with pytest.raises(IncompleteResultError):
            await task
        assert len((await task).images) == 2


async def test_expired_address_is_renewed_by_reading_the_result_again() -> None:
    """Where the service signs anew, an old address costs one more status call and nothing else."""
    now = 1_000_000.0
    async with (
        Simulator(
            queue=0, processing=0, tiny_images=True, resign=True, result_ttl=60, clock=lambda: now
        ) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        task = await client.submit(img2img(image_num=3))
        async for _ in task.updates():
            pass
        polls = simulator.counters.polls
        now += 3600
        result = await task

        assert [image.index for image in result.images] == [0, 1, 2]
        assert simulator.counters.polls == polls + 1


async def test_expired_address_that_is_not_renewed_is_told() -> None:
    """Where the service does not sign anew, the error says what happened."""
    now = 1_000_000.0
    async with (
        Simulator(
            queue=0, processing=0, tiny_images=True, result_ttl=60, clock=lambda: now
        ) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        task = await client.submit(img2img())
        async for _ in task.updates():
            pass
        now += 3600
        with pytest.raises(IncompleteResultError, match="no longer served") as caught:
            await task

        assert [type(error) for error in caught.value.result.failed] == [ResultExpiredError]


# --- decoding ---------------------------------------------------------------------------------------


async def test_decoding_can_wait(client: Client, simulator: Simulator) -> None:
    """Without decoding the pixels are not there; asking later decodes what was fetched before."""
    task = await client.submit(img2img(image_num=2))
    result = await task.result(decode=False)
    with pytest.raises(RuntimeError, match=r"await image\.decode\(\)"):
        _ = result.images[0].pil

    assert await task is result
    assert [image.pil.size for image in result.images] == [(8, 8), (8, 8)]
    assert simulator.counters.downloads == 2


async def test_decoding_works_after_close(simulator: Simulator) -> None:
    """A result outlives its client."""
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        result = await client.generate(img2img(), decode=False)

    assert (await result.images[0].decode()).size == (8, 8)


async def test_damage_found_by_late_decoding_has_the_task_id() -> None:
    """A picture that looked whole may be damaged inside; the error says whose it is."""
    data = bytearray(draw_picture(200, 160, "PNG"))
    middle = data.index(b"IDAT") + 30
    data[middle : middle + 40] = bytes(40)
    service = serving(status(SUCCEED, images=1))

    service.pages = {f"{HOST}/0": served(bytes(data))}
    async with connected(service) as client:
        task = client.attach("t")
        await task.result(decode=False)
        with pytest.raises(BadImageError) as caught:
            await task
        assert (caught.value.task_id, caught.value.index) == ("t", 0)
        with pytest.raises(IncompleteResultError):
            async for _ in task.images():
                pass


# --- images -----------------------------------------------------------------------------------------


async def test_images_come_as_they_are_ready() -> None:
    """A slow first picture does not hold the others up; each has its index, and pixels."""
    service = serving(status(SUCCEED, images=3))
    gates = [anyio.Event() for _ in range(3)]

    def gated(number: int) -> Serving:
        async def download() -> Page:
            await gates[number].wait()
            return PNG

        return download

    service.pages = {f"{HOST}/{number}": gated(number) for number in range(3)}
    gates[2].set()
    came: list[tuple[int, tuple[int, int]]] = []
    async with connected(service) as client:
        task = client.attach("t")
        async for image in task.images():
            came.append((image.index, image.pil.size))
            gates[image.index - 1].set()
        assert not client.unfinished

        assert came == [(2, (16, 12)), (1, (16, 12)), (0, (16, 12))]
        assert [image.index for image in (await task).images] == [0, 1, 2]
    assert len(service.fetched) == 3


async def test_images_without_decoding(client: Client) -> None:
    """Who only wants the bytes does not pay for pixels."""
    task = await client.submit(img2img())
    async for image in task.images(decode=False):
        with pytest.raises(RuntimeError):
            _ = image.pil


async def test_images_of_a_result_that_is_there_are_not_fetched_again(
    client: Client, simulator: Simulator
) -> None:
    """After an await the pictures come from memory, the very same ones."""
    task = await client.submit(img2img(image_num=2))
    result = await task.result(decode=False)
    again = [image async for image in task.images()]

    assert sorted(again, key=lambda image: image.index) == list(result.images)
    assert again[0].pil.size == (8, 8)
    assert simulator.counters.downloads == 2


async def test_exhausted_images_stay_exhausted(client: Client) -> None:
    """Asking on after the end is the end again."""
    images = (await client.submit(img2img())).images()
    assert (await anext(images)).index == 0
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(images)


async def test_images_end_with_the_error_after_the_good_ones(simulator: Simulator) -> None:
    """Every good picture is handed over first, then it is told that one is missing."""
    simulator.faults.order("download", Fault.html(200), times=None, when=of_image(0))
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        task = await client.submit(img2img(image_num=3))
        came: list[int] = []
        images = task.images()
        with pytest.raises(IncompleteResultError) as caught:
            async for image in images:
                came.append(image.index)  # noqa: PERF401  # what came before the error counts
        assert sorted(came) == [1, 2]
        assert (caught.value.task_id, len(caught.value.result.images)) == (task.id, 2)
        with pytest.raises(IncompleteResultError):
            await anext(images)
        assert not client.unfinished


async def test_images_of_a_failed_task_are_its_failure() -> None:
    """There is nothing to iterate over."""
    async with connected(serving(status(FAILED, reason="out of memory"))) as client:
        task = client.attach("t")
        with pytest.raises(TaskFailedError, match="out of memory"):
            async for _ in task.images():
                pass
        assert not client.unfinished


async def test_images_dropped_in_the_middle_leave_nothing() -> None:
    """Leaving the loop ends the downloads that nobody waits for; the task stays known."""
    service = serving(status(SUCCEED, images=4))
    service.pages = {f"{HOST}/0": PNG, **{f"{HOST}/{number}": never for number in (1, 2, 3)}}
    async with connected(service) as client:
        before = len(asyncio.all_tasks()) + 2
        task = client.attach("t")
        async for image in task.images():
            assert image.index == 0
            break
        gc.collect()
        await settled(before)
        assert list(client.unfinished) == [task]

        service.pages = {f"{HOST}/{number}": PNG for number in range(4)}
        assert len((await task).images) == 4


async def test_images_that_nobody_read_leave_nothing() -> None:
    """An iterator that was made and never used has done nothing."""
    service = serving(status(SUCCEED, images=1))
    async with connected(service) as client:
        client.attach("t").images()
        client.attach("t").updates()

    assert service.asked == []


async def test_image_waited_for_with_a_timeout_is_not_lost() -> None:
    """Giving up on one `anext` costs no picture."""
    service = serving(status(SUCCEED, images=2))
    gate = anyio.Event()

    async def gated() -> Page:
        await gate.wait()
        return PNG

    service.pages = {f"{HOST}/0": PNG, f"{HOST}/1": gated}
    async with connected(service) as client:
        images = client.attach("t").images()
        assert (await anext(images)).index == 0
        with anyio.move_on_after(0.01) as waiting:
            await anext(images)
        assert waiting.cancelled_caught
        gate.set()
        assert (await anext(images)).index == 1
        with pytest.raises(StopAsyncIteration):
            await anext(images)


# --- updates ----------------------------------------------------------------------------------------


async def test_updates_go_up_to_and_including_the_end() -> None:
    """Each change is told once, the end too, and then it is over."""
    answers = [status(QUEUED), status(PROCESSING), status(SUCCEED, images=1)]
    async with connected(serving(*answers)) as client:
        task = client.attach("t")
        updates = task.updates()
        seen = [update.status async for update in updates]
        assert seen == [TaskStatus.QUEUED, TaskStatus.PROCESSING, TaskStatus.SUCCEED]
        with pytest.raises(StopAsyncIteration):
            await anext(updates)

        # The pictures are not delivered yet.
        assert list(client.unfinished) == [task]
        assert len((await task).images) == 1
        assert not client.unfinished


async def test_result_after_updates_asks_nothing_more() -> None:
    """Who followed the task knows its end already."""
    service = serving(status(PROCESSING), status(SUCCEED, images=1))
    async with connected(service) as client:
        task = client.attach("t")
        async for _ in task.updates():
            pass
        result = await task

    assert service.asked == ["t", "t"]
    assert result.timing.polls == 2


async def test_updates_after_the_end_are_the_end() -> None:
    """A finished task has one last thing to say, from memory."""
    service = serving(status(SUCCEED, images=1))
    async with connected(service) as client:
        task = client.attach("t")
        await task
        seen = [update.status async for update in task.updates()]

    assert seen == [TaskStatus.SUCCEED]
    assert service.asked == ["t"]


@pytest.mark.parametrize("end", [FAILED, CANCELED])
async def test_failure_is_an_update_and_not_an_exception(end: str) -> None:
    """Who follows a task is told how it ended; with that its end is received."""
    async with connected(serving(status(QUEUED), status(end, reason="no memory"))) as client:
        task = client.attach("t")
        seen = [(update.status_text, update.reason) async for update in task.updates()]
        assert seen == [(QUEUED, ""), (end, "no memory")]
        assert not client.unfinished


async def test_slow_reader_misses_what_lies_between_and_never_the_end() -> None:
    """Updates are not piled up; the last one is always told."""
    answers = [status(PROCESSING, extra={"seed": str(number)}) for number in range(50)]
    service = serving(*answers, status(SUCCEED, images=1))
    async with connected(service) as client:
        seen: list[TaskStatus] = []
        async for update in client.attach("t").updates():
            seen.append(update.status)
            await until(lambda: len(service.asked) == 51)

    assert len(seen) < 5
    assert seen[-1] is TaskStatus.SUCCEED


async def test_several_readers_share_one_stream_of_polls() -> None:
    """Each reader sees the end, and a waiter beside them too."""
    service = serving(status(QUEUED), status(PROCESSING), status(SUCCEED, images=1))
    ends: list[TaskStatus] = []
    async with connected(service) as client:
        task = client.attach("t")

        async def follow() -> None:
            ends.append([update.status async for update in task.updates()][-1])

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(follow)
            await task

    assert ends == [TaskStatus.SUCCEED] * 3
    assert service.asked == ["t"] * 3


async def test_dropped_updates_stop_the_polls() -> None:
    """Leaving the loop is enough; the task stays known as unfinished."""
    service = serving(status(PROCESSING))
    async with connected(service) as client:
        task = client.attach("t")
        async for _ in task.updates():
            break
        gc.collect()
        await until(lambda: len(client._poller) == 0)
        asked = len(service.asked)
        await anyio.sleep(0.02)
        assert len(service.asked) == asked
        assert list(client.unfinished) == [task]


def test_deadline_ends_updates_with_the_handle() -> None:
    """Each reader is told in an error of its own, and asking on is told the same."""
    service = serving(status(PROCESSING))

    async def main() -> None:
        async with connected(service, Polling(total_deadline=60)) as client:
            task = client.attach("t")
            errors: list[TaskTimeoutError] = []

            async def follow() -> None:
                updates = task.updates()
                with pytest.raises(TaskTimeoutError) as caught:
                    async for _ in updates:
                        pass
                errors.append(caught.value)
                with pytest.raises(TaskTimeoutError):
                    await anext(updates)

            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                group.start_soon(follow)
            assert errors[0] is not errors[1]
            assert {error.task for error in errors} == {task}
            assert list(client.unfinished) == [task]

    run_in_virtual_time(main)


def test_updates_of_an_unknown_id_are_its_error() -> None:
    """There is nothing to follow, and nothing is kept."""

    async def main() -> None:
        async with connected(serving(not_found()), Polling()) as client:
            with pytest.raises(TaskNotFoundError):
                async for _ in client.attach("nobody's").updates():
                    pass
            assert not client.unfinished

    run_in_virtual_time(main)


async def test_updates_while_polls_fail_are_silent() -> None:
    """Trouble is an event, not an update; the next answer is told."""
    service = serving(reply(502, b"<html>"), reply(502, b"<html>"), status(SUCCEED, images=1))
    async with connected(service) as client:
        seen = [update.status async for update in client.attach("t").updates()]

    assert seen == [TaskStatus.SUCCEED]


# --- closing and crashing ---------------------------------------------------------------------------


Way = Callable[[Client], AsyncIterator[object]]


async def awaiting(client: Client) -> AsyncIterator[object]:
    yield await client.attach("t")


async def over_images(client: Client) -> AsyncIterator[object]:
    async for image in client.attach("t").images():
        yield image


async def over_updates(client: Client) -> AsyncIterator[object]:
    async for update in client.attach("t").updates():
        yield update


async def error_at_close(service: ScriptedTransport, way: Way) -> BaseException:
    """Close the client while *way* waits; return what it was told."""
    told: list[BaseException] = []
    async with connected(service) as client:

        async def use() -> None:
            try:
                async for _ in way(client):
                    pass
            except Exception as error:
                told.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await until(lambda: len(service.asked) + len(service.fetched) > 2)
            await client.close()
        assert [task.id for task in client.unfinished] == ["t"]
    return told[0]


@pytest.mark.parametrize("way", [awaiting, over_images, over_updates])
async def test_close_ends_waiting_with_the_task_id(way: Way) -> None:
    """Who waits for a task when the client is closed is told its id, whichever way he waits."""
    error = await error_at_close(serving(status(PROCESSING)), way)

    assert isinstance(error, TaskTimeoutError)
    assert error.task_id == "t"
    assert "the client was closed" in error.message


@pytest.mark.parametrize("way", [awaiting, over_images])
async def test_close_ends_downloads_with_the_task_id(way: Way) -> None:
    """The same while pictures are fetched; nothing is fetched on."""
    service = serving(status(SUCCEED, images=2))
    service.pages = {f"{HOST}/0": PNG, f"{HOST}/1": never}
    error = await error_at_close(service, way)

    assert isinstance(error, TaskTimeoutError)
    assert error.task_id == "t"
    assert "the client was closed" in error.message


@pytest.mark.parametrize("way", [awaiting, over_images, over_updates])
async def test_use_after_close_is_a_clear_error(way: Way) -> None:
    """A handle of a closed client says that it is closed."""
    async with connected(serving(status(PROCESSING))) as client:
        pass

    with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
        async for _ in way(client):
            pass


async def test_images_that_came_before_close_are_still_handed_over() -> None:
    """What is in memory is not lost by closing."""
    service = serving(status(SUCCEED, images=2))
    seen: list[GeneratedImage] = []
    async with connected(service) as client:
        images = client.attach("t").images()
        seen.append(await anext(images))
        await settled(len(asyncio.all_tasks()) - 1)
    seen.append(await anext(images))
    with pytest.raises(StopAsyncIteration):
        await anext(images)

    assert sorted(image.index for image in seen) == [0, 1]


@pytest.mark.parametrize("way", [awaiting, over_images, over_updates])
async def test_crash_reaches_who_waits(way: Way) -> None:
    """A defect in the background is told with its cause, and `close` tells it too."""
    service = scripted_service([ZeroDivisionError()])
    causes: list[BaseException | None] = []
    with pytest.raises(RuntimeError, match="crashed") as closing:
        async with connected(service) as client:
            with pytest.raises(RuntimeError, match="crashed in the background") as caught:
                async for _ in way(client):
                    pass
            causes.append(caught.value.__cause__)

    assert [type(cause) for cause in (*causes, closing.value.__cause__)] == [ZeroDivisionError] * 2


async def test_crash_between_two_updates_reaches_the_reader() -> None:
    """Who was busy when it happened is told the next time he asks."""
    service = scripted_service([status(PROCESSING), ZeroDivisionError()])
    with pytest.raises(RuntimeError, match="crashed"):
        async with connected(service) as client:
            updates = client.attach("t").updates()
            await anext(updates)
            await client._background._task  # type: ignore[misc]  # it runs
            with pytest.raises(RuntimeError, match="crashed in the background"):
                await anext(updates)

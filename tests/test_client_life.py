"""How a client lives and ends: with asyncio's own means, across tasks, and without leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from PIL import Image

from ppinfra_async import Client, ImageInput, Task, TaskResult, Timeouts
from ppinfra_async.errors import (
    NotSentError,
    PPInfraError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, SubmitDelayed
from ppinfra_async.testing import Fault, Simulator, SimulatorProcess, simulator_process
from tests.clock import stopped_simulator
from tests.conftest import FAST_POLLING
from tests.exchanges import Exchange
from tests.leftovers import at_work, settled
from tests.requesting import PICTURE, img2img
from tests.service import HOST, PROCESSING, SUCCEED, scripted_service, served, status
from tests.sockets import open_sockets, until_open_sockets_are
from tests.waiting import until


def client_of(simulator: Simulator | SimulatorProcess, **options: Any) -> Client:
    return Client(simulator.api_key, base_url=simulator.url, **{"polling": FAST_POLLING, **options})


# --- asyncio's own ways to end something ------------------------------------------------------------


async def test_timeout_of_asyncio_that_does_not_pass(client: Client) -> None:
    """Under `asyncio.timeout` everything works as without."""
    async with asyncio.timeout(10):
        assert len((await client.generate(img2img())).images) == 1


async def test_timeout_of_asyncio_that_passes() -> None:
    """It leaves as a plain TimeoutError; the paid task is kept and the client goes on."""
    async with stopped_simulator() as (simulator, clock), client_of(simulator) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as limit:
                client._on_event = lambda _: passes(limit)
                await client.generate(img2img())
        assert not isinstance(caught.value, PPInfraError)
        assert len(client._poller) == 0

        client._on_event = None
        clock.now += 61
        (task,) = client.unfinished
        assert len((await task).images) == 1
        assert simulator.counters.accepted == 1


async def test_timeout_of_asyncio_around_the_whole_client() -> None:
    """Leaving the block by a timeout closes the client, and the timeout leaves as itself."""
    async with stopped_simulator() as (simulator, _):
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(None) as limit,
                client_of(simulator, on_event=lambda _: passes(limit)) as client,
            ):
                await client.generate(img2img())

        assert [task.id for task in client.unfinished] == list(simulator.tasks)
        assert len(simulator.tasks) == 1
        await until(lambda: simulator.open_connections == 0)
        await settled(len(before))


def passes(limit: asyncio.Timeout) -> None:
    """Let a timeout pass now: whatever the machine is busy with, the task is paid and not done."""
    limit.reschedule(asyncio.get_running_loop().time())


async def test_failing_sibling_in_a_task_group() -> None:
    """The group's error is the sibling's alone, and the paid task is kept."""
    async with stopped_simulator() as (simulator, clock), client_of(simulator) as client:

        async def fail() -> None:
            await until(lambda: bool(client.unfinished))
            raise KeyError("sibling")

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.generate(img2img()))
                group.create_task(fail())

        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        clock.now += 61
        (task,) = client.unfinished
        assert len((await task).images) == 1


async def test_plain_cancellation() -> None:
    """`Task.cancel` ends a waiting caller with CancelledError, once, and nothing else with it."""
    async with stopped_simulator() as (simulator, clock), client_of(simulator) as client:
        cancelled = asyncio.ensure_future(client.generate(img2img()))
        other = asyncio.ensure_future(client.generate(img2img()))
        await until(lambda: len(client._poller) == 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert len(client._poller) == 1

        clock.now += 61
        assert len((await other).images) == 1
        assert len(client._poller) == 0
        assert len(client.unfinished) == 1


async def test_gather_of_many(client: Client, simulator: Simulator) -> None:
    """`asyncio.gather` is as good as `generate_many`."""
    results = await asyncio.gather(*[client.generate(img2img()) for _ in range(20)])

    assert {result.task_id for result in results} == set(simulator.tasks)


# --- across tasks, loops and cells ------------------------------------------------------------------


async def test_opened_and_closed_in_different_tasks(simulator: Simulator) -> None:
    """Fixtures and frameworks open in one task, use in others and close in a third."""
    opened = asyncio.ensure_future(client_of(simulator).__aenter__())
    client = await opened
    used = asyncio.ensure_future(client.generate(img2img()))
    assert len((await used).images) == 1
    closed = asyncio.ensure_future(client.__aexit__(None, None, None))
    await closed

    with pytest.raises(RuntimeError, match="closed"):
        await client.generate(img2img())


async def test_client_without_a_block(simulator: Simulator) -> None:
    """Made, used and closed by hand."""
    client = client_of(simulator)
    try:
        assert len((await client.generate(img2img())).images) == 1
    finally:
        await client.close()


def test_notebook_cells(outside: SimulatorProcess) -> None:
    """A client made at top level is used cell by cell, each cell a task of the same loop."""
    client = client_of(outside)
    loop = asyncio.new_event_loop()
    try:
        task: Task = loop.run_until_complete(client.submit(img2img(image_num=2)))
        update = loop.run_until_complete(anext(task.updates()))
        assert update.task_id == task.id
        result: TaskResult = loop.run_until_complete(task.result())
        assert len(result.images) == 2
        images = task.images()
        assert loop.run_until_complete(anext(images)).index in {0, 1}
        assert len(loop.run_until_complete(client.generate(img2img())).images) == 1
        loop.run_until_complete(client.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def test_use_from_another_loop_is_a_clear_error() -> None:
    """The second `asyncio.run` with the same client says what to do instead."""
    client = Client("key", base_url="http://127.0.0.1:9")
    asyncio.run(client.check(img2img()))
    task = client.attach("t")

    async def enter() -> None:
        async with client:
            raise AssertionError

    async def images() -> None:
        async for _ in task.images():
            raise AssertionError

    async def updates() -> None:
        async for _ in task.updates():
            raise AssertionError

    uses: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: client.check(img2img()),
        lambda: client.submit(img2img()),
        lambda: client.generate(img2img()),
        lambda: client.generate_many([img2img()]),
        task.result,
        enter,
        images,
        updates,
        client.close,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="one client per event loop"):
            asyncio.run(use())


async def test_use_after_close_is_a_clear_error(simulator: Simulator) -> None:
    """Every method that does something says that the client is closed; nothing is sent."""
    client = client_of(simulator)
    task = client.attach("t")
    await client.close()

    uses: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: client.check(img2img()),
        lambda: client.submit(img2img()),
        lambda: client.generate(img2img()),
        lambda: client.generate_many([img2img()]),
        client.__aenter__,
        task.result,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
            await use()
    with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
        await anext(client.models())
    assert simulator.counters.connections == 0


# --- how the block ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [KeyError("body"), asyncio.CancelledError(), ExceptionGroup("body", [ValueError()])]
)
async def test_error_of_the_body_leaves_as_itself(
    simulator: Simulator, error: BaseException
) -> None:
    """Not wrapped, not replaced, whatever it is."""
    with pytest.raises(type(error)) as caught:
        async with client_of(simulator) as client:
            await client.submit(img2img())
            raise error

    assert caught.value is error
    await until(lambda: simulator.open_connections == 0)


@asynccontextmanager
async def crashing(error: Exception) -> AsyncIterator[Client]:
    """Open a client whose transport has a defect."""
    async with Client("key", base_url="http://127.0.0.1:9", polling=FAST_POLLING) as client:
        client._connect(scripted_service([error]))
        yield client


async def test_crash_leaves_at_the_end_of_the_block() -> None:
    """A crash that nobody waited for is not silent."""
    with pytest.raises(RuntimeError, match="crashed in the background") as caught:
        async with crashing(ZeroDivisionError()) as client:
            with contextlib.suppress(RuntimeError):
                await client.attach("t")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    await client.close()


async def test_error_of_the_body_wins_over_a_crash() -> None:
    """What the body says is what its caller hears."""
    with pytest.raises(KeyError):
        async with crashing(ZeroDivisionError()) as client:
            with contextlib.suppress(RuntimeError):
                await client.attach("t")
            raise KeyError("body")


async def test_crash_reaches_all_who_wait() -> None:
    """A defect in one place ends every wait of the client, and every later use."""
    told: list[str] = []
    with pytest.raises(RuntimeError, match="crashed"):
        async with Client("key", base_url="http://127.0.0.1:9") as client:
            transport = scripted_service([status(PROCESSING)])
            transport.submits = [Exchange(takes_body=False, then=ZeroDivisionError())]
            client._connect(transport)

            async def wait(task_id: str) -> None:
                try:
                    await client.attach(task_id)
                except RuntimeError as error:
                    told.append(type(error.__cause__).__name__)

            async with anyio.create_task_group() as group:
                for task_id in ("a", "b", "b"):
                    group.start_soon(wait, task_id)
                await until(lambda: len(client._poller) == 2)
                with pytest.raises(RuntimeError, match="crashed in the background"):
                    await client.submit(img2img())
            for use in (client.submit, client.generate, client.check):
                with pytest.raises(RuntimeError, match="crashed in the background"):
                    await use(img2img())

    assert told == ["ZeroDivisionError"] * 3


# --- close ------------------------------------------------------------------------------------------


async def test_close_is_idempotent(simulator: Simulator) -> None:
    """Any number of times, also at the same time, and also for a client that was never used."""
    client = client_of(simulator)
    await client.generate(img2img())
    async with anyio.create_task_group() as group:
        group.start_soon(client.close)
        group.start_soon(client.close)
    await client.close()
    await client_of(simulator).close()

    await until(lambda: simulator.open_connections == 0)


async def test_cancelled_close_is_finished_first(simulator: Simulator) -> None:
    """Who is cancelled while closing leaves when everything is closed."""
    before = asyncio.all_tasks()
    simulator.faults.order("submit", Fault.delay(0.1))
    client = client_of(simulator)
    submitting = asyncio.ensure_future(client.submit(img2img()))
    await until(lambda: simulator.counters.accepted == 1)
    closing = asyncio.ensure_future(client.close())
    await anyio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert (await submitting).id in simulator.tasks
    await until(lambda: simulator.open_connections == 0)
    await settled(len(before))


async def test_close_that_was_cut_short_is_finished_by_the_next(simulator: Simulator) -> None:
    """A second cancellation may interrupt closing; nothing is left open for it."""
    before = asyncio.all_tasks()
    simulator.faults.order("submit", Fault.never_answer())
    client = client_of(simulator, timeouts=Timeouts(cancel_grace=600))
    submitting = asyncio.ensure_future(client.submit(img2img()))
    await until(lambda: simulator.counters.accepted == 1)
    closing = asyncio.ensure_future(client.close())
    await anyio.sleep(0.01)
    for _ in range(2):
        closing.cancel()
        await anyio.lowlevel.checkpoint()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(asyncio.all_tasks()) > len(before)

    await simulator.stop()
    await client.close()
    with pytest.raises(SubmitOutcomeUnknownError):
        await submitting
    await settled(len(before))


async def test_close_ends_who_waits_for_a_task_with_its_id(simulator: Simulator) -> None:
    """A pending `generate` is told the id of what is paid and goes on without us."""
    simulator.faults.order("submit", Fault.outcome(processing=60))
    client = client_of(simulator)
    pending = asyncio.ensure_future(client.generate(img2img()))
    await until(lambda: len(client._poller) == 1)
    await client.close()

    with pytest.raises(TaskTimeoutError, match="the client was closed") as caught:
        await pending
    (task,) = client.unfinished
    assert (caught.value.task_id, caught.value.task) == (task.id, task)
    assert task.id in simulator.tasks


async def test_close_waits_for_the_id_of_a_submit_that_may_be_paid(simulator: Simulator) -> None:
    """The answer that comes within the grace is kept, and its caller is told the id."""
    simulator.faults.order("submit", Fault.delay(0.1), times=2)
    client = client_of(simulator)
    pending = asyncio.ensure_future(client.generate(img2img()))
    submitting = asyncio.ensure_future(client.submit(img2img()))
    await until(lambda: simulator.counters.accepted == 2)
    await client.close()

    with pytest.raises(TaskTimeoutError, match="the client was closed") as caught:
        await pending
    assert caught.value.task_id in simulator.tasks
    assert (await submitting).id in simulator.tasks
    assert {task.id for task in client.unfinished} == set(simulator.tasks)


async def test_close_withdraws_what_was_not_sent(simulator: Simulator) -> None:
    """A submit that waits for its turn is not paid any more."""
    simulator.faults.order("submit", Fault.status(429), times=None)
    events: list[Event] = []
    client = client_of(simulator, on_event=events.append)
    pending = asyncio.ensure_future(client.generate(img2img()))
    await until(lambda: any(isinstance(event, SubmitDelayed) for event in events))
    await client.close()

    with pytest.raises(NotSentError) as caught:
        await pending
    assert caught.value.billed == "no"
    assert (simulator.counters.accepted, len(client.unfinished)) == (0, 0)


async def test_close_ends_a_download_that_stalls(simulator: Simulator) -> None:
    """Nobody waits for a host that is silent when the client is closed."""
    simulator.faults.order("download", Fault.never_answer())
    before = len(asyncio.all_tasks())
    client = client_of(simulator, timeouts=Timeouts(download_stall=600))
    pending = asyncio.ensure_future(client.generate(img2img()))
    await until(lambda: simulator.counters.downloads == 1)
    await client.close()

    with pytest.raises(TaskTimeoutError) as caught:
        await pending
    assert caught.value.task_id in simulator.tasks
    await until(lambda: simulator.open_connections == 0)
    await settled(before)


async def test_close_while_an_expired_result_is_read_again(simulator: Simulator) -> None:
    """Nobody was told how that ends, so the task is not delivered: it stays in `unfinished`."""
    simulator.faults.order("download", Fault.status(403))
    simulator.faults.order(
        "poll",
        Fault.never_answer(),
        when=lambda _: simulator.counters.downloads == 1,
    )
    client = client_of(simulator)
    pending = asyncio.ensure_future(client.generate(img2img()))
    await until(lambda: simulator.counters.downloads == 1 and len(client._poller) == 1)
    await client.close()

    with pytest.raises(TaskTimeoutError, match="the client was closed") as caught:
        await pending
    assert caught.value.task_id in simulator.tasks
    assert [task.id for task in client.unfinished] == list(simulator.tasks)


async def test_close_in_a_cancelled_task(simulator: Simulator) -> None:
    """A cancelled body still waits for ids and closes everything."""
    simulator.faults.order("submit", Fault.delay(0.1))
    known: list[Task] = []

    async def body() -> None:
        client = client_of(simulator)
        try:
            async with client:
                await client.generate(img2img())
        finally:
            known.extend(client.unfinished)

    running = asyncio.ensure_future(body())
    await until(lambda: simulator.counters.accepted == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [task.id for task in known] == list(simulator.tasks)
    await until(lambda: simulator.open_connections == 0)


async def test_close_in_a_cancelled_scope(simulator: Simulator) -> None:
    """A scope of anyio's cancels every await in it; closing is shielded from that."""
    simulator.faults.order("submit", Fault.delay(0.1))
    with anyio.CancelScope() as scope:
        async with client_of(simulator) as client:
            submitting = asyncio.ensure_future(client.submit(img2img()))
            await until(lambda: simulator.counters.accepted == 1)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert (await submitting).id in simulator.tasks
    assert [task.id for task in client.unfinished] == list(simulator.tasks)
    await until(lambda: simulator.open_connections == 0)


# --- nothing is left --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outside() -> Iterator[SimulatorProcess]:
    """A simulator whose sockets are not this process's."""
    with simulator_process(queue="0", processing="0.01", tiny_images=True) as running:
        yield running


Use = Callable[[Client], Coroutine[Any, Any, None]]


async def generate_some(client: Client) -> None:
    outcomes = await client.generate_many([img2img(image_num=2)] * 5)
    assert all(outcome.error is None for outcome in outcomes)


async def raise_in_between(client: Client) -> None:
    await client.submit(img2img())
    raise KeyError("body")


async def be_cancelled(client: Client) -> None:
    task = await client.submit(img2img())
    asyncio.get_running_loop().call_soon(_current().cancel)
    await task


async def leave_images_and_updates(client: Client) -> None:
    task = await client.submit(img2img(image_num=4))
    async for _ in task.updates():
        break
    async for _ in task.images():
        break


async def leave_others_waiting(client: Client) -> None:
    _others.extend(asyncio.ensure_future(client.generate(img2img())) for _ in range(3))
    await anyio.lowlevel.checkpoint()


async def list_a_page(client: Client) -> None:
    await anext(client.models(page_size=3))


_others: list[asyncio.Future[TaskResult]] = []


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize(
    "use",
    [
        generate_some,
        raise_in_between,
        be_cancelled,
        leave_images_and_updates,
        leave_others_waiting,
        list_a_page,
    ],
)
def test_nothing_is_left_behind(outside: SimulatorProcess, use: Use) -> None:
    """No task, no socket and no thread at work outlives the client on its loop, however its body ends.

    Threads of anyio's may stay, idle, for others on the loop; they end with the loop.
    """

    async def main() -> None:
        before, open_before = asyncio.all_tasks(), await anyio.to_thread.run_sync(open_sockets)
        try:
            async with client_of(outside) as client:
                await use(client)
        except (KeyError, asyncio.CancelledError):
            pass
        finally:
            for other in _others:
                # Not begun yet, or under way.
                with contextlib.suppress(RuntimeError, PPInfraError):
                    await other
            _others.clear()
        assert at_work() == []
        assert asyncio.all_tasks() == before
        gc.collect()
        await until_open_sockets_are(open_before)

    threads_before = set(threading.enumerate())
    asyncio.run(main())

    for thread in set(threading.enumerate()) - threads_before:
        # Told to end when the loop ended, and waited for by nobody.
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def large_picture() -> bytes:
    """A picture whose pixels take a while, and its bytes do not."""
    buffer = io.BytesIO()
    Image.new("RGB", (6000, 6000), "red").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


async def raise_while_decoding(client: Client) -> None:
    _others.append(asyncio.ensure_future(client.attach("t").result()))
    await until(lambda: "decode" in at_work())
    raise KeyError("body")


async def be_cancelled_while_decoding(client: Client) -> None:
    caller = _current()

    async def cancel() -> None:
        await until(lambda: "decode" in at_work())
        caller.cancel()

    cancelling = asyncio.ensure_future(cancel())
    try:
        await client.attach("t")
    finally:
        await cancelling


async def leave_images_while_decoding(client: Client) -> None:
    images = client.attach("t").images()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, images)
            await until(lambda: "decode" in at_work())
            scope.cancel()


async def close_while_decoding(client: Client) -> None:
    _others.append(asyncio.ensure_future(client.attach("t").result()))
    await until(lambda: "decode" in at_work())
    await client.close()


@pytest.mark.parametrize(
    "use",
    [
        raise_while_decoding,
        be_cancelled_while_decoding,
        leave_images_while_decoding,
        close_while_decoding,
    ],
)
async def test_pictures_are_not_decoded_on_when_the_client_is_closed(
    large_picture: bytes, use: Use
) -> None:
    """Closing waits for the threads that work on results, however its body ends."""
    # The first call makes the worker that the count of sockets runs in.
    open_before = await anyio.to_thread.run_sync(open_sockets)
    before = asyncio.all_tasks()
    pages = {f"{HOST}/{number}": served(large_picture) for number in range(2)}
    with contextlib.suppress(KeyError, asyncio.CancelledError):
        async with Client("key", base_url="http://127.0.0.1:9", polling=FAST_POLLING) as client:
            client._connect(scripted_service([status(SUCCEED, images=2)], pages))
            await use(client)

    assert at_work() == []
    for other in _others:
        # What came before the end is handed over.
        with contextlib.suppress(TaskTimeoutError):
            await other
    _others.clear()
    assert asyncio.all_tasks() == before
    await until_open_sockets_are(open_before)


async def look_at_a_picture(client: Client, data: bytes, folder: Path) -> None:
    await client.check(img2img(image=ImageInput.from_bytes(data, fit=512)))


async def decode_a_picture(client: Client, data: bytes, folder: Path) -> None:
    image = (await client.attach("t").result(decode=False)).images[0]
    await image.decode()


async def save_a_picture(client: Client, data: bytes, folder: Path) -> None:
    image = (await client.attach("t").result(decode=False)).images[0]
    await image.save(folder / "cat.webp")


@pytest.mark.parametrize(
    ("work", "function"),
    [
        (look_at_a_picture, "reencode"),
        (decode_a_picture, "decode"),
        (save_a_picture, "decode"),
    ],
)
async def test_no_thread_works_on_for_a_cancelled_caller(
    large_picture: bytes, tmp_path: Path, work: Callable[..., Any], function: str
) -> None:
    """What asyncio cancelled is not worked on when the client is closed."""
    pages = {f"{HOST}/0": served(large_picture)}
    async with Client("key", base_url="http://127.0.0.1:9", polling=FAST_POLLING) as client:
        client._connect(scripted_service([status(SUCCEED, images=1)], pages))
        caller = asyncio.ensure_future(work(client, large_picture, tmp_path))
        await until(lambda: function in at_work())
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    assert at_work() == []


def run_python(code: str, *arguments: str, module: tuple[str, ...] = ("-c",)) -> str:
    """Run *code* in a fresh interpreter where every warning is an error; return what it complains."""
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-X", "dev", "-W", "error", *module, code, *arguments],
        capture_output=True,
        text=True,
        # Of pytest's plugins only those named are loaded, which takes a second less.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_whole_life_is_silent_in_development_mode(
    outside: SimulatorProcess, tmp_path: Path
) -> None:
    """Pictures, an early exit and tasks left behind: not a word on stderr, all warnings on."""
    code = """
        import asyncio, logging, sys
        from pathlib import Path
        from ppinfra_async import Client, Img2Img, Polling

        logging.getLogger("ppinfra_async").setLevel(logging.ERROR)
        url, folder = sys.argv[1], Path(sys.argv[2])

        async def main():
            # Slowness is not what is looked for here, and the machine may be busy.
            asyncio.get_running_loop().slow_callback_duration = 60
            request = Img2Img(
                model_name="sd_xl_base_1.0.safetensors", image=folder / "cat.png", prompt="a cat",
                image_num=3,
            )
            polling = Polling(min_interval=0.01, max_interval=0.02)
            async with Client("sk_simulator", base_url=url, polling=polling) as client:
                result = await client.generate(request)
                await result.images[0].save(folder / "out.jpg")
                task = await client.submit(request)
                async for image in task.images():
                    break
                waiting = asyncio.ensure_future(client.generate(request))
                await asyncio.sleep(0)
                try:
                    await task.result(timeout=0)
                except TimeoutError:
                    pass
                waiting.cancel()
                await asyncio.wait([waiting])
                await client.submit(request)

        asyncio.run(main())
    """
    (tmp_path / "cat.png").write_bytes(PICTURE)

    assert run_python(textwrap.dedent(code), outside.url, str(tmp_path)) == ""
    assert (tmp_path / "out.jpg").stat().st_size > 0


def test_plain_pytest_asyncio_fixture(outside: SimulatorProcess, tmp_path: Path) -> None:
    """A fixture opens and closes the client in other tasks than the tests that use it."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    code = f"""
        import asyncio
        import pytest, pytest_asyncio
        from ppinfra_async import Client, Img2Img, Polling

        @pytest_asyncio.fixture
        async def client():
            polling = Polling(min_interval=0.01, max_interval=0.02)
            async with Client("sk_simulator", base_url={outside.url!r}, polling=polling) as opened:
                yield opened

        def request():
            return Img2Img(
                model_name="sd_xl_base_1.0.safetensors", image={PICTURE!r}, prompt="a cat"
            )

        @pytest.mark.asyncio
        async def test_generate(client):
            assert len((await client.generate(request())).images) == 1

        @pytest.mark.asyncio
        async def test_fail_in_between(client):
            await client.submit(request())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await client.generate(request())

        @pytest.mark.asyncio
        async def test_unused(client):
            pass
    """
    test = tmp_path / "test_with_pytest_asyncio.py"
    test.write_text(textwrap.dedent(code))

    plugins = ("-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")
    arguments = ("-q", *plugins, "-c", str(tmp_path / "pytest.ini"))
    assert run_python(str(test), *arguments, module=("-m", "pytest")) == ""


async def test_abandoned_task_is_logged(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Who was cancelled cannot be told the id, so the log is."""
    simulator.faults.order("submit", Fault.delay(0.1))
    with caplog.at_level(logging.WARNING, "ppinfra_async"):
        async with client_of(simulator) as client:
            submitting = asyncio.ensure_future(client.submit(img2img()))
            await until(lambda: simulator.counters.accepted == 1)
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            (task,) = client.unfinished

    assert task.id in caplog.messages[0]

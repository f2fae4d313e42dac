"""The one task that all background work belongs to."""

from __future__ import annotations

import asyncio
import gc
import threading

import anyio
import pytest

from ppinfra_async._background import Background, first_in_group
from tests.waiting import until


async def divide() -> None:
    raise ZeroDivisionError


async def crashed(background: Background) -> None:
    """Let a job crash and wait until all others are gone."""
    await background.start()
    background.spawn(divide)
    with pytest.raises(RuntimeError):
        await background.ended()


async def test_job_runs_beside_its_caller() -> None:
    """What is spawned runs while the caller goes on, with its arguments."""
    background, seen, done = Background(), list[int](), anyio.Event()

    async def job(number: int) -> None:
        seen.append(number)
        done.set()

    await background.start()
    background.spawn(job, 7)
    assert seen == []
    await background.wait(done)
    await background.stop()

    assert seen == [7]


async def test_nothing_runs_before_the_first_start() -> None:
    """A client that was made and never used has no task."""
    before = asyncio.all_tasks()
    background = Background()
    background.check()

    assert asyncio.all_tasks() == before
    await background.ended()
    await background.stop()
    assert asyncio.all_tasks() == before


async def test_stop_ends_all_jobs_and_waits_for_them() -> None:
    """When `stop` returns, no job is left and each had time to clean up."""
    background, cleaned = Background(), list[str]()

    async def job() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            cleaned.append("job")

    before = asyncio.all_tasks()
    await background.start()
    background.spawn(job)
    await anyio.lowlevel.checkpoint()
    await background.stop()

    assert cleaned == ["job"]
    assert asyncio.all_tasks() == before


async def test_start_and_stop_can_be_repeated() -> None:
    """A second start adds no second task, and a second stop is nothing."""
    background = Background()
    await background.start()
    await background.start()
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == "ppinfra_async"]
    await background.stop()
    await background.stop()

    assert len(tasks) == 1


async def test_starts_at_the_same_time_share_one_task() -> None:
    """Two callers that come before the task runs wait for the same one."""
    background = Background()
    async with anyio.create_task_group() as group:
        group.start_soon(background.start)
        group.start_soon(background.start)
        await anyio.lowlevel.checkpoint()
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == "ppinfra_async"]
    await background.stop()

    assert len(tasks) == 1


async def test_start_during_stop_is_refused() -> None:
    """Who waits for the start while the client is closed is told, not left waiting."""
    background, told = Background(), list[str]()

    async def start() -> None:
        with pytest.raises(RuntimeError) as caught:
            await background.start()
        told.append(str(caught.value))

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await anyio.lowlevel.checkpoint()
        await background.stop()

    assert told == ["This client is closed."]


async def test_use_after_stop_is_a_clear_error() -> None:
    """A closed client says so, whether it was used before or not."""
    background = Background()
    await background.stop()

    with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
        background.check()
    with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
        await background.start()


def test_use_from_another_loop_is_a_clear_error() -> None:
    """The first loop owns it; another one is told what to do instead."""
    background = Background()

    async def use() -> None:
        background.check()

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="one client per event loop"):
        asyncio.run(use())


async def test_crash_is_raised_with_its_cause() -> None:
    """After a crash every use says so and shows what it was."""
    background = Background()
    await crashed(background)

    for use in (background.check, background.raise_crash):
        with pytest.raises(RuntimeError, match="crashed in the background") as caught:
            use()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    await background.stop()


async def test_crash_reaches_every_waiter() -> None:
    """Also those who share an event with somebody who has left meanwhile."""
    background, event, told = Background(), anyio.Event(), list[str]()

    async def wait() -> None:
        try:
            await background.wait(event)
        except RuntimeError as error:
            told.append(type(error.__cause__).__name__)

    await background.start()
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        with anyio.move_on_after(0.001):
            await background.wait(event)
        background.spawn(divide)

    assert told == ["ZeroDivisionError", "ZeroDivisionError"]


async def test_waiting_after_a_crash_ends_at_once() -> None:
    """An event that nobody can set any more is not waited for."""
    background = Background()
    await crashed(background)

    with pytest.raises(RuntimeError, match="crashed"):
        await background.wait(anyio.Event())


async def test_crash_ends_the_other_jobs() -> None:
    """One crash takes everything down, so nothing runs on half-alive."""
    background, ended = Background(), list[str]()

    async def job() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("job")

    await background.start()
    background.spawn(job)
    await anyio.lowlevel.checkpoint()
    await crashed(background)

    assert ended == ["job"]


async def test_cancelled_waiter_leaves_nothing_behind() -> None:
    """The list of waiters follows who really waits."""
    background = Background()
    with anyio.move_on_after(0.001):
        await background.wait(anyio.Event())

    assert not background._awaited


def test_torn_down_loop_takes_the_task_along(recwarn: pytest.WarningsRecorder) -> None:
    """A loop that ends under a client that was never closed ends quietly."""
    background = Background()
    asyncio.run(background.start())

    assert background._task is not None
    assert background._task.cancelled()
    assert not recwarn.list


async def test_soon_calls_on_the_loop_from_any_thread() -> None:
    """A garbage collector in another thread may ask for something to be ended."""
    background, threads, called = Background(), list[str](), anyio.Event()
    background.check()

    def callback() -> None:
        threads.append(threading.current_thread().name)
        called.set()

    await anyio.to_thread.run_sync(background.soon, callback)
    await called.wait()

    assert threads == ["MainThread"]


def test_soon_is_silent_without_a_loop() -> None:
    """Before the first use and after the loop's end there is nothing to call."""
    background, called = Background(), list[str]()

    async def use() -> None:
        background.check()

    background.soon(lambda: called.append("before"))
    asyncio.run(use())
    background.soon(lambda: called.append("after"))

    assert called == []


async def test_ending_outlasts_a_cancelled_caller() -> None:
    """Who is cancelled while something ends leaves when it is over."""
    log: list[str] = []

    async def ending() -> None:
        log.append("begun")
        await anyio.sleep(0.01)
        log.append("over")

    caller = asyncio.ensure_future(Background().outlast(ending))
    await until(lambda: log == ["begun"])
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert log == ["begun", "over"]

    with anyio.CancelScope() as scope:
        scope.cancel()
        await Background().outlast(ending)
    assert log == ["begun", "over"] * 2


async def test_caller_that_is_cancelled_again_leaves_the_ending_running() -> None:
    """Two cancellations mean now; what has to end goes on by itself, though nobody holds it."""
    log: list[str] = []
    gate = anyio.Event()

    async def ending() -> None:
        log.append("begun")
        await gate.wait()
        log.append("over")

    background = Background()
    caller = asyncio.ensure_future(background.outlast(ending))
    await until(lambda: log == ["begun"])
    for _ in range(2):
        caller.cancel()
        await anyio.lowlevel.checkpoint()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gc.collect()
    assert log == ["begun"]

    gate.set()
    await until(lambda: log == ["begun", "over"])


def test_first_in_group_unwraps_all_layers() -> None:
    """What really happened comes out, however many task groups were around it."""
    error = KeyError("x")
    inner = ExceptionGroup("inner", [error, ValueError()])

    assert first_in_group(BaseExceptionGroup("outer", [inner])) is error
    assert first_in_group(error) is error

"""Worker threads: so many at a time, and known while they work, also for callers who have left."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from ppinfra_async._threads import WorkerThreads
from tests.waiting import until


async def test_work_is_done_in_a_thread() -> None:
    """What it returns and what it raises reach the caller."""
    threads = WorkerThreads(1)

    assert await threads.run(threading.get_ident) != threading.get_ident()
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_few_work_at_once_and_none_of_the_applications() -> None:
    """The limit is its own; anyio's is left alone."""
    threads, gate = WorkerThreads(2), threading.Event()
    at_work: list[int] = []

    def work(number: int) -> None:
        at_work.append(number)
        gate.wait(10)

    application = anyio.to_thread.current_default_thread_limiter()
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(threads.run, work, number)
        await until(lambda: len(at_work) == 2)
        await anyio.sleep(0.02)
        assert len(at_work) == 2
        assert application.borrowed_tokens == 0
        gate.set()
    assert sorted(at_work) == [0, 1, 2, 3]


async def test_idle_waits_for_work_whose_caller_has_left() -> None:
    """Asyncio's own cancellation does not stop a thread, and does not wait for it either."""
    threads, gate, done = WorkerThreads(1), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(10)
        done.set()

    caller = asyncio.ensure_future(threads.run(work))
    await until(lambda: threads._at_work == 1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with anyio.create_task_group() as group:
        group.start_soon(threads.idle, 10)
        await anyio.lowlevel.checkpoint()
        assert not done.is_set()
        gate.set()
    assert done.is_set()


async def test_idle_has_an_end() -> None:
    """A file on a dead drive may keep a thread for ever."""
    threads, gate = WorkerThreads(1), threading.Event()
    caller = asyncio.ensure_future(threads.run(gate.wait, 10, abandon_on_cancel=True))
    await until(lambda: threads._at_work == 1)
    await threads.idle(0.01)
    gate.set()
    assert await caller


async def test_idle_is_at_once_where_nothing_works() -> None:
    """Nobody waits for nothing."""
    with anyio.fail_after(10):
        await WorkerThreads(1).idle(float("inf"))


async def test_work_of_a_caller_who_left_before_it_began_is_not_done() -> None:
    """Whoever is cancelled while all places are taken asks for nothing any more."""
    threads, gate = WorkerThreads(1), threading.Event()
    begun: list[int] = []
    first = asyncio.ensure_future(threads.run(gate.wait, 10))
    await until(lambda: threads._at_work == 1)
    second = asyncio.ensure_future(threads.run(begun.append, 2))
    await anyio.lowlevel.checkpoint()
    second.cancel()
    gate.set()
    assert await first
    await threads.idle(10)

    assert second.cancelled() or second.cancelling()
    assert begun == []


def test_work_outlives_a_closed_loop() -> None:
    """A thread that ends after its loop complains about nothing."""
    threads, gate, done = WorkerThreads(1), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(10)
        done.set()

    async def main() -> None:
        caller = asyncio.ensure_future(threads.run(work, abandon_on_cancel=True))
        await until(lambda: threads._at_work == 1)
        caller.cancel()
        await threads.idle(0.01)

    asyncio.run(main())
    gate.set()
    assert done.wait(10)

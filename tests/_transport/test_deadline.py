"""A deadline that moves: it ends what takes too long, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest

from ppinfra_async._transport.deadline import Deadline
from tests.loops import run_in_virtual_time


async def ended_after(block: Callable[[Deadline], object], seconds: float) -> float | None:
    """Return when *block* was ended, or None when it was not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadline = Deadline(seconds)
    with deadline:
        block(deadline)
        await asyncio.sleep(100)
        return None
    return loop.time() - began


def test_block_ends_at_its_deadline() -> None:
    """And what stands behind the block goes on."""
    assert run_in_virtual_time(lambda: ended_after(lambda _: None, 5)) == pytest.approx(5)


def test_deadline_can_be_moved_both_ways() -> None:
    """Later costs no new timer, sooner is noticed at once."""

    def move(seconds: float) -> Callable[[Deadline], object]:
        return lambda deadline: deadline.move(seconds)

    assert run_in_virtual_time(lambda: ended_after(move(20), 5)) == pytest.approx(20)
    assert run_in_virtual_time(lambda: ended_after(move(2), 5)) == pytest.approx(2)
    assert run_in_virtual_time(lambda: ended_after(move(200), 5)) is None


def test_moves_set_one_timer() -> None:
    """Every step of an upload moves it."""

    async def count() -> int:
        loop = asyncio.get_running_loop()
        deadline = Deadline(5)
        with deadline:
            first = deadline._alarm
            for _ in range(100):
                deadline.move(6)
            assert deadline._alarm is first
        return len([1 for handle in loop._scheduled if not handle.cancelled()])  # type: ignore[attr-defined]  # asyncio's own

    assert run_in_virtual_time(count) == 0


async def test_block_that_ends_by_itself_leaves_no_trace() -> None:
    """Neither a timer nor a cancellation follows it."""
    with Deadline(0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_deadline_leaves_no_cancellation_behind() -> None:
    """What comes afterwards is not cancelled again."""
    with Deadline(0):
        await anyio.sleep_forever()
    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_error_of_the_block_goes_through() -> None:
    """Also one that is raised because of the deadline's cancellation."""
    with pytest.raises(ZeroDivisionError), Deadline(0):
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None


@pytest.mark.parametrize("wait", [0.0, 0.01])
async def test_cancellation_by_somebody_else_goes_through(wait: float) -> None:
    """Before the deadline, and in the very moment of it."""
    reached: list[str] = []

    async def work() -> None:
        with Deadline(0.01):
            await anyio.sleep_forever()
        reached.append("behind the block")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    timer = loop.call_later(wait, task.cancel)
    # The loop is kept, so that both moments come in one turn of it, however slow the machine is.
    while loop.time() < timer.when():
        pass
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == []


async def test_scope_around_it_ends_as_usual() -> None:
    """A cancel scope of the caller's is not mistaken for the deadline, nor the other way round."""
    reached: list[str] = []
    with anyio.move_on_after(0.01) as outer:
        with Deadline(5):
            await anyio.sleep_forever()
        reached.append("behind the block")
    assert outer.cancelled_caught
    with anyio.move_on_after(5) as outer:
        with Deadline(0.01):
            await anyio.sleep_forever()
        reached.append("behind the deadline")
    assert not outer.cancelled_caught
    assert reached == ["behind the deadline"]

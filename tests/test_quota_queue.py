"""The order in which submits of one endpoint go, and the sharing of its quota."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from ppinfra_async import Limits
from ppinfra_async._quota_queue import QuotaQueue, QuotaTimeoutError
from ppinfra_async._sansio.quota import Quota, Sent
from tests.loops import run_in_virtual_time


def queue_of(limit: int) -> QuotaQueue:
    return QuotaQueue(Quota(Limits(images_per_minute=limit)))


async def go(queue: QuotaQueue, ticket: int, order: list[int], images: int = 1) -> Sent:
    sent = await queue.enter(ticket, images, None)
    order.append(ticket)
    return sent


def test_thousands_may_leave_at_once() -> None:
    """They are counted out at once, and what is left of them goes when half of the queue is."""

    async def main() -> tuple[int, int]:
        queue = queue_of(1)
        await queue.enter(0, 1, None)
        async with anyio.create_task_group() as group:
            for ticket in range(1, 1001):
                group.start_soon(queue.enter, ticket, 1, None)
            await anyio.sleep(1)
            assert len(queue) == 1000
            group.cancel_scope.cancel()
        return len(queue), len(queue._waiting)

    count, kept = run_in_virtual_time(main)

    assert count == 0
    assert kept < 130


async def test_free_quota_is_taken_at_once() -> None:
    """Nobody waits when there is room."""
    queue = queue_of(2)
    with anyio.fail_after(0):
        await queue.enter(queue.ticket(), 2, None)


def test_the_earliest_ticket_goes_first() -> None:
    """Whoever comes back into the queue has its old place."""

    async def main() -> list[int]:
        queue, order = queue_of(1), list[int]()
        queue.accepted(await queue.enter(0, 1, None))
        async with anyio.create_task_group() as group:

            async def one(ticket: int) -> None:
                queue.accepted(await go(queue, ticket, order))

            for ticket in (5, 2, 9, 1):
                group.start_soon(one, ticket)
        return order

    assert run_in_virtual_time(main) == [1, 2, 5, 9]


def test_a_small_one_does_not_overtake() -> None:
    """Also when the quota has room for it and not for the first."""

    async def main() -> list[int]:
        queue, order = queue_of(8), list[int]()
        queue.accepted(await queue.enter(0, 4, None))
        async with anyio.create_task_group() as group:
            group.start_soon(go, queue, 1, order, 8)
            await checkpoint()
            group.start_soon(go, queue, 2, order, 1)
            await anyio.sleep(1)
            assert order == []
            group.start_soon(queue_up_accepted, queue)
            await anyio.sleep(200)
            group.cancel_scope.cancel()
        return order

    async def queue_up_accepted(queue: QuotaQueue) -> None:
        await queue.enter(3, 1, None)

    assert run_in_virtual_time(main) == [1]


def test_who_leaves_is_passed_over() -> None:
    """A cancelled waiter neither gets the turn nor holds up the others."""

    async def main() -> list[int]:
        queue, order = queue_of(1), list[int]()
        queue.accepted(await queue.enter(0, 1, None))
        leaving = asyncio.create_task(go(queue, 1, order))
        staying = asyncio.create_task(go(queue, 2, order))
        await anyio.sleep(1)
        leaving.cancel()
        await staying
        assert leaving.cancelled()
        assert len(queue) == 0
        return order

    assert run_in_virtual_time(main) == [2]


def test_an_answer_wakes_who_waits_for_it() -> None:
    """What did not reach the service leaves its room to the next, at once."""

    async def main() -> float:
        queue = queue_of(1)
        sent = await queue.enter(0, 1, None)
        async with anyio.create_task_group() as group:
            group.start_soon(go, queue, 1, [])
            await anyio.sleep(5)
            queue.not_sent(sent)
        return anyio.current_time()

    assert run_in_virtual_time(main) == 5


def test_who_would_wait_too_long_is_told_at_once() -> None:
    """With the seconds that it would have taken."""

    async def main() -> float | None:
        queue = queue_of(1)
        queue.accepted(await queue.enter(0, 1, None))
        await anyio.sleep(20)
        with pytest.raises(QuotaTimeoutError) as caught:
            await queue.enter(1, 1, 30)
        assert anyio.current_time() == 20
        assert len(queue) == 0
        return caught.value.wait

    wait = run_in_virtual_time(main)

    assert wait is not None
    assert 40 <= wait <= 41


def test_who_waits_for_an_answer_waits_no_longer_than_it_may() -> None:
    """Nobody knows when a submit that is under way is answered."""

    async def main() -> float | None:
        queue = queue_of(1)
        await queue.enter(0, 1, None)
        with pytest.raises(QuotaTimeoutError) as caught:
            await queue.enter(1, 1, 30)
        assert anyio.current_time() == 30
        return caught.value.wait

    assert run_in_virtual_time(main) is None


def test_estimate_counts_who_waits() -> None:
    """They were there first."""

    async def main() -> tuple[float, float]:
        queue = queue_of(10)
        queue.accepted(await queue.enter(0, 8, None))
        before = queue.estimate(2)
        async with anyio.create_task_group() as group:
            group.start_soon(go, queue, 1, [], 8)
            await checkpoint()
            after = queue.estimate(3)
            group.cancel_scope.cancel()
        return before, after

    before, after = run_in_virtual_time(main)

    assert before == 0
    assert 60 <= after <= 61


def test_loops_of_several_threads_share_a_quota() -> None:
    """All of them together send no more than it allows, and each waiter is woken in its own loop."""
    queue, went, lock = queue_of(6), list[float](), threading.Lock()
    one_is_back = threading.Event()

    async def client(count: int) -> None:
        for _ in range(count):
            sent = await queue.enter(queue.ticket(), 1, None)
            with lock:
                went.append(asyncio.get_running_loop().time())
            if len(went) == 6:
                one_is_back.wait(0.2)
                # Nobody knew that this place would be free again but by being woken.
                queue.not_sent(sent)
            else:
                queue.accepted(sent)

    threads = [threading.Thread(target=asyncio.run, args=(client(n),)) for n in (4, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(went) == 7


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_closed_loop_does_not_hold_up_the_others(is_answered: bool) -> None:  # noqa: FBT001  # a parameter
    """Its waiters are dropped when it is their turn, also when nothing else happens."""
    queue = queue_of(1)
    sent = await queue.enter(queue.ticket(), 1, None)
    stuck = queue.ticket()

    def elsewhere() -> None:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(queue.enter(stuck, 1, None))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        # Nobody will ever run it again; this only keeps asyncio from complaining.
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # of asyncio

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(queue) == 1

    if is_answered:
        queue.not_sent(sent)
    else:
        # What could be noted, was noted before.
        queue._quota.not_sent(sent)
    with anyio.fail_after(5):
        await queue.enter(queue.ticket(), 1, None)

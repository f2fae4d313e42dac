"""The order in which submits of one endpoint go."""

from __future__ import annotations

import asyncio

import anyio
from anyio.lowlevel import checkpoint

from ppinfra_async._turn import Turn


async def take_all(turn: Turn, tickets: list[int], order: list[int]) -> None:
    """Let all of *tickets* wait for *turn*, and note in which order it comes to them."""

    async def one(ticket: int) -> None:
        await turn.take(ticket)
        order.append(ticket)
        await checkpoint()
        turn.hand_on()

    async with anyio.create_task_group() as group:
        for ticket in tickets:
            group.start_soon(one, ticket)


async def test_free_turn_is_taken_at_once() -> None:
    """Nobody waits when nobody is there."""
    turn = Turn()
    with anyio.fail_after(0):
        await turn.take(7)


async def test_turn_goes_to_the_earliest_ticket() -> None:
    """Whoever comes back into the queue has its old place."""
    turn = Turn()
    order: list[int] = []
    await turn.take(0)
    async with anyio.create_task_group() as group:
        group.start_soon(take_all, turn, [5, 2, 9, 1], order)
        await anyio.wait_all_tasks_blocked()
        turn.hand_on()

    assert order == [1, 2, 5, 9]


async def test_turn_is_free_again_after_the_last() -> None:
    """It is not lost with the last who had it."""
    turn = Turn()
    await take_all(turn, [1, 2, 3], [])
    with anyio.fail_after(0):
        await turn.take(4)


async def test_who_leaves_the_queue_is_passed_over() -> None:
    """A cancelled waiter neither gets the turn nor holds up the others."""
    turn = Turn()
    order: list[int] = []
    await turn.take(0)
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.01):
            await turn.take(1)
        group.start_soon(take_all, turn, [3, 2], order)
        await anyio.wait_all_tasks_blocked()
        turn.hand_on()

    assert order == [2, 3]


async def test_turn_that_comes_to_a_cancelled_waiter_is_handed_on() -> None:
    """Both may happen in the same moment."""
    turn = Turn()
    order: list[int] = []
    await turn.take(0)
    leaving = asyncio.create_task(turn.take(1))
    await checkpoint()
    async with anyio.create_task_group() as group:
        group.start_soon(take_all, turn, [2], order)
        await anyio.wait_all_tasks_blocked()
        turn.hand_on()
        leaving.cancel()

    assert leaving.cancelled()
    assert order == [2]

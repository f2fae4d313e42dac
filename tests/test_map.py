"""A stream of jobs through a client: pulled lazily, bounded both ways, ended in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest

from ppinfra_async import Client, Img2Img, Job, Limits, Outcome, Timeouts
from ppinfra_async.errors import (
    ContentRejectedError,
    InsufficientBalanceError,
    InvalidKeyError,
    InvalidRequestError,
    NotAllowedError,
    SubmitOutcomeUnknownError,
    TaskFailedError,
)
from ppinfra_async.events import Event, SubmitAbandoned
from ppinfra_async.testing import Fault, Simulator
from tests.conftest import FAST_POLLING
from tests.leftovers import at_work, our_tasks
from tests.requesting import img2img
from tests.waiting import until

CLIENTS_OWN = {"Background._host", "Poller._run"}
"""What a client keeps running until it is closed."""


async def collect(client: Client, items: object, **options: object) -> list[Outcome]:
    async with client.map(items, **options) as outcomes:  # type: ignore[arg-type]  # what tests give
        return [outcome async for outcome in outcomes]


def numbered(count: int) -> Iterator[Img2Img]:
    return (img2img(prompt=str(number)) for number in range(count))


def refuse_after(simulator: Simulator, count: int, fault: Fault) -> None:
    """Let *count* submits pass, and meet every further one with *fault*."""
    passed = itertools.count()
    simulator.faults.order("submit", fault, times=None, when=lambda _: next(passed) >= count)


# --- what comes out ---


async def test_every_job_has_one_outcome(client: Client, simulator: Simulator) -> None:
    """Requests and jobs, plain or asynchronous: each ends up as one outcome with its index and key."""
    items = [
        Job(request, key=f"job {at}") if at % 2 else request
        for at, request in enumerate(numbered(40))
    ]

    outcomes = await collect(client, iter(items), max_in_flight=7)

    assert sorted(outcome.index for outcome in outcomes) == list(range(40))
    for outcome in outcomes:
        assert outcome.key == (f"job {outcome.index}" if outcome.index % 2 else None)
        assert outcome.request.prompt == str(outcome.index)  # type: ignore[attr-defined]  # Img2Img
        assert outcome.result.images[0].pil.size == (8, 8)
    assert simulator.counters.accepted == 40
    assert client.unfinished == ()


async def test_ordered_map_delivers_in_input_order(client: Client, simulator: Simulator) -> None:
    """A slow first job holds up the others, and nothing is lost or overtaken."""
    simulator.faults.order("poll", Fault.status(500), times=3)

    outcomes = await collect(client, numbered(30), max_in_flight=6, ordered=True)

    assert [outcome.index for outcome in outcomes] == list(range(30))


async def test_as_completed_does_not_wait_for_the_slow(simulator: Simulator) -> None:
    """A job that takes long is overtaken by all others."""
    async with Client(
        simulator.api_key,
        base_url=simulator.url,
        polling=FAST_POLLING,
        timeouts=Timeouts(cancel_grace=0.05),
    ) as client:
        simulator.faults.order("submit", Fault.delay(600))
        async with client.map(numbered(12), max_in_flight=4) as outcomes:
            overtaking = {(await anext(outcomes)).index for _ in range(11)}

    # One of the first four met the delay.
    (slow,) = set(range(12)) - overtaking
    assert slow < 4


async def test_without_decoding_bytes_are_verified_and_pixels_absent(client: Client) -> None:
    """`decode=False` hands over whole pictures without their pixels."""
    (outcome,) = await collect(client, [img2img()], decode=False)

    image = outcome.result.images[0]
    assert image.data.startswith(b"\x89PNG")
    with pytest.raises(RuntimeError, match="no pixels yet"):
        _ = image.pil


async def test_failure_is_an_outcome(client: Client) -> None:
    """A refused prompt, a failed task and a bad item end as outcomes beside the good ones."""
    items = [
        img2img(prompt="simulate-illegal"),
        img2img(prompt="simulate-failure"),
        "not a request",
        img2img(image=b"not a picture"),
        img2img(),
    ]

    outcomes = await collect(client, items, ordered=True)

    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [
        ContentRejectedError,
        TaskFailedError,
        InvalidRequestError,
        InvalidRequestError,
        type(None),
    ]
    assert client.unfinished == ()


async def test_empty_stream_ends(client: Client) -> None:
    """No job, no outcome; and a stream that has ended stays ended."""
    async with client.map([]) as outcomes:
        assert [outcome async for outcome in outcomes] == []
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)


@pytest.mark.parametrize("given", [0, -1, True, 1.5, "8"])
async def test_bad_number_in_flight_is_refused(client: Client, given: object) -> None:
    """What is no whole number from 1 is named at once."""
    with pytest.raises(ValueError, match="max_in_flight must be a whole number from 1"):
        client.map([], max_in_flight=given)  # type: ignore[arg-type]  # the point


async def test_single_request_is_refused(client: Client) -> None:
    """A request in place of a list of them is told at once, and so is what cannot be iterated."""
    for given in (img2img(), None):
        with pytest.raises(TypeError, match="iterable"):
            client.map(given)  # type: ignore[arg-type]  # the point


async def test_map_must_be_entered_and_only_once(client: Client) -> None:
    """Without `async with` nothing would end the work, so nothing begins."""
    outcomes = client.map([img2img()])
    with pytest.raises(RuntimeError, match="async with"):
        await anext(outcomes)
    async with outcomes:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await outcomes.__aenter__()


# --- bounds ---


async def test_items_are_pulled_only_when_there_is_room(
    client: Client, simulator: Simulator
) -> None:
    """A reader who takes nothing stops the pulling; each outcome taken lets one more job in."""
    pulled = 0

    def endless() -> Iterator[Img2Img]:
        nonlocal pulled
        while True:
            pulled += 1
            yield img2img(prompt=str(pulled))

    async with client.map(endless(), max_in_flight=5) as outcomes:
        await until(lambda: simulator.counters.downloads >= 5)
        await anyio.sleep(0.05)
        assert pulled == 5
        for taken in range(1, 8):
            await anext(outcomes)
            await until(lambda taken=taken: pulled == 5 + taken)  # type: ignore[misc]  # bound now
    assert simulator.counters.accepted <= 12


async def test_no_task_per_item(client: Client) -> None:
    """Thousands of jobs are run by a few workers."""
    most = 0
    async with client.map(numbered(300), max_in_flight=8) as outcomes:
        async for _ in outcomes:
            most = max(most, len(asyncio.all_tasks()))

    # Each of eight jobs has a worker and at most a submit, a poll or a few for its download.
    assert most < 80


@pytest.mark.parametrize("ordered", [False, True])
async def test_waiting_pictures_are_bounded_in_bytes(
    client: Client, simulator: Simulator, *, ordered: bool
) -> None:
    """While nothing is taken only so many bytes are fetched, and all arrives once it is."""
    stream = client.map(numbered(12), max_in_flight=12, ordered=ordered)
    stream._flow.max_bytes = 1

    async with stream as outcomes:
        await until(lambda: simulator.counters.accepted == 12)
        await until(lambda: simulator.counters.polls >= 12)
        await anyio.sleep(0.2)
        held = simulator.counters.downloads
        got = [outcome.index async for outcome in outcomes]

    assert held == 1
    assert sorted(got) == list(range(12))
    assert simulator.counters.downloads == 12


# --- what stops it ---


@pytest.mark.parametrize(
    ("reason", "status", "kind"),
    [
        ("INVALID_API_KEY", 403, InvalidKeyError),
        ("BILLING_BALANCE_NOT_ENOUGH", 400, InsufficientBalanceError),
    ],
)
async def test_account_error_stops_the_stream(
    client: Client, simulator: Simulator, reason: str, status: int, kind: type[Exception]
) -> None:
    """What is in flight is delivered, then the error is raised; unpulled requests stay untouched."""
    requests = numbered(1000)
    refuse_after(simulator, 5, Fault.status(status, reason))
    seen = []
    async with client.map(requests, max_in_flight=4) as outcomes:
        with pytest.raises(kind):
            async for outcome in outcomes:
                seen.append(outcome)  # noqa: PERF401  # what came before the error counts
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)

    done = [outcome for outcome in seen if outcome.error is None]
    assert len(done) == 5
    assert all(isinstance(outcome.error, kind) for outcome in seen if outcome.error)
    assert {outcome.error.billed for outcome in seen if outcome.error} == {"no"}
    # Everything pulled was told; the next request is still in the caller's hands.
    assert sorted(outcome.index for outcome in seen) == list(range(len(seen)))
    assert next(requests).prompt == str(len(seen))


async def test_account_error_withdraws_what_waits_for_the_quota(simulator: Simulator) -> None:
    """Jobs that wait for their turn are not uploaded once the key is known to be wrong."""
    limits = Limits(images_per_minute=2)
    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, limits=limits
    ) as client:
        refuse_after(simulator, 1, Fault.status(403, "INVALID_API_KEY"))
        seen = []
        async with client.map(numbered(50), max_in_flight=10) as outcomes:
            with pytest.raises(InvalidKeyError):
                async for outcome in outcomes:
                    seen.append(outcome)  # noqa: PERF401  # see above

    assert simulator.counters.submits == 2
    assert len(seen) == 10
    assert sum(outcome.error is None for outcome in seen) == 1


async def test_not_allowed_stops_only_its_model(client: Client, simulator: Simulator) -> None:
    """A model that this account may not use costs one submit; the others go on."""
    other = "dreamshaper_8_93211.safetensors"
    simulator.faults.order("submit", Fault.status(403, "NEED_REAL_NAME_VERIFY"))
    requests = [img2img(model_name=other if at % 2 else img2img().model_name) for at in range(20)]

    outcomes = await collect(client, requests, max_in_flight=1)

    refused = [outcome for outcome in outcomes if isinstance(outcome.error, NotAllowedError)]
    assert [outcome.index for outcome in refused] == list(range(0, 20, 2))
    assert simulator.counters.submits == 11


class _OddError(Exception):
    """Something of the caller's own."""


@pytest.mark.parametrize("is_async", [False, True])
async def test_exception_of_the_iterator_leaves_as_itself(
    client: Client, *, is_async: bool
) -> None:
    """What was pulled before is delivered; then the caller's own exception arrives, not wrapped."""

    def items() -> Iterator[Img2Img]:
        yield from numbered(3)
        raise _OddError

    async def async_items() -> AsyncIterator[Img2Img]:
        for item in numbered(3):
            await anyio.lowlevel.checkpoint()
            yield item
        raise _OddError

    seen = []
    async with client.map(async_items() if is_async else items()) as outcomes:
        with pytest.raises(_OddError):
            async for outcome in outcomes:
                seen.append(outcome.index)  # noqa: PERF401  # see above

    assert sorted(seen) == [0, 1, 2]


async def test_account_error_does_not_wait_for_a_slow_iterator(
    client: Client, simulator: Simulator
) -> None:
    """An iterator that would bring its next item in an hour does not delay the news."""

    async def items() -> AsyncIterator[Img2Img]:
        yield img2img()
        await anyio.sleep(3600)

    simulator.faults.order("submit", Fault.status(403, "INVALID_API_KEY"), times=None)
    with anyio.fail_after(10):
        async with client.map(items()) as outcomes:
            with pytest.raises(InvalidKeyError):
                _ = [outcome async for outcome in outcomes]


async def test_async_iterator_is_resumed_in_one_task(client: Client) -> None:
    """A generator with a cancel scope of its own works: it never changes its task."""
    tasks = set()

    async def items() -> AsyncIterator[Img2Img]:
        for item in numbered(20):
            tasks.add(asyncio.current_task())
            yield item

    assert len(await collect(client, items(), max_in_flight=3)) == 20
    assert len(tasks) == 1


# --- leaving ---


async def test_leaving_early_keeps_what_is_paid(client: Client, simulator: Simulator) -> None:
    """Paid and untaken tasks are in `unfinished`; nothing works on."""
    await client.generate(img2img())
    taken = []
    async with client.map(numbered(100), max_in_flight=10) as outcomes:
        async for outcome in outcomes:
            taken.append(outcome.result.task_id)
            if len(taken) == 3:
                break
    await until(lambda: our_tasks() <= CLIENTS_OWN)

    assert at_work() == []
    paid = set(simulator.tasks) - set(taken)
    unfinished = {task.id for task in client.unfinished}
    # The first task of all was delivered before the map began.
    assert unfinished <= paid
    assert len(paid - unfinished) == 1
    for task in client.unfinished:
        assert (await task).images


async def test_leaving_by_an_exception_lets_it_through(client: Client) -> None:
    """The body's own exception leaves as itself, not in a group."""
    with pytest.raises(_OddError):
        async with client.map(numbered(10)) as outcomes:
            await anext(outcomes)
            raise _OddError


async def test_outcome_that_waits_is_unfinished_until_it_is_taken(client: Client) -> None:
    """A result that nobody has taken is known to the client; taking it settles it."""
    async with client.map([img2img()]) as outcomes:
        await until(lambda: outcomes._outcomes != {})
        waiting = [task.id for task in client.unfinished]
        outcome = await anext(outcomes)

    assert waiting == [outcome.result.task_id]
    assert client.unfinished == ()


async def test_money_in_doubt_that_nobody_takes_is_told(simulator: Simulator) -> None:
    """An outcome unknown that was never taken is told by an event: it is the only trace."""
    events: list[Event] = []
    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, on_event=events.append
    ) as client:
        simulator.faults.order("submit", Fault.cut_after_read())
        async with client.map([img2img()]) as outcomes:
            await until(lambda: outcomes._outcomes != {})

    (told,) = (event for event in events if isinstance(event, SubmitAbandoned))
    assert isinstance(told.error, SubmitOutcomeUnknownError)


async def test_closing_the_client_ends_a_map(client: Client) -> None:
    """Who still reads is told that the client is closed, and nothing hangs."""
    with anyio.fail_after(20):
        async with client.map(numbered(1000), max_in_flight=4) as outcomes:
            await anext(outcomes)
            await client.close()
            with pytest.raises(RuntimeError, match="closed"):
                while True:
                    await anext(outcomes)


async def test_cancelled_reader_leaves_nothing(client: Client) -> None:
    """A caller cancelled inside the block ends it all the same."""
    with anyio.move_on_after(0.05) as scope:
        async with client.map(numbered(10_000), max_in_flight=10) as outcomes:
            async for _ in outcomes:
                pass
    assert scope.cancelled_caught
    await until(lambda: our_tasks() <= CLIENTS_OWN)
    assert at_work() == []

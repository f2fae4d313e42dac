"""The money: connections cut at random bytes, callers cancelled at random moments, on real sockets.

The simulator counts what it accepted, and so what would have been paid.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
from attrs import define, field

from ppinfra_async import Client, Img2Img, Retries, Timeouts
from ppinfra_async.errors import (
    NotSentError,
    PPInfraError,
    SubmitOutcomeUnknownError,
)
from ppinfra_async.events import Event, SubmitDelayed
from ppinfra_async.testing import Fault, Simulator, SimulatorThread, simulator_thread
from tests.requesting import MODEL, PICTURE

AT_ONCE = Retries(attempts=3, max_wait=0.01)


def request(random: Random, least: int, most: int) -> Img2Img:
    """Return a request with a picture of that many bytes; what follows its end is ignored."""
    noise = random.randbytes(random.randint(least, most))
    return Img2Img(model_name=MODEL, image=PICTURE + noise, prompt="a cat", width=128, height=128)


@define
class Attempted:
    """What one submit led to, on both sides."""

    result: str | PPInfraError
    delays: list[PPInfraError]
    starts: int
    accepted: int


@define
class Payer:
    """A client and a service that nobody else uses."""

    simulator: Simulator | SimulatorThread
    client: Client
    events: list[Event] = field(factory=list)

    async def submit(self, request: Img2Img) -> Attempted:
        self.events.clear()
        before = self.simulator.counters.snapshot()
        result: str | PPInfraError
        try:
            with anyio.fail_after(10):
                result = (await self.client.submit(request)).id
        except PPInfraError as error:
            result = error
        after = self.simulator.counters.snapshot()
        delays = [event.error for event in self.events if isinstance(event, SubmitDelayed)]
        return Attempted(
            result,
            delays,
            after.submit_starts - before.submit_starts,
            after.accepted - before.accepted,
        )


@asynccontextmanager
async def payer(simulator: Simulator | SimulatorThread, timeouts: Timeouts) -> AsyncIterator[Payer]:
    events: list[Event] = []
    async with Client(
        simulator.api_key,
        base_url=simulator.url,
        retries=AT_ONCE,
        timeouts=timeouts,
        on_event=events.append,
    ) as client:
        yield Payer(simulator, client, events)


@pytest.fixture
def beside() -> Iterator[SimulatorThread]:
    """A simulator in another thread, where answers and resets come at any moment of ours."""
    with simulator_thread(tiny_images=True) as running:
        yield running


KINDS = (
    "before the body", "in the body", "in the body", "in the body", "near its end",
    "after it", "after it, paid", "in the answer",
)  # fmt: skip


def random_cut(random: Random, picture: int) -> tuple[str, Fault]:
    """Draw where the connection ends, and whether with a reset."""
    reset = random.random() < 0.5
    kind = random.choice(KINDS)
    match kind:
        case "before the body":
            fault = Fault.cut_before_read(reset=reset)
        case "in the body":
            fault = Fault.cut_at(random.randint(1, picture * 4 // 3), reset=reset)
        case "near its end":
            fault = Fault.cut_at(-random.randint(1, 5), reset=reset)
        case "in the answer":
            fault = Fault.cut_in_reply(random.randint(0, 30), reset=reset)
        case _:
            fault = Fault.cut_after_read(paid=kind == "after it, paid", reset=reset)
    return kind, fault


def check(kind: str, got: Attempted) -> str:
    """Hold one cut submit against the promise; return on which side of the commit it was."""
    assert got.accepted <= 1, kind
    if isinstance(got.result, SubmitOutcomeUnknownError):
        assert got.starts == 1, "never sent again by itself"
        assert got.delays == []
        assert got.result.billed == "unknown"
        return "after"
    assert isinstance(got.result, str), got.result
    assert got.accepted == 1
    assert [type(error) for error in got.delays] == [NotSentError]
    assert got.starts == 2
    assert kind not in {"after it", "after it, paid", "in the answer"}
    return "before"


async def cut_again_and_again(payer: Payer, seed: int, times: int, sides: Counter[str]) -> None:
    random = Random(seed)
    for _ in range(times):
        asked = request(random, 100_000, 2_500_000)
        kind, fault = random_cut(random, len(asked.image.data or b""))
        payer.simulator.faults.order("submit", fault)
        got = await payer.submit(asked)
        sides[check(kind, got)] += 1
        if kind in {"after it, paid", "in the answer"}:
            assert got.accepted == 1
        assert payer.simulator.faults.waiting == 0


async def test_cuts_at_random_bytes_never_pay_twice() -> None:
    """Before the commit point a submit is sent again and paid once, after it never sent again."""
    sides: Counter[str] = Counter()

    async def one(seed: int) -> None:
        async with (
            Simulator(tiny_images=True, receive_buffer=64 * 1024) as simulator,
            payer(simulator, Timeouts()) as own,
        ):
            await cut_again_and_again(own, seed, 60, sides)
            assert own.simulator.counters.accepted == len(own.simulator.tasks)

    async with anyio.create_task_group() as group:
        for seed in range(5):
            group.start_soon(one, seed)

    assert sides.total() == 300
    assert sides["before"] > 75
    assert sides["after"] > 75


async def test_cuts_by_a_server_that_runs_beside_us_never_pay_twice(
    beside: SimulatorThread,
) -> None:
    """The same, where resets come at any moment of ours."""
    sides: Counter[str] = Counter()
    async with payer(beside, Timeouts()) as own:
        await cut_again_and_again(own, 99, 50, sides)

    assert sides.total() == 50
    assert min(sides.values()) > 5


EARLY = {
    400: Fault.status(400, "INVALID_IMAGE_FORMAT", early=True),
    429: Fault.status(429, headers={"Retry-After": "0.01"}, early=True),
    500: Fault.status(500, "UNKNOWN", early=True),
    503: Fault.status(503, headers={"Retry-After": "0.01"}, early=True),
}


# A refusal for the quota takes half a second at least.
ROUNDS = {400: 10, 429: 2, 500: 10, 503: 2}


async def answer_early(
    simulator: Simulator | SimulatorThread, status: int, seen: Counter[str]
) -> None:
    random = Random(status)
    async with payer(simulator, Timeouts()) as own:
        for _ in range(ROUNDS[status]):
            simulator.faults.order("submit", EARLY[status])
            got = await own.submit(request(random, 100_000, 3_000_000))
            seen[type(got.result).__name__] += 1
            seen.update(type(error).__name__ for error in got.delays)
            assert got.accepted == isinstance(got.result, str)


@pytest.mark.parametrize("status", EARLY)
async def test_early_answers_are_understood(status: int) -> None:
    """A server that answers and closes with the body unread has still answered."""
    seen: Counter[str] = Counter()
    async with Simulator(tiny_images=True) as simulator:
        await answer_early(simulator, status, seen)

    match status:
        case 400:
            assert seen == {"InvalidRequestError": 10}
        case 429 | 503:
            assert seen == {"str": 2, "RateLimitedError": 2}
        case _:
            # A small body may be handed over whole before the answer is there.
            assert seen["str"] + seen["SubmitOutcomeUnknownError"] == 10
            assert seen["str"] == seen["NotSentError"] > 0


@pytest.mark.parametrize("status", EARLY)
async def test_early_answers_of_a_server_beside_us_never_pay_twice(
    beside: SimulatorThread, status: int
) -> None:
    """The answer may be lost to the reset behind it; then the submit counts as not sent."""
    seen: Counter[str] = Counter()
    await answer_early(beside, status, seen)

    assert seen.total() >= ROUNDS[status]
    assert set(seen) <= {
        "str",
        "InvalidRequestError",
        "RateLimitedError",
        "NotSentError",
        "SubmitOutcomeUnknownError",
    }
    if status == 400:
        assert seen["InvalidRequestError"] > 5


async def test_server_that_never_reads_ends_in_an_error() -> None:
    """Not in a hang, and nothing was paid."""
    timeouts = Timeouts(upload_stall=0.1)
    async with (
        Simulator(tiny_images=True, receive_buffer=32 * 1024) as simulator,
        payer(simulator, timeouts) as own,
    ):
        simulator.faults.order("submit", Fault.never_read(), times=None)
        got = await own.submit(request(Random(1), 6_000_000, 6_000_000))

    assert isinstance(got.result, NotSentError)
    assert got.result.billed == "no"
    assert (got.starts, got.accepted) == (3, 0)


async def test_server_that_never_answers_ends_in_an_open_outcome() -> None:
    """It has everything, so it may have been paid."""
    timeouts = Timeouts(submit_reply=0.1)
    async with Simulator(tiny_images=True) as simulator, payer(simulator, timeouts) as own:
        simulator.faults.order("submit", Fault.never_answer())
        got = await own.submit(request(Random(1), 100, 100))

    assert isinstance(got.result, SubmitOutcomeUnknownError)
    assert (got.starts, got.accepted) == (1, 1)


async def test_cancelling_at_random_moments_loses_no_paid_task() -> None:
    """Every task that the service accepted was returned or is in ``client.unfinished``."""
    returned: list[str] = []
    outcomes: Counter[str] = Counter()

    async def one(client: Client, random: Random) -> None:
        began = anyio.current_time()
        returned.append((await client.submit(request(random, 400_000, 400_000))).id)
        # Machines differ; moments are drawn around what a submit takes on this one.
        span = 2 * (anyio.current_time() - began)
        for _ in range(20):
            task = asyncio.create_task(client.submit(request(random, 100, 400_000)))
            await asyncio.wait([task], timeout=random.random() * span)
            task.cancel()
            await asyncio.wait([task])
            outcomes["cancelled" if task.cancelled() else "returned"] += 1
            if not task.cancelled():
                returned.append(task.result().id)

    async with (
        Simulator(tiny_images=True) as simulator,
        Client(simulator.api_key, base_url=simulator.url) as client,
    ):
        async with anyio.create_task_group() as group:
            for seed in range(10):
                group.start_soon(one, client, Random(seed))
        known = {task.id for task in client.unfinished}

    assert outcomes.total() == 200
    assert outcomes["cancelled"] > 20
    assert outcomes["returned"] > 20
    assert set(returned) <= known
    assert set(simulator.tasks) == known
    assert len(known) > len(returned), "some were abandoned"

"""A short list of jobs, run by a fixed number of workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
import anyio.lowlevel
import pytest

from ppinfra_async import Job, Outcome, TaskResult, TaskStatus
from ppinfra_async._bulk import run_all
from ppinfra_async.errors import (
    ContentRejectedError,
    InsufficientBalanceError,
    InvalidKeyError,
    NotAllowedError,
    PPInfraError,
    ServiceError,
)
from ppinfra_async.requests import Request
from tests.requesting import img2img

Generate = Callable[[Request], Awaitable[TaskResult]]


def prompt_of(request: Request) -> str:
    prompt = getattr(request, "prompt", "")
    assert isinstance(prompt, str)
    return prompt


async def succeed(request: Request) -> TaskResult:
    await anyio.lowlevel.checkpoint()
    return TaskResult(task_id=f"task of {prompt_of(request)}", status=TaskStatus.SUCCEED)


async def run(generate: Generate, items: Iterable[Request | Job]) -> list[Outcome]:
    """Run *items* to their end; nothing is ever taken back then."""

    def take_back(outcome: Outcome) -> None:
        raise AssertionError(outcome)

    return await run_all(generate, items, take_back)


async def test_outcomes_stand_in_input_order() -> None:
    """Whoever is done first, the outcomes stand as the requests stood."""

    async def last_first(request: Request) -> TaskResult:
        await anyio.sleep(0.003 - 0.001 * int(prompt_of(request)))
        return await succeed(request)

    outcomes = await run(last_first, [img2img(prompt=str(number)) for number in range(3)])

    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert [outcome.result.task_id for outcome in outcomes] == [
        "task of 0",
        "task of 1",
        "task of 2",
    ]


async def test_job_brings_its_key() -> None:
    """A job's key and request come back with its outcome; a bare request has no key."""
    first, second = img2img(prompt="one"), img2img(prompt="two")

    items: list[Request | Job] = [Job(first, key="cat"), second]
    outcomes = await run(succeed, iter(items))

    assert [(outcome.key, outcome.request) for outcome in outcomes] == [
        ("cat", first),
        (None, second),
    ]


async def test_nothing_to_do_is_an_empty_list() -> None:
    """No request, no outcome."""
    assert await run(succeed, []) == []


@pytest.mark.parametrize("kind", [ContentRejectedError, NotAllowedError, ServiceError])
async def test_one_failure_does_not_stop_the_others(kind: type[PPInfraError]) -> None:
    """An error about one request is that request's outcome, and nothing else."""

    async def fail_second(request: Request) -> TaskResult:
        if prompt_of(request) == "1":
            raise kind("no")
        return await succeed(request)

    requests = [img2img(prompt=str(number)) for number in range(200)]
    outcomes = await run(fail_second, requests)

    assert [outcome.index for outcome in outcomes if outcome.error is not None] == [1]
    assert isinstance(outcomes[1].error, kind)
    with pytest.raises(kind):
        _ = outcomes[1].result


@pytest.mark.parametrize("kind", [InvalidKeyError, InsufficientBalanceError])
async def test_error_that_dooms_all_stops_what_was_not_begun(kind: type[PPInfraError]) -> None:
    """After a wrong key or an empty balance nothing more is begun; those left are not paid."""
    begun: list[str] = []

    async def refuse_fourth(request: Request) -> TaskResult:
        begun.append(prompt_of(request))
        result = await succeed(request)
        if prompt_of(request) == "3":
            raise kind("no", task_id="4", trace_id="4", billed="yes")
        await anyio.sleep(0.001)
        return result

    requests = [img2img(prompt=str(number)) for number in range(500)]
    outcomes = await run(refuse_fourth, requests)

    assert begun == [str(number) for number in range(64)]
    assert len(outcomes) == 500
    assert [outcome.index for outcome in outcomes[:64] if outcome.error] == [3]
    left = [outcome.error for outcome in outcomes[64:]]
    assert {type(error) for error in left} == {kind}
    # The one that was refused is paid and has a task; these have nothing of it but the reason.
    facts = {(error.task_id, error.trace_id, error.billed) for error in left if error}
    assert facts == {(None, None, "no")}
    assert len(set(map(id, left))) == len(left)
    assert all(error.__cause__ is outcomes[3].error for error in left if error)


async def test_few_are_under_way_at_once() -> None:
    """A long list does not make a task per job."""
    under_way: list[str] = []
    most = 0

    async def watch(request: Request) -> TaskResult:
        nonlocal most
        under_way.append(prompt_of(request))
        most = max(most, len(under_way))
        result = await succeed(request)
        under_way.remove(prompt_of(request))
        return result

    await run(watch, [img2img(prompt=str(number)) for number in range(1000)])

    assert most == 64


async def test_crash_leaves_as_itself() -> None:
    """What is no error of a job, such as a closed client, ends everything and is not wrapped."""

    async def crash(request: Request) -> TaskResult:
        raise RuntimeError("This client is closed.")

    with pytest.raises(RuntimeError, match=r"^This client is closed\.$"):
        await run(crash, [img2img(), img2img()])


async def test_cancelling_ends_all_workers() -> None:
    """A cancelled list leaves no job running."""
    ended: list[str] = []

    async def hang(request: Request) -> TaskResult:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(prompt_of(request))
        raise AssertionError

    with anyio.move_on_after(0.005) as scope:
        await run(hang, [img2img(prompt="a"), img2img(prompt="b")])

    assert scope.cancelled_caught
    assert sorted(ended) == ["a", "b"]


@pytest.mark.parametrize("way", ["cancelled", "crashed"])
async def test_outcomes_that_nobody_will_see_are_taken_back(way: str) -> None:
    """A list that is cut short hands over what was done already, errors too."""
    taken_back: list[Outcome] = []

    async def generate(request: Request) -> TaskResult:
        if prompt_of(request) == "bad":
            raise ServiceError("no")
        if prompt_of(request) == "last":
            await anyio.sleep(0.005)
            if way == "crashed":
                raise RuntimeError("crash")
            await anyio.sleep_forever()
        return await succeed(request)

    requests = [img2img(prompt=prompt) for prompt in ("one", "bad", "two", "last")]
    if way == "crashed":
        with pytest.raises(RuntimeError, match="crash"):
            await run_all(generate, requests, taken_back.append)
    else:
        with anyio.move_on_after(0.01) as scope:
            await run_all(generate, requests, taken_back.append)
        assert scope.cancelled_caught

    assert sorted(outcome.index for outcome in taken_back) == [0, 1, 2]
    assert {outcome.index for outcome in taken_back if outcome.error} == {1}

"""Runs a list of jobs with a fixed number of workers; refuses to make a task per job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio
from attrs import define

from ppinfra_async._background import first_in_group
from ppinfra_async.errors import InsufficientBalanceError, InvalidKeyError, PPInfraError
from ppinfra_async.requests import Request
from ppinfra_async.results import Job, Outcome, TaskResult

T = TypeVar("T")

_AT_ONCE = 64


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Await *work* for all *items*, pulled one by one, so many at the same time."""
    shared = iter(items)

    async def worker() -> None:
        for item in shared:
            await work(item)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(worker)


def dooms_all(error: BaseException | None) -> bool:
    """Tell whether sending the next request after *error* would only get the same answer."""
    return isinstance(error, InvalidKeyError | InsufficientBalanceError)


def unsent_because_of(doom: PPInfraError) -> PPInfraError:
    """Return what is told about a request that was not sent because another one got *doom*.

    An error of its own: the other request may have a task id and be paid, this one has not.
    """
    error = type(doom)(f"It was not sent, because another request got: {doom.message}")
    error.__cause__ = doom
    return error


async def run_all(
    generate: Callable[[Request], Awaitable[TaskResult]],
    items: Iterable[Request | Job],
    take_back: Callable[[Outcome], None],
) -> list[Outcome]:
    """Run *generate* for all *items*; return the outcomes in input order.

    When that is cut short, the outcomes that nobody will see are given to *take_back*.
    """
    jobs = [item if isinstance(item, Job) else Job(item) for item in items]
    outcomes: dict[int, Outcome] = {}
    doom = _Doom()

    async def work(numbered: tuple[int, Job]) -> None:
        index, job = numbered
        outcomes[index] = await _outcome(generate, index, job, doom)

    try:
        await for_each(enumerate(jobs), work)
    except BaseException as error:
        for outcome in outcomes.values():
            take_back(outcome)
        if not isinstance(error, BaseExceptionGroup):
            raise
        # A closed client or a crash: the same for every worker, so it leaves as itself.
        raise first_in_group(error) from None
    return [outcomes[index] for index in range(len(jobs))]


@define
class _Doom:
    """The error that every further submit would get, once one has got it."""

    error: PPInfraError | None = None


async def _outcome(
    generate: Callable[[Request], Awaitable[TaskResult]], index: int, job: Job, doom: _Doom
) -> Outcome:
    result, error = None, None
    if doom.error is not None:
        error = unsent_because_of(doom.error)
    else:
        try:
            result = await generate(job.request)
        except PPInfraError as failed:
            error = failed
            doom.error = failed if dooms_all(failed) else doom.error
    return Outcome(index=index, request=job.request, key=job.key, error=error, result=result)

"""Runs a list of jobs with a fixed number of workers; refuses to make a task per job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
from attrs import define

from ppinfra_async._background import first_in_group
from ppinfra_async.errors import InsufficientBalanceError, InvalidKeyError, PPInfraError
from ppinfra_async.requests import Request
from ppinfra_async.results import Job, Outcome, TaskResult

_WORKERS = 64
# Sending the next request after one of these would only get the same answer.
_DOOMS_ALL = (InvalidKeyError, InsufficientBalanceError)


async def run_all(
    generate: Callable[[Request], Awaitable[TaskResult]],
    items: Iterable[Request | Job],
    give_back: Callable[[str], None],
) -> list[Outcome]:
    """Run *generate* for all *items*; return the outcomes in input order.

    When that is cut short, the results that nobody will see are given back by their task id.
    """
    jobs = [item if isinstance(item, Job) else Job(item) for item in items]
    outcomes: dict[int, Outcome] = {}
    shared = iter(enumerate(jobs))
    doom = _Doom()

    async def work() -> None:
        for index, job in shared:
            outcomes[index] = await _outcome(generate, index, job, doom)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(_WORKERS, len(jobs))):
                group.start_soon(work)
    except BaseException as error:
        for outcome in outcomes.values():
            if outcome.error is None:
                give_back(outcome.result.task_id)
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
    result, error = None, doom.error
    if error is None:
        try:
            result = await generate(job.request)
        except PPInfraError as failed:
            error = failed
    if isinstance(error, _DOOMS_ALL):
        doom.error = error
    return Outcome(index=index, request=job.request, key=job.key, error=error, result=result)

"""Runs many jobs at the same time and remembers what became of each; refuses to print anything.

What is paid is never forgotten: a job keeps its task id from the moment there is one, whatever
happens afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import define, field

from ppinfra_async import errors
from ppinfra_async._bulk import for_each
from ppinfra_async._cli._messages import UnwritableError
from ppinfra_async._cli._saving import Folder
from ppinfra_async._client import Client
from ppinfra_async._job_tools import JobTools
from ppinfra_async._sansio.stops import dooms_all, unsent_because_of
from ppinfra_async._task import Task
from ppinfra_async.errors import PPInfraError
from ppinfra_async.events import Event, PollFailed, TaskPolled
from ppinfra_async.requests import Request
from ppinfra_async.results import GeneratedImage, TaskStatus, TaskUpdate


@define(eq=False)
class Job:
    """One input of a command: a request to send, or a task id to wait for.

    Attributes:
        label: What a person calls it.
        stem: How its files begin.
        request: What to ask; None for a task that is already there.
        task_id: The service's id, as soon as there is one.
        state: Where it is, in a word or two.
        percent: How far the service is, when it says so.
        began: When it left the queue, on the loop's clock; None before.
        took: Seconds it took; None before its end.
        seed: The service's seed.
        missing: How many fewer pictures the service listed than were asked for.
        saved: Where its pictures are, in the order in which they came.
        pictures: The same by their place in the result.
        trouble: Why the last status call brought nothing.
        error: Why not everything is here.
        ended: True when nothing more will happen.
        was_answered: True once the service said something about its task.
    """

    label: str
    stem: str
    request: Request | None = None
    task_id: str | None = None
    state: str = "waiting"
    percent: float | None = None
    began: float | None = None
    took: float | None = None
    seed: int | None = None
    missing: int = 0
    saved: list[Path] = field(factory=list)
    pictures: dict[int, Path] = field(factory=dict)
    trouble: PPInfraError | None = None
    error: Exception | None = None
    ended: bool = False
    was_answered: bool = False

    @property
    def images(self) -> int:
        """How many pictures it asks for."""
        return self.request.images_asked if self.request is not None else 0


Hook = Callable[[Job], None]


def _nothing(job: Job) -> None:
    del job


@define(eq=False)
class Runner:
    """Runs jobs with one client.

    Attributes:
        client: Whom to ask.
        folder: Where pictures go.
        on_change: Called with a job that has come a step further.
        on_picture: Called when a picture of a job is on disk: the last of its ``saved``.
        on_end: Called once per job, at its end.
        patience: Seconds to wait for the service's first word about a task that is there already.
        is_unwritable: True once a picture could not be written.
    """

    client: Client
    folder: Folder
    on_change: Hook = _nothing
    on_picture: Hook = _nothing
    on_end: Hook = _nothing
    patience: float = 30.0
    stopping: bool = field(default=False, init=False)
    is_unwritable: bool = field(default=False, init=False)
    _unsent: PPInfraError | None = field(default=None, init=False)
    _by_task: dict[str, Job] = field(factory=dict, init=False)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Run *jobs*; each ends by itself, with or without an error."""
        await for_each(jobs, self._one)

    async def stop(self) -> None:
        """Send nothing more; jobs under way end at once, each knowing whether it is paid."""
        self.stopping = True
        await self.client.close()

    def note(self, event: Event) -> None:
        """Take up what the client says about a task; give it to the client as ``on_event``."""
        match event:
            case TaskPolled(update=update) if job := self._by_task.get(update.task_id):
                self._polled(job, update)
            case PollFailed(task_id=task_id, error=error) if job := self._by_task.get(task_id):
                job.trouble = error
                is_unknown = isinstance(error, errors.TaskNotFoundError)
                words = "not known there" if is_unknown else "no answer about it"
                self._move(job, f"{words}, asking again")
            case _:
                return

    def _polled(self, job: Job, update: TaskUpdate) -> None:
        job.percent, job.trouble, job.was_answered = update.progress_percent, None, True
        self._move(job, _STATES.get(update.status, "in progress"))

    def _move(self, job: Job, state: str) -> None:
        if job.state != state and not job.ended:
            job.state = state
            self.on_change(job)

    def give_up(self, jobs: Sequence[Job]) -> None:
        """End what was still under way when everything was ended at once."""
        for job in jobs:
            if not job.ended:
                job.error = _cut_short(job)
                self._end(job)

    async def check(self, jobs: Sequence[Job]) -> bool:
        """Look at all pictures without any network; when one is bad, end every job.

        Returns:
            True when all are good.
        """

        async def check_unless_stopping(job: Job) -> None:
            if not self.stopping:
                await self._check_one(job)

        await for_each(jobs, check_unless_stopping)
        if not any(job.error for job in jobs) and not self.stopping:
            return True
        for job in jobs:
            job.error = job.error or (_not_sent() if self.stopping else _not_alone())
            self._end(job)
        return False

    async def _check_one(self, job: Job) -> None:
        assert job.request is not None  # noqa: S101  # only new requests are checked
        try:
            await self.client.check(job.request)
        except Exception as error:  # every bad picture is to be reported, not only the first
            job.error = None if self.stopping else error

    async def _one(self, job: Job) -> None:
        began = anyio.current_time()
        try:
            if self.stopping:
                raise _not_sent()
            if self._unsent is not None:
                raise copy.copy(self._unsent)
            job.began = began
            await self._finish(job)
        except Exception as error:  # one job's failure stops no other
            job.error = self._judged(job, error)
        job.took = anyio.current_time() - began
        self._end(job)

    def _end(self, job: Job) -> None:
        job.state, job.ended = ("failed" if job.error else "done"), True
        self.on_end(job)

    def objection(self, request: Request) -> PPInfraError | None:
        """Return why a job's request is not sent any more, or None; see ``Owner``."""
        del request
        return copy.copy(self._unsent)

    @property
    def _tools(self) -> JobTools:
        return self.client._job_tools  # noqa: SLF001  # ours: what runs of many jobs use

    def _judged(self, job: Job, error: Exception) -> Exception:
        if self._unsent is not None and _was_withdrawn(error, self._unsent):
            job.began = None
            return copy.copy(self._unsent)
        if self._unsent is None and (reason := self._reason_to_send_no_more(error)):
            self._unsent = reason
            self._tools.withdraw(self)
        if isinstance(error, errors.TaskNotFoundError) and job.request is not None:
            return _forgotten(error)
        if isinstance(error, errors.IncompleteResultError) and error.result is not None:
            job.seed, job.missing = error.result.seed, error.result.missing
        if self.stopping and isinstance(error, errors.TaskTimeoutError | RuntimeError):
            # The client was closed under it, by us.
            return _stopped(job)
        return error

    def _reason_to_send_no_more(self, error: Exception) -> PPInfraError | None:
        """Return what is told about the jobs that are not sent after *error*, if none should be."""
        if isinstance(error, PPInfraError):
            return unsent_because_of(error) if dooms_all(error) else None
        if self.is_unwritable:
            # What is paid from now on could not be saved either.
            return errors.NotSentError(
                f"It was not sent, because: {error} Nothing was paid for it."
            )
        return None

    async def _finish(self, job: Job) -> None:
        task = await self._task_of(job)
        async for image in task.images():
            self._move(job, "fetching pictures")
            await self._save(job, image)
        result = await task.result(decode=False)
        job.seed, job.missing = result.seed, result.missing

    async def _task_of(self, job: Job) -> Task:
        if job.request is None:
            assert job.task_id is not None  # noqa: S101  # one of both
            task = self.client.attach(job.task_id)
            self._by_task[task.id] = job
            await self._hear_of(job, task)
            return task
        self._move(job, "sending")
        task = await self._tools.submit(job.request, owner=self)
        job.task_id = task.id
        self._by_task[task.id] = job
        self._move(job, "sent")
        return task

    async def _hear_of(self, job: Job, task: Task) -> None:
        """Make sure that the service can be asked at all; waiting then goes on however long."""
        with anyio.move_on_after(self.patience) as waiting:
            await anext(task.updates())
        if waiting.cancelled_caught:
            raise job.trouble or errors.ServiceError(
                f"The service said nothing about the task for {self.patience:g} s.",
                task_id=task.id,
                billed="unknown",
                retryable=True,
            )

    async def _save(self, job: Job, image: GeneratedImage) -> None:
        try:
            path = await anyio.to_thread.run_sync(
                self.folder.place_picture, image.data, job.stem, image.index, image.format
            )
        except OSError as error:
            self.is_unwritable = True
            why = error.strerror or error
            raise UnwritableError(
                f"A picture could not be written to {self.folder.path} ({why})."
            ) from error
        job.saved.append(path)
        job.pictures[image.index] = path
        self.on_picture(job)


_STATES = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.PROCESSING: "working",
    TaskStatus.SUCCEED: "fetching pictures",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELED: "canceled",
}


def _was_withdrawn(error: Exception, reason: PPInfraError) -> bool:
    """Tell whether a job was kept from being sent because of *reason*, before its turn or after it."""
    if isinstance(error, errors.NotSentError):
        return True
    return isinstance(error, PPInfraError) and error.message == reason.message


def _forgotten(error: errors.TaskNotFoundError) -> PPInfraError:
    """Return the same for a task of ours: its id cannot be wrong."""
    return errors.TaskNotFoundError(
        f"The service accepted the task {error.task_id} and does not know it any more.",
        task_id=error.task_id,
        trace_id=error.trace_id,
        billed="yes",
    )


def _not_sent() -> PPInfraError:
    return errors.NotSentError("It was not sent: you stopped before its turn. Nothing was paid.")


def _not_alone() -> PPInfraError:
    return errors.NotSentError("It was not sent, because other input is bad. Nothing was paid.")


def _cut_short(job: Job) -> PPInfraError:
    if job.began is None or job.task_id is not None:
        return _stopped(job)
    return errors.SubmitOutcomeUnknownError(
        "It was cut off while it was being sent, so it may have been paid and its task id is not known. "
        "Look at the account's usage before you send it again.",
        request=job.request,
    )


def _stopped(job: Job) -> PPInfraError:
    if job.task_id is None:
        return _not_sent()
    return errors.TaskTimeoutError(
        "You stopped before all of its pictures were here",
        task_id=job.task_id,
        billed="yes" if job.request is not None or job.was_answered else "unknown",
    )

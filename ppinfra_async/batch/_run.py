"""Runs the planned jobs of a journal; refuses to send one without its durable mark.

So many workers over one reader of the journal. Whatever ends it, the journal says how every job
stands: a job that was not sent is planned, one whose task is known is submitted.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from functools import partial
from pathlib import Path

import anyio
from attrs import define, evolve, field

from ppinfra_async import _journal_jobs as records
from ppinfra_async import errors
from ppinfra_async._job_tools import JobTools
from ppinfra_async._journal_jobs import CapReachedError, JobRecord, PictureRecord
from ppinfra_async._sansio.flow import Flow, bytes_expected
from ppinfra_async._sansio.job import JobState
from ppinfra_async._sansio.manifest import BadLineError
from ppinfra_async._sansio.outage import Outage
from ppinfra_async._sansio.stops import Stops
from ppinfra_async._task import Task
from ppinfra_async._threads import WorkerThreads
from ppinfra_async.batch._ledger import JobLedger
from ppinfra_async.batch._manifest import Manifest
from ppinfra_async.batch._output import NameTakenError, OutputError, choose_name, intact, place
from ppinfra_async.batch._progress import Listeners, Progress
from ppinfra_async.errors import PPInfraError
from ppinfra_async.journal import Journal, JournalError
from ppinfra_async.requests import Request
from ppinfra_async.results import GeneratedImage

_PAGE = 256
_DISKS = 4
"""Threads that read and write pictures."""

_LAST_WRITES = 4.0
"""Seconds to wait for writes whose job was cut short."""

_FETCHES = 3
"""How often a run tries to fetch the pictures of a task before it leaves them to the next run."""

_FETCH_PAUSE = 8.0
"""Seconds between the first two of these, and twice as many after: an image host that is started anew is
waited for. ``Retries.max_wait`` is their ceiling."""

_NO_USE = (errors.TaskFailedError, errors.TaskNotFoundError)
"""Ends of a task that asking again does not change."""

_LATER = (
    errors.AccountError,
    errors.NotSentError,
    errors.RateLimitedError,
    errors.TaskTimeoutError,
    errors.ImageError,
)
"""Errors after which a job stays what it is: the next run goes on with it."""


_Pictures = dict[int, PictureRecord]
"""What is known of a job's pictures, by their number."""


@define(eq=False, kw_only=True)
class BatchRun:
    """One run of a batch.

    Attributes:
        tools: Of the client.
        journal: Open, and planned.
        manifest: How a line becomes a request.
        folder: Where pictures go.
        run: The number of the run in the journal.
        submitted: Images ever submitted before it.
        max_in_flight: Jobs under way at once.
        max_images: Images that may ever be submitted, or None.
        progress: What has happened so far.
        listeners: Who is told.
        doom: Why nothing more is sent, other than that a person said so; or None.
        is_capped: True when ``max_images`` keeps jobs from being sent.
    """

    tools: JobTools
    journal: Journal
    manifest: Manifest
    folder: Path
    run: int
    submitted: int = 0
    max_in_flight: int = 64
    max_images: int | None = None
    progress: Progress = field(factory=Progress)
    listeners: Listeners = field(factory=Listeners)
    doom: Exception | None = field(default=None, init=False)
    is_capped: bool = field(default=False, init=False)
    _stops: Stops = field(factory=Stops, init=False)
    _outage: Outage = field(factory=Outage, init=False)
    _flow: Flow = field(init=False)
    _disks: WorkerThreads = field(factory=lambda: WorkerThreads(_DISKS), init=False)
    _scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _reading: anyio.Lock = field(factory=anyio.Lock, init=False)
    _page: deque[JobRecord] = field(factory=deque, init=False)
    _phase: JobState | None = field(default=JobState.SUBMITTED, init=False)
    _position: int = field(default=-1, init=False)
    _stopped: anyio.Event = field(factory=anyio.Event, init=False)
    _room: anyio.Event = field(factory=anyio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Bound what may be held in memory at once."""
        self._flow = Flow(self.max_in_flight)

    async def until_done(self) -> None:
        """Run until every job has come to rest, or until ``stop`` and its patience."""
        self.progress.began = anyio.current_time()
        with self._scope:
            async with anyio.create_task_group() as group:
                for _ in range(min(self.max_in_flight, max(1, self.progress.total))):
                    group.start_soon(self._work)
        await self._disks.idle(_LAST_WRITES)

    def stop(self, patience: float) -> None:
        """Send nothing more; wait for what is paid, *patience* seconds at most."""
        self._send_no_more()
        self._scope.deadline = anyio.current_time() + patience

    def _send_no_more(self) -> None:
        self.progress.stopping = True
        self._stopped.set()
        self.tools.withdraw(self)

    def objection(self, request: Request) -> PPInfraError | None:
        """Return why a job's request is not sent any more, or None; see ``Owner``."""
        if self.progress.stopping:
            return errors.NotSentError("It was not sent: the batch was stopped. Nothing was paid.")
        return self._stops.reason(request)

    def _end_early(self, error: Exception) -> None:
        self.doom = self.doom or error
        self._send_no_more()

    # --- which job is next ---

    async def _work(self) -> None:
        while (job := await self._next()) is not None:
            await self._one(job)

    async def _next(self) -> JobRecord | None:
        async with self._reading:
            while not self._page and self._phase is not None:
                await self._turn_page(self._phase)
            if not self._page or not self._may_begin(self._page[0]):
                return None
            return self._page.popleft()

    async def _turn_page(self, phase: JobState) -> None:
        """Read on: first the tasks that are paid already, then what is to be sent."""
        if phase is JobState.PLANNED and self.progress.stopping:
            self._phase = None
            return
        where = "run = ? AND state = ? AND position > ?"
        parameters = (self.run, phase, self._position)

        def read(connection: sqlite3.Connection) -> list[JobRecord]:
            return list(records.jobs(connection, where, parameters, order="position", most=_PAGE))

        found = await self.journal.write(read)
        self._page.extend(found)
        if found:
            self._position = found[-1].position
        else:
            self._phase = JobState.PLANNED if phase is JobState.SUBMITTED else None
            self._position = -1

    def _may_begin(self, job: JobRecord) -> bool:
        if self.progress.stopping:
            return False
        if job.task_id is not None:
            return True
        if self.max_images is not None and self.submitted + job.images > self.max_images:
            self.is_capped = True
            return False
        # Given back when it was not sent after all.
        self.submitted += job.images
        return True

    # --- one job ---

    async def _one(self, job: JobRecord) -> None:
        request = None
        try:
            request = await self._request_of(job)
            task = await self._task_of(job, request)
            if task is not None:
                await self._finish(job, task)
        except PPInfraError as error:
            await self._note(job, request, error)
        except (JournalError, OutputError) as error:
            self._end_early(error)
            self.listeners.end(job, job.state, error)

    async def _request_of(self, job: JobRecord) -> Request:
        """Make the request of a job just before its turn: by then its picture may lead elsewhere."""
        try:
            return await self._disks.run(self.manifest.request_again, job.line)
        except BadLineError as error:
            if job.task_id is None:
                self.submitted -= job.images
            raise errors.InvalidRequestError(
                f"The job cannot be sent any more: {error}."
            ) from error

    async def _task_of(self, job: JobRecord, request: Request) -> Task | None:
        if job.task_id is not None:
            return self.tools.handle(job.task_id, request)
        ledger = JobLedger(
            self.journal, job, self.progress, self.listeners, max_images=self.max_images
        )
        try:
            return await self._submit(request, ledger)
        except CapReachedError:
            self.is_capped = True
            self._send_no_more()
            return None
        finally:
            if not ledger.was_sent:
                self.submitted -= job.images

    async def _submit(self, request: Request, ledger: JobLedger) -> Task:
        while True:
            if objection := self.objection(request):
                raise objection
            try:
                task = await self.tools.submit(request, owner=self, ledger=ledger)
            except errors.NotSentError as error:
                if objection := self.objection(request):
                    # It was withdrawn.
                    raise objection from error
                await self._wait_for_service(error)
            except PPInfraError:
                # Whatever it says, the service is there.
                self._outage.ended()
                raise
            else:
                self._outage.ended()
                return task

    async def _wait_for_service(self, error: errors.NotSentError) -> None:
        """Wait until it makes sense to send again.

        Raises:
            NotSentError: it makes none.
        """
        if self.progress.stopping:
            raise error
        pause = self._outage.pause(anyio.current_time())
        if pause is None:
            self._end_early(error)
            raise error
        # What comes after is meant for somebody who gets no further try.
        what = error.message.partition(". ")[0].rstrip(".")
        self.progress.pause = (anyio.current_time() + pause, f"{what}.")
        with anyio.move_on_after(pause):
            await self._stopped.wait()

    async def _note(self, job: JobRecord, request: Request | None, error: PPInfraError) -> None:
        """Record how a job came to rest that is not done."""
        self._learn(error, request)
        state = await self._record(job, error)
        self.listeners.end(job, state, error)

    def _learn(self, error: PPInfraError, request: Request | None) -> None:
        if self._stops.note(error, request):
            self.tools.withdraw(self)
        if self._stops.doom is not None:
            self._end_early(self._stops.doom)
        if isinstance(error, errors.RateLimitedError) and error.retryable:
            # Nothing but refusals for ten minutes: the others fare no better.
            self._end_early(error)

    async def _record(self, job: JobRecord, error: PPInfraError) -> JobState:
        as_json = records.as_error(error)
        is_sent = error.task_id is not None or job.task_id is not None
        if isinstance(error, errors.SubmitOutcomeUnknownError):
            # The ledger has moved it; here is what is known of it.
            await self.journal.write(partial(records.note_error, job=job.id, error=as_json))
            return JobState.IN_DOUBT
        if _is_for_later(error) or (is_sent and not isinstance(error, _NO_USE)):
            await self.journal.write(partial(records.note_error, job=job.id, error=as_json))
            return JobState.SUBMITTED if is_sent else JobState.PLANNED
        await self.journal.write(
            partial(records.note_failed, job=job.id, error=as_json, now=time.time())
        )
        self.progress.moved(JobState.SUBMITTED if is_sent else JobState.PLANNED, JobState.FAILED)
        return JobState.FAILED

    # --- its pictures ---

    async def _finish(self, job: JobRecord, task: Task) -> None:
        known = {picture.number: picture for picture in job.pictures}
        for attempt in range(1, _FETCHES + 1):
            try:
                await self._fetch(job, task, known)
                return
            except errors.IncompleteResultError as error:
                if attempt == _FETCHES or self.progress.stopping or not _may_come(error):
                    raise
                with anyio.move_on_after(min(_FETCH_PAUSE * attempt, self.tools.retries.max_wait)):
                    await self._stopped.wait()

    async def _fetch(self, job: JobRecord, task: Task, known: _Pictures) -> None:
        """Bring every picture that is not there under its final name, then call the job done."""
        links = await task._until_done()  # noqa: SLF001  # ours, between the submit and the pictures
        index = await self._hold(task, links)
        try:
            had = await self._disks.run(intact, self.folder, list(known.values()))
            images = task._images_but(had, decode=False)  # noqa: SLF001  # ours: only what is missing
            async for image in images:
                await self._save(job, image, known)
        finally:
            self._flow.give_up(index)
            self._flow.ready(index)
            self._flow.take()
            self._room.set()
            self._room = anyio.Event()
        update = task._final_update()  # noqa: SLF001  # ours: what the service said at the end
        missing = max(0, job.images - links)
        await self.journal.write(
            partial(
                records.note_done, job=job.id, seed=update.seed, missing=missing, now=time.time()
            )
        )
        self.progress.moved(JobState.SUBMITTED, JobState.DONE)
        self.listeners.end(evolve(job, pictures=tuple(known.values())), JobState.DONE, None)

    async def _hold(self, task: Task, links: int) -> int:
        """Wait until the pictures of a task may be in memory beside those of others."""
        size = bytes_expected(*_size_of(task.request), links, decode=False)
        index = self._flow.pull()
        self._flow.want(index)
        try:
            while not self._flow.hold(index, size):
                await self._room.wait()
        except BaseException:
            self._flow.give_up(index)
            raise
        return index

    async def _save(self, job: JobRecord, image: GeneratedImage, known: _Pictures) -> None:
        shape = (image.format, image.width, image.height)
        before = known.get(image.index)
        try:
            while True:
                picture = await self._disks.run(
                    choose_name, self.folder, job.stem, image.index, image.data, shape, before
                )
                # A further attempt of this run must know it, too.
                known[image.index] = picture
                if await self._placed(job, picture, image.data):
                    break
                before = None
        except OSError as error:
            raise OutputError(
                f"A picture could not be written to {self.folder} ({error.strerror or error}). What is "
                "paid is recorded, and nothing more is sent: mend that, then run the same command again."
            ) from error
        self.progress.pictures += 1
        self.listeners.picture(job, self.folder / picture.name)

    async def _placed(self, job: JobRecord, picture: PictureRecord, data: bytes) -> bool:
        """Write a picture under a name that the journal knows first; False when it is taken."""
        await self.journal.write(partial(records.note_placing, job=job.id, picture=picture))
        try:
            await self._disks.run(place, self.folder, picture, data)
        except NameTakenError:
            return False
        return True


def _is_for_later(error: PPInfraError) -> bool:
    """Tell whether a job stays what it is, for the next run to go on with."""
    # What we found wrong ourselves, such as a picture that is gone, the next run names by its line.
    is_ours = isinstance(error, errors.InvalidRequestError) and bool(error.violations)
    return is_ours or isinstance(error, _LATER)


def _may_come(error: errors.IncompleteResultError) -> bool:
    """Tell whether fetching again may bring what is missing."""
    result = error.result
    return result is not None and any(failed.retryable for failed in result.failed)


def _size_of(request: Request | None) -> tuple[int, int]:
    width, height = getattr(request, "width", None), getattr(request, "height", None)
    return width or 2048, height or 2048

"""Writes one job's submit into the journal as it happens; refuses one that would exceed the cap."""

from __future__ import annotations

import time
from functools import partial

import anyio
from attrs import define, field

from ppinfra_async import _journal_jobs as records
from ppinfra_async._journal_jobs import JobRecord
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch._progress import Listeners, Progress
from ppinfra_async.journal import Journal, JournalError


@define(eq=False)
class JobLedger:
    """A ``Ledger`` of one job.

    Attributes:
        was_sent: True once it may have been paid.
        is_in_doubt: True once a try may have been paid without an id; with
            ``Retries.resubmit_unknown`` others follow, and none of them ends that doubt.
    """

    journal: Journal
    job: JobRecord
    progress: Progress
    listeners: Listeners
    max_images: int | None = field(kw_only=True, default=None)
    was_sent: bool = field(default=False, init=False)
    is_in_doubt: bool = field(default=False, init=False)

    async def sending(self) -> None:
        """See ``Ledger``."""
        await self.journal.write(
            partial(
                records.note_sending,
                job=self.job.id,
                images=self.job.images,
                now=time.time(),
                most=self.max_images,
            ),
            begins=True,
        )
        self.was_sent = True

    async def accepted(self, task_id: str) -> None:
        """See ``Ledger``."""
        self.was_sent = True
        before = JobState.IN_DOUBT if self.is_in_doubt else JobState.PLANNED
        entry = partial(
            records.note_accepted,
            job=self.job.id,
            task_id=task_id,
            images=self.job.images,
            now=time.time(),
        )
        try:
            await self.journal.write_late(entry)
            self.progress.moved(before, JobState.SUBMITTED)
            self.progress.accepted(self.job.images, anyio.current_time())
            self.listeners.sent(self.job, task_id)
        except JournalError as error:
            raise JournalError(
                f"{error} The task {task_id} ({self.job.label}) is paid and could not be recorded: keep "
                f"its id; `ppinfra task {task_id}` fetches it."
            ) from error

    async def not_taken(self) -> None:
        """See ``Ledger``."""
        self.was_sent = self.is_in_doubt
        await self.journal.write(
            partial(records.note_not_taken, job=self.job.id, is_in_doubt=self.is_in_doubt)
        )

    async def in_doubt(self) -> None:
        """See ``Ledger``."""
        if not self.is_in_doubt:
            self.progress.moved(JobState.PLANNED, JobState.IN_DOUBT)
        self.is_in_doubt = True
        await self.journal.write(partial(records.note_in_doubt, job=self.job.id))

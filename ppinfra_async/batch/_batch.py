"""A batch from its manifest to its gallery: opened, planned, run; refuses to decide about any job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, field

from ppinfra_async._client import Client
from ppinfra_async._journal_jobs import images_by_state
from ppinfra_async.batch._known import Choices
from ppinfra_async.batch._manifest import Manifest
from ppinfra_async.batch._output import OutputError, open_output
from ppinfra_async.batch._plan import BadLine, CheckedError, Plan, Planner
from ppinfra_async.batch._progress import Listeners, Progress
from ppinfra_async.batch._results import (
    GALLERY,
    RESULTS,
    BatchSummary,
    summarize,
    write_page,
    write_results,
)
from ppinfra_async.batch._run import BatchRun
from ppinfra_async.journal import Journal, JournalError

JOURNAL = "journal.sqlite3"


class BatchStoppedError(Exception):
    """A batch ended before its end; its cause is why. The same call goes on where it stopped.

    Attributes:
        summary: How it stands.
    """

    def __init__(self, cause: Exception, summary: BatchSummary) -> None:
        super().__init__(f"The batch was stopped: {cause} {summary}")
        self.summary = summary


def _ignore(*_: Any) -> None:
    """Listen to nothing."""


@define(eq=False, kw_only=True)
class Batch:
    """One batch; ``run_batch`` is the short way.

    Attributes:
        client: Who sends.
        manifest: What to do.
        folder: Where everything goes.
        choices: What a person decided about known jobs.
        max_in_flight: Jobs under way at once.
        max_images: Images that may ever be submitted, over all runs; or None.
        patience: Seconds to wait for paid tasks after ``stop``.
        listeners: Who is told what happens.
        on_bad_line: Called on the event loop with every bad line.
        on_lines: Called there with the number of a line, now and then, while lines are read.
        journal: Makes the journal; tests stop it at a chosen entry.
        progress: How the run stands.
        plan: What the run is about, once that is known.
    """

    client: Client
    manifest: Manifest
    folder: Path
    choices: Choices = field(factory=Choices)
    max_in_flight: int = 64
    max_images: int | None = None
    patience: float = 60.0
    listeners: Listeners = field(factory=Listeners)
    on_bad_line: Callable[[BadLine], None] = _ignore
    on_lines: Callable[[int], None] = _ignore
    journal: Callable[..., Journal] = Journal
    progress: Progress = field(factory=Progress)
    plan: Plan | None = field(default=None, init=False)
    _run: BatchRun | None = field(default=None, init=False)
    _is_stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Hold the numbers against what they are.

        Raises:
            ValueError: when one is no whole number from 1.
        """
        for name in ("max_in_flight", "max_images"):
            value = getattr(self, name)
            is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not is_number and not (name == "max_images" and value is None):
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")

    async def check(self) -> Plan:
        """Look at every line and picture; nothing is sent, and nothing is written.

        Raises:
            ManifestError: with every bad line.
            JournalError: the journal that is there cannot be used, or is gone.
            StoppedError: ``stop`` was called.
        """
        await anyio.to_thread.run_sync(_refuse_lost_journal, self.folder)
        async with self.journal(self.folder / JOURNAL, is_to_be_kept=False) as journal:
            try:
                await self._planned(journal, check=True)
            except CheckedError as checked:
                return checked.plan
        raise AssertionError  # pragma: no cover  # a check always ends so

    async def run(self) -> BatchSummary:
        """Run until every job has come to rest, or until ``stop``.

        Raises:
            ManifestError: lines are bad; nothing was sent.
            JournalError: the journal cannot be used; nothing was sent.
            OutputError: the folder cannot be written; nothing was sent.
            StoppedError: ``stop`` was called before all lines were read; nothing was sent.
            BatchStoppedError: something stopped all of it; its cause says what.
        """
        await anyio.to_thread.run_sync(open_output, self.folder)
        await anyio.to_thread.run_sync(_refuse_lost_journal, self.folder)
        async with self.journal(self.folder / JOURNAL) as journal:
            plan = await self._planned(journal, check=False)
            states = await journal.write(partial(images_by_state, run=plan.run))
            self.progress.jobs = {state: jobs for state, (jobs, _) in states.items()}
            self.progress.images = self.progress.images_left = sum(plan.images_to_send.values())
            run = self._run = self._new_run(journal, plan)
            if not self._is_stopped:
                await run.until_done()
            summary = await self._finished(journal, run)
        if run.doom is not None:
            raise BatchStoppedError(run.doom, summary) from run.doom
        return summary

    def stop(self) -> None:
        """Send nothing more, and wait for what is paid, *patience* seconds at most."""
        self._is_stopped = True
        self.progress.stopping = True
        if self._run is not None:
            self._run.stop(self.patience)

    def _new_run(self, journal: Journal, plan: Plan) -> BatchRun:
        return BatchRun(
            tools=self.client._job_tools,  # noqa: SLF001  # ours: the batch is a room of the client
            journal=journal,
            manifest=self.manifest,
            folder=self.folder,
            run=plan.run,
            submitted=plan.submitted,
            max_in_flight=self.max_in_flight,
            max_images=self.max_images,
            progress=self.progress,
            listeners=self.listeners,
        )

    async def _planned(self, journal: Journal, *, check: bool) -> Plan:
        loop = asyncio.get_running_loop()
        left = threading.Event()

        def on_loop(callback: Callable[[Any], None], value: Any) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(callback, value)

        planner = Planner(
            manifest=self.manifest,
            choices=self.choices,
            on_bad_line=partial(on_loop, self.on_bad_line),
            on_progress=partial(on_loop, self.on_lines),
            is_stopped=lambda: self._is_stopped or left.is_set(),
        )
        try:
            plan = await journal.write(planner.check if check else planner.plan)
        except BaseException:
            # A caller that was cancelled does not wait for a million lines.
            left.set()
            raise
        self.plan = plan
        return plan

    async def _finished(self, journal: Journal, run: BatchRun) -> BatchSummary:
        summary = await journal.write(
            partial(
                summarize, run=run.run, pictures=self.progress.pictures, is_capped=run.is_capped
            )
        )
        try:
            await journal.write(partial(write_results, folder=self.folder))
            await journal.write(
                partial(
                    write_page, folder=self.folder, sources=self.manifest.folder, summary=summary
                )
            )
        except OSError as error:
            run.doom = run.doom or OutputError(
                f"{RESULTS} and {GALLERY} could not be written to {self.folder} "
                f"({error.strerror or error}); the journal has everything, and the next run writes them."
            )
        return summary


def _refuse_lost_journal(folder: Path) -> None:
    """Refuse a folder that has results and no journal: it would be paid a second time.

    Raises:
        JournalError: naming the way out.
    """
    if (folder / JOURNAL).exists():
        return
    if (folder / GALLERY).is_file() and not (folder / RESULTS).exists():
        raise JournalError(
            f"{folder} has an {GALLERY} that is not ours, and it would be replaced: choose another "
            "folder. Nothing was sent or paid."
        )
    if (folder / RESULTS).exists():
        raise JournalError(
            f"{folder} has {RESULTS} of a batch, and its {JOURNAL} is gone: without it every job would "
            f"be paid again. Restore it, or choose another folder; to begin anew here, move {RESULTS} "
            f"and {GALLERY} away first. Nothing was sent or paid."
        )

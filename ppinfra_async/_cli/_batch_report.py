"""Tells what becomes of a batch: paths or JSON as results, the rest as notes; refuses to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
from attrs import define, field

from ppinfra_async._cli._batch_source import Source
from ppinfra_async._cli._batch_view import duration
from ppinfra_async._cli._messages import (
    ExitCode,
    command_name,
    exit_code,
    exit_code_of_all,
    sentence,
)
from ppinfra_async._cli._report import line_of_json
from ppinfra_async._cli._screen import Screen
from ppinfra_async._journal_jobs import JobRecord
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch import (
    BadLine,
    BatchStoppedError,
    BatchSummary,
    JournalError,
    Listeners,
    OutputError,
    Plan,
    Progress,
)
from ppinfra_async.errors import AccountError, Billed, NotSentError, PPInfraError
from ppinfra_async.events import Event, InputReencoded, SubmitDelayed

_DEFAULT_QUOTA = 10
"""Images per minute of img2img on a new account: https://ppio.cn/docs/model/rate-limits."""

_MOST_NAMES = 20
_MOST_REENCODED = 1000


@define(eq=False)
class BatchReporter:
    """Reports one batch.

    Attributes:
        screen: Where.
        source: How lines are called.
        out: The output folder.
        as_json: One JSON document per job instead of one path per picture.
        notice: What the live display shows beside the numbers.
        progress: Of the batch.
    """

    screen: Screen
    source: Source
    out: Path
    as_json: bool = field(kw_only=True)
    notice: str = field(default="", init=False)
    progress: Progress = field(factory=Progress, init=False)
    _pictures: dict[int, list[Path]] = field(factory=dict, init=False)
    _tasks: dict[int, str] = field(factory=dict, init=False)
    _reencoded: set[str] = field(factory=set, init=False)
    _shared: set[str] = field(factory=set, init=False)

    @property
    def listeners(self) -> Listeners:
        """Who listens to the batch: this."""
        return Listeners(on_sent=self.sent, on_picture=self.picture, on_end=self.end)

    # --- before ---

    def lines(self, number: int) -> None:
        """So many lines have been read."""
        self.notice = f"Looking at the jobs: line {number:,} …"

    def bad_line(self, line: BadLine) -> None:
        """A line is bad."""
        self.screen.say(f"{self.source.name_of(line.number)}: {line.message}")

    def estimate(self, plan: Plan, quota: int | str) -> None:
        """Say what a run would do, and how long it would take at the quota."""
        images = sum(plan.images_to_send.values())
        known = plan.jobs - plan.to_send
        text = f"{_count(plan.jobs, 'job')}, all good: {plan.to_send} to send, {_count(images, 'image')}"
        self.screen.say(f"{text}; {known} known already." if known else f"{text}.")
        if plan.in_doubt:
            self.screen.say(
                f"{_count(plan.in_doubt, 'job')} in doubt, which may be paid: left alone unless "
                "--resubmit-unknown is given."
            )
        if plan.repeated:
            self.screen.say(
                f"{_count(plan.repeated, 'job')} with exactly the request of another: each is paid."
            )
        if plan.failed:
            self.screen.say(
                f"{_count(plan.failed, 'job')} failed before: left alone unless --retry-failed is given."
            )
        if not images:
            return
        rate = _DEFAULT_QUOTA if quota == "auto" else int(quota)
        time = duration(images / rate * 60)
        if quota == "auto":
            self.screen.say(
                f"At {rate} images per minute, the default of img2img, that takes about {time}; give "
                "yours with --images-per-minute."
            )
        else:
            self.screen.say(f"At {rate} images per minute that takes about {time}.")

    # --- meanwhile ---

    def sent(self, job: JobRecord, task_id: str) -> None:
        """A job was accepted; the journal has its id."""
        self._tasks[job.id] = task_id
        self.screen.step(f"{job.label}: sent, task {task_id}")

    def picture(self, job: JobRecord, path: Path) -> None:
        """A picture is on the disk."""
        self._pictures.setdefault(job.id, []).append(path)
        if not self.as_json:
            self.screen.result(str(path))

    def end(self, job: JobRecord, state: JobState, error: Exception | None) -> None:
        """A job has come to rest."""
        pictures = self._pictures.pop(job.id, [])
        task_id = self._tasks.pop(job.id, job.task_id)
        if self.as_json:
            self.screen.result(line_of_json(self._document(job, state, error, pictures, task_id)))
        if error is None:
            self.screen.step(f"{job.label}: done")
        else:
            self._failed(job, error)

    def _document(
        self,
        job: JobRecord,
        state: JobState,
        error: Exception | None,
        pictures: list[Path],
        task_id: str | None,
    ) -> dict[str, Any]:
        known = [self.out / picture.name for picture in job.pictures]
        paths = sorted({str(path) for path in (*known, *pictures)})
        trouble = None
        if error is not None:
            trouble = {
                "type": type(error).__name__,
                "message": sentence_of(error),
                "billed": _billed(error, task_id),
            }
        return {
            "key": job.key,
            "source": job.source,
            "line": job.position,
            "state": str(state),
            "task_id": task_id,
            "images": paths,
            "error": trouble,
        }

    def _failed(self, job: JobRecord, error: Exception) -> None:
        about = job.label
        if isinstance(error, NotSentError | AccountError | JournalError | OutputError):
            # Thousands may not be sent for one reason: it is said once.
            if not self._is_news(error):
                return
            about = "ppinfra"
        if self.progress.stopping and isinstance(error, NotSentError):
            return
        self.screen.say(f"{about}: {sentence_of(error)}")

    def _is_news(self, error: Exception) -> bool:
        """Tell whether nobody was told of *error* yet."""
        words = error.message if isinstance(error, PPInfraError) else str(error)
        is_news = words not in self._shared and "because another request" not in words
        self._shared.add(words)
        return is_news

    def on_event(self, event: Event) -> None:
        """Take up what the client tells that no job knows about."""
        match event:
            case InputReencoded(path=_, name=name, why=why, size=(width, height)):
                if name not in self._reencoded and len(self._reencoded) < _MOST_REENCODED:
                    self._reencoded.add(name)
                    self.screen.step(f"{name}: sent as {width} × {height} ({why})")
            case SubmitDelayed(error=error, wait=wait):
                what = error.message.partition(". ")[0].rstrip(".")
                now = anyio.current_time()
                # All jobs under way may meet the same trouble: it is told once per wait.
                if now >= self.progress.pause[0] and not self.progress.stopping:
                    self.screen.step(f"ppinfra: Trying again in {wait:.1f} s: {what}.")
                self.progress.pause = (now + wait, f"{what}.")
            case _:
                return

    # --- afterwards ---

    def stopped(self, error: BatchStoppedError) -> None:
        """Something stopped all of it."""
        cause = error.__cause__
        assert isinstance(cause, Exception)  # noqa: S101  # always raised from one
        if self._is_news(cause):
            self.screen.say(f"ppinfra: {sentence_of(cause)}")

    def summarize(self, summary: BatchSummary, *, seconds: float) -> None:
        """Say how everything stands, and what to do next."""
        if not summary.jobs:
            self.screen.say(f"{self.source.manifest.name} has no jobs.")
        self.screen.say(
            f"{summary.done} of {_count(summary.jobs, 'job')} done in {duration(seconds)}, "
            f"{summary.failed} failed, {summary.in_doubt} in doubt, {summary.left} left. "
            f"{_count(summary.pictures, 'picture')} saved."
        )
        self.screen.say(
            f"Images: {summary.images_paid} paid, {summary.images_in_doubt} in doubt, "
            f"{summary.images_left} left (all runs together)."
        )
        if summary.doubtful:
            self.screen.say(
                f"In doubt, so not sent again: {_some(summary.doubtful)}. Look at the account's usage; "
                "--resubmit-unknown sends them again."
            )
        if summary.is_capped:
            self.screen.say("--max-images keeps the rest from being sent; raise it to go on.")
        if summary.failed:
            self.screen.say(
                "--retry-failed sends failed jobs again; each is paid again if the service takes it."
            )
        if summary.left and (summary.paid_left or not summary.is_capped):
            paid = f" (paid and to be fetched: {summary.paid_left})" if summary.paid_left else ""
            self.screen.say(f"Run the same command again to go on with what is left{paid}.")
        if summary.gone:
            self.screen.say(
                f"{_count(summary.gone, 'job')} of earlier runs, paid or in doubt, no longer asked for and "
                "not done; put the lines back to go on with them. results.jsonl has them."
            )
        self.screen.say(f"See {self.out / 'index.html'} and {self.out / 'results.jsonl'}.")

    def left_at_once(self) -> None:
        """It was ended without waiting for anything."""
        self.screen.say(
            f"Left at once. What is paid is in the journal: run the same {command_name()} command again."
        )


def sentence_of(error: Exception) -> str:
    """Return what a person should read about *error*."""
    return str(error) if isinstance(error, JournalError | OutputError) else sentence(error)


def exit_of(summary: BatchSummary) -> ExitCode:
    """Return what to exit with after a run that nothing stopped."""
    if summary.in_doubt or summary.paid_left:
        return ExitCode.PAID_NOT_HERE
    if summary.failed or (summary.left and not summary.is_capped):
        return ExitCode.SOME_FAILED
    return ExitCode.DONE


def exit_of_stop(stopped: BatchStoppedError) -> ExitCode:
    """Return what to exit with after a run that was stopped."""
    if stopped.summary.in_doubt or stopped.summary.paid_left:
        return ExitCode.PAID_NOT_HERE
    cause = stopped.__cause__
    if isinstance(cause, PPInfraError):
        return exit_code_of_all([cause], done=stopped.summary.done)
    return (
        ExitCode.SOME_FAILED
        if isinstance(cause, JournalError | OutputError)
        else exit_code(stopped)
    )


def _billed(error: Exception, task_id: str | None) -> Billed:
    if isinstance(error, PPInfraError) and (error.billed != "no" or task_id is None):
        return error.billed
    return "yes" if task_id else "no"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and more" if len(names) > _MOST_NAMES else shown


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"

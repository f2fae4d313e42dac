"""Tells what becomes of jobs: paths and JSON as results, the rest as notes; refuses to run them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from ppinfra_async._cli._jobs import Job, Runner
from ppinfra_async._cli._messages import ExitCode, command_name, exit_code_of_all, sentence
from ppinfra_async._cli._running import Ending, report
from ppinfra_async._cli._screen import Screen
from ppinfra_async.errors import (
    AccountError,
    Billed,
    InvalidRequestError,
    NotSentError,
    PPInfraError,
)
from ppinfra_async.events import Event, InputReencoded, SubmitDelayed

_MOST_NAMES = 20
_SHOWN_STATES = {
    "queued",
    "working",
    "no answer about it, asking again",
    "not known there, asking again",
}


def billed(job: Job) -> Billed:
    """Return what is known of the money of a job."""
    if job.error is None:
        return "yes"
    if isinstance(job.error, PPInfraError) and (job.error.billed != "no" or job.task_id is None):
        return job.error.billed
    return "yes" if job.task_id else "unknown"


def document(job: Job) -> dict[str, Any]:
    """Return a job as JSON."""
    error = None
    if job.error is not None:
        error = {
            "type": type(job.error).__name__,
            "message": sentence(job.error),
            "billed": billed(job),
            "task_id": job.task_id,
        }
    return {
        "source": None if job.request is None else job.label,
        "task_id": job.task_id,
        "seed": job.seed,
        "images": [str(path) for _, path in sorted(job.pictures.items())],
        "missing": job.missing,
        "error": error,
    }


def line_of_json(tree: Any) -> str:
    """Return *tree* on one line, in characters that every terminal and pipe takes."""
    return json.dumps(tree)


def code_with_output(code: ExitCode, screen: Screen) -> ExitCode:
    """Return what to exit with, given that results may not have reached stdout; say so."""
    if screen.output_error is None:
        return code
    why = screen.output_error.strerror
    screen.say(f"ppinfra: The results could not be written to standard output ({why}).")
    return code or ExitCode.SOME_FAILED


@define(eq=False)
class Reporter:
    """Reports a command's jobs.

    Attributes:
        screen: Where.
        jobs: All of them.
        as_json: One JSON document per job instead of one path per picture.
        notice: What the live display shows beside the jobs.
    """

    screen: Screen
    jobs: Sequence[Job]
    as_json: bool
    notice: str = field(default="", init=False)
    _reencoded: set[str] = field(factory=set, init=False)
    _shared: str = field(default="", init=False)
    _unsent: list[str] = field(factory=list, init=False)

    def follow(self, runner: Runner) -> None:
        """Listen to what *runner* does."""
        runner.on_change, runner.on_picture, runner.on_end = self.step, self.picture, self.end

    def step(self, job: Job) -> None:
        """A job has come a step further."""
        if job.state == "sent":
            self.notice = ""
            # Also where a live display shows the rest: whatever ends this process, a person has read
            # the id of what is paid.
            self.screen.milestone(f"{job.label}: sent, task {job.task_id}")
        elif job.state in _SHOWN_STATES:
            self.screen.step(f"{job.label}: {job.state}")

    def picture(self, job: Job) -> None:
        """A picture is on disk."""
        if not self.as_json:
            self.screen.result(str(job.saved[-1]))

    def end(self, job: Job) -> None:
        """A job has ended."""
        if self.as_json:
            self.screen.result(line_of_json(document(job)))
        if job.error is not None:
            self._failed(job, job.error)
            return
        if job.missing:
            self.screen.say(
                f"{job.label}: the service made {job.missing} fewer than asked; it may have "
                "filtered them."
            )
        seed = "" if job.seed is None else f", seed {job.seed}"
        self.screen.step(f"{job.label}: done in {job.took or 0:.1f} s{seed}")

    def _failed(self, job: Job, error: Exception) -> None:
        about = job.label
        if isinstance(error, NotSentError | AccountError) and job.task_id is None:
            # Hundreds may not be sent for one reason: it is said once, and the summary names them.
            self._unsent.append(job.label)
            if job.began is None or error.message == self._shared:
                return
            self._shared, about = error.message, "ppinfra"
        elif isinstance(error, InvalidRequestError) and error.violations:
            # These sentences name the picture or the option themselves.
            about = "ppinfra"
        report(error, self.screen, about=about)

    def on_event(self, event: Event) -> None:
        """Tell what the client does that no job knows about."""
        match event:
            case InputReencoded(path=_, name=name, why=why, size=(width, height)):
                if name not in self._reencoded:
                    self._reencoded.add(name)
                    self.screen.say(f"{name}: sent as {width} × {height} ({why})")
            case SubmitDelayed(error=error, wait=wait):
                what = error.message.partition(". ")[0].rstrip(".")
                self.notice = f"Trying again in {wait:.1f} s: {what}."
                self.screen.step(f"ppinfra: {self.notice}")
            case _:
                return

    # --- afterwards ---

    def summarize(
        self, ending: Ending, *, seconds: float, others: Iterable[str], resume: Sequence[str]
    ) -> ExitCode:
        """Say what was saved, paid and lost; return what to exit with.

        Args:
            ending: How the work ended.
            seconds: How long it took.
            others: Ids of paid tasks that no job knows of.
            resume: Words that follow the ids in a command that fetches what is missing.
        """
        done = [job for job in self.jobs if job.ended and job.error is None]
        if not self._said_everything(ending):
            saved = sum(len(job.saved) for job in self.jobs)
            self.screen.say(
                f"{len(done)} of {_count(len(self.jobs), 'job')} done in {seconds:.1f} s: "
                f"{_count(saved, 'picture')} saved. {self._money()}".rstrip()
            )
            if 0 < len(self._unsent) < len(self.jobs):
                self.screen.say(f"Not sent: {_some(self._unsent)}.")
        self._offer_rest(others, resume)
        if ending.code is not ExitCode.DONE:
            return ending.code
        found: list[BaseException] = [job.error for job in self.jobs if job.error is not None]
        return code_with_output(exit_code_of_all(found, done=len(done)), self.screen)

    def _said_everything(self, ending: Ending) -> bool:
        """Tell whether a summary would only repeat the one sentence about what is wrong."""
        if ending.code is not ExitCode.DONE:
            return False
        was_sent = any(job.began is not None for job in self.jobs)
        only = self.jobs[0]
        return not was_sent or (len(self.jobs) == 1 and only.error is not None and not only.saved)

    def _money(self) -> str:
        sent = [job for job in self.jobs if job.request is not None]
        paid = sum(job.images for job in sent if billed(job) == "yes" and job.task_id)
        doubt = sum(job.images for job in sent if billed(job) == "unknown")
        if not sent:
            return ""
        text = f"Paid: {_count(paid, 'image')}." if paid else "Nothing was paid."
        if not doubt:
            return text
        return f"{text if paid else ''} In doubt: {_count(doubt, 'image')}.".strip()

    def _offer_rest(self, others: Iterable[str], resume: Sequence[str]) -> None:
        """Show the command that fetches what is paid and not here."""
        left = [job.task_id for job in self.jobs if job.task_id and _can_be_fetched(job)]
        known = {job.task_id for job in self.jobs}
        left += [task_id for task_id in others if task_id not in known]
        if left:
            self.screen.say("Fetch what is paid and not here yet with")
            self.screen.say(f"  {command_name()} {shlex.join(['task', *left, *resume])}")


def _can_be_fetched(job: Job) -> bool:
    if job.request is None and not job.was_answered:
        # An id that was typed, and nobody knows whether there is such a task.
        return False
    if job.error is None:
        return not job.ended
    return exit_code_of_all([job.error], done=0) in {
        ExitCode.PAID_NOT_HERE, ExitCode.ACCOUNT, ExitCode.SERVICE, ExitCode.BUG
    }  # fmt: skip


def _some(names: Sequence[str]) -> str:
    """Return so many of *names* as a person reads."""
    shown = ", ".join(names[:_MOST_NAMES])
    left = len(names) - _MOST_NAMES
    return f"{shown} and {left} more" if left > 0 else shown


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

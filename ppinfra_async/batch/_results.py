"""Writes ``results.jsonl`` and the gallery from the journal; refuses to know more than the journal.

Everything here blocks: it runs in the journal's thread, when no job is under way any more.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import frozen

from ppinfra_async import _journal_jobs as records
from ppinfra_async._files import passing_file
from ppinfra_async._journal_jobs import JobRecord
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch._gallery import Entry, Outcome, Picture, write_gallery

RESULTS = "results.jsonl"
GALLERY = "index.html"

_MOST_NAMED = 100

# Line ends to `str.splitlines` and some editors; in JSON they stand in texts only.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

_OUTCOMES: dict[JobState, Outcome] = {
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.IN_DOUBT: "in doubt",
    JobState.SENDING: "in doubt",
    JobState.PLANNED: "left",
    JobState.SUBMITTED: "left",
}


@frozen(kw_only=True)
class BatchSummary:
    """How a batch stands after a run.

    Attributes:
        jobs: In the manifest.
        done: With every picture on the disk.
        failed: Refused by the service, or given up by it.
        in_doubt: May be paid, and have no known task.
        left: Neither: the next run goes on with them.
        paid_left: Of those, how many are paid and wait to be fetched.
        pictures: Written by this run.
        images_paid: Ever, over all runs.
        images_in_doubt: Ever, over all runs.
        images_left: That jobs not yet sent ask for.
        is_capped: True when ``max_images`` kept jobs from being sent.
        doubtful: Names of the jobs in doubt, the first 100.
        gone: Jobs of earlier runs that are paid or in doubt, not done, and no longer in the manifest.
    """

    jobs: int = 0
    done: int = 0
    failed: int = 0
    in_doubt: int = 0
    left: int = 0
    paid_left: int = 0
    pictures: int = 0
    images_paid: int = 0
    images_in_doubt: int = 0
    images_left: int = 0
    is_capped: bool = False
    doubtful: tuple[str, ...] = ()
    gone: int = 0

    def __str__(self) -> str:
        return (
            f"{self.done} done, {self.failed} failed, {self.in_doubt} in doubt, {self.left} left. "
            f"Images: {self.images_paid} paid, {self.images_in_doubt} in doubt, {self.images_left} left."
        )


def summarize(
    connection: sqlite3.Connection, run: int, *, pictures: int, is_capped: bool
) -> BatchSummary:
    """Return how the jobs of *run* stand."""
    states = records.images_by_state(connection, run)

    def count(*wanted: JobState) -> int:
        return sum(states.get(state, (0, 0))[0] for state in wanted)

    paid, in_doubt = records.images_paid(connection)
    doubtful = records.jobs(
        connection, "run = ? AND state IN ('in doubt', 'sending')", (run,), most=_MOST_NAMED
    )
    (gone,) = connection.execute(
        "SELECT count(*) FROM jobs WHERE run <> ? AND state IN ('submitted', 'in doubt')", (run,)
    ).fetchone()
    return BatchSummary(
        jobs=count(*JobState),
        done=count(JobState.DONE),
        failed=count(JobState.FAILED),
        in_doubt=count(JobState.IN_DOUBT, JobState.SENDING),
        left=count(JobState.PLANNED, JobState.SUBMITTED),
        paid_left=count(JobState.SUBMITTED),
        pictures=pictures,
        images_paid=paid,
        images_in_doubt=in_doubt,
        images_left=states.get(JobState.PLANNED, (0, 0))[1],
        # A refusal may have made room again for what the cap had kept back.
        is_capped=is_capped and JobState.PLANNED in states,
        doubtful=tuple(job.label for job in doubtful),
        gone=int(gone),
    )


def write_results(connection: sqlite3.Connection, folder: Path) -> None:
    """Write one line per job of the journal, those of the last run first, in the manifest's order.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    with passing_file(folder) as passing:
        with passing.open("w", encoding="utf-8", newline="\n") as file:
            for job in records.jobs(connection):
                file.write(json.dumps(document(job), ensure_ascii=False).translate(_LINE_ENDS))
                file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        passing.replace(folder / RESULTS)


def document(job: JobRecord) -> dict[str, Any]:
    """Return a job as JSON."""
    return {
        "key": job.key,
        "line": job.position,
        "run": job.run,
        "state": job.state,
        "source": job.source,
        "task_id": job.task_id,
        "seed": job.seed,
        "images": [
            {
                "path": picture.name,
                "width": picture.width,
                "height": picture.height,
                "bytes": picture.size,
                "sha256": picture.sha256.hex(),
            }
            for picture in job.pictures
        ],
        "missing": job.missing,
        "error": job.error,
        "request": job.line,
    }


def write_page(
    connection: sqlite3.Connection, folder: Path, sources: Path, summary: BatchSummary
) -> None:
    """Write the gallery.

    Args:
        connection: Of the journal.
        folder: The output folder.
        sources: What source paths are relative to.
        summary: What stands above the jobs.

    Raises:
        OSError: it cannot be written; the old page stays.
    """
    (total,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    write_gallery(
        folder / GALLERY,
        _entries(records.jobs(connection), folder, sources),
        title=folder.resolve().name or "Batch",
        note=str(summary),
        total=total,
        generator=f"ppinfra-async {version('ppinfra-async')}",
    )


def _entries(found: Iterable[JobRecord], folder: Path, sources: Path) -> Iterator[Entry]:
    for job in found:
        yield Entry(
            title=job.label,
            outcome=_OUTCOMES[job.state],
            source=_relative(job.source, folder, sources),
            pictures=tuple(
                Picture(path=one.name, width=one.width, height=one.height) for one in job.pictures
            ),
            prompt=str(job.line.get("prompt", "")),
            parameters=tuple(_parameters(job)),
            seed=job.seed,
            task_id=job.task_id,
            missing=job.missing,
            error=_reason(job),
        )


def _relative(source: str | None, folder: Path, sources: Path) -> str | None:
    if source is None:
        return None
    place = sources.resolve() / source
    try:
        return Path(os.path.relpath(place, folder.resolve())).as_posix()
    except ValueError:
        # Another drive.
        return place.as_posix()


_SHOWN_ELSEWHERE = {"type", "key", "prompt", "image"}


def _parameters(job: JobRecord) -> Iterator[tuple[str, str]]:
    elsewhere = _SHOWN_ELSEWHERE if job.seed is None else _SHOWN_ELSEWHERE | {"seed"}
    for name, value in job.line.items():
        if name not in elsewhere:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name, text


def _reason(job: JobRecord) -> str:
    if job.error is not None:
        return job.error.get("message", "")
    if job.state is JobState.SUBMITTED:
        return "Paid, and not fetched yet: run the same command again."
    return "Not sent yet." if job.state is JobState.PLANNED else ""

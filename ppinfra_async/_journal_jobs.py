"""Reads and writes the jobs in a journal, one move of the table at a time; refuses any other move.

Everything here blocks and gets the journal's connection: give it to ``Journal.write``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from ppinfra_async._sansio.job import JobState, Move, moved
from ppinfra_async.errors import PPInfraError


class CapReachedError(Exception):
    """The submit would exceed the images that a person allowed; it was kept back."""


@frozen(kw_only=True)
class PictureRecord:
    """A result picture that is on the disk, or is about to be.

    Attributes:
        number: Its place in the result, from 0.
        name: Of its file, in the journal's folder.
        size: Bytes.
        sha256: Of the bytes.
        width: Pixels.
        height: Pixels.
    """

    number: int
    name: str
    size: int
    sha256: bytes
    width: int
    height: int


@frozen(kw_only=True)
class JobRecord:
    """A job as the journal has it.

    Attributes:
        id: Of the row.
        key: Of the manifest, or None.
        state: Where it is.
        stem: How the names of its files begin.
        line: What the manifest says.
        source: Its source picture, for people; None when it has none.
        images: How many are asked for.
        position: Its line in the last run that had it.
        run: That run.
        task_id: Of its task, when it is known.
        seed: The service's.
        missing: How many fewer pictures the service made.
        error: Why it is not done: ``type``, ``message``, ``billed``; or None.
        ended: When it ended, seconds since 1970; or None.
        pictures: What is on the disk of it, or about to be.
    """

    id: int
    key: str | None
    state: JobState
    stem: str
    line: dict[str, Any]
    source: str | None
    images: int
    position: int
    run: int
    task_id: str | None = None
    seed: int | None = None
    missing: int = 0
    error: dict[str, str] | None = None
    ended: float | None = None
    pictures: tuple[PictureRecord, ...] = ()

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.key or self.source or self.stem


_COLUMNS = "id, key, state, stem, line, source, images, position, run, task_id, seed, missing, error, ended"


def jobs(
    connection: sqlite3.Connection,
    where: str = "TRUE",
    parameters: tuple[object, ...] = (),
    *,
    order: str = "run DESC, position, id",
    most: int = -1,
) -> Iterator[JobRecord]:
    """Yield jobs; *where* and *order* are SQL of ours, never of a stranger."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE {where} ORDER BY {order} LIMIT {most}",  # noqa: S608  # see above
        parameters,
    )
    for row in rows:
        yield _job(row, pictures(connection, row[0]))


def _job(row: tuple[Any, ...], found: tuple[PictureRecord, ...]) -> JobRecord:
    named = dict(zip(_COLUMNS.split(", "), row, strict=True))
    named["state"] = JobState(named["state"])
    named["line"] = json.loads(named["line"])
    named["seed"] = None if named["seed"] is None else int(named["seed"])
    named["error"] = None if named["error"] is None else json.loads(named["error"])
    return JobRecord(**named, pictures=found)


def pictures(connection: sqlite3.Connection, job: int) -> tuple[PictureRecord, ...]:
    """Return what is on the disk of a job, or about to be."""
    rows = connection.execute(
        "SELECT number, name, size, sha256, width, height FROM pictures WHERE job = ? ORDER BY number",
        (job,),
    )
    return tuple(
        PictureRecord(
            number=number, name=name, size=size, sha256=sha256, width=width, height=height
        )
        for number, name, size, sha256, width, height in rows
    )


def move(connection: sqlite3.Connection, job: int, what: Move, **changes: object) -> JobState:
    """Move a job and note *changes* of its columns; return its new state.

    Raises:
        IllegalMoveError: there is no such move; nothing is written.
    """
    (state,) = connection.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
    now = moved(JobState(state), what)
    changes["state"] = now
    names = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE jobs SET {names} WHERE id = ?",  # noqa: S608  # names of ours
        (*changes.values(), job),
    )
    return now


def note_sending(
    connection: sqlite3.Connection, job: int, images: int, now: float, most: int | None
) -> None:
    """Note that the last byte of a submit is handed over next.

    Raises:
        CapReachedError: it would be more than *most* images in all; nothing is written.
    """
    submitted = images_submitted(connection)
    if most is not None and submitted + images > most:
        raise CapReachedError
    move(connection, job, Move.SENDING, error=None)
    _submit(connection, job, images, now, None)


def _submit(
    connection: sqlite3.Connection, job: int, images: int, now: float, task_id: str | None
) -> None:
    connection.execute(
        "INSERT INTO submits (job, images, at, task_id) VALUES (?, ?, ?, ?)",
        (job, images, now, task_id),
    )
    connection.execute("UPDATE totals SET submitted = submitted + ?", (images,))


def images_submitted(connection: sqlite3.Connection) -> int:
    """Return how many images were ever submitted: paid, or in doubt."""
    submitted: int = connection.execute("SELECT submitted FROM totals").fetchone()[0]
    return submitted


def note_accepted(
    connection: sqlite3.Connection, job: int, task_id: str, images: int, now: float
) -> None:
    """Note the id of the task that a submit made: from here on it is paid and never sent again."""
    move(connection, job, Move.ACCEPTED, task_id=task_id, error=None)
    last = _open_submit(connection, job)
    if last is None:
        _submit(connection, job, images, now, task_id)
    else:
        connection.execute("UPDATE submits SET task_id = ? WHERE id = ?", (task_id, last))


def note_not_taken(connection: sqlite3.Connection, job: int, *, is_in_doubt: bool = False) -> None:
    """Note that a submit that was about to be sent was certainly not taken: it is not paid.

    *is_in_doubt* says that an earlier try of it may be paid: then the job is in doubt as before.
    """
    move(connection, job, Move.UNCLEAR if is_in_doubt else Move.NOT_TAKEN)
    last = _open_submit(connection, job)
    assert last is not None  # noqa: S101  # it was sending
    connection.execute(
        "UPDATE totals SET submitted = submitted - (SELECT images FROM submits WHERE id = ?)",
        (last,),
    )
    connection.execute("DELETE FROM submits WHERE id = ?", (last,))


def _open_submit(connection: sqlite3.Connection, job: int) -> int | None:
    """Return the newest submit of *job* that has no id."""
    row = connection.execute(
        "SELECT id FROM submits WHERE job = ? AND task_id IS NULL ORDER BY id DESC LIMIT 1", (job,)
    ).fetchone()
    return None if row is None else int(row[0])


def note_in_doubt(
    connection: sqlite3.Connection, job: int, error: dict[str, str] | None = None
) -> None:
    """Note that a submit may have been paid, and that its id is not known."""
    move(connection, job, Move.UNCLEAR, **_error_column(error))


def note_done(
    connection: sqlite3.Connection, job: int, seed: int | None, missing: int, now: float
) -> None:
    """Note that every picture of a job is on the disk under its final name."""
    move(
        connection,
        job,
        Move.DONE,
        seed=None if seed is None else str(seed),
        missing=missing,
        error=None,
        ended=now,
    )


def note_failed(
    connection: sqlite3.Connection, job: int, error: dict[str, str], now: float
) -> None:
    """Note that asking again cannot help."""
    move(connection, job, Move.FAILED, ended=now, **_error_column(error))


def note_error(connection: sqlite3.Connection, job: int, error: dict[str, str]) -> None:
    """Note why a job is not done yet; it stays where it is."""
    connection.execute(
        "UPDATE jobs SET error = ? WHERE id = ?", (_error_column(error)["error"], job)
    )


def as_error(error: PPInfraError) -> dict[str, str]:
    """Return what is recorded of an error."""
    billed: str = error.billed
    return {"type": type(error).__name__, "message": error.message, "billed": billed}


def note_placing(connection: sqlite3.Connection, job: int, picture: PictureRecord) -> None:
    """Note under which name a picture is written next, so that a crash cannot make it twice."""
    connection.execute(
        "INSERT OR REPLACE INTO pictures (job, number, name, size, sha256, width, height) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            job, picture.number, picture.name, picture.size, picture.sha256, picture.width,
            picture.height,
        ),
    )  # fmt: skip


def begin_again(connection: sqlite3.Connection, job: int, what: Move, **changes: object) -> None:
    """Let a job be sent (again), as a person asked: it has no task, no picture and no error now."""
    move(
        connection, job, what, task_id=None, seed=None, missing=0, error=None, ended=None, **changes
    )
    connection.execute("DELETE FROM pictures WHERE job = ?", (job,))


def mend_after_crash(connection: sqlite3.Connection) -> int:
    """Note what died between its mark and its id as in doubt; return how many."""
    left = [row[0] for row in connection.execute("SELECT id FROM jobs WHERE state = 'sending'")]
    error = {
        "type": "SubmitOutcomeUnknownError",
        "message": "The process ended while it was being sent: it may have been paid, and its task id "
        "is not known. Look at the account's usage before you send it again.",
        "billed": "unknown",
    }
    for job in left:
        note_in_doubt(connection, job, error)
    return len(left)


def last_run(connection: sqlite3.Connection) -> int:
    """Return the number of the newest run; 0 before the first."""
    newest: int = connection.execute("SELECT coalesce(max(run), 0) FROM jobs").fetchone()[0]
    return newest


def images_by_state(connection: sqlite3.Connection, run: int) -> dict[JobState, tuple[int, int]]:
    """Return jobs and images per state of one run."""
    rows = connection.execute(
        "SELECT state, count(*), sum(images) FROM jobs WHERE run = ? GROUP BY state", (run,)
    )
    return {JobState(state): (count, images) for state, count, images in rows}


def images_paid(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the images ever paid, and those in doubt."""
    paid, in_doubt = connection.execute(
        "SELECT coalesce(sum(CASE WHEN task_id IS NOT NULL THEN images END), 0), "
        "coalesce(sum(CASE WHEN task_id IS NULL THEN images END), 0) FROM submits"
    ).fetchone()
    return int(paid), int(in_doubt)


def _error_column(error: dict[str, str] | None) -> dict[str, str | None]:
    return {"error": None if error is None else json.dumps(error, ensure_ascii=False)}

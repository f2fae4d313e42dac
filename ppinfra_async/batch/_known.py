"""Finds the job in a journal that a line of a manifest means; refuses to change it.

Everything here blocks: it runs in the journal's thread.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from ppinfra_async._sansio.job import JobState


@frozen(kw_only=True)
class Choices:
    """What a person decides about jobs that are known already.

    Attributes:
        retry_failed: Plan failed jobs again.
        resubmit_unknown: Send jobs in doubt again: they may be paid twice.
        redo_changed: Plan jobs again whose key is known and whose request has changed.
    """

    retry_failed: bool = False
    resubmit_unknown: bool = False
    redo_changed: bool = False


@frozen
class Known:
    """A job that the journal knows.

    Attributes:
        row: Its row.
        state: Where it is.
        digest: Of its request as it was.
    """

    row: int
    state: JobState
    digest: bytes


_COLUMNS = "SELECT id, state, digest FROM jobs"

# What has most to lose comes first, of those that are equal.
_ORDER = (
    "CASE state WHEN 'done' THEN 0 WHEN 'submitted' THEN 1 WHEN 'in doubt' THEN 2 "
    "WHEN 'planned' THEN 3 ELSE 4 END, key IS NOT NULL, occurrence"
)


def find(
    connection: sqlite3.Connection, run: int, key: str | None, digest: bytes, shape: bytes
) -> Known | None:
    """Return the job that a line means, if the journal knows it.

    By its key; else by its request with the pictures as they are; else by its request with pictures
    of the same path that have changed. A job that another line of *run* has is not taken again, and
    ``temp.keys`` has the keys of this manifest, whose jobs no line without a key takes.
    """
    if key is not None and (known := _by_key(connection, key)):
        return known
    return _by(connection, run, key, "digest", digest) or _by(connection, run, key, "shape", shape)


def find_paid(
    connection: sqlite3.Connection, run: int, key: str | None, shape: bytes
) -> Known | None:
    """Return the job that a line means whose picture is not there, if it needs none any more."""
    known = _by_key(connection, key) if key is not None else None
    known = known or _by(connection, run, key, "shape", shape)
    is_paid = known is not None and known.state in {JobState.SUBMITTED, JobState.DONE}
    return known if is_paid else None


def _by_key(connection: sqlite3.Connection, key: str) -> Known | None:
    return _known(connection.execute(f"{_COLUMNS} WHERE key = ?", (key,)).fetchone())


def _by(
    connection: sqlite3.Connection, run: int, key: str | None, column: str, value: bytes
) -> Known | None:
    # A line with a key may have got it only now.
    free = "key IS NULL"
    if key is None:
        free = "(key IS NULL OR key NOT IN (SELECT key FROM temp.keys))"
    return _known(
        connection.execute(
            f"{_COLUMNS} WHERE {column} = ? AND run <> ? AND {free} ORDER BY {_ORDER} LIMIT 1",
            (value, run),
        ).fetchone()
    )


def _known(row: tuple[int, str, bytes] | None) -> Known | None:
    return None if row is None else Known(row[0], JobState(row[1]), row[2])


def occurrence(connection: sqlite3.Connection, digest: bytes) -> int:
    """Return which one of the jobs with *digest* the next one is."""
    (last,) = connection.execute(
        "SELECT coalesce(max(occurrence), 0) FROM jobs WHERE digest = ?", (digest,)
    ).fetchone()
    return int(last) + 1


def objection_to_redo(state: JobState, key: str | None, choices: Choices) -> str:
    """Return why a known job whose request has changed is not simply made anew, or nothing."""
    if key is None and state in {JobState.PLANNED, JobState.FAILED}:
        # Nothing is paid for it that anybody could want.
        return ""
    if not choices.redo_changed and key is None:
        return (
            "its picture has changed since a job asked the same (it counts by size, time and --fit): "
            "give it a key to make a further job, or say --redo-changed to make that one anew; either "
            "is paid"
        )
    if not choices.redo_changed:
        cost = "" if state in {JobState.PLANNED, JobState.FAILED} else ", which is paid anew"
        return (
            f"key: {key!r} is known, and what it asks has changed since (picture files count by size "
            f"and time); give it another key, or say --redo-changed to have what it asks now{cost}"
        )
    if state is JobState.IN_DOUBT and not choices.resubmit_unknown:
        return (
            "it is in doubt whether this job was paid as it was; look at the account's usage, then say "
            "--resubmit-unknown, too"
        )
    return ""

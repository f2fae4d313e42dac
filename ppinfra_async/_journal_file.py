"""Opens the file of a journal and says what is wrong with it; refuses to mend or to replace one.

Everything here blocks: the journal's thread calls it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from attrs import define

APPLICATION_ID = 0x5050_4A4C
"""``PPJL``: how SQLite's own header says whose file it is."""

FORMAT = 1
"""Which version of the tables below; another one is refused."""

_RESERVE = 2 * 1024 * 1024

_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    key TEXT UNIQUE,            -- of the manifest, or NULL
    digest BLOB NOT NULL,       -- of the request; of its pictures path, size and time
    shape BLOB NOT NULL DEFAULT x'', -- the same with nothing but the path of the pictures
    occurrence INTEGER NOT NULL,-- which one of the jobs with this digest, from 1
    state TEXT NOT NULL,        -- _sansio/job.py
    stem TEXT NOT NULL,         -- how the names of its files begin
    folded TEXT NOT NULL UNIQUE,-- the stem where case does not count
    line TEXT NOT NULL,         -- what the manifest says, as JSON
    source TEXT,                -- the source picture, for people
    images INTEGER NOT NULL,    -- how many are asked for
    position INTEGER NOT NULL,  -- its line in the last run
    run INTEGER NOT NULL,       -- the last run that had it
    task_id TEXT,
    seed TEXT,
    missing INTEGER NOT NULL DEFAULT 0,
    error TEXT,                 -- why it is not done, as JSON
    ended REAL                  -- seconds since 1970
);
CREATE INDEX jobs_by_digest ON jobs (digest, occurrence);
CREATE INDEX jobs_by_shape ON jobs (shape);
CREATE INDEX jobs_by_state ON jobs (run, state, position);
CREATE TABLE pictures (
    job INTEGER NOT NULL REFERENCES jobs,
    number INTEGER NOT NULL,    -- place in the result, from 0
    name TEXT NOT NULL,         -- of the file, in the folder of the journal
    size INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE submits (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs,
    images INTEGER NOT NULL,
    at REAL NOT NULL,           -- seconds since 1970
    task_id TEXT                -- NULL: on its way, or in doubt
);
CREATE INDEX submits_by_job ON submits (job);
CREATE TABLE totals (
    submitted INTEGER NOT NULL  -- images in `submits`, all together
);
INSERT INTO totals VALUES (0);
"""


class JournalError(Exception):
    """The journal cannot be used. The message says why and what to do; no error of the service.

    Attributes:
        is_in_use: Whether another process has it open.
    """

    def __init__(self, message: str, *, is_in_use: bool = False) -> None:
        super().__init__(message)
        self.is_in_use = is_in_use


@define
class Reserve:
    """Room on the disk that is given back when it is full, so that what is paid can be recorded."""

    path: Path
    _is_taken: bool = False

    def take(self) -> None:
        """Fill the room; without it there is no reserve, and nothing else changes."""
        with suppress(OSError):
            # Random, because some file systems store what repeats itself in no room at all.
            self.path.write_bytes(os.urandom(_RESERVE))
        self._is_taken = True

    def give_back(self) -> bool:
        """Free the room; tell whether there was some."""
        was_taken, self._is_taken = self._is_taken, False
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        return was_taken


def open_journal(path: Path, *, is_to_be_kept: bool = True) -> sqlite3.Connection:
    """Open the journal at *path*, making it if there is none; *path* is kept from other processes.

    Args:
        path: The file.
        is_to_be_kept: False makes a new one in memory only.

    Raises:
        JournalError: when it cannot be used.
    """
    if not path.exists() and not is_to_be_kept:
        connection = _connect(":memory:")
        connection.executescript(_SCHEMA)
        return connection
    try:
        if not path.exists():
            _create(path)
        _look_at(path)
        connection = _connect(str(path))
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be used ({error.strerror}).") from error
    try:
        _occupy(connection, path)
        _check_content(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def close_journal(connection: sqlite3.Connection) -> None:
    """Close it, leaving one file."""
    with suppress(sqlite3.Error):
        connection.close()


def is_out_of_space(error: sqlite3.Error) -> bool:
    """Tell whether *error* is about room on the disk."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))


def trouble_of(error: sqlite3.Error, path: Path) -> JournalError:
    """Return what a failed write means for people."""
    if is_out_of_space(error):
        return JournalError(
            f"The journal {path} cannot be written ({error}): the disk may be full. Nothing more is "
            "sent; make room, then run the same command again."
        )
    if not _is_damage(error):
        return JournalError(
            f"The journal {path} cannot be written ({error}). Nothing more is sent."
        )
    return _damaged(path, error)


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # Autocommit: transactions are begun by name. Statements are few and stay prepared.
    return sqlite3.connect(name, timeout=0.2, isolation_level=None, cached_statements=64, uri=uri)


def _create(path: Path) -> None:
    """Make an empty journal under a passing name first: a crash never leaves half a one."""
    passing = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        connection = _connect(str(passing))
        try:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
                f"BEGIN;{_SCHEMA}COMMIT;"
            )
        finally:
            connection.close()
        _give_name(passing, path)
    except sqlite3.Error as error:
        raise JournalError(
            f"The journal {path} cannot be made ({error}). Nothing was sent or paid."
        ) from error
    finally:
        passing.unlink(missing_ok=True)


def _give_name(passing: Path, path: Path) -> None:
    """Call it *path*, unless another process was faster: its journal may know of paid tasks already."""
    try:
        path.hardlink_to(passing)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links.
        passing.rename(path)


def _occupy(connection: sqlite3.Connection, path: Path) -> None:
    """Keep every other process out until the connection is closed or this process dies."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check_owner(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        # The log is on the disk at every commit; this is what "durable" means here.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise JournalError(
                f"The journal {path} is in use by another process: wait for its end, or choose another "
                "folder. Nothing was sent or paid by this one.",
                is_in_use=True,
            ) from None
        raise _damaged(path, error) if _is_damage(error) else trouble_of(error, path) from error


def _look_at(path: Path) -> None:
    """Refuse a file that is no journal of this version, touching neither it nor what lies beside it.

    By SQLite and not by hand: closing a file drops every lock that this process has on it, and only
    SQLite knows whether a journal in this process has it open.
    """
    if path.stat().st_size == 0:
        _refuse(path, "is damaged: it is empty")
    try:
        connection = _connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            _check_owner(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            _refuse(path, f"is damaged, or not a journal at all ({error})")
        if not _is_damage(error):
            raise trouble_of(error, path) from error
        # Its log was being copied into it, by a process that died or is at it: the log has the rest.


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        _refuse(path, "is an SQLite file of another program")
    if version != FORMAT:
        raise JournalError(
            f"The journal {path} has format {version}, and this version of ppinfra-async writes format "
            f"{FORMAT}. Finish the batch with the version that began it, or choose another folder, "
            "which pays for every job anew. The journal was not touched; nothing was sent or paid."
        )


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise _damaged(path, error) from error
    if answer != "ok":
        _refuse(path, f"is damaged ({answer})")


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _damaged(path: Path, error: sqlite3.Error) -> JournalError:
    return JournalError(_way_out(path, f"is damaged ({error})"))


def _refuse(path: Path, what: str) -> NoReturn:
    raise JournalError(_way_out(path, what))


def _way_out(path: Path, what: str) -> str:
    return (
        f"The journal {path} {what}. It knows what was paid, so nothing is sent without it. Restore it "
        "from a copy; or fetch what is paid with `ppinfra task ID…` (the ids are in results.jsonl and "
        "in the output of earlier runs), move the file away, and run the jobs that are left with a "
        "manifest of their own. The file was not touched."
    )

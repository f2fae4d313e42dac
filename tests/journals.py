"""Journals that tests make, look into and hold up; and processes that use one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ppinfra_async._journal_file import open_journal
from ppinfra_async.journal import Journal

PATIENCE = 60


def plan_row(connection: sqlite3.Connection, number: int, *, images: int = 1, run: int = 1) -> int:
    """Plan job *number* as the planner does, without a manifest; return its row."""
    row = connection.execute(
        "INSERT INTO jobs (digest, occurrence, state, stem, folded, line, images, position, run) "
        "VALUES (?, ?, 'planned', ?, ?, '{}', ?, ?, ?) RETURNING id",
        (b"d", number, f"job-{number}", f"job-{number}", images, number, run),
    ).fetchone()
    return int(row[0])


def stems(connection: sqlite3.Connection) -> list[str]:
    """Return the jobs in the order in which they were written."""
    return [row[0] for row in connection.execute("SELECT stem FROM jobs ORDER BY id")]


def stems_in(path: Path) -> list[str]:
    """Return the jobs of a journal that is not open, as any program that reads SQLite sees them."""
    connection = sqlite3.connect(path)
    try:
        return stems(connection)
    finally:
        connection.close()


def make_journal(path: Path, jobs: int = 200) -> None:
    """Leave a journal that was used and closed."""
    connection = open_journal(path)
    for number in range(jobs):
        plan_row(connection, number)
    connection.close()


@asynccontextmanager
async def held_up(journal: Journal) -> AsyncIterator[None]:
    """Let the journal's thread wait for the end of the block, so that entries gather before it."""
    held, go_on = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        held.set()
        assert go_on.wait(PATIENCE)

    # An entry is asked for when `write` is first stepped.
    entry = journal.write(wait)
    waiting = entry.send(None)
    del waiting
    try:
        yield
    finally:
        go_on.set()
        entry.close()


_USER = """
import sys
from pathlib import Path
from ppinfra_async.journal import JournalError
from ppinfra_async._journal_file import open_journal
try:
    connection = open_journal(Path(sys.argv[1]))
except JournalError as error:
    print(error.is_in_use, error)
else:
    print("open", flush=True)
    sys.stdin.read()
"""


def start_user(path: Path) -> subprocess.Popen[str]:
    """Start another process that opens the journal and keeps it until its standard input ends."""
    return subprocess.Popen(  # noqa: S603  # our own code
        [sys.executable, "-c", _USER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_by_another(path: Path) -> str:
    """Return what another process is told that opens the journal."""
    told, _ = start_user(path).communicate("", timeout=PATIENCE)
    return told.strip()

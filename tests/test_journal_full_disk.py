"""A full disk: what is paid is still recorded, and nothing more is begun."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ppinfra_async import _journal_jobs as records
from ppinfra_async.journal import Journal, JournalError
from tests.journals import PATIENCE, plan_row

pytestmark = pytest.mark.anyio

MAKE_ROOM = "make room, then run the same command again"


def limit_pages(connection: sqlite3.Connection, more: int) -> None:
    """Let the file grow by *more* pages, as a disk with little room would."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + more}")


def fill(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE jobs SET error = hex(zeroblob(1000000))")


def send(connection: sqlite3.Connection, job: int) -> None:
    records.note_sending(connection, job, images=1, now=1.0, most=None)


def accept(connection: sqlite3.Connection, job: int) -> None:
    records.note_accepted(connection, job, f"task-{job}", images=1, now=1.0)


def states(connection: sqlite3.Connection) -> dict[int, str]:
    return dict(connection.execute("SELECT id, state FROM jobs"))


async def test_full_disk_refuses_what_begins_and_records_what_is_paid(tmp_path: Path) -> None:
    """From the first full disk on, also when there would be room again for a while."""
    async with Journal(tmp_path / "journal.sqlite3") as journal:
        for number in (1, 2):
            await journal.write(partial(plan_row, number=number))
        await journal.write(partial(send, job=1), begins=True)
        await journal.write(partial(limit_pages, more=1))

        with pytest.raises(JournalError, match=f"the disk may be full.*{MAKE_ROOM}"):
            await journal.write(fill)
        assert journal.is_full
        assert not (tmp_path / "journal.sqlite3-reserve").exists()

        with pytest.raises(JournalError, match=f"is full.*Nothing more is sent; {MAKE_ROOM}"):
            await journal.write(partial(send, job=2), begins=True)
        await journal.write(partial(accept, job=1))
        assert await journal.write(states) == {1: "submitted", 2: "planned"}

    async with Journal(tmp_path / "journal.sqlite3") as journal:
        assert await journal.write(states) == {1: "submitted", 2: "planned"}
        await journal.write(partial(send, job=2), begins=True)


ON_A_SMALL_DISK = """
import asyncio, json, os, subprocess, sys
from functools import partial
from pathlib import Path
from ppinfra_async.journal import Journal, JournalError
from tests.journals import plan_row
from tests.test_journal_full_disk import accept, send, states

folder = Path(sys.argv[1])
mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", folder])
if mounted.returncode:
    sys.exit(77)
path = folder / "journal.sqlite3"

def fill_the_disk():
    with open(folder / "ballast", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

async def main():
    async with Journal(path) as journal:
        for number in range(41):
            await journal.write(partial(plan_row, number=number))
    # The log begins anew, so that it has to grow.
    async with Journal(path) as journal:
        for job in range(1, 41):
            await journal.write(partial(send, job=job), begins=True)
        fill_the_disk()
        for job in range(1, 41):
            await journal.write(partial(accept, job=job))
        assert journal.is_full
        try:
            await journal.write(partial(send, job=41), begins=True)
        except JournalError as error:
            message = str(error)
        assert "make room, then run the same command again" in message, message
    left = sorted(file.name for file in folder.iterdir())
    assert left == ["ballast", "journal.sqlite3"], left

    fill_the_disk()
    async with Journal(path) as journal:
        # Still full, and no reserve to be had: it can be read, and nothing is sent.
        message = ""
        try:
            await journal.write(partial(send, job=41), begins=True)
        except JournalError as error:
            message = str(error)
        assert "make room" in message, message
    (folder / "ballast").unlink()
    async with Journal(path) as journal:
        found = await journal.write(states)
        assert found.pop(41) == "planned"
        assert set(found.values()) == {"submitted"}, found
        await journal.write(partial(send, job=41), begins=True)
    print("recorded", len(found))

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs mount namespaces")
def test_disk_that_is_really_full(tmp_path: Path) -> None:
    """A disk of 12 MB, filled while forty jobs are on their way: every id is recorded."""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c"]
    ended = subprocess.run(  # noqa: S603  # our own code; the disk goes with the process
        [*command, ON_A_SMALL_DISK, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=Path(__file__).parents[1],
    )
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("no disk may be mounted here")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "recorded 40\n"

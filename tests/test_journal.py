"""The journal's thread: what is written when, in which order, and who is told."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ppinfra_async.journal import Journal, JournalError
from tests.journals import (
    PATIENCE,
    held_up,
    make_journal,
    plan_row,
    start_user,
    stems,
    stems_in,
    told_by_another,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal is made."""
    return tmp_path / "journal.sqlite3"


def threads() -> list[str]:
    """Return the journals that are alive."""
    return [thread.name for thread in threading.enumerate() if "journal" in thread.name]


def copy_as_after_a_crash(path: Path, folder: Path) -> Path:
    """Return a copy of what is on the disk now, which is what a crash would leave."""
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder)
    return folder / path.name


# --- many entries ---


async def test_entries_that_wait_together_share_one_commit_and_keep_their_order(
    path: Path, tmp_path: Path
) -> None:
    """Hundreds of entries cost one turn of the disk, and each is on it when its writer goes on."""
    statements: list[str] = []
    async with Journal(path) as journal:
        await journal.write(lambda connection: connection.set_trace_callback(statements.append))
        statements.clear()
        async with anyio.create_task_group() as group, held_up(journal):
            for number in range(300):
                group.start_soon(journal.write, partial(plan_row, number=number))
            await anyio.wait_all_tasks_blocked()
        copy = copy_as_after_a_crash(path, tmp_path / "copy")
        # One for the entry that held it up.
        assert statements.count("COMMIT") == 2

    assert stems_in(copy) == [f"job-{number}" for number in range(300)]
    assert stems_in(path) == stems_in(copy)


async def test_write_returns_what_its_work_returns(path: Path) -> None:
    """Each writer gets its own."""
    async with Journal(path) as journal:
        results = await asyncio.gather(
            *(journal.write(partial(twice, number=number)) for number in range(20))
        )

    assert results == [number * 2 for number in range(20)]


def twice(_: sqlite3.Connection, number: int) -> int:
    return number * 2


def write_and_fail(connection: sqlite3.Connection, error: Exception) -> None:
    plan_row(connection, 99)
    raise error


def write_twice(connection: sqlite3.Connection) -> None:
    plan_row(connection, 99)
    plan_row(connection, 99)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (partial(write_and_fail, error=ValueError("mine")), ValueError),
        (write_twice, JournalError),
        (partial(write_and_fail, error=sqlite3.OperationalError("mine")), JournalError),
    ],
)
async def test_failing_entry_is_undone_alone(
    path: Path, bad: partial[None], kind: type[Exception]
) -> None:
    """Its writer gets its error, also one of SQLite's; those before and after it are written."""
    outcomes: list[object] = [None] * 5

    async def write(journal: Journal, place: int) -> None:
        work = bad if place == 2 else partial(plan_row, number=place)
        try:
            outcomes[place] = await journal.write(work)
        except Exception as error:
            outcomes[place] = error

    async with Journal(path) as journal, anyio.create_task_group() as group, held_up(journal):
        for place in range(5):
            group.start_soon(write, journal, place)
        await anyio.wait_all_tasks_blocked()

    assert isinstance(outcomes[2], kind)
    assert outcomes[:2] + outcomes[3:] == [1, 2, 3, 4]
    assert stems_in(path) == ["job-0", "job-1", "job-3", "job-4"]


async def test_cancelled_writer_has_its_entry_written(path: Path) -> None:
    """Whoever asked may leave: what was asked for happens, in its place."""
    async with Journal(path) as journal:
        async with held_up(journal), anyio.create_task_group() as group:
            group.start_soon(journal.write, partial(plan_row, number=1))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await journal.write(partial(plan_row, number=2))

    assert stems_in(path) == ["job-1", "job-2"]


async def test_work_that_raises_no_mere_exception_reaches_its_writer(path: Path) -> None:
    """Nobody waits for ever, whatever is raised in the thread."""
    async with Journal(path) as journal:
        with anyio.fail_after(PATIENCE), pytest.raises(SystemExit):
            await journal.write(lambda _: exit_now())
        with anyio.fail_after(PATIENCE):
            await journal.write(partial(plan_row, number=1))

    assert stems_in(path) == ["job-1"]


def exit_now() -> None:
    raise SystemExit


# --- its end ---


async def test_clean_close_leaves_one_file_and_no_thread(path: Path) -> None:
    """No log, no reserve, no passing file; while it is open there is a reserve."""
    async with Journal(path) as journal:
        await journal.write(partial(plan_row, number=1))
        assert path.with_name(f"{path.name}-reserve").stat().st_size > 1_000_000

    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert threads() == []


async def test_entries_asked_for_before_the_end_are_written(path: Path) -> None:
    """Closing waits for them."""
    async with anyio.create_task_group() as group, Journal(path) as journal:
        for number in range(50):
            group.start_soon(journal.write, partial(plan_row, number=number))
        await anyio.wait_all_tasks_blocked()

    assert len(stems_in(path)) == 50


async def test_entry_after_the_end_is_refused(path: Path) -> None:
    """It would be written nowhere."""
    async with Journal(path) as journal:
        pass

    with pytest.raises(JournalError, match="closed"):
        await journal.write(stems)


async def test_cancelled_close_still_closes(path: Path) -> None:
    """The file is free again for whoever comes next."""
    with anyio.CancelScope() as scope:
        async with Journal(path) as journal:
            await journal.write(partial(plan_row, number=1))
            scope.cancel()

    assert threads() == []
    assert stems_in(path) == ["job-1"]


async def test_cancelled_opening_leaves_nothing_open(path: Path) -> None:
    """Neither a thread nor a lock."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with Journal(path):
            pytest.fail("it was cancelled")

    assert threads() == []
    async with Journal(path):
        pass


async def test_journal_that_is_not_to_be_kept_leaves_no_file(path: Path) -> None:
    """A check writes nothing where nothing was; what is there is opened."""
    async with Journal(path, is_to_be_kept=False) as journal:
        await journal.write(partial(plan_row, number=1))
        assert await journal.write(stems) == ["job-1"]
    assert list(path.parent.iterdir()) == []

    await anyio.to_thread.run_sync(make_journal, path, 3)
    async with Journal(path, is_to_be_kept=False) as journal:
        assert len(await journal.write(stems)) == 3
        assert not path.with_name(f"{path.name}-reserve").exists()


# --- others ---


async def test_second_process_is_refused(path: Path) -> None:
    """It is told what to do, and may open it when the first has ended."""
    async with Journal(path) as journal:
        await journal.write(partial(plan_row, number=1))
        told = await anyio.to_thread.run_sync(told_by_another, path)
        await journal.write(partial(plan_row, number=2))

    assert told.startswith("True ")
    assert "in use by another process: wait for its end, or choose another folder" in told
    assert await anyio.to_thread.run_sync(told_by_another, path) == "open"
    assert len(stems_in(path)) == 2


async def test_journal_of_another_process_is_refused_until_that_dies(path: Path) -> None:
    """A killed process keeps nothing: its lock dies with it."""
    other = start_user(path)
    assert other.stdout is not None
    with other:
        try:
            assert await anyio.to_thread.run_sync(other.stdout.readline) == "open\n"
            with pytest.raises(JournalError, match="in use") as caught:
                async with Journal(path):
                    pytest.fail("it is in use")
            assert caught.value.is_in_use
        finally:
            other.kill()
            other.wait(PATIENCE)

    async with Journal(path) as journal:
        await journal.write(partial(plan_row, number=1))


async def test_second_journal_in_the_same_process_is_refused_and_does_not_free_the_first(
    path: Path,
) -> None:
    """Another process must not get in after it: a lock of POSIX is lost by closing the file elsewhere."""
    async with Journal(path) as journal:
        await journal.write(partial(plan_row, number=1))
        with pytest.raises(JournalError, match="in use") as caught:
            async with Journal(path):
                pytest.fail("it is in use")
        assert caught.value.is_in_use
        told = await anyio.to_thread.run_sync(told_by_another, path)
        await journal.write(partial(plan_row, number=2))

    assert told.startswith("True ")
    assert threads() == []
    assert len(stems_in(path)) == 2

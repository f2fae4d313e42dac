"""Files that are no journal, or no whole one: each is refused with the way out, and left as it is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ppinfra_async._journal_file import FORMAT, _create, open_journal
from ppinfra_async.journal import JournalError
from tests.journals import make_journal, plan_row, stems, stems_in

PAGE = 4096

RESTORE = r"Restore it from a copy; or fetch what is paid with `ppinfra task ID…`.* not touched\.$"
NEWER = (
    rf"has format 99, and this version of ppinfra-async writes format {FORMAT}\. Finish the batch"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is, alone in its folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "journal.sqlite3"


def leave_as_after_a_crash(path: Path, *statements: str) -> None:
    """Put a database there whose log was never copied into it."""
    open_one = path.with_name("open")
    with closing(sqlite3.connect(open_one, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in statements:
            connection.execute(statement)
        shutil.copy(open_one, path)
        shutil.copy(open_one.with_name("open-wal"), path.with_name(f"{path.name}-wal"))
    open_one.unlink()


def set_version(path: Path) -> None:
    make_journal(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def set_version_and_crash(path: Path) -> None:
    set_version(path)
    whole = path.rename(path.with_name("open"))
    leave_as_after_a_crash(path, "UPDATE jobs SET missing = 1")
    assert not whole.exists()


def make_other_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id)")


def make_crash_of_other_program(path: Path) -> None:
    leave_as_after_a_crash(path, "CREATE TABLE jobs (id)", "INSERT INTO jobs VALUES (1)")


def write_text(path: Path) -> None:
    path.write_text('{"key": "cat"}\n' * 1000)


def write_little(path: Path) -> None:
    path.write_bytes(b"SQLite")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def make_bytes(path: Path) -> bytes:
    make_journal(path)
    data = path.read_bytes()
    assert len(data) > 8 * PAGE
    return data


def cut_at_a_page(path: Path) -> None:
    path.write_bytes(make_bytes(path)[: 4 * PAGE])


def cut_inside_a_page(path: Path) -> None:
    path.write_bytes(make_bytes(path)[: 5 * PAGE + 1000])


def blank_a_page(path: Path) -> None:
    data = make_bytes(path)
    path.write_bytes(data[: 6 * PAGE] + bytes(PAGE) + data[7 * PAGE :])


def overwrite_a_page(path: Path) -> None:
    data = make_bytes(path)
    path.write_bytes(data[: 6 * PAGE] + b"\xa5" * PAGE + data[7 * PAGE :])


def overwrite_the_beginning(path: Path) -> None:
    path.write_bytes(b"\xa5" * PAGE + make_bytes(path)[PAGE:])


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (set_version, NEWER),
    (set_version_and_crash, NEWER),
    (make_other_program, f"is an SQLite file of another program.*{RESTORE}"),
    (make_crash_of_other_program, f"is an SQLite file of another program.*{RESTORE}"),
    (write_text, f"not a journal at all.*{RESTORE}"),
    (write_little, f"not a journal at all.*{RESTORE}"),
    (write_nothing, f"is damaged: it is empty.*{RESTORE}"),
    (cut_at_a_page, f"is damaged.*{RESTORE}"),
    (cut_inside_a_page, f"is damaged.*{RESTORE}"),
    (blank_a_page, f"is damaged.*{RESTORE}"),
    (overwrite_a_page, f"is damaged.*{RESTORE}"),
    (overwrite_the_beginning, f"is damaged.*{RESTORE}"),
]


@pytest.mark.parametrize("is_to_be_kept", [True, False])
@pytest.mark.parametrize(("break_it", "message"), BROKEN)
def test_broken_file_is_refused_and_not_touched(
    path: Path, break_it: Callable[[Path], None], message: str, *, is_to_be_kept: bool
) -> None:
    """The journal knows what was paid: no guess, no mending, no new one in its place."""
    break_it(path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    with pytest.raises(JournalError, match=f"(?s){message}") as caught:
        open_journal(path, is_to_be_kept=is_to_be_kept)

    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert str(path) in str(caught.value)
    assert not caught.value.is_in_use


def test_folder_in_its_place_is_refused(path: Path) -> None:
    """Nothing can be read there."""
    path.mkdir()

    with pytest.raises(JournalError, match="cannot be"):
        open_journal(path)

    assert path.is_dir()


def test_folder_that_is_not_there_is_refused(path: Path) -> None:
    """The journal makes no folder."""
    with pytest.raises(JournalError, match=r"cannot be (made|used)"):
        open_journal(path.parent / "none" / path.name)


def test_strange_letters_in_a_path_are_letters(path: Path) -> None:
    """What means something in an address means nothing in the name of a folder."""
    folder = path.parent / "a?b=c#d%41 é"
    folder.mkdir()
    make_journal(folder / path.name, 3)

    assert [file.name for file in folder.iterdir()] == [path.name]
    assert len(stems_in(folder / path.name)) == 3
    with closing(open_journal(folder / path.name)) as connection:
        assert len(stems(connection)) == 3


def test_crash_while_the_log_is_copied_into_the_file_is_no_damage(path: Path) -> None:
    """The file's head is newer than its end then, and the log has the rest."""
    make_journal(path, 1)
    first = path.rename(path.with_name("first"))
    shutil.copy(first, path)
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        for number in range(1, 400):
            plan_row(connection, number)
        connection.execute("COMMIT")
        log = path.with_name(f"{path.name}-wal").read_bytes()
    after = path.read_bytes()
    before = first.read_bytes()
    assert len(after) > len(before)

    path.write_bytes(after[:PAGE] + before[PAGE:])
    path.with_name(f"{path.name}-wal").write_bytes(log)

    with closing(open_journal(path)) as connection:
        assert stems(connection) == [f"job-{number}" for number in range(400)]


def test_journal_that_another_process_made_meanwhile_is_not_replaced(path: Path) -> None:
    """Two that begin at the same moment both find none; the slower one must not forget what is paid."""
    make_journal(path, 3)

    _create(path)

    assert len(stems_in(path)) == 3
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_new_journal_is_one_empty_file(path: Path) -> None:
    """Nothing of its making is left."""
    with closing(open_journal(path)) as connection:
        assert stems(connection) == []

    assert [file.name for file in path.parent.iterdir()] == [path.name]

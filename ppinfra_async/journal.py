"""The durable record of a batch: an SQLite file in a thread of its own; refuses a second process.

Entries are written in the order in which they were asked for, and those that wait together share one
commit. Whoever awaits an entry goes on when it is on the disk. The file holds no key and no picture.

The thread is the only one that touches the file. ``write`` gives it work from the event loop;
nothing here blocks the loop.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from attrs import define, field

from ppinfra_async._journal_file import (
    JournalError,
    Reserve,
    close_journal,
    is_out_of_space,
    open_journal,
    trouble_of,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

__all__ = ["Journal", "JournalError"]


@define(eq=False)
class _Entry(Generic[T]):
    """Work that waits for the thread, and what became of it."""

    work: Work[T]
    begins: bool
    result: T | None = None
    error: BaseException | None = None
    done: anyio.Event = field(factory=anyio.Event)


class Journal:
    """A journal that is open; ``async with Journal(path) as journal``.

    Attributes:
        path: The file.
        is_full: True once the disk has been full: what is paid is still recorded, nothing is begun.

    Raises (when it is entered):
        JournalError: in use by another process, damaged, of another version, not a journal, or not
            writable; it says what to do.
    """

    def __init__(self, path: Path, *, is_to_be_kept: bool = True) -> None:
        self.path = path
        self.is_full = False
        self._is_to_be_kept = is_to_be_kept
        self._reserve = Reserve(path.with_name(f"{path.name}-reserve"))
        self._entries: queue.SimpleQueue[_Entry[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        opening: _Entry[None] = _Entry(lambda _: None, begins=False)
        thread = threading.Thread(target=self._live, args=(opening,), name="ppinfra journal")
        thread.start()
        self._thread = thread
        try:
            await opening.done.wait()
        except BaseException:
            await self._end()
            raise
        if opening.error is not None:
            await self._end()
            raise opening.error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self._is_closed = True
        self._entries.put(None)
        with anyio.CancelScope(shield=True):
            assert self._thread is not None  # noqa: S101  # entered
            await anyio.to_thread.run_sync(self._thread.join)

    async def write(self, work: Work[T], *, begins: bool = False) -> T:
        """Return what *work* returns for the connection, once what it wrote is on the disk.

        *work* is one transaction: all of it or nothing. It runs also when the caller is cancelled.

        Args:
            work: Reads and writes; runs in the journal's thread.
            begins: Whether something may be paid after it; refused once the disk has been full.

        Raises:
            JournalError: it could not be written, so it did not happen.
            Exception: what *work* raised.
        """
        if self._is_closed:
            raise JournalError("The journal is closed.")
        entry: _Entry[T] = _Entry(work, begins)
        self._entries.put(entry)
        await entry.done.wait()
        if entry.error is not None:
            raise entry.error
        return entry.result  # type: ignore[return-value]  # None only where T is

    async def write_late(self, work: Work[T]) -> T:
        """Do the same, also when the journal was closed meanwhile: it is opened again for that.

        Raises:
            JournalError: see ``write``; or another process has it now.
        """
        if not self._is_closed:
            return await self.write(work)
        async with Journal(self.path, is_to_be_kept=False) as journal:
            return await journal.write(work)

    # --- in the thread ---

    def _live(self, opening: _Entry[None]) -> None:
        try:
            connection = open_journal(self.path, is_to_be_kept=self._is_to_be_kept)
            try:
                if self._is_to_be_kept:
                    self._reserve.take()
                self._announce([opening])
                while entries := self._waiting():
                    self._write_all(connection, entries)
            finally:
                close_journal(connection)
                self._reserve.give_back()
        except BaseException as error:  # whatever it is, nobody may wait for ever
            self._is_closed = True
            opening.error = opening.error or error
            self._announce([opening, *self._left()])

    def _waiting(self) -> list[_Entry[Any]]:
        """Return all entries that wait, at least one; an empty list is the end."""
        entries = [self._entries.get()]
        with suppress(queue.Empty):
            while entries[-1] is not None:
                entries.append(self._entries.get_nowait())
        if entries[-1] is None and len(entries) > 1:
            # What was asked for before the end is still done.
            self._entries.put(None)
        return [entry for entry in entries if entry is not None]

    def _left(self) -> list[_Entry[Any]]:
        with suppress(queue.Empty):
            entries = []
            while True:
                entry = self._entries.get_nowait()
                if entry is not None:
                    entry.error = JournalError("The journal is closed.")
                    entries.append(entry)
        return entries

    def _write_all(self, connection: sqlite3.Connection, entries: list[_Entry[Any]]) -> None:
        try:
            self._transaction(connection, entries)
        except sqlite3.Error as error:
            if is_out_of_space(error) and self._reserve.give_back():
                # Room for what is paid already; nothing more is begun.
                self.is_full = True
                self._write_all(connection, entries)
                return
            if len(entries) > 1:
                # One of them may be to blame, or be too large: the others are written without it.
                for entry in entries:
                    self._write_all(connection, [entry])
                return
            entries[0].error = trouble_of(error, self.path)
        self._announce(entries)

    def _transaction(self, connection: sqlite3.Connection, entries: list[_Entry[Any]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                self._write_one(connection, entry)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                # SQLite has rolled back by itself after some errors.
                connection.execute("ROLLBACK")
            raise

    def _write_one(self, connection: sqlite3.Connection, entry: _Entry[Any]) -> None:
        entry.error = None
        if entry.begins and self.is_full:
            entry.error = JournalError(
                f"The disk of {self.path} is full. Nothing more is sent; make room, then run the same "
                "command again."
            )
            return
        connection.execute("SAVEPOINT entry")
        try:
            entry.result = entry.work(connection)
        except sqlite3.Error:
            raise
        except BaseException as error:  # of this entry alone: the others are written
            entry.error = error
            connection.execute("ROLLBACK TO entry")
        connection.execute("RELEASE entry")

    def _announce(self, entries: list[_Entry[Any]]) -> None:
        assert self._loop is not None  # noqa: S101  # entered
        # A loop that was closed meanwhile has nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_set_all, entries)


def _set_all(entries: list[_Entry[Any]]) -> None:
    for entry in entries:
        entry.done.set()

"""Puts finished files into a folder; refuses to replace one, or to leave half a one behind.

Everything here blocks: callers use a worker thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from attrs import frozen

from ppinfra_async._files import SUFFIX, passing_file
from ppinfra_async._sansio.names import numbered
from ppinfra_async.requests import ImageType


@frozen
class Folder:
    """A folder that was seen to be writable."""

    path: Path

    @classmethod
    def opened(cls, path: Path) -> Self:
        """Make the folder if it is not there, and try to write into it.

        Raises:
            OSError: when that does not work; better now than after something was paid.
        """
        path.mkdir(parents=True, exist_ok=True)
        with passing_file(path):
            return cls(path)

    @classmethod
    def new(cls, path: Path) -> Self:
        """Make a folder that was not there before: *path*, or *path* with -2, -3 and so on.

        Raises:
            OSError: when it cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        for name in numbered(path.name):
            try:
                path.with_name(name).mkdir()
            except FileExistsError:
                continue
            return cls.opened(path.with_name(name))
        raise AssertionError  # pragma: no cover  # the names never end

    def place_picture(self, data: bytes, stem: str, index: int, image_type: ImageType) -> Path:
        """Write a picture as ``<stem>-<number>.<suffix>``; return where it is."""
        return self.place(data, numbered(f"{stem}-{index + 1}", SUFFIX[image_type]))

    def place(self, data: bytes, names: Iterator[str]) -> Path:
        """Write *data* under the first of *names* that is free; return where it is.

        Raises:
            OSError: when it cannot be written; nothing is left behind then.
        """
        with passing_file(self.path, data) as passing:
            for name in names:
                if _give_name(passing, self.path / name):
                    return self.path / name
        raise FileExistsError(f"no free name in {self.path}")


def _give_name(passing: Path, target: Path) -> bool:
    """Let *target* be the written file, unless there is one; two processes cannot both succeed."""
    try:
        target.hardlink_to(passing)
    except FileExistsError:
        return False
    except OSError:
        return _claim(passing, target)
    return True


def _claim(passing: Path, target: Path) -> bool:
    """Do the same where the file system has no hard links: an empty file holds the name."""
    try:
        target.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        passing.replace(target)
    except OSError:
        target.unlink()
        raise
    return True

"""Writes result pictures into the output folder; refuses to replace a file that is not its own.

Everything here blocks: callers use a worker thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ppinfra_async._files import SUFFIX, passing_file
from ppinfra_async._journal_jobs import PictureRecord
from ppinfra_async._sansio.names import numbered
from ppinfra_async.requests import ImageType


class NameTakenError(Exception):
    """Another file has the name meanwhile."""


class OutputError(Exception):
    """The output folder cannot be written. The message is for people, and complete."""


def open_output(folder: Path) -> None:
    """Make the folder if it is not there, and try to write into it.

    Raises:
        OutputError: when that does not work; better now than after something was paid.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with passing_file(folder):
            pass
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be written ({error.strerror}): choose another. Nothing was "
            "sent or paid."
        ) from error


def intact(folder: Path, pictures: Iterable[PictureRecord]) -> frozenset[int]:
    """Return the numbers of those pictures that are there, byte for byte."""
    return frozenset(picture.number for picture in pictures if _is_intact(folder, picture))


def _is_intact(folder: Path, picture: PictureRecord) -> bool:
    path = folder / picture.name
    try:
        if path.stat().st_size != picture.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == picture.sha256
    except OSError:
        return False


def choose_name(
    folder: Path,
    stem: str,
    number: int,
    data: bytes,
    shape: tuple[ImageType, int, int],
    known: PictureRecord | None,
) -> PictureRecord:
    """Return the record of a picture that is to be written: its name is free now, or was its own.

    Args:
        folder: The output folder.
        stem: How the name begins.
        number: Its place in the result, from 0.
        data: The picture.
        shape: Its format, width and height.
        known: What an earlier attempt recorded of it, or None.
    """
    image_type, width, height = shape
    sha256 = hashlib.sha256(data).digest()
    if known is not None and known.sha256 == sha256:
        return known
    names = numbered(f"{stem}-{number + 1}", SUFFIX[image_type])
    name = next(name for name in names if not os.path.lexists(folder / name))
    return PictureRecord(
        number=number, name=name, size=len(data), sha256=sha256, width=width, height=height
    )


def place(folder: Path, picture: PictureRecord, data: bytes) -> None:
    """Write a picture under its name, so that it is there as a whole and stays after a crash.

    Raises:
        NameTakenError: another file has the name.
        OSError: it cannot be written.
    """
    target = folder / picture.name
    with passing_file(folder, data) as passing:
        try:
            _give_name(passing, target)
        except FileExistsError:
            if not _is_intact(folder, picture):
                raise NameTakenError from None
    _keep_names(folder)


def _give_name(passing: Path, target: Path) -> None:
    try:
        target.hardlink_to(passing)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: nobody else writes these names while the journal is ours.
        if os.path.lexists(target):
            raise FileExistsError from None
        passing.replace(target)


def _keep_names(folder: Path) -> None:
    """Have the folder's list of names on the disk; systems that cannot do that do it by themselves."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

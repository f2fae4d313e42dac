"""Reads a manifest line by line and keeps its pictures inside allowed folders; refuses to run it.

Everything here blocks: planning runs in the journal's thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from ppinfra_async._sansio.manifest import (
    LONGEST_LINE,
    BadLineError,
    ManifestJob,
    PictureFacts,
    digest,
    read_job,
    read_line,
)
from ppinfra_async._showing import shown
from ppinfra_async.errors import Violation
from ppinfra_async.inputs import BadInputError, ImageInput, checked_fit
from ppinfra_async.requests import Request
from ppinfra_async.requests._base import pictures_of

_HEAD = 4096
"""Bytes at the beginning of a file that tell whether it is text."""

Line = tuple[int, bytes | Mapping[str, Any]]
"""A line's number, from 1, and what is on it: bytes without the line end, or an object."""


@frozen(kw_only=True)
class Manifest:
    """Where jobs come from.

    Attributes:
        name: How messages call it.
        folder: What picture paths are relative to, and confined to.
        lines: Opens it and yields its lines; may be called again.
        allow_dirs: Further folders that pictures may be in.
        fit: Scale pictures with a longer side down to it, where a line says nothing else.
    """

    name: str
    folder: Path
    lines: Callable[[], Iterable[Line]]
    allow_dirs: tuple[Path, ...] = ()
    fit: int | None = None

    def __attrs_post_init__(self) -> None:
        """Hold ``fit`` against what it may be.

        Raises:
            ValueError: it makes no sense.
        """
        checked_fit(self.fit)

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        # Not when it is made, which is on the event loop: a folder may be on a slow drive.
        return tuple(os.path.realpath(root) for root in (self.folder, *self.allow_dirs))

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        folder: Path | None = None,
        allow_dirs: Iterable[str | os.PathLike[str]] = (),
        fit: int | None = None,
    ) -> Manifest:
        """Take a file of JSON lines. Nothing is read yet.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        return cls(
            name=str(path),
            folder=folder or path.parent,
            lines=lambda: _lines_of_file(path),
            allow_dirs=_folders(allow_dirs),
            fit=fit,
        )

    @classmethod
    def from_objects(
        cls,
        objects: Iterable[Mapping[str, Any]],
        folder: Path,
        *,
        allow_dirs: Iterable[str | os.PathLike[str]] = (),
        fit: int | None = None,
        name: str = "job",
    ) -> Manifest:
        """Take objects as they would stand on lines.

        Raises:
            TypeError: for an iterator, which can be read once only, and for a single object.
            ValueError: *fit* makes no sense.
        """
        if isinstance(objects, Mapping):
            raise TypeError("That is one object: give a list of such.")
        if iter(objects) is objects:
            raise TypeError("An iterator can be read once only: give a list, or a manifest file.")
        return cls(
            name=name,
            folder=folder,
            lines=lambda: enumerate(objects, start=1),
            allow_dirs=_folders(allow_dirs),
            fit=fit,
        )

    def job(self, content: bytes | Mapping[str, Any]) -> ManifestJob | None:
        """Return the job on a line, or None for a blank one.

        Raises:
            BadLineError: with everything that is wrong with it.
        """
        if isinstance(content, bytes) and len(content) > LONGEST_LINE:
            raise BadLineError(f"is longer than {LONGEST_LINE:,} bytes")
        if isinstance(content, bytes) and not content.strip():
            return None
        tree = read_line(content) if isinstance(content, bytes) else content
        if not isinstance(tree, Mapping):
            # What somebody has in a list may be anything, whatever its type says.
            raise BadLineError(f"is not an object with the fields of a request, got {shown(tree)}")
        return read_job(tree, self._picture)

    def request_again(self, tree: Mapping[str, Any]) -> Request:
        """Return what a line asks that was read before."""
        return read_job(tree, self._picture).request

    def _picture(self, path: str, text: str) -> ImageInput | Violation:
        place = self.folder / text
        try:
            real = os.path.realpath(place)
            if not any(_is_inside(real, root) for root in self._roots):
                return Violation(path, text, f"must be inside {self.folder} (see --allow-dir)")
            return ImageInput.from_path(place, fit=self.fit)
        except (BadInputError, ValueError, OSError) as error:
            return Violation(path, text, f"must be the path of a picture ({error})")

    def shape(self, job: ManifestJob) -> bytes:
        """Return what a job is known by when its pictures have changed, or how they are scaled."""
        facts = {
            id(picture): PictureFacts(path=self._path_of(picture), size=0, modified_ns=0, fit=None)
            for _, picture in pictures_of(job.request)
        }
        return digest(job.request, facts)

    def _path_of(self, picture: ImageInput) -> str:
        assert picture.path is not None  # noqa: S101  # made by `_picture`
        return Path(os.path.relpath(picture.path, self.folder)).as_posix()

    def digest(self, job: ManifestJob) -> bytes:
        """Return what a job is known by.

        Raises:
            BadLineError: when a picture is not there.
        """
        facts = {
            id(picture): self._facts(path, picture) for path, picture in pictures_of(job.request)
        }
        return digest(job.request, facts)

    def _facts(self, path: str, picture: ImageInput) -> PictureFacts:
        place = picture.path
        assert place is not None  # noqa: S101  # made by `_picture`
        try:
            status = place.stat()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadLineError(f"{path}: {place} cannot be read ({why})") from None
        return PictureFacts(
            path=self._path_of(picture),
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
            fit=picture.fit,
        )


def _folders(given: object) -> tuple[Path, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        # Its letters would each be a folder, and the first one of most is "/": everything.
        raise TypeError("allow_dirs must be several folders, such as [folder], not one text.")
    return tuple(Path(folder) for folder in given)


def _is_inside(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _lines_of_file(path: Path) -> Iterator[Line]:
    if not stat.S_ISREG(path.stat().st_mode):
        # It is read twice, and a pipe cannot be: then there would be no jobs, or a wait for ever.
        raise OSError("it is not a regular file; write a pipe's lines to one first")
    with path.open("rb") as file:
        if b"\0" in file.read(_HEAD):
            # Each of its lines would be bad, with a message for each.
            raise OSError(
                "it is not UTF-8 text; a picture is not a manifest (see --images), and UTF-16 is to be "
                "saved as UTF-8"
            )
        file.seek(0)
        number = 0
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                _skip_line(file, raw)
            yield number, raw.removesuffix(b"\n")


def _skip_line(file: IO[bytes], begun: bytes) -> None:
    """Read on to the end of a line that is too long; the next ones may be bad, too."""
    while begun and not begun.endswith(b"\n"):
        begun = file.readline(LONGEST_LINE)

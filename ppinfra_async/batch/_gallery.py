"""Writes the page that shows all jobs of a batch; refuses to let what it shows become part of it.

The jobs stand in the page as one block of JSON, in which no character can end it, and the page's
script builds what is seen from it as text. The page's own policy allows no script and no style but
its own two, by their digests, and pictures only from the disk or from beside the page.

Everything here blocks: callers use a worker thread.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path, PurePath
from string import Template
from typing import Literal
from urllib.parse import quote

from attrs import frozen

from ppinfra_async._files import passing_file

MOST_ENTRIES = 20_000
"""How many jobs a page shows: what a browser opens in a second or two."""

# What could end the block or a line of it, and halves of characters (undecodable bytes of a file
# name), which UTF-8 cannot carry but JSON can.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")

# Halves that stand for no byte: no file can be called so, but a request can say it.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


Outcome = Literal["done", "failed", "in doubt", "left"]


@frozen(kw_only=True)
class Picture:
    """One result.

    Attributes:
        path: The file, relative to the folder of the page, with ``/`` between its parts.
        width: Pixels.
        height: Pixels.
    """

    path: str
    width: int
    height: int


@frozen(kw_only=True)
class Entry:
    """One job as the page shows it; every text may be anything.

    Attributes:
        title: The job's key, or the name of its source.
        outcome: What became of it.
        source: The picture it began with, relative to the folder of the page, or absolute.
        pictures: Its results.
        prompt: What was asked.
        parameters: Names and values, for people.
        seed: The seed, where known.
        task_id: The service's name for it, where known.
        missing: How many fewer pictures were made than asked.
        error: Why it is not done; empty when it is.
    """

    title: str
    outcome: Outcome
    source: str | None
    pictures: tuple[Picture, ...]
    prompt: str
    parameters: tuple[tuple[str, str], ...]
    seed: int | None
    task_id: str | None
    missing: int
    error: str


def write_gallery(
    path: Path,
    entries: Iterable[Entry],
    *,
    title: str,
    note: str,
    total: int,
    generator: str,
    most: int = MOST_ENTRIES,
) -> None:
    """Write the page to *path*, in place of what was there; entries are taken one by one.

    Args:
        path: Where the page shall be.
        entries: The jobs in the order to show; not more than *most* are taken.
        title: The page's headline.
        note: A sentence below it.
        total: How many jobs there are, also those that are not shown.
        generator: What made the page.
        most: How many jobs it shows.

    Raises:
        OSError: when it cannot be written; the page that was there is still there then.
    """
    texts = {"title": title, "note": note, "cut": _cut(total, most), "generator": generator}
    with passing_file(path.parent) as passing:
        with passing.open("wb") as file:
            for piece in _page(
                islice(entries, most), {name: escape(text) for name, text in texts.items()}
            ):
                # A half character can be left in the texts of the head only: a browser could not
                # show it either.
                file.write(piece.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)


def _page(entries: Iterable[Entry], texts: dict[str, str]) -> Iterator[str]:
    style, script = _part("gallery.css"), _part("gallery.js")
    values = texts | {
        "style": style,
        "style_hash": _digest(style),
        "script": script,
        "script_hash": _digest(script),
    }
    head, foot = _part("gallery.html").split("$entries")
    yield Template(head).substitute(values)
    yield from _block(entries)
    yield Template(foot).substitute(values)


def _cut(total: int, most: int) -> str:
    if total <= most:
        return ""
    return f"These are the first {most:,} of {total:,}; all are in results.jsonl."


def _block(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the entries as one list of JSON, a line for each."""
    separator = "["
    for entry in entries:
        yield f"{separator}\n{_json(_row(entry))}"
        separator = ","
    yield "[]" if separator == "[" else "\n]"


def _row(entry: Entry) -> list[object]:
    """Return the values without their names: the page has many entries. `gallery.js` reads them."""
    return [
        entry.title,
        entry.outcome,
        entry.source and _address(entry.source),
        [(_address(picture.path), picture.width, picture.height) for picture in entry.pictures],
        entry.prompt,
        entry.parameters,
        # As text: a browser's numbers hold only 53 bits.
        None if entry.seed is None else str(entry.seed),
        entry.task_id,
        entry.missing,
        entry.error,
    ]


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _address(path: str) -> str:
    """Return *path* as an address, in which no part can be a scheme, a query or a fragment."""
    path = _NO_BYTE.sub("\ufffd", path)
    if PurePath(path).is_absolute():
        return PurePath(path).as_uri()
    return quote(path, safe="/", errors="surrogateescape")


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    # https://www.w3.org/TR/CSP3/#match-element-to-source-list
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

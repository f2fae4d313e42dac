"""Chooses names for output files; refuses to touch a file, or to let a name leave its folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

_FALLBACK = "image"
# A file name may have 255 bytes; the rest is for numbers and suffix.
_MOST_BYTES = 160
# What some system takes for a separator, a stream, a pattern or a redirection.
_FORBIDDEN = frozenset('/\\:*?"<>|')


def safe_stem(text: str) -> str:
    """Return *text* as the beginning of a file name that every system takes."""
    composed = unicodedata.normalize("NFC", text)
    kept = "".join("_" if _is_unsafe(letter) else letter for letter in composed)
    short = kept.encode()[:_MOST_BYTES].decode(errors="ignore")
    # A leading dot hides a file, a leading dash looks like an option; Windows drops trailing dots.
    return short.strip(" .-") or _FALLBACK


def _is_unsafe(letter: str) -> bool:
    return letter in _FORBIDDEN or not letter.isprintable()


def stems_of(sources: Iterable[str | PurePath]) -> list[str]:
    """Return one stem per source path, all different, also where case does not count."""
    taken: set[str] = set()
    following: dict[str, int] = {}
    stems = []
    for source in sources:
        name = free_stem(safe_stem(PurePath(source).stem), following, taken.__contains__)
        taken.add(name.casefold())
        stems.append(name)
    return stems


def free_stem(stem: str, following: dict[str, int], is_taken: Callable[[str], bool]) -> str:
    """Return *stem*, or *stem* with the first number with which it is not taken.

    Args:
        stem: A safe one.
        following: Where to go on counting, by stem; kept between calls, because thousands of folders
            may each have an ``image.png``.
        is_taken: Asked with the name where case does not count.
    """
    number = following.get(stem.casefold(), 1)
    name = stem if number == 1 else f"{stem}-{number}"
    while is_taken(name.casefold()):
        number += 1
        name = f"{stem}-{number}"
    following[stem.casefold()] = number + 1
    return name


def numbered(name: str, suffix: str = "") -> Iterator[str]:
    """Yield *name*, then *name* with -2, -3, … before *suffix*."""
    yield f"{name}{suffix}"
    number = 2
    while True:
        yield f"{name}-{number}{suffix}"
        number += 1

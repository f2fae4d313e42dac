"""Decides how much of a stream of jobs may be under way; refuses to wait or to run any of it.

Two bounds hold a stream flat whatever its length. A job counts from when it is pulled until its
outcome is taken, so a slow reader stops new submits. The pictures of outcomes that are not yet taken
count in bytes: a job fetches only what fits, but the one that everything waits for always may.
"""

from __future__ import annotations

from bisect import insort

from attrs import define, field

MOST_BYTES = 256 * 1024 * 1024
"""Bytes of pictures, pixels included, that may wait to be taken; one job more than that at most."""

_PIXEL = 4
"""Bytes of a decoded pixel, at most: RGBA."""
_PACKED = 3
"""Bytes that a pixel of a photograph takes as PNG, at most in practice."""


def bytes_expected(width: int, height: int, images: int, *, decode: bool) -> int:
    """Return what the pictures of a job will take, before the first of them has arrived."""
    return width * height * images * (_PACKED + (_PIXEL if decode else 0))


@define
class Flow:
    """The jobs of one stream, by their index.

    Attributes:
        max_in_flight: Jobs pulled and not yet taken, at most.
        ordered: Whether outcomes are taken in the order in which they were pulled.
        max_bytes: Bytes held, at most, and those of one job more.
    """

    max_in_flight: int
    ordered: bool = False
    max_bytes: int = MOST_BYTES
    _pulled: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _ready: list[int] = field(factory=list, init=False)
    _wanting: list[int] = field(factory=list, init=False)
    _held: dict[int, int] = field(factory=dict, init=False)
    _bytes: int = field(default=0, init=False)

    @property
    def may_pull(self) -> bool:
        """Whether there is room for one more job."""
        return self._pulled - self._taken < self.max_in_flight

    @property
    def is_empty(self) -> bool:
        """Whether everything that was pulled has been taken."""
        return self._pulled == self._taken

    def pull(self) -> int:
        """Let one more job in; return its index."""
        self._pulled += 1
        return self._pulled - 1

    def want(self, index: int) -> None:
        """Let job *index* wait for its bytes; see ``hold``."""
        insort(self._wanting, index)

    def hold(self, index: int, size: int) -> bool:
        """Give a waiting job its bytes, if it may have them now. First come, first served."""
        is_awaited = self.ordered and index == self._taken
        is_next = self._wanting[0] == index
        if not is_awaited and not (is_next and self._has_room(size)):
            return False
        self._wanting.remove(index)
        self.correct(index, size)
        return True

    def _has_room(self, size: int) -> bool:
        return not self._held or self._bytes + size <= self.max_bytes

    def correct(self, index: int, size: int) -> None:
        """Note what job *index* really holds."""
        self._bytes += size - self._held.get(index, 0)
        self._held[index] = size

    def give_up(self, index: int) -> None:
        """Note that job *index* will fetch nothing (more)."""
        if index in self._wanting:
            self._wanting.remove(index)
        self._bytes -= self._held.pop(index, 0)

    def ready(self, index: int) -> None:
        """Note that the outcome of job *index* is there."""
        if self.ordered:
            insort(self._ready, index)
        else:
            self._ready.append(index)

    def take(self) -> int | None:
        """Take the next outcome that may be taken; return its index, or None."""
        if not self._ready or (self.ordered and self._ready[0] != self._taken):
            return None
        index = self._ready.pop(0)
        self._taken += 1
        self._bytes -= self._held.pop(index, 0)
        return index

"""What a transport promises; refuses to know which library keeps the promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import define, field

from ppinfra_async._sansio.wire import HttpCall, HttpReply


class MaskedText(str):
    """Text that is sent as it is and never shown: not in a ``repr``, so not in tracebacks either."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Withdrawn(Exception):  # noqa: N818  # control flow between a submit and its caller, not an error
    """Nobody wants this submit any more, and its last byte has not been handed over."""


@define
class CommitPoint:
    """The moment from which a submit may be paid.

    Attributes:
        before: Awaited just before the last byte is handed over (the journal's durable mark). What
            it raises leaves ``Transport.send`` as itself, and nothing is paid.
        passed: True from the moment the last byte is handed over.
        withdrawn: Set to keep the last byte back.
    """

    before: Callable[[], Awaitable[None]] | None = None
    passed: bool = False
    withdrawn: bool = False
    _objection: Exception | None = field(default=None, init=False)

    async def approach(self) -> None:
        """Do what has to be done before it is crossed."""
        if self.before is not None:
            try:
                await self.before()
            except Exception as error:
                self._objection = error
                raise

    def cross(self) -> None:
        """Cross it: the last byte must be handed over at once, with nothing in between.

        Raises:
            Withdrawn: when nobody wants the submit any more.
        """
        if self.withdrawn:
            raise Withdrawn
        self.passed = True

    def raise_objection(self) -> None:
        """Raise what ``before`` raised, if it did: a library in between may have wrapped it."""
        if self._objection is not None:
            raise self._objection


class Fetched(Protocol):
    """An answer whose body is read piece by piece.

    Attributes:
        status: HTTP status.
        length: Declared bytes of the body, or None.
        content_type: As declared, without parameters.
    """

    status: int
    length: int | None
    content_type: str

    async def read(self) -> bytes:
        """Return some more bytes, empty at the end; raises ``TransportFailure``."""
        ...


class Transport(Protocol):
    """How calls travel. One implementation is real, one is scripted, both pass the same tests."""

    async def send(self, call: HttpCall, commit: CommitPoint | None = None) -> HttpReply:
        """Return the whole reply, a redirect too.

        A body's last byte is handed over apart from the rest, after ``commit.approach`` and
        ``commit.cross``. An answer that comes before is returned, and the byte is kept back.

        Raises:
            TransportFailure: when there is none; its ``committed`` says on which side.
            Exception: what ``commit.before`` raised.
        """
        ...

    def fetch(self, url: str) -> AbstractAsyncContextManager[Fetched]:
        """Open a result address without the key, following a few redirects.

        Raises:
            TransportFailure: when there is no answer, or the address must not be opened.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

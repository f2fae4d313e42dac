"""What a transport promises; refuses to know which library keeps the promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import define

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
        before: Awaited just before the last byte is handed over (the journal's durable mark).
        passed: True from the moment the last byte is handed over.
        withdrawn: Set to keep the last byte back.
    """

    before: Callable[[], Awaitable[None]] | None = None
    passed: bool = False
    withdrawn: bool = False

    async def pass_through(self) -> None:
        """Cross it.

        Raises:
            Withdrawn: when nobody wants the submit any more.
        """
        if self.before is not None:
            await self.before()
        if self.withdrawn:
            raise Withdrawn
        self.passed = True


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
        """Return the whole reply.

        Raises:
            TransportFailure: when there is none.
        """
        ...

    def fetch(self, url: str) -> AbstractAsyncContextManager[Fetched]:
        """Open a result address without the key.

        Raises:
            TransportFailure: when there is no answer.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

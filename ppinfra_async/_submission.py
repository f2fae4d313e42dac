"""One paid submit on its way, and who is told of it; refuses to send it or to judge its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import anyio
from attrs import define, field

from ppinfra_async._sansio.submit import Unknown, Verdict
from ppinfra_async._sansio.wire import HttpCall
from ppinfra_async._transport import CommitPoint
from ppinfra_async._uploads import Prepared
from ppinfra_async.errors import NotSentError, PPInfraError, SubmitOutcomeUnknownError
from ppinfra_async.requests import Request


class Ledger(Protocol):
    """What is told of one submit as it happens, so that a record of it survives a crash.

    Every method returns when its entry is durable. What one of them raises ends the submit and
    reaches its caller as itself.
    """

    async def sending(self) -> None:
        """The last byte is handed over next; raising keeps it back, and nothing is paid."""
        ...

    async def accepted(self, task_id: str) -> None:
        """The service took it: it is paid."""
        ...

    async def not_taken(self) -> None:
        """After ``sending``: it is certain that nothing was paid."""
        ...

    async def in_doubt(self) -> None:
        """After ``sending``: it may have been paid, and no id is known."""
        ...


class Owner(Protocol):
    """Somebody with many submits, who may come to know that some of them make no sense."""

    def objection(self, request: Request) -> PPInfraError | None:
        """Return why *request* is not to be sent (any more), or None."""
        ...


@define(eq=False)
class Submission:
    """One submit on its way.

    Attributes:
        prepared: The request and its pictures.
        call: What travels.
        ticket: Its place in the order of arrival.
        commit: The commit point of the try that is under way.
        scope: Cancels it.
        done: Set when there is an id or an error.
        leaving: True when nobody wants another try.
        abandoned: True when its caller has left before it was done.
        waited: Seconds it has waited for its turn.
        doubt: An earlier try that may have been paid; it was sent again because a person chose that.
        cut_off: True until its end is known: whoever ends while it is true was cancelled or crashed.
        owner: Who may object to it, or None.
        ledger: Who is told of it, or None.
        is_marked: True while the ledger knows that the last byte may be on its way.
        objection: What the ledger raised, or None.
    """

    prepared: Prepared
    call: HttpCall
    ticket: int
    commit: CommitPoint = field(factory=CommitPoint)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    done: asyncio.Event = field(factory=asyncio.Event)
    leaving: bool = False
    abandoned: bool = False
    waited: float = 0.0
    doubt: SubmitOutcomeUnknownError | None = None
    cut_off: bool = True
    owner: Owner | None = None
    ledger: Ledger | None = None
    is_marked: bool = False
    objection: Exception | None = None
    task_id: str | None = None
    error: Exception | None = None

    def withdraw(self) -> None:
        """Stop it, unless it may be paid already; then this was its last try."""
        self.leaving = True
        if not self.commit.passed:
            self.commit.withdrawn = True
            self.scope.cancel()

    def begin(self) -> CommitPoint:
        """Return the commit point of a new try, before which the ledger is told."""
        before = None if self.ledger is None else self._mark
        self.commit = CommitPoint(withdrawn=self.leaving, before=before)
        return self.commit

    async def _mark(self) -> None:
        assert self.ledger is not None  # noqa: S101  # asked for by one
        # First the flag: whoever cancels this does not know whether the entry is there already.
        self.is_marked = True
        try:
            await self._tell(self.ledger.sending())
        except Exception:
            self.is_marked = False
            raise

    async def unmark(self, verdict: Verdict | None, grace: float) -> None:
        """Tell the ledger how a try ended; None is one that was cancelled on its way."""
        if not self.is_marked or self.ledger is None:
            return
        self.is_marked = False
        may_be_paid = isinstance(verdict, Unknown) or (verdict is None and self.commit.passed)
        telling = self.ledger.in_doubt if may_be_paid else self.ledger.not_taken
        # Also when this submit is being cancelled: the record is worth a moment.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + grace):
            await self._tell(telling())

    async def note_accepted(self, task_id: str) -> None:
        """Tell the ledger that it is paid."""
        self.is_marked = False
        if self.ledger is not None:
            await self._tell(self.ledger.accepted(task_id))

    async def _tell(self, telling: Awaitable[None]) -> None:
        try:
            await telling
        except Exception as error:
            self.objection = error
            raise

    def cut_off_error(self) -> PPInfraError:
        """Return what its caller is told when it ended without a verdict."""
        if self.commit.passed:
            return SubmitOutcomeUnknownError(
                "The request was sent and may have been paid, but the client was closed before its "
                "task id arrived. Look at the account's usage before you send it again.",
                request=self.prepared.request,
            )
        return NotSentError("The request was not sent: it was withdrawn. Nothing was paid.")

    def with_doubt(self, error: PPInfraError) -> PPInfraError:
        """Return what to tell instead of *error*: an earlier try may have been paid."""
        doubt = self.doubt
        if doubt is None or doubt is error:
            return error
        doubt.add_note(f"It was sent again since, and that ended with: {error}")
        return doubt

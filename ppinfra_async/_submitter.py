"""Sends paid submits in the client's own task, one decision at a time; refuses to decide itself.

A caller may be cancelled at any moment. Before the commit point its submit is withdrawn and nothing
is paid; after it the submit runs on here, where no cancellation of the caller reaches it, until its
task id is known and recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import anyio

from ppinfra_async._background import Background
from ppinfra_async._quota_queue import QuotaQueue, QuotaTimeoutError
from ppinfra_async._sansio import submit, wire
from ppinfra_async._sansio.quota import Sent
from ppinfra_async._sansio.retry import delay
from ppinfra_async._sansio.submit import Accepted, NotSent, Refused, Throttled, Unknown, Verdict
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._submission import Ledger, Owner, Submission
from ppinfra_async._transport import CommitPoint, Transport
from ppinfra_async._until import until
from ppinfra_async._uploads import Prepared
from ppinfra_async.errors import (
    NotSentError,
    PPInfraError,
    RateLimitedError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, SubmitAbandoned, SubmitDelayed, TaskAbandoned, TaskSubmitted
from ppinfra_async.options import Retries, Timeouts
from ppinfra_async.quota import AccountQuota

_log = logging.getLogger("ppinfra_async")


class Submitter:
    """Sends the submits of one client.

    Args:
        quota: Says who goes when; other clients may share it.
        max_wait: Seconds that a submit may wait for its turn, or None.
        record: Called with id and request as soon as an id is known, before anything else happens.
        draw: Random numbers in [0, 1).
    """

    def __init__(
        self,
        transport: Transport,
        background: Background,
        *,
        quota: AccountQuota,
        max_wait: float | None,
        retries: Retries,
        timeouts: Timeouts,
        record: Callable[[str, Prepared], None],
        draw: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self._transport = transport
        self._background = background
        self._quota = quota
        self._max_wait = max_wait
        self._retries = retries
        self._grace = timeouts.cancel_grace
        self._record = record
        self._draw = draw
        self._emit = emit
        self._under_way: set[Submission] = set()

    async def submit(
        self,
        prepared: Prepared,
        deadline: float,
        *,
        owner: Owner | None = None,
        ledger: Ledger | None = None,
    ) -> str:
        """Return the task id.

        Args:
            prepared: What to send.
            deadline: When the caller wants an answer, on the loop's clock.
            owner: Who may object to it, now and later; see ``withdraw``.
            ledger: Who is told of it.

        Raises:
            TaskTimeoutError: when *deadline* passed.
            PPInfraError: when the submit failed.
            Exception: what *ledger* raised.
        """
        submission = Submission(
            prepared=prepared,
            call=wire.submit_call(prepared.request, prepared.uploads),
            ticket=self._quota.queue(prepared.request.path).ticket(),
            owner=owner,
            ledger=ledger,
        )
        await self._background.start()
        if asyncio.get_running_loop().time() >= deadline:
            raise self._timeout(submission)
        if owner is not None and (objection := owner.objection(prepared.request)):
            # It came up while the pictures were looked at.
            raise objection
        self._under_way.add(submission)
        self._background.spawn(self._run, submission)
        try:
            with until(deadline) as waiting:
                try:
                    await self._background.wait(submission.done)
                except BaseException:
                    await self._leave(submission)
                    raise
        except BaseException:
            self._abandon(submission)
            raise
        if waiting.cancelled_caught:
            raise self._timeout(submission)
        if submission.cut_off and not submission.leaving:
            # Not by us: a crash in the background is what its caller has to know.
            await self._background.ended()
        if submission.error is not None:
            raise submission.error
        assert submission.task_id is not None  # noqa: S101  # done without an error
        return submission.task_id

    def withdraw(self, owner: Owner) -> None:
        """Stop the submits that *owner* objects to now, unless they may be paid.

        Their callers are told ``NotSentError``; those that may be paid go on to their end.
        """
        for submission in list(self._under_way):
            if submission.owner is owner and owner.objection(submission.prepared.request):
                submission.withdraw()

    async def finish(self) -> None:
        """Withdraw what is not yet committed, and wait a moment for the ids of the rest."""
        for submission in list(self._under_way):
            submission.withdraw()
        with anyio.move_on_after(self._grace):
            for submission in list(self._under_way):
                await submission.done.wait()

    async def _leave(self, submission: Submission) -> None:
        """Do what a leaving caller still owes: withdraw, or wait a moment for the id."""
        submission.withdraw()
        # Shielded, or a cancelled scope of anyio's would not let us wait at all. A second
        # cancellation by asyncio goes through, and then the submit just runs on by itself.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._grace):
            await submission.done.wait()

    def _abandon(self, submission: Submission) -> None:
        """Note that nobody will get the id from us; it is reported now or when it comes."""
        submission.abandoned = True
        if submission.done.is_set():
            self._report_abandoned(submission)

    def _report_abandoned(self, submission: Submission) -> None:
        if submission.task_id is not None:
            _log.warning(
                "Task %s was paid after its caller had left; it is in client.unfinished. "
                "Wait for it with client.attach().",
                submission.task_id,
            )
            self._emit(TaskAbandoned(task_id=submission.task_id))
        elif isinstance(submission.error, SubmitOutcomeUnknownError):
            self.report_lost(submission.error)

    def report_lost(self, error: SubmitOutcomeUnknownError) -> None:
        """Tell of money in doubt whose caller is gone: without an id, this is its only trace."""
        _log.warning("Nobody was there to be told: %s", error)
        self._emit(SubmitAbandoned(error=error))

    def _timeout(self, submission: Submission) -> Exception:
        """Return what a caller is told whose timeout passed before its submit was through."""
        if submission.task_id is not None:
            return TaskTimeoutError(
                "The timeout passed while the request was submitted. The task goes on and is "
                "billed; await the error's .task to go on waiting.",
                task_id=submission.task_id,
            )
        if submission.error is not None and not isinstance(submission.error, NotSentError):
            return submission.error
        if submission.commit.passed:
            self._abandon(submission)
            return SubmitOutcomeUnknownError(
                "The timeout passed after the request was sent and before its task id arrived. It "
                "may have been paid; should the id still arrive, it will be in client.unfinished.",
                request=submission.prepared.request,
            )
        return submission.doubt or TaskTimeoutError(
            "The timeout passed before the request was sent. Nothing was paid.", billed="no"
        )

    # --- in the background ---

    async def _run(self, submission: Submission) -> None:
        try:
            with submission.scope:
                await self._until_accepted(submission)
                submission.cut_off = False
        except PPInfraError as error:
            submission.error = submission.with_doubt(error)
            submission.cut_off = False
        except Exception as error:
            if error is not submission.objection:
                raise
            submission.error = error
            submission.cut_off = False
        finally:
            self._under_way.discard(submission)
            if submission.cut_off and submission.task_id is None:
                submission.error = submission.with_doubt(submission.cut_off_error())
            submission.done.set()
            if submission.abandoned:
                self._report_abandoned(submission)

    async def _until_accepted(self, submission: Submission) -> None:
        tries = 0
        while True:
            match await self._in_turn(submission):
                case Accepted(task_id, _):
                    submission.task_id = task_id
                    self._record(task_id, submission.prepared)
                    await submission.note_accepted(task_id)
                    self._emit(TaskSubmitted(task_id=task_id, request=submission.prepared.request))
                    return
                case Throttled(error):
                    # Refused for the quota's sake: it goes back into the queue, uncounted.
                    if submission.leaving:
                        raise error
                case Unknown(error) if not self._retries.resubmit_unknown:
                    raise error
                case Refused(error):
                    raise error
                case NotSent(error) | Unknown(error):
                    tries += 1
                    await self._pause(submission, error, tries)

    async def _pause(self, submission: Submission, error: PPInfraError, tries: int) -> None:
        if isinstance(error, SubmitOutcomeUnknownError):
            submission.doubt = error
        wait = delay(self._retries, attempt=tries, draw=self._draw())
        if wait is None or submission.leaving:
            raise error
        submission.commit = CommitPoint()
        self._emit(SubmitDelayed(error=error, wait=wait))
        await anyio.sleep(wait)

    async def _in_turn(self, submission: Submission) -> Verdict:
        """Send once the quota says so; first come, first served."""
        images = submission.call.images
        queue = self._quota.queue(submission.call.path)
        if queue.too_large(images):
            limit = self._quota.limits.images_per_minute
            raise RateLimitedError(
                f"A request for {images} images can never fit {limit} images per minute.",
                retryable=False,
            )
        return await self._send(submission, queue, await self._turn(submission, queue))

    async def _turn(self, submission: Submission, queue: QuotaQueue) -> Sent:
        began, longest = anyio.current_time(), self._max_wait
        # All its waiting together: a refused submit waits again.
        patience = None if longest is None else max(0.0, longest - submission.waited)
        try:
            return await queue.enter(submission.ticket, submission.call.images, patience)
        except QuotaTimeoutError as error:
            raise RateLimitedError(
                f"The request did not get its turn within {longest} s (Limits.max_wait). "
                "Nothing was paid; ask again later.",
                retry_after=error.wait,
            ) from None
        finally:
            submission.waited += anyio.current_time() - began

    async def _send(self, submission: Submission, queue: QuotaQueue, sent: Sent) -> Verdict:
        """Send once and note what that says about the quota."""
        verdict: Verdict | None = None
        commit = submission.begin()
        try:
            verdict = await self._exchange(submission, commit)
        except BaseException:
            with suppress(Exception):
                # A second trouble must not hide the first.
                await submission.unmark(None, self._grace)
            raise
        finally:
            _note(queue, sent, verdict, committed=commit.passed)
        if not isinstance(verdict, Accepted):
            await submission.unmark(verdict, self._grace)
        if isinstance(verdict, Throttled):
            submission.commit = CommitPoint()
            if queue.hopeless():
                raise verdict.error
            self._emit(SubmitDelayed(error=verdict.error, wait=queue.state().paused))
        return verdict

    async def _exchange(self, submission: Submission, commit: CommitPoint) -> Verdict:
        request = submission.prepared.request
        try:
            reply = await self._transport.send(submission.call, commit)
        except TransportFailure as failure:
            verdict = submit.judge_failure(failure, request=request)
            if isinstance(verdict, NotSent | Unknown):
                verdict.error.__cause__ = failure
            return verdict
        return submit.judge_reply(reply, committed=commit.passed, request=request)


def _note(queue: QuotaQueue, sent: Sent, verdict: Verdict | None, *, committed: bool) -> None:
    """Note how a submit ended that had its turn; None is one that was cancelled on its way."""
    if isinstance(verdict, Accepted):
        queue.accepted(sent)
    elif isinstance(verdict, Throttled):
        queue.refused(sent, verdict.retry_after, verdict.cause)
    elif committed:
        # Whether the service counts what it then refuses, or what was cut, is not documented.
        queue.lost(sent)
    else:
        queue.not_sent(sent)

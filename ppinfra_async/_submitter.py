"""Sends paid submits in the client's own task, one decision at a time; refuses to decide itself.

A caller may be cancelled at any moment. Before the commit point its submit is withdrawn and nothing
is paid; after it the submit runs on here, where no cancellation of the caller reaches it, until its
task id is known and recorded.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable

import anyio
from attrs import define, field

from ppinfra_async._background import Background
from ppinfra_async._sansio import submit, wire
from ppinfra_async._sansio.quota import Quota
from ppinfra_async._sansio.retry import delay
from ppinfra_async._sansio.submit import Accepted, NotSent, Refused, Throttled, Unknown, Verdict
from ppinfra_async._sansio.wire import HttpCall, TransportFailure
from ppinfra_async._transport import CommitPoint, Transport
from ppinfra_async._uploads import Prepared
from ppinfra_async.errors import (
    NotSentError,
    PPInfraError,
    RateLimitedError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, SubmitDelayed, TaskAbandoned, TaskSubmitted
from ppinfra_async.options import Limits, Retries, Timeouts

_log = logging.getLogger("ppinfra_async")


@define(eq=False)
class Submission:
    """One submit on its way.

    Attributes:
        prepared: The request and its pictures.
        call: What travels.
        commit: The commit point of the try that is under way.
        scope: Cancels it.
        done: Set when there is an id or an error.
        abandoned: True when its caller has left.
    """

    prepared: Prepared
    call: HttpCall
    commit: CommitPoint = field(factory=CommitPoint)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    done: anyio.Event = field(factory=anyio.Event)
    abandoned: bool = False
    task_id: str | None = None
    error: PPInfraError | None = None


class Submitter:
    """Sends the submits of one client.

    Args:
        record: Called with id and request as soon as an id is known, before anything else happens.
        draw: Random numbers in [0, 1).
    """

    def __init__(
        self,
        transport: Transport,
        background: Background,
        *,
        limits: Limits,
        retries: Retries,
        timeouts: Timeouts,
        record: Callable[[str, Prepared], None],
        draw: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self._transport = transport
        self._background = background
        self._limits = limits
        self._retries = retries
        self._grace = timeouts.cancel_grace
        self._record = record
        self._draw = draw
        self._emit = emit
        self._quotas: dict[str, Quota] = defaultdict(
            lambda: Quota(limits, longest_retry_after=retries.max_wait)
        )
        self._turns: dict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._under_way: set[Submission] = set()

    async def submit(self, prepared: Prepared, deadline: float) -> str:
        """Return the task id.

        Raises:
            TaskTimeoutError: when *deadline* (the loop's clock) passed.
            PPInfraError: when the submit failed.
        """
        submission = Submission(
            prepared=prepared, call=wire.submit_call(prepared.request, prepared.uploads)
        )
        await self._background.start()
        self._background.spawn(self._run, submission)
        with anyio.CancelScope(deadline=deadline) as waiting:
            try:
                await self._background.wait(submission.done)
            except BaseException:
                await self._leave(submission)
                raise
        if waiting.cancelled_caught:
            raise _timeout(submission)
        if submission.error is not None:
            raise submission.error
        assert submission.task_id is not None  # noqa: S101  # done without an error
        return submission.task_id

    async def finish(self) -> None:
        """Withdraw what is not yet committed, and wait a moment for the ids of the rest."""
        for submission in list(self._under_way):
            _withdraw(submission)
        with anyio.move_on_after(self._grace):
            for submission in list(self._under_way):
                await submission.done.wait()

    async def _leave(self, submission: Submission) -> None:
        """Do what a leaving caller still owes: withdraw, or wait a moment for the id."""
        submission.abandoned = True
        _withdraw(submission)
        # Shielded, or a cancelled scope of anyio's would not let us wait at all. A second
        # cancellation by asyncio goes through, and then the submit just runs on by itself.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._grace):
            await submission.done.wait()

    async def _run(self, submission: Submission) -> None:
        self._under_way.add(submission)
        try:
            with submission.scope:
                await self._until_accepted(submission)
        except PPInfraError as error:
            submission.error = error
        finally:
            self._under_way.discard(submission)
            if submission.task_id is None and submission.error is None:
                submission.error = _cut_off(submission)
            submission.done.set()
            if submission.abandoned and submission.task_id is not None:
                self._report_abandoned(submission.task_id)

    async def _until_accepted(self, submission: Submission) -> None:
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._in_turn(submission)
            match verdict:
                case Accepted(task_id, _):
                    submission.task_id = task_id
                    self._record(task_id, submission.prepared)
                    self._emit(TaskSubmitted(task_id=task_id, request=submission.prepared.request))
                    return
                case Throttled():
                    # Refused for the quota's sake: it goes back into the queue, uncounted.
                    attempt -= 1
                case NotSent(error):
                    await self._pause(submission, error, attempt)
                case Unknown(error) if self._retries.resubmit_unknown:
                    await self._pause(submission, error, attempt)
                case Unknown(error) | Refused(error):
                    raise error

    async def _pause(self, submission: Submission, error: PPInfraError, attempt: int) -> None:
        wait = delay(self._retries, attempt=attempt, draw=self._draw())
        if wait is None:
            raise error
        submission.commit = CommitPoint()
        self._emit(SubmitDelayed(error=error, wait=wait))
        await anyio.sleep(wait)

    async def _in_turn(self, submission: Submission) -> Verdict:
        """Send once the quota says so; first come, first served."""
        images = submission.call.images
        quota, turn = self._quotas[submission.call.path], self._turns[submission.call.path]
        if quota.too_large(images):
            limit = self._limits.images_per_minute
            raise RateLimitedError(
                f"A request for {images} images can never fit {limit} images per minute.",
                retryable=False,
            )
        await self._wait_for_turn(turn)
        try:
            while True:
                await self._wait_for_quota(quota, images)
                quota.sent(images, anyio.current_time())
                if not quota.one_at_a_time:
                    break
                verdict = await self._send(submission, quota)
                if not isinstance(verdict, Throttled):
                    return verdict
        finally:
            turn.release()
        return await self._send(submission, quota)

    async def _wait_for_turn(self, turn: anyio.Lock) -> None:
        max_wait = self._limits.max_wait
        try:
            with anyio.fail_after(max_wait):
                await turn.acquire()
        except TimeoutError:
            raise _no_turn(max_wait) from None

    async def _wait_for_quota(self, quota: Quota, images: int) -> None:
        now = anyio.current_time()
        wait = quota.ready_at(images, now) - now
        max_wait = self._limits.max_wait
        if max_wait is not None and wait > max_wait:
            raise _no_turn(max_wait, retry_after=wait)
        await anyio.sleep(wait)

    async def _send(self, submission: Submission, quota: Quota) -> Verdict:
        """Send once and note what that says about the quota."""
        submission.commit = commit = CommitPoint(withdrawn=submission.abandoned)
        request = submission.prepared.request
        try:
            reply = await self._transport.send(submission.call, commit)
        except TransportFailure as failure:
            verdict = submit.judge_failure(failure, request=request)
            if isinstance(verdict, NotSent | Unknown):
                verdict.error.__cause__ = failure
            return verdict
        verdict = submit.judge_reply(reply, committed=commit.passed, request=request)
        now = anyio.current_time()
        if isinstance(verdict, Throttled):
            submission.commit = CommitPoint()
            quota.refused(now, verdict.retry_after)
            if quota.hopeless(now):
                raise verdict.error
            wait = quota.ready_at(submission.call.images, now) - now
            self._emit(SubmitDelayed(error=verdict.error, wait=wait))
        elif isinstance(verdict, Accepted):
            quota.accepted()
        return verdict

    def _report_abandoned(self, task_id: str) -> None:
        _log.warning(
            "Task %s was paid after its caller had left; it is in client.unfinished. "
            "Wait for it with client.attach().",
            task_id,
        )
        self._emit(TaskAbandoned(task_id=task_id))


def _withdraw(submission: Submission) -> None:
    """Stop a submit, unless it may be paid already."""
    if not submission.commit.passed:
        submission.commit.withdrawn = True
        submission.scope.cancel()


def _cut_off(submission: Submission) -> PPInfraError:
    if submission.commit.passed:
        return SubmitOutcomeUnknownError(
            "The request was sent and may have been paid, but the client was closed before its "
            "task id arrived. Look at the account's usage before you send it again.",
            request=submission.prepared.request,
        )
    return NotSentError("The request was not sent: it was withdrawn. Nothing was paid.")


def _timeout(submission: Submission) -> PPInfraError:
    """Return what a caller is told whose timeout passed before its submit was through."""
    if submission.task_id is not None:
        return TaskTimeoutError(
            "The timeout passed while the request was submitted. The task goes on and is billed; "
            "await the error's .task to go on waiting.",
            task_id=submission.task_id,
        )
    if submission.error is not None and not isinstance(submission.error, NotSentError):
        return submission.error
    if submission.commit.passed:
        return SubmitOutcomeUnknownError(
            "The timeout passed after the request was sent and before its task id arrived. It may "
            "have been paid; should the id still arrive, it will be in client.unfinished.",
            request=submission.prepared.request,
        )
    return TaskTimeoutError(
        "The timeout passed before the request was sent. Nothing was paid.", billed="no"
    )


def _no_turn(max_wait: float | None, retry_after: float | None = None) -> RateLimitedError:
    return RateLimitedError(
        f"The request did not get its turn within {max_wait} s (Limits.max_wait). "
        "Nothing was paid; ask again later.",
        retry_after=retry_after,
    )

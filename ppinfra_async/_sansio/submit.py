"""Decides what became of a paid submit; refuses to send one.

The service has no idempotency key, so everything hangs on one question: may the task exist? The
**commit point**, the last byte of the body, answers it: before it is handed over the service has no
JSON to act on. Afterwards only the service's own clear words count.

===========================  =======================================  ======================================
what came                    commit piece held back                   commit piece handed over
===========================  =======================================  ======================================
a 2xx with a task id         Accepted                                 Accepted
429, ``SERVICE_NOT_AVAIL…``  Throttled: wait, send again              Throttled: wait, send again
4xx but 408, non-zero code,  Refused: report, do not send again       Refused: report, do not send again
``CREATE_TASK_FAILED``
3xx, 408, other 5xx          NotSent: send again                      Unknown: never send again by ourselves
a 2xx without a readable id  NotSent: send again                      Unknown: never send again by ourselves
a cut, a stall, no reply     NotSent: send again                      Unknown: never send again by ourselves
===========================  =======================================  ======================================
"""

from __future__ import annotations

import re
from typing import Literal

from attrs import frozen

from ppinfra_async import errors
from ppinfra_async._sansio import codec
from ppinfra_async._sansio.answers import UnreadableError
from ppinfra_async._sansio.wire import HttpReply, TransportFailure, error_of, names_an_error
from ppinfra_async.errors import PPInfraError
from ppinfra_async.requests import Request

_TIMEOUT_STATUS = 408

Cause = Literal["quota", "overload"]


@frozen
class Accepted:
    """The task exists and is paid."""

    task_id: str
    trace_id: str | None = None


@frozen
class Throttled:
    """Turned away before any work: wait ``retry_after`` seconds (or as long as we see fit).

    Attributes:
        cause: ``quota`` when it was ours that is used up, ``overload`` when the service said that it
            has too much to do for everybody.
    """

    error: errors.RateLimitedError
    retry_after: float | None = None
    cause: Cause = "quota"


@frozen
class Refused:
    """The service said no; sending it again would get the same answer."""

    error: PPInfraError


@frozen
class NotSent:
    """It certainly did not reach the service as a whole."""

    error: errors.NotSentError


@frozen
class Unknown:
    """It may have been accepted."""

    error: errors.SubmitOutcomeUnknownError


_OVERLOAD = re.compile(r"over-?load|\bbusy\b|capacity|繁忙|过载|负载", re.IGNORECASE)
"""What a 429 may say instead of naming the limit: public clients of the family report "server overload"."""

Verdict = Accepted | Throttled | Refused | NotSent | Unknown


def judge_reply(reply: HttpReply, *, committed: bool, request: Request) -> Verdict:
    """Judge a submit by the reply it got; *committed* tells whether the last byte was handed over."""
    if 200 <= reply.status < 300 and (task_id := _task_id(reply)):
        return Accepted(task_id, reply.trace_id)
    body = codec.read_error(reply.body)
    reason = body.reason if body else ""
    if 200 <= reply.status < 300:
        if reason == "SERVICE_NOT_AVAILABLE" or isinstance(_said(reply), errors.RateLimitedError):
            return _throttled(reply, reason)
        if body and (body.says_no or _is_a_no(_said(reply))):
            return Refused(error_of(reply))
    elif reason == "SERVICE_NOT_AVAILABLE" or _is_throttling(reply):
        return _throttled(reply, reason)
    elif _is_clear_refusal(reply.status, reason):
        return Refused(error_of(reply))
    return _without_answer(_what_came(reply), reply.trace_id, committed=committed, request=request)


def judge_failure(failure: TransportFailure, *, request: Request) -> Verdict:
    """Judge a submit that got no reply."""
    arrived = failure.arrived
    # A reply cut after its JSON has told all that we need.
    if arrived is not None and 200 <= arrived.status < 300 and (task_id := _task_id(arrived)):
        return Accepted(task_id, arrived.trace_id)
    if failure.changed_input and not failure.committed:
        return Refused(errors.InvalidRequestError(failure.changed_input))
    return _without_answer(failure.what, None, committed=failure.committed, request=request)


def _is_throttling(reply: HttpReply) -> bool:
    # By reason first: a 429 that says that the key is wrong would be waited for in vain.
    return 400 <= reply.status < 500 and isinstance(error_of(reply), errors.RateLimitedError)


def _said(reply: HttpReply) -> PPInfraError | None:
    """Return the error that a reply names by its reason, whatever its status says."""
    body = codec.read_error(reply.body)
    return error_of(reply) if body and names_an_error(body.reason) else None


def _is_a_no(error: PPInfraError | None) -> bool:
    # That the service failed at something, such as TASK_FAILED, does not say that nothing was paid.
    if isinstance(error, errors.ServiceError):
        return error.reason == "CREATE_TASK_FAILED"
    return error is not None


def _is_clear_refusal(status: int, reason: str) -> bool:
    if reason == "CREATE_TASK_FAILED":
        return True
    return 400 <= status < 500 and status != _TIMEOUT_STATUS


def _task_id(reply: HttpReply) -> str | None:
    try:
        return codec.read_task_id(codec.loads(reply.body))
    except UnreadableError:
        return None


def _throttled(reply: HttpReply, reason: str) -> Throttled:
    error = error_of(reply)
    if not isinstance(error, errors.RateLimitedError):
        error = errors.RateLimitedError(
            error.message, trace_id=error.trace_id, retry_after=reply.retry_after
        )
    is_overload = reason == "SERVICE_NOT_AVAILABLE" or _OVERLOAD.search(error.message)
    return Throttled(error, reply.retry_after, "overload" if is_overload else "quota")


def _what_came(reply: HttpReply) -> str:
    if 300 <= reply.status < 400:
        target = reply.headers.get("location", "nowhere").partition("?")[0]
        return f"the server redirects to {target}, which we do not follow (check the base URL)"
    if reply.status < 300:
        return f"the service answered {reply.status} without a task id: {reply.text!r}"
    return f"the server answered {reply.status}: {reply.text!r}"


def _without_answer(
    what: str, trace_id: str | None, *, committed: bool, request: Request
) -> Verdict:
    if not committed:
        return NotSent(
            errors.NotSentError(
                f"The request was not sent: {what}. Nothing was paid; try again.", trace_id=trace_id
            )
        )
    return Unknown(
        errors.SubmitOutcomeUnknownError(
            f"The request was sent and may have been paid, but its task id is not known: {what}. "
            "It was not sent again; look at the account's usage before you do.",
            trace_id=trace_id,
            request=request,
        )
    )

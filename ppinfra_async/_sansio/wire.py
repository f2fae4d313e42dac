"""Requests to HTTP calls, HTTP replies to results or errors; refuses to send or wait.

Paths and fields: https://ppinfra.com/docs/models/reference-image-to-image and
https://ppinfra.com/docs/models/reference-get-async-task-result and
https://ppinfra.com/docs/models/reference-get-model
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ppinfra_async import errors
from ppinfra_async._sansio import codec
from ppinfra_async._sansio.answers import ErrorBody, ModelPage, UnreadableError
from ppinfra_async._showing import shown_size
from ppinfra_async.errors import PPInfraError
from ppinfra_async.requests import Request
from ppinfra_async.results import TaskUpdate

TASK_RESULT_PATH = "/v3/async/task-result"
MODELS_PATH = "/v3/model"

_SHOWN_BODY = 300


@frozen(kw_only=True)
class Upload:
    """A picture that is ready to send: looked at, within limits, upright.

    Attributes:
        path: The file it is read from, or None.
        data: Its bytes, or None when it is read from a file.
        size: Bytes, before base64.
        modified_ns: The file's modification time when it was looked at; 0 for bytes.
        name: How messages call it.
    """

    path: Path | None = None
    data: bytes | None = field(default=None, repr=shown_size)
    size: int
    modified_ns: int = 0
    name: str = "image"

    @property
    def encoded_size(self) -> int:
        """Bytes as base64."""
        return (self.size + 2) // 3 * 4


Piece = bytes | Upload


@frozen(kw_only=True)
class BodyPlan:
    """A JSON body as pieces in order: text, and pictures to be read and encoded while sending.

    The last piece is the **commit piece**: the closing brace alone. A server that lacks it has
    fewer bytes than ``Content-Length`` and no JSON to act on.

    Attributes:
        pieces: Everything before the commit piece.
        commit: The last byte.
        size: Exact ``Content-Length``.
    """

    pieces: tuple[Piece, ...]
    commit: bytes
    size: int


@frozen(kw_only=True)
class HttpCall:
    """What travels to the service.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Below the base URL.
        query: Pairs, not yet encoded.
        body: The plan of a JSON body, or None.
        replayable: False when sending it twice could cost money twice.
        images: How many images it asks for, in the quota's unit.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: BodyPlan | None = None
    replayable: bool = True
    images: int = 0


@frozen(kw_only=True)
class HttpReply:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: Asked for by their names in lower case.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = field(default=b"", repr=shown_size)

    @property
    def trace_id(self) -> str | None:
        """The service's id of this exchange, for its support."""
        return self.headers.get("x-trace-id") or self.headers.get("x-request-id")

    @property
    def retry_after(self) -> float | None:
        """``Retry-After`` in seconds, or None. A date counts from the reply's own ``Date``."""
        text = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(text)
        except ValueError:
            seconds = _seconds_between(self.headers.get("date", ""), text)
        return seconds if 0 <= seconds < float("inf") else None

    @property
    def text(self) -> str:
        """The beginning of the body, for messages."""
        return self.body[:_SHOWN_BODY].decode("utf-8", "replace").strip()


def _seconds_between(earlier: str, later: str) -> float:
    try:
        span = parsedate_to_datetime(later) - parsedate_to_datetime(earlier)
    except (ValueError, TypeError, OverflowError):
        return -1.0
    return max(0.0, span.total_seconds())


class TransportFailure(Exception):  # noqa: N818  # not an error for users: the rooms above translate it
    """No usable reply came.

    Attributes:
        what: What happened, as a clause: ``the server cut the connection``.
        committed: True when the commit piece had been handed over.
        changed_input: Set when the failure is ours: a picture changed while it was sent.
        arrived: What had come of a reply that did not come whole, or None.
    """

    def __init__(self, what: str, *, committed: bool = False, changed_input: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.committed = committed
        self.changed_input = changed_input
        self.arrived: HttpReply | None = None


# --- calls ----------------------------------------------------------------------------------------


def submit_call(request: Request, uploads: Mapping[int, Upload]) -> HttpCall:
    """Return the paid call for *request*; *uploads* by ``id`` of each of its ``ImageInput``."""
    texts, pictures = codec.encode(request)
    pieces: list[Piece] = []
    for text, picture in zip(texts, pictures, strict=False):
        pieces += [text, uploads[id(picture)]]
    pieces.append(texts[-1][:-1])
    sizes = (piece.encoded_size if isinstance(piece, Upload) else len(piece) for piece in pieces)
    plan = BodyPlan(pieces=tuple(pieces), commit=texts[-1][-1:], size=sum(sizes) + 1)
    return HttpCall(
        method="POST",
        path=request.path,
        body=plan,
        replayable=False,
        images=request.images_asked,
    )


def task_result_call(task_id: str) -> HttpCall:
    """Return the status call for a task. The parameter's name is ``task_id``, nothing else works."""
    return HttpCall(method="GET", path=TASK_RESULT_PATH, query=(("task_id", task_id),))


def models_call(filters: Mapping[str, Any], *, limit: int, cursor: str) -> HttpCall:
    """Return the call for one page of models; *filters* by the service's names, None left out."""
    query = [(f"filter.{name}", value) for name, value in filters.items() if value is not None]
    # Booleans must be lower-case words.
    pairs = [
        (name, str(value).lower() if value in {True, False} else str(value))
        for name, value in query
    ]
    pairs.append(("pagination.limit", str(limit)))
    if cursor:
        pairs.append(("pagination.cursor", cursor))
    return HttpCall(method="GET", path=MODELS_PATH, query=tuple(pairs))


# --- replies --------------------------------------------------------------------------------------


def read_update(reply: HttpReply, task_id: str) -> TaskUpdate:
    """Return what a status reply says.

    Raises:
        PPInfraError: for an error reply (``TaskNotFoundError``, ``ServiceError``, …).
        ProtocolError: when it cannot be read.
    """
    if reply.status not in {_OK, 429} and codec.read_error(reply.body) is None:
        # A page of some gateway says nothing about the task, whatever its status.
        raise _unreadable(reply, "not a JSON error", task_id=task_id)
    if reply.status != _OK:
        raise error_of(reply, task_id=task_id)
    try:
        return codec.read_update(codec.loads(reply.body), task_id)
    except UnreadableError as error:
        if (body := codec.read_error(reply.body)) and (body.reason or body.says_no):
            raise error_of(reply, task_id=task_id) from None
        raise _unreadable(reply, str(error), task_id=task_id) from error


def read_models(reply: HttpReply) -> ModelPage:
    """Return one page of models.

    Raises:
        PPInfraError: for an error reply.
        ProtocolError: when it cannot be read.
    """
    if reply.status != _OK:
        raise error_of(reply)
    try:
        return codec.read_models(codec.loads(reply.body))
    except UnreadableError as error:
        raise _unreadable(reply, str(error)) from error


_OK = 200

# PPIO's page reference-error-code, the table for language models behind the same gateway, and the
# two names that only public code knows. The reason decides, because the status misleads: a missing
# key and an empty balance are 400, a wrong key is 403, a failed read of a result is 500.
_BY_REASON: dict[str, type[PPInfraError]] = {
    "MISSING_API_KEY": errors.InvalidKeyError,
    "INVALID_API_KEY": errors.InvalidKeyError,
    "FAILED_TO_AUTH": errors.InvalidKeyError,
    "BILLING_BALANCE_NOT_ENOUGH": errors.InsufficientBalanceError,
    "NOT_ENOUGH_BALANCE": errors.InsufficientBalanceError,
    "ANONYMOUS_ACCESS_QUOTA_EXCEEDS": errors.InvalidKeyError,
    "BILLING_AUTH_FAILED": errors.NotAllowedError,
    "FEATURE_NOT_ALLOWED": errors.NotAllowedError,
    "API_NOT_ALLOWED": errors.NotAllowedError,
    "ACCESS_DENY": errors.NotAllowedError,
    "NEED_REAL_NAME_VERIFY": errors.NotAllowedError,
    "INVALID_REQUEST_BODY": errors.InvalidRequestError,
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": errors.InvalidRequestError,
    "INVALID_IMAGE_FORMAT": errors.InvalidRequestError,
    "IMAGE_EXCEEDS_MAX_RESOLUTION": errors.InvalidRequestError,
    "INVALID_IMAGE_SIZE": errors.InvalidRequestError,
    "IMAGE_NO_FACE_DETECTED": errors.InvalidRequestError,
    "INVALID_CUSTOM_OUTPUT_PATH": errors.InvalidRequestError,
    "INVALID_AUDIO_FILE": errors.InvalidRequestError,
    "MODEL_NOT_FOUND": errors.InvalidRequestError,
    "ILLEGAL_PROMPT": errors.ContentRejectedError,
    "ILLEGAL_IMAGE_CONTENT": errors.ContentRejectedError,
    "RATE_LIMIT_EXCEEDED": errors.RateLimitedError,
    "TOKEN_LIMIT_EXCEEDED": errors.RateLimitedError,
    "LIST_BILL_TOO_FAST": errors.RateLimitedError,
    "TASK_NOT_FOUND": errors.TaskNotFoundError,
    "API_NOT_FOUND": errors.ServiceError,
    "BILLING_FAILED": errors.ServiceError,
    "CREATE_TASK_FAILED": errors.ServiceError,
    "GET_RESULT_FAILED": errors.ServiceError,
    "TASK_FAILED": errors.ServiceError,
    "SERVICE_NOT_AVAILABLE": errors.ServiceError,
    "UNKNOWN": errors.ServiceError,
    "LIST_BILL_ERROR": errors.ServiceError,
    "INVALID_PRODUCT_CATEGORY": errors.InvalidRequestError,
    "INVALID_BILL_CYCLE": errors.InvalidRequestError,
}

_BY_STATUS: dict[int, type[PPInfraError]] = {
    400: errors.InvalidRequestError,
    401: errors.InvalidKeyError,
    402: errors.InsufficientBalanceError,
    403: errors.NotAllowedError,
    413: errors.InvalidRequestError,
    422: errors.InvalidRequestError,
    429: errors.RateLimitedError,
}

# Codes of V2-era bodies, which come with HTTP 200.
_BY_V2_CODE: dict[int, type[PPInfraError]] = {
    1: errors.InvalidRequestError,
    2: errors.InvalidRequestError,
    3: errors.InvalidRequestError,
    4: errors.InvalidKeyError,
    6: errors.InvalidRequestError,
    7: errors.InsufficientBalanceError,
    8: errors.InvalidRequestError,
    10: errors.InvalidRequestError,
}

_ADVICE: dict[type[PPInfraError], str] = {
    errors.InvalidKeyError: "Check the API key (PPINFRA_API_KEY or PPIO_API_KEY).",
    errors.InsufficientBalanceError: "Top up the account's balance.",
    errors.NotAllowedError: (
        "The account may not use this model or endpoint; some need real-name verification."
    ),
    errors.ContentRejectedError: "Change the prompt or the picture.",
    errors.RateLimitedError: "Wait, or ask for fewer images per minute.",
}


def names_an_error(reason: str) -> bool:
    """Tell whether *reason* is one of the service's documented names of errors."""
    return reason in _BY_REASON


def error_of(reply: HttpReply, *, task_id: str | None = None) -> PPInfraError:
    """Return the error that an error reply stands for: by ``reason`` first, then by status."""
    body = codec.read_error(reply.body)
    if body is None and reply.status not in _BY_STATUS:
        return _unreadable(reply, "not a JSON error", task_id=task_id)
    reason = body.reason if body else ""
    kind = _BY_REASON.get(reason) or _by_number(reply.status, body)
    facts: dict[str, Any] = {"task_id": task_id, "trace_id": reply.trace_id, "billed": "no"}
    if task_id is not None:
        # There is a task, so money was spent, whatever this one answer was about.
        facts["billed"] = "unknown" if kind is errors.TaskNotFoundError else "yes"
    if kind is errors.ServiceError:
        facts |= {"status": reply.status, "reason": reason, "retryable": reply.status >= 500}
    if kind is errors.RateLimitedError:
        facts["retry_after"] = reply.retry_after
    return kind(_message(reply, body, _ADVICE.get(kind, "")), **facts)


def _by_number(status: int, body: ErrorBody | None) -> type[PPInfraError]:
    if status == _OK and body is not None and body.code is not None:
        return _BY_V2_CODE.get(body.code) or _BY_STATUS.get(body.code, errors.ServiceError)
    return _BY_STATUS.get(status, errors.ServiceError)


def _message(reply: HttpReply, body: ErrorBody | None, advice: str) -> str:
    if body is None:
        what = f"The service answered {reply.status} without a JSON error: {reply.text!r}."
    else:
        words = ": ".join(filter(None, (body.reason, body.message.rstrip("."))))
        details = f" ({body.details})" if body.details and body.details not in words else ""
        what = f"The service answered {reply.status} {words or 'without a reason'}{details}."
    return f"{what} {advice}".strip()


def _unreadable(reply: HttpReply, why: str, *, task_id: str | None = None) -> errors.ProtocolError:
    return errors.ProtocolError(
        f"The service answered {reply.status} with something we cannot read ({why}): {reply.text!r}.",
        task_id=task_id,
        trace_id=reply.trace_id,
        billed="yes" if task_id else "no",
        # A 4xx page to a submit would only be shown again.
        retryable=task_id is not None or not 400 <= reply.status < 500,
        status=reply.status,
        body=reply.text,
    )

"""Shapes what the look-alike service says; knows no sockets and decides nothing."""

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import frozen

Headers = tuple[tuple[str, str], ...]

# https://ppio.com/docs/models/reference-error-code lists these names and statuses.
STATUS_OF_REASON: Mapping[str, int] = {
    "INVALID_REQUEST_BODY": 400,
    "IMAGE_FILE_EXCEEDS_MAX_SIZE": 400,
    "INVALID_IMAGE_FORMAT": 400,
    "IMAGE_EXCEEDS_MAX_RESOLUTION": 400,
    "INVALID_IMAGE_SIZE": 400,
    "ILLEGAL_PROMPT": 400,
    "ILLEGAL_IMAGE_CONTENT": 400,
    "BILLING_BALANCE_NOT_ENOUGH": 400,
    "MISSING_API_KEY": 400,
    "INVALID_API_KEY": 403,
    "BILLING_AUTH_FAILED": 403,
    "FEATURE_NOT_ALLOWED": 403,
    "API_NOT_ALLOWED": 403,
    "NEED_REAL_NAME_VERIFY": 403,
    "API_NOT_FOUND": 404,
    "TASK_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "BILLING_FAILED": 500,
    "CREATE_TASK_FAILED": 500,
    "GET_RESULT_FAILED": 500,
    "TASK_FAILED": 500,
    "SERVICE_NOT_AVAILABLE": 503,
}


@frozen
class Answer:
    """One HTTP answer as values: status, body, its content type and further headers."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()

    @classmethod
    def json(cls, tree: Any, status: int = 200, headers: Headers = ()) -> "Answer":
        """Wrap a JSON tree."""
        return cls(status, orjson.dumps(tree), "application/json", headers)

    @classmethod
    def xml(cls, status: int, code: str, message: str, more: str = "") -> "Answer":
        """Build what Amazon S3 says when it refuses a download."""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>{message}</Message>{more}"
            "<RequestId>SIMULATED</RequestId><HostId>simulator</HostId></Error>"
        )
        return cls(status, text.encode(), "application/xml")


class RefusedError(Exception):
    """A rule of the service was broken; `answer` is what the service says then."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode(errors="replace"))
        self.answer = answer


def error(
    reason: str,
    message: str,
    *,
    status: int | None = None,
    metadata: Mapping[str, str] | None = None,
    headers: Headers = (),
) -> Answer:
    """Build an error body in the service's shape; the status follows from *reason*."""
    code = STATUS_OF_REASON.get(reason, 500) if status is None else status
    tree = {"code": code, "reason": reason, "message": message, "metadata": dict(metadata or {})}
    return Answer.json(tree, code, headers)

"""What became of a paid submit: may the task exist?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppinfra_async import Img2Img, errors
from ppinfra_async._sansio.submit import (
    Accepted,
    NotSent,
    Refused,
    Throttled,
    Unknown,
    judge_failure,
    judge_reply,
)
from ppinfra_async._sansio.wire import HttpReply, TransportFailure
from tests import strategies
from tests.answers import reply, sample

REQUEST = Img2Img(model_name="m", image=b"abc", prompt="p")
HTML = b"<html>Bad gateway</html>"

ACCEPTED: list[tuple[int, Any]] = [
    (200, {"task_id": "t1"}),
    (200, {"code": 0, "msg": "", "data": {"task_id": "t1"}}),
    (200, {"code": 200, "data": {"task_id": "t1"}}),
    (200, {"code": 7, "msg": "odd", "task_id": "t1"}),
    (200, {"task_id": " t1\n"}),
    (200, {"reason": "ILLEGAL_PROMPT", "task_id": "t1"}),
    (201, {"task_id": "t1"}),
    (202, {"task_id": "t1", "provider_request_id": "p"}),
]

THROTTLED: list[tuple[int, Any]] = [
    (429, {"code": 429, "reason": "RATE_LIMIT_EXCEEDED", "message": "10 IPM"}),
    (429, {"code": 429, "reason": "TOKEN_LIMIT_EXCEEDED"}),
    (429, {"reason": "NEVER_HEARD_OF"}),
    (429, {}),
    (429, HTML),
    (429, b""),
    (429, {"reason": "SERVICE_NOT_AVAILABLE"}),
    (400, {"reason": "RATE_LIMIT_EXCEEDED"}),
    (403, {"reason": "RATE_LIMIT_EXCEEDED"}),
    (503, {"code": 503, "reason": "SERVICE_NOT_AVAILABLE", "message": "overload"}),
    (500, {"reason": "SERVICE_NOT_AVAILABLE"}),
    (200, {"code": 429, "reason": "RATE_LIMIT_EXCEEDED"}),
    (200, {"reason": "SERVICE_NOT_AVAILABLE"}),
]

REFUSED: list[tuple[int, Any, type[errors.PPInfraError]]] = [
    (400, sample("invalid_request_body"), errors.InvalidRequestError),
    (400, {"reason": "MISSING_API_KEY"}, errors.InvalidKeyError),
    (400, {"reason": "BILLING_BALANCE_NOT_ENOUGH"}, errors.InsufficientBalanceError),
    (400, {"reason": "ILLEGAL_PROMPT"}, errors.ContentRejectedError),
    (400, HTML, errors.InvalidRequestError),
    (401, {}, errors.InvalidKeyError),
    (402, {"message": "pay"}, errors.InsufficientBalanceError),
    (403, {"reason": "INVALID_API_KEY"}, errors.InvalidKeyError),
    (403, {"reason": "NEED_REAL_NAME_VERIFY"}, errors.NotAllowedError),
    (403, HTML, errors.NotAllowedError),
    (404, {"reason": "API_NOT_FOUND"}, errors.ServiceError),
    (404, {"reason": "TASK_NOT_FOUND"}, errors.TaskNotFoundError),
    (404, HTML, errors.ProtocolError),
    (405, b"", errors.ProtocolError),
    (413, HTML, errors.InvalidRequestError),
    (429, {"reason": "INVALID_API_KEY"}, errors.InvalidKeyError),
    (429, {"reason": "BILLING_BALANCE_NOT_ENOUGH"}, errors.InsufficientBalanceError),
    (499, b"", errors.ProtocolError),
    (200, sample("v2_not_allowed"), errors.InvalidRequestError),
    (200, {"code": 7, "msg": "balance"}, errors.InsufficientBalanceError),
    (200, {"code": -1, "msg": "internal"}, errors.ServiceError),
    (200, {"code": 400, "reason": "ILLEGAL_PROMPT"}, errors.ContentRejectedError),
    (200, {"reason": "ILLEGAL_PROMPT"}, errors.ContentRejectedError),
    (200, {"reason": "INVALID_API_KEY"}, errors.InvalidKeyError),
    (200, {"reason": "CREATE_TASK_FAILED"}, errors.ServiceError),
    (500, {"code": 500, "reason": "CREATE_TASK_FAILED"}, errors.ServiceError),
    (503, {"reason": "CREATE_TASK_FAILED"}, errors.ServiceError),
]

OPEN: list[tuple[int, Any]] = [
    (200, {}),
    (200, {"task_id": None}),
    (200, {"task_id": ""}),
    (200, {"task_id": 5}),
    (200, {"code": 0, "msg": "", "data": {}}),
    (200, {"code": 200}),
    (200, {"code": 201, "message": "created"}),
    (200, {"reason": "NEVER_HEARD_OF"}),
    (200, {"reason": "UNKNOWN"}),
    (200, {"reason": "TASK_FAILED"}),
    (200, {"code": 0, "reason": "BILLING_FAILED"}),
    (200, []),
    (200, HTML),
    (200, b""),
    (200, b'{"task_id": "t'),
    (204, b""),
    (300, {"task_id": "t1"}),
    (301, HTML),
    (302, b""),
    (307, b""),
    (308, {"task_id": "t1"}),
    (408, {}),
    (408, HTML),
    (408, {"reason": "INVALID_API_KEY"}),
    (500, {}),
    (500, {"task_id": "t1"}),
    (500, {"code": 500, "reason": "BILLING_FAILED"}),
    (500, {"code": 500, "reason": "TASK_FAILED"}),
    (500, {"reason": "RATE_LIMIT_EXCEEDED"}),
    (500, HTML),
    (502, HTML),
    (503, HTML),
    (503, {"reason": "UNKNOWN"}),
    (504, b""),
    (520, HTML),
]

both = pytest.mark.parametrize("committed", [False, True])


@both
@pytest.mark.parametrize(("status", "body"), ACCEPTED)
def test_an_id_is_a_task(status: int, body: Any, *, committed: bool) -> None:
    """Whenever it comes and whatever stands beside it."""
    verdict = judge_reply(
        reply(status, body, x_trace_id="trace"), committed=committed, request=REQUEST
    )

    assert verdict == Accepted("t1", "trace")


@both
@pytest.mark.parametrize(("status", "body"), THROTTLED)
def test_turned_away_before_any_work(status: int, body: Any, *, committed: bool) -> None:
    """It waits as long as the service asks and is sent again; nothing was paid."""
    verdict = judge_reply(
        reply(status, body, retry_after="7", x_trace_id="trace"),
        committed=committed,
        request=REQUEST,
    )

    assert isinstance(verdict, Throttled)
    assert isinstance(verdict.error, errors.RateLimitedError)
    assert (verdict.retry_after, verdict.error.retry_after) == (7, 7)
    assert (verdict.error.billed, verdict.error.trace_id) == ("no", "trace")
    assert str(status) in verdict.error.message


@both
def test_turned_away_without_a_time(*, committed: bool) -> None:
    """Then we wait as we see fit."""
    verdict = judge_reply(reply(429, {}), committed=committed, request=REQUEST)

    assert isinstance(verdict, Throttled)
    assert verdict.retry_after is None


@both
@pytest.mark.parametrize(("status", "body", "kind"), REFUSED)
def test_a_clear_no(
    status: int, body: Any, kind: type[errors.PPInfraError], *, committed: bool
) -> None:
    """It is reported and not sent again; nothing was paid."""
    verdict = judge_reply(
        reply(status, body, x_trace_id="trace"), committed=committed, request=REQUEST
    )

    assert isinstance(verdict, Refused)
    assert type(verdict.error) is kind
    assert (verdict.error.billed, verdict.error.trace_id) == ("no", "trace")


@pytest.mark.parametrize(("status", "body"), OPEN)
def test_not_answered_and_not_handed_over(status: int, body: Any) -> None:
    """The service had no JSON to act on, so it may be sent again."""
    verdict = judge_reply(reply(status, body, x_trace_id="trace"), committed=False, request=REQUEST)

    assert isinstance(verdict, NotSent)
    assert (verdict.error.billed, verdict.error.retryable) == ("no", True)
    assert verdict.error.trace_id == "trace"
    assert str(status) in verdict.error.message or "redirects" in verdict.error.message


@pytest.mark.parametrize(("status", "body"), OPEN)
def test_not_answered_and_handed_over(status: int, body: Any) -> None:
    """The task may exist, so it is never sent again by ourselves."""
    verdict = judge_reply(reply(status, body, x_trace_id="trace"), committed=True, request=REQUEST)

    assert isinstance(verdict, Unknown)
    assert (verdict.error.billed, verdict.error.retryable) == ("unknown", False)
    assert (verdict.error.request, verdict.error.trace_id) == (REQUEST, "trace")
    assert str(status) in verdict.error.message or "redirects" in verdict.error.message


def test_an_unreadable_success_is_quoted() -> None:
    """The id may stand in it for a person to see."""
    verdict = judge_reply(reply(200, {"id": "t1"}), committed=True, request=REQUEST)

    assert isinstance(verdict, Unknown)
    assert '{"id": "t1"}' in verdict.error.message


@pytest.mark.parametrize(
    ("location", "shown"),
    [("https://other.example/v3?token=secret", "https://other.example/v3,"), ("", "to ,")],
)
def test_a_redirect_is_named_without_its_query(location: str, shown: str) -> None:
    """It is not followed: the paid body would go to another place."""
    verdict = judge_reply(reply(307, b"", location=location), committed=True, request=REQUEST)

    assert isinstance(verdict, Unknown)
    assert shown in verdict.error.message
    assert "secret" not in verdict.error.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "the service answered 200 without a task id: 'words'"),
        (299, "the service answered 299 without a task id: 'words'"),
        (300, "the server redirects to nowhere, which we do not follow (check the base URL)"),
        (399, "the server redirects to nowhere, which we do not follow (check the base URL)"),
        (408, "the server answered 408: 'words'"),
        (500, "the server answered 500: 'words'"),
    ],
)
def test_what_came_is_told(status: int, words: str) -> None:
    """In the sentence about what may have been paid."""
    verdict = judge_reply(reply(status, b"words"), committed=True, request=REQUEST)

    assert isinstance(verdict, Unknown)
    assert f"its task id is not known: {words}. It was not sent again" in verdict.error.message


def test_a_redirect_to_nowhere() -> None:
    """A missing address is told."""
    verdict = judge_reply(reply(302, b""), committed=False, request=REQUEST)

    assert isinstance(verdict, NotSent)
    assert "redirects to nowhere" in verdict.error.message


def test_a_failure_before_the_commit_point() -> None:
    """Nothing reached the service as a whole."""
    failure = TransportFailure("the server cut the connection", committed=False)

    verdict = judge_failure(failure, request=REQUEST)

    assert isinstance(verdict, NotSent)
    assert "the server cut the connection" in verdict.error.message
    assert verdict.error.trace_id is None


def test_a_failure_after_the_commit_point() -> None:
    """Nobody knows what became of it."""
    failure = TransportFailure("no answer within 120 s", committed=True)

    verdict = judge_failure(failure, request=REQUEST)

    assert isinstance(verdict, Unknown)
    assert "no answer within 120 s" in verdict.error.message
    assert verdict.error.request is REQUEST


def test_a_picture_that_changed_meanwhile() -> None:
    """Sending the request again would not help; it is the caller's to look at."""
    failure = TransportFailure("x", changed_input="cat.png changed while it was sent.")

    verdict = judge_failure(failure, request=REQUEST)

    assert isinstance(verdict, Refused)
    assert isinstance(verdict.error, errors.InvalidRequestError)
    assert verdict.error.message == "cat.png changed while it was sent."
    assert verdict.error.billed == "no"


def test_a_picture_that_changed_after_the_commit_point() -> None:
    """What was handed over may be paid, whatever else went wrong."""
    failure = TransportFailure("x", committed=True, changed_input="cat.png changed.")

    assert isinstance(judge_failure(failure, request=REQUEST), Unknown)


DEEP = b'{"message":' + b"[" * 500 + b"]" * 500 + b"}"


@given(
    given_reply=strategies.replies(
        {"task_id": "t1"}, sample("submit_v2_envelope"), sample("v2_not_allowed")
    ),
    committed=st.booleans(),
)
@example(given_reply=HttpReply(status=200, body=DEEP), committed=True)
@example(given_reply=HttpReply(status=503, body=DEEP), committed=False)
def test_every_reply_has_a_verdict(*, given_reply: HttpReply, committed: bool) -> None:
    """No reply raises, and only one that was committed leaves anything unknown."""
    verdict = judge_reply(given_reply, committed=committed, request=REQUEST)

    match verdict:
        case Accepted(task_id):
            assert task_id
            assert 200 <= given_reply.status < 300
        case Throttled(error) | Refused(error):
            assert error.billed == "no"
        case NotSent(error):
            assert not committed
            assert (error.billed, error.retryable) == ("no", True)
        case Unknown(error):
            assert committed
            assert (error.billed, error.retryable) == ("unknown", False)


@pytest.mark.parametrize(
    ("arrived", "kind"),
    [
        (HttpReply(status=200, body=b'{"task_id":"t1"}'), Accepted),
        (HttpReply(status=200, body=b'{"task_id":"t'), Unknown),
        (HttpReply(status=500, body=b'{"task_id":"t1"}'), Unknown),
        (None, Unknown),
    ],
)
def test_an_id_that_arrived_is_not_lost_with_the_rest(
    arrived: HttpReply | None, kind: type[Any]
) -> None:
    """A reply that was cut after its JSON has told all that we need."""
    failure = TransportFailure("the answer was cut short", committed=True)
    failure.arrived = arrived

    assert type(judge_failure(failure, request=REQUEST)) is kind

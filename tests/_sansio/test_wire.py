"""Calls as they travel, and replies as what they mean."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppinfra_async import Img2Img, PPInfraError, TaskStatus, errors
from ppinfra_async._sansio import wire
from ppinfra_async._sansio.wire import BodyPlan, HttpReply, TransportFailure, Upload
from ppinfra_async.requests._base import pictures_of
from tests import strategies
from tests.answers import changed, reply, sample

TASK_ID = "3f1c6a7e-8c1e-4a52-9a3f-0d5c2b7f9e10"
HTML = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
DEEP = b'{"message":' + b"[" * 500 + b"]" * 500 + b"}"


def uploads_of(request: Img2Img) -> dict[int, Upload]:
    uploads = {}
    for _, picture in pictures_of(request):
        assert picture.data is not None
        uploads[id(picture)] = Upload(data=picture.data, size=len(picture.data))
    return uploads


def before_commit(plan: BodyPlan) -> bytes:
    """Return what travels before the commit piece."""
    body = b""
    for piece in plan.pieces:
        if isinstance(piece, Upload):
            assert piece.data is not None
            body += base64.b64encode(piece.data)
        else:
            body += piece
    return body


# --- calls ----------------------------------------------------------------------------------------


@given(strategies.img2imgs)
def test_a_submit_says_its_exact_length(request: Img2Img) -> None:
    """The length is known before a picture is read, and the body is JSON with its last byte only."""
    call = wire.submit_call(request, uploads_of(request))

    assert call.body is not None
    body = before_commit(call.body)
    assert call.body.commit == b"}"
    assert len(body + call.body.commit) == call.body.size
    assert json.loads(body + call.body.commit)["request"]["prompt"] == request.prompt
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_a_submit_costs_money() -> None:
    """It goes to the endpoint of its request, counts its images and must not be repeated."""
    request = Img2Img(model_name="m", image=b"abc", prompt="p", image_num=3)

    call = wire.submit_call(request, uploads_of(request))

    assert (call.method, call.path, call.query) == ("POST", "/v3/async/img2img", ())
    assert (call.images, call.replayable) == (3, False)


def test_a_picture_is_read_while_it_is_sent() -> None:
    """The plan holds the upload itself, once for each place of the picture."""
    request = Img2Img(model_name="m", image=b"abc", prompt="p")
    request = request.with_controlnet("canny", request.image)
    upload = Upload(data=b"other bytes", size=11)

    call = wire.submit_call(request, {id(request.image): upload})

    assert call.body is not None
    assert [piece is upload for piece in call.body.pieces].count(True) == 2
    assert len(before_commit(call.body)) + 1 == call.body.size


@pytest.mark.parametrize(("size", "encoded"), [(0, 0), (1, 4), (2, 4), (3, 4), (4, 8), (300, 400)])
def test_the_length_of_base64(size: int, encoded: int) -> None:
    """Four bytes for each three that were begun."""
    assert Upload(size=size).encoded_size == encoded


def test_a_status_call_may_be_repeated() -> None:
    """The parameter is called `task_id`, and the id is not touched."""
    call = wire.task_result_call("a b/c?d")

    assert (call.method, call.path) == ("GET", "/v3/async/task-result")
    assert call.query == (("task_id", "a b/c?d"),)
    assert (call.body, call.replayable, call.images) == (None, True, 0)


@pytest.mark.parametrize(
    ("filters", "cursor", "query"),
    [
        ({}, "", (("pagination.limit", "100"),)),
        ({"types": None, "query": None}, "", (("pagination.limit", "100"),)),
        (
            {"types": "lora", "is_sdxl": True, "is_inpainting": False, "source": None},
            "c_1",
            (
                ("filter.types", "lora"),
                ("filter.is_sdxl", "true"),
                ("filter.is_inpainting", "false"),
                ("pagination.limit", "100"),
                ("pagination.cursor", "c_1"),
            ),
        ),
        ({"query": "True"}, "", (("filter.query", "True"), ("pagination.limit", "100"))),
    ],
)
def test_a_models_call(filters: Any, cursor: str, query: Any) -> None:
    """Filters by the service's names, booleans in lower case, unset ones left out."""
    call = wire.models_call(filters, limit=100, cursor=cursor)

    assert (call.method, call.path, call.replayable) == ("GET", "/v3/model", True)
    assert call.query == query


def test_bytes_stay_out_of_messages() -> None:
    """What is shown of uploads and replies is their length."""
    assert repr(Upload(data=b"abc" * 1000, size=3000)).count("a") < 20
    assert "<3,000 bytes>" in repr(Upload(data=b"abc" * 1000, size=3000))
    assert "data=None" in repr(Upload(size=5))
    assert "<2,000 bytes>" in repr(HttpReply(status=200, body=b"xy" * 1000))


def test_a_failure_says_what_happened() -> None:
    """And whether the last byte was handed over."""
    failure = TransportFailure("the server cut the connection", committed=True)

    assert str(failure) == failure.what == "the server cut the connection"
    assert (failure.committed, failure.changed_input, failure.arrived) == (True, "", None)


def test_names_of_errors() -> None:
    """The documented ones; anything else may be a word of a success."""
    assert wire.names_an_error("ILLEGAL_PROMPT")
    assert not wire.names_an_error("")
    assert not wire.names_an_error("illegal_prompt")


# --- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"x_trace_id": "t"}, "t"),
        ({"x_trace_id": "t", "x_request_id": "r"}, "t"),
        ({"x_request_id": "r"}, "r"),
        ({"x_trace_id": ""}, None),
        ({}, None),
    ],
)
def test_trace_id(headers: dict[str, str], trace_id: str | None) -> None:
    """The service's own header first."""
    assert reply(200, {}, **headers).trace_id == trace_id


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("5", "", 5.0),
        (" 5 ", "", 5.0),
        ("0", "", 0.0),
        ("1.5", "", 1.5),
        ("86400", "", 86400.0),
        ("99999999999999999999", "", 1e20),
        ("Wed, 21 Oct 2015 07:28:30 GMT", DATE, 30.0),
        ("Wed, 21 Oct 2015 09:28:30 +0200", DATE, 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", DATE, 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", DATE, 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "now", None),
        ("Wed, 21 Oct 2015 07:28:30", DATE, None),
        ("Wed, 21 Oct 2015 07:28:30 +99999999999999999999", DATE, None),
        ("Wed, 32 Oct 2015 07:28:30 GMT", DATE, None),
        ("Wed, 21 Oct 99999 07:28:30 GMT", DATE, None),
        ("", DATE, None),
        ("soon", DATE, None),
        ("-1", "", None),
        ("nan", "", None),
        ("inf", "", None),
        ("1e999", "", None),
        ("5, 10", "", None),
    ],
)
def test_retry_after(retry_after: str, date: str, seconds: float | None) -> None:
    """Seconds, or a date that counts from the reply's own; anything else was not said."""
    assert reply(429, {}, retry_after=retry_after, date=date).retry_after == seconds


def test_no_retry_after() -> None:
    """Without the header nothing was said."""
    assert reply(429, {}, date=DATE).retry_after is None


_date_like = st.lists(
    st.sampled_from(
        ["Wed,", "21", "Oct", "2015", "07:28:00", ":", "GMT", "+0200", "-", "(", ",", "9"]
    ),
    max_size=8,
).map(" ".join)


@given(_date_like | st.text(), _date_like | st.text())
def test_any_retry_after_is_not_negative_or_not_there(retry_after: str, date: str) -> None:
    """No header of a reply can raise."""
    seconds = reply(429, {}, retry_after=retry_after, date=date).retry_after

    assert seconds is None or 0 <= seconds < float("inf")


def test_a_reply_is_shown_cut_short() -> None:
    """Bytes that are no text are replaced."""
    assert reply(500, b"  \xffno\n").text == "\ufffdno"
    assert len(reply(500, b"x" * 10_000).text) == 300


INVALID = errors.InvalidRequestError
KEY = errors.InvalidKeyError
BALANCE = errors.InsufficientBalanceError
NOT_ALLOWED = errors.NotAllowedError
CONTENT = errors.ContentRejectedError
RATE = errors.RateLimitedError
SERVICE = errors.ServiceError
PROTOCOL = errors.ProtocolError
NOT_FOUND = errors.TaskNotFoundError

REASONS: list[tuple[int, str, type[PPInfraError]]] = [
    (400, "INVALID_REQUEST_BODY", INVALID),
    (400, "IMAGE_FILE_EXCEEDS_MAX_SIZE", INVALID),
    (400, "INVALID_IMAGE_FORMAT", INVALID),
    (400, "IMAGE_EXCEEDS_MAX_RESOLUTION", INVALID),
    (400, "INVALID_IMAGE_SIZE", INVALID),
    (400, "IMAGE_NO_FACE_DETECTED", INVALID),
    (400, "INVALID_CUSTOM_OUTPUT_PATH", INVALID),
    (400, "INVALID_AUDIO_FILE", INVALID),
    (400, "INVALID_PRODUCT_CATEGORY", INVALID),
    (400, "INVALID_BILL_CYCLE", INVALID),
    (404, "MODEL_NOT_FOUND", INVALID),
    (400, "ILLEGAL_PROMPT", CONTENT),
    (400, "ILLEGAL_IMAGE_CONTENT", CONTENT),
    (400, "BILLING_BALANCE_NOT_ENOUGH", BALANCE),
    (403, "NOT_ENOUGH_BALANCE", BALANCE),
    (400, "MISSING_API_KEY", KEY),
    (403, "INVALID_API_KEY", KEY),
    (401, "FAILED_TO_AUTH", KEY),
    (403, "ANONYMOUS_ACCESS_QUOTA_EXCEEDS", KEY),
    (403, "BILLING_AUTH_FAILED", NOT_ALLOWED),
    (403, "FEATURE_NOT_ALLOWED", NOT_ALLOWED),
    (403, "API_NOT_ALLOWED", NOT_ALLOWED),
    (403, "NEED_REAL_NAME_VERIFY", NOT_ALLOWED),
    (403, "ACCESS_DENY", NOT_ALLOWED),
    (404, "TASK_NOT_FOUND", NOT_FOUND),
    (404, "API_NOT_FOUND", SERVICE),
    (429, "RATE_LIMIT_EXCEEDED", RATE),
    (429, "TOKEN_LIMIT_EXCEEDED", RATE),
    (429, "LIST_BILL_TOO_FAST", RATE),
    (500, "BILLING_FAILED", SERVICE),
    (500, "CREATE_TASK_FAILED", SERVICE),
    (500, "GET_RESULT_FAILED", SERVICE),
    (500, "TASK_FAILED", SERVICE),
    (500, "UNKNOWN", SERVICE),
    (500, "LIST_BILL_ERROR", SERVICE),
    (503, "SERVICE_NOT_AVAILABLE", SERVICE),
]


def test_every_known_reason_is_in_the_table() -> None:
    """What follows is checked for all of them."""
    assert set(wire._BY_REASON) == {reason for _, reason, _ in REASONS}


@pytest.mark.parametrize(("status", "reason", "kind"), REASONS)
def test_the_reason_decides(status: int, reason: str, kind: type[PPInfraError]) -> None:
    """Without a task nothing is billed; what the service could not do may be tried again."""
    body = {"code": status, "reason": reason, "message": "Why not.", "metadata": {}}

    error = wire.error_of(reply(status, body, x_trace_id="trace"))

    assert type(error) is kind
    assert (error.billed, error.task_id, error.trace_id) == ("no", None, "trace")
    assert error.retryable is (status in {429, 500, 503})
    assert error.message.startswith(f"The service answered {status} {reason}: Why not.")
    assert (getattr(error, "status", None), getattr(error, "reason", None)) == (
        (status, reason) if kind is SERVICE else (None, None)
    )


@pytest.mark.parametrize(("status", "reason", "kind"), REASONS)
def test_the_reason_decides_about_a_poll(
    status: int, reason: str, kind: type[PPInfraError]
) -> None:
    """The task exists, so money was spent; only an unknown task leaves that open."""
    body = {"code": status, "reason": reason, "message": "", "metadata": {}}

    with pytest.raises(PPInfraError) as caught:
        wire.read_update(reply(status, body, x_trace_id="trace"), "t1")

    error = caught.value
    assert type(error) is kind
    assert error.billed == ("unknown" if kind is NOT_FOUND else "yes")
    assert (error.task_id, error.trace_id) == ("t1", "trace")
    assert error.retryable is (status in {429, 500, 503})


@pytest.mark.parametrize("status", [200, 400, 403, 404, 500])
def test_the_status_misleads(status: int) -> None:
    """A known reason wins over any status."""
    error = wire.error_of(reply(status, {"reason": "BILLING_BALANCE_NOT_ENOUGH"}))

    assert type(error) is BALANCE


STATUSES = [
    (400, INVALID),
    (401, KEY),
    (402, BALANCE),
    (403, NOT_ALLOWED),
    (404, SERVICE),
    (409, SERVICE),
    (413, INVALID),
    (418, SERVICE),
    (422, INVALID),
    (429, RATE),
    (500, SERVICE),
    (502, SERVICE),
    (503, SERVICE),
]


@pytest.mark.parametrize("reason", ["", "NEVER_HEARD_OF"])
@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_the_status_decides_without_a_known_reason(
    status: int, kind: type[PPInfraError], reason: str
) -> None:
    """Each status has its class; the service's words are kept."""
    error = wire.error_of(reply(status, {"reason": reason, "message": "Sorry"}))

    assert type(error) is kind
    assert "Sorry" in error.message
    assert reason in error.message
    assert error.retryable is (status >= 500 or status == 429)


CODES = [
    (-1, SERVICE),
    (1, INVALID),
    (2, INVALID),
    (3, INVALID),
    (4, KEY),
    (5, SERVICE),
    (6, INVALID),
    (7, BALANCE),
    (8, INVALID),
    (9, SERVICE),
    (10, INVALID),
    (11, SERVICE),
    (400, INVALID),
    (401, KEY),
    (402, BALANCE),
    (403, NOT_ALLOWED),
    (429, RATE),
    (500, SERVICE),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_codes_in_a_body_with_status_200(code: int, kind: type[PPInfraError]) -> None:
    """Those of V2, and statuses that only the body tells."""
    body = {"code": code, "msg": "no"}

    assert type(wire.error_of(reply(200, body))) is kind
    with pytest.raises(PPInfraError) as caught:
        wire.read_update(reply(200, body), "t1")
    assert type(caught.value) is kind
    assert caught.value.billed == "yes"


def test_the_v2_sample() -> None:
    """A model that may not be used is the request's fault."""
    error = wire.error_of(reply(200, sample("v2_not_allowed")))

    assert type(error) is INVALID
    assert error.message == (
        "The service answered 200 Checkpoint model sd_xl_base_1.0.safetensors not allowed."
    )


def test_codes_of_v2_mean_nothing_with_another_status() -> None:
    """A status other than 200 is believed."""
    assert type(wire.error_of(reply(500, {"code": 4, "message": "no"}))) is SERVICE


def test_a_rate_limit_says_how_long() -> None:
    """In seconds, from the header."""
    error = wire.error_of(reply(429, {"reason": "RATE_LIMIT_EXCEEDED"}, retry_after="7"))

    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after == 7


def test_an_error_quotes_the_service() -> None:
    """Reason, message and details, each once, and what to do next."""
    body = {
        "code": 400,
        "reason": "ILLEGAL_PROMPT",
        "message": "The prompt is refused.",
        "metadata": {"details": "word 3"},
    }

    assert wire.error_of(reply(400, body)).message == (
        "The service answered 400 ILLEGAL_PROMPT: The prompt is refused (word 3). "
        "Change the prompt or the picture."
    )


def test_details_that_are_the_message_are_said_once() -> None:
    """JieKou repeats itself."""
    body = {"message": "no such model", "metadata": {"details": "no such model"}}

    assert wire.error_of(reply(400, body)).message == "The service answered 400 no such model."


def test_an_error_without_words() -> None:
    """The code alone is said to be no reason."""
    assert wire.error_of(reply(500, {"code": 500})).message == (
        "The service answered 500 without a reason."
    )


@pytest.mark.parametrize(
    ("status", "kind"), [(400, INVALID), (401, KEY), (403, NOT_ALLOWED), (429, RATE)]
)
def test_a_page_with_a_telling_status(status: int, kind: type[PPInfraError]) -> None:
    """Some statuses need no JSON; the page is quoted."""
    error = wire.error_of(reply(status, HTML))

    assert type(error) is kind
    assert "without a JSON error" in error.message
    assert "502 Bad Gateway" in error.message


@pytest.mark.parametrize("status", [200, 301, 404, 500, 502, 504])
@pytest.mark.parametrize("body", [HTML, b"", b"upstream error", b"{}", b"[]", b'"x"', b"{"])
def test_a_page_with_another_status_is_unreadable(status: int, body: bytes) -> None:
    """It is a gateway's, and may be gone with the next try."""
    error = wire.error_of(reply(status, body, x_trace_id="trace"))

    assert isinstance(error, errors.ProtocolError)
    assert (error.status, error.body) == (status, body.decode().strip())
    assert (error.billed, error.retryable, error.trace_id) == ("no", status != 404, "trace")


# --- task results ---------------------------------------------------------------------------------


def test_an_update_is_read() -> None:
    """The recorded answer, with status 200."""
    update = wire.read_update(reply(200, sample("novita_img2img")), TASK_ID)

    assert (update.status, update.task_id) == (TaskStatus.SUCCEED, TASK_ID)


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 408, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [HTML, b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"task":'])
def test_a_page_says_nothing_about_a_task(status: int, body: bytes) -> None:
    """Whatever its status, it is neither the key's nor the task's end."""
    with pytest.raises(errors.ProtocolError) as caught:
        wire.read_update(reply(status, body, x_trace_id="trace"), "t1")

    error = caught.value
    assert (error.task_id, error.trace_id, error.billed) == ("t1", "trace", "yes")
    assert (error.status, error.retryable) == (status, True)


def test_a_page_with_status_429_is_a_rate_limit() -> None:
    """Gateways say that in any form, and with how long to wait."""
    with pytest.raises(errors.RateLimitedError) as caught:
        wire.read_update(reply(429, HTML, retry_after="3"), "t1")

    assert (caught.value.retry_after, caught.value.task_id) == (3, "t1")


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("task", "status"), None, "answer.task.status"),
        (("task", "task_id"), "another", "task.task_id"),
    ],
)
def test_an_unreadable_update_names_the_place(
    path: tuple[str | int, ...], value: Any, place: str
) -> None:
    """It may be read the next time; the task is paid."""
    tree = changed(sample("novita_img2img"), path, value)

    with pytest.raises(errors.ProtocolError) as caught:
        wire.read_update(reply(200, tree), TASK_ID)

    assert place in str(caught.value)
    assert (caught.value.task_id, caught.value.billed) == (TASK_ID, "yes")


@pytest.mark.parametrize("code", [0, 200, "0", None])
def test_a_wrapper_of_a_success_is_no_error_of_the_service(code: Any) -> None:
    """`code` 0 or 200 around something else is only unreadable."""
    with pytest.raises(errors.ProtocolError):
        wire.read_update(reply(200, {"code": code, "msg": "", "data": {}}), "t1")


TREES = [sample(name) for name in ("novita_img2img", "novita_task_result", "ppio_qwen_image")]
BODIES = [sample(name) for name in ("invalid_request_body", "v2_not_allowed", "models_ppinfra")]


@given(strategies.replies(*TREES, *BODIES))
@example(HttpReply(status=500, body=DEEP))
@example(HttpReply(status=200, body=DEEP))
@example(HttpReply(status=500, body=b'{"code":1' + b"0" * 400 + b"}"))
def test_no_reply_raises_anything_but_our_errors(given_reply: HttpReply) -> None:
    """Read as any of the three, a reply is what was asked for or an error of this package."""
    with suppress(PPInfraError):
        wire.read_update(given_reply, TASK_ID)
    with suppress(PPInfraError):
        wire.read_models(given_reply)
    assert isinstance(wire.error_of(given_reply), PPInfraError)
    assert "t1" in str(wire.error_of(given_reply, task_id="t1"))


# --- models ---------------------------------------------------------------------------------------


def test_models_are_read() -> None:
    """One page and the cursor of the next."""
    page = wire.read_models(reply(200, sample("models_ppinfra")))
    (model,), cursor = page.models, page.next_cursor

    assert model.name == "Dreamshaper XL"
    assert cursor == "c_WzgwNDY2NiwiNTUxOTkiXQ=="


def test_unreadable_models_name_the_place() -> None:
    """Nothing was paid for them."""
    with pytest.raises(errors.ProtocolError, match=r"answer\.models\[0\]") as caught:
        wire.read_models(reply(200, {"models": [5]}))

    assert (caught.value.billed, caught.value.task_id) == ("no", None)


def test_an_error_instead_of_models() -> None:
    """It is the same as everywhere."""
    with pytest.raises(errors.InvalidKeyError):
        wire.read_models(reply(403, {"reason": "INVALID_API_KEY"}))

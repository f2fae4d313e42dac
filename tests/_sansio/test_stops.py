"""Which requests are not sent any more after an error of another one."""

from __future__ import annotations

import pytest

from ppinfra_async._sansio.stops import Stops, dooms_all, unsent_because_of
from ppinfra_async.errors import (
    ContentRejectedError,
    InsufficientBalanceError,
    InvalidKeyError,
    NotAllowedError,
    PPInfraError,
    RateLimitedError,
    ServiceError,
)
from tests.requesting import img2img


@pytest.mark.parametrize("kind", [InvalidKeyError, InsufficientBalanceError])
def test_account_error_dooms_every_request(kind: type[PPInfraError]) -> None:
    """Key and balance are the same for all; each gets its own error, which says that nothing was paid."""
    stops = Stops()
    cause = kind("no", task_id="t", trace_id="x", billed="yes")
    assert stops.reason(img2img()) is None

    assert stops.note(cause, img2img())

    first, second = stops.reason(img2img()), stops.reason(img2img(model_name="other"))
    assert type(first) is kind
    assert first is not second
    assert (first.task_id, first.trace_id, first.billed, first.__cause__) == (
        None,
        None,
        "no",
        cause,
    )
    assert stops.doom is cause


def test_not_allowed_dooms_one_model_of_one_endpoint() -> None:
    """Verification is asked for per model: another model is sent all the same."""
    stops = Stops()

    assert stops.note(NotAllowedError("no"), img2img(model_name="a"))

    assert isinstance(stops.reason(img2img(model_name="a", prompt="other")), NotAllowedError)
    assert stops.reason(img2img(model_name="b")) is None
    assert stops.reason("what is no request") is None
    assert stops.doom is None


@pytest.mark.parametrize("kind", [ContentRejectedError, RateLimitedError, ServiceError])
def test_error_of_one_request_concerns_no_other(kind: type[PPInfraError]) -> None:
    """A refused prompt says nothing about the next one."""
    stops = Stops()

    assert not stops.note(kind("no"), img2img())

    assert stops.reason(img2img()) is None
    assert not dooms_all(kind("no"))
    assert not dooms_all(None)


def test_first_doom_stays() -> None:
    """The reason that is told is the one that came first."""
    stops = Stops()
    first = InvalidKeyError("first")
    stops.note(first, img2img())
    stops.note(InsufficientBalanceError("second"), img2img())

    assert stops.doom is first
    assert unsent_because_of(first).message == "It was not sent, because another request got: first"

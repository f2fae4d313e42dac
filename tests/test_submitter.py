"""When a submit goes, goes again, waits and gives up; and what a leaving caller owes. Virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from attrs import define, field, frozen

from ppinfra_async import Client, Img2Img, Limits, Retries, Timeouts
from ppinfra_async._background import Background
from ppinfra_async._sansio.wire import HttpCall, HttpReply, TransportFailure, Upload
from ppinfra_async._submitter import Submitter
from ppinfra_async._transport import CommitPoint
from ppinfra_async._uploads import Prepared
from ppinfra_async.errors import (
    InvalidRequestError,
    NotSentError,
    PPInfraError,
    RateLimitedError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, SubmitAbandoned, SubmitDelayed, TaskAbandoned, TaskSubmitted
from ppinfra_async.quota import AccountQuota, usable_quota
from tests.answers import reply
from tests.exchanges import TASK_ID, Exchange
from tests.loops import run_in_virtual_time
from tests.scripted import ScriptedTransport

PICTURE = b"a picture"
NOT_SENT = Exchange(takes_body=False, then="cut")
UNKNOWN = Exchange(then="cut")


@frozen(kw_only=True)
class Elsewhere(Img2Img):
    """A request for another endpoint."""

    path: ClassVar[str] = "/v3/async/elsewhere"


def prepared(images: int = 1, kind: type[Img2Img] = Img2Img, prompt: str = "a cat") -> Prepared:
    request = kind(model_name="m.safetensors", image=PICTURE, prompt=prompt, image_num=images)
    upload = Upload(data=PICTURE, size=len(PICTURE))
    return Prepared(request=request, uploads={id(request.image): upload})


def throttled(retry_after: str | None = None, **headers: str) -> Exchange:
    if retry_after is not None:
        headers["retry_after"] = retry_after
    return Exchange(then=reply(429, {"code": 429, "reason": "RATE_LIMIT_EXCEEDED"}, **headers))


def refused(status: int = 400, reason: str = "INVALID_REQUEST_BODY") -> Exchange:
    return Exchange(then=reply(status, {"code": status, "reason": reason, "message": "no"}))


def accepted(task_id: str) -> Exchange:
    return Exchange(then=reply(200, {"task_id": task_id}))


@define
class World:
    """A submitter, what it stands on, and what it tells."""

    transport: ScriptedTransport
    limits: Limits = field(factory=Limits)
    retries: Retries = field(factory=Retries)
    timeouts: Timeouts = field(factory=Timeouts)
    background: Background = field(factory=Background)
    events: list[Event] = field(factory=list)
    recorded: list[str] = field(factory=list)
    submitter: Submitter = field(init=False)

    @submitter.default
    def _make_submitter(self) -> Submitter:
        return Submitter(
            self.transport,
            self.background,
            quota=usable_quota(None, self.limits, self.retries),
            max_wait=self.limits.max_wait,
            retries=self.retries,
            timeouts=self.timeouts,
            record=self._record,
            draw=lambda: 0.0,
            emit=self._emit,
        )

    def _record(self, task_id: str, _: Prepared) -> None:
        self.recorded.append(task_id)

    def _emit(self, event: Event) -> None:
        if isinstance(event, TaskSubmitted):
            assert event.task_id in self.recorded, "recorded before anybody is told"
        self.events.append(event)

    async def submit(self, what: Prepared | None = None, deadline: float = float("inf")) -> str:
        return await self.submitter.submit(what or prepared(), deadline)

    @property
    def waits(self) -> list[float]:
        return [event.wait for event in self.events if isinstance(event, SubmitDelayed)]

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


Scene = Callable[[World], Awaitable[None]]


def play(*submits: Exchange, **options: Any) -> Callable[[Scene], World]:
    """Run a scene in virtual time, in a world where submits meet these exchanges."""

    def run(scene: Scene) -> World:
        async def main() -> World:
            transport = ScriptedTransport(submits=list(submits) or [Exchange()])
            world = World(transport, **options)
            transport.timeouts = world.timeouts
            await scene(world)
            await world.submitter.finish()
            await world.background.stop()
            return world

        return run_in_virtual_time(main)

    return run


async def failure_of(call: Awaitable[object]) -> PPInfraError:
    with pytest.raises(PPInfraError) as caught:
        await call
    return caught.value


# --- one submit -----------------------------------------------------------------------------------


def test_accepted_submit_gives_its_id() -> None:
    """The id is recorded before anybody is told."""

    @play(Exchange(uploading=3, after=4))
    async def world(world: World) -> None:
        assert await world.submit() == TASK_ID
        assert anyio.current_time() == 7

    assert world.recorded == [TASK_ID]
    [event] = world.events
    assert isinstance(event, TaskSubmitted)
    assert (event.task_id, event.request.prompt) == (TASK_ID, "a cat")  # type: ignore[attr-defined]
    assert bytes(world.transport.received).startswith(b'{"request":{"model_name":"m.safetensors"')


def test_refused_submit_is_not_sent_again() -> None:
    """The service's own no is the answer."""

    @play(refused(400, "MODEL_NOT_FOUND"))
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, InvalidRequestError)
        assert error.billed == "no"

    assert world.transport.began == [0]
    assert world.events == []


def test_early_refusal_is_the_answer() -> None:
    """It counts though the server took nothing."""
    early = Exchange(takes_body=False, then=reply(400, {"reason": "ILLEGAL_PROMPT"}))

    @play(early)
    async def world(world: World) -> None:
        assert (await failure_of(world.submit())).billed == "no"

    assert world.transport.began == [0]


def test_changed_picture_is_an_invalid_request() -> None:
    """Nothing was sent whole, and sending it again would change nothing."""
    changed = TransportFailure("x", changed_input="cat.png changed while it was sent.")

    @play(Exchange(takes_body=False, then=changed))
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, InvalidRequestError)
        assert error.message == "cat.png changed while it was sent."

    assert world.transport.began == [0]


@pytest.mark.parametrize(
    "exchange",
    [
        NOT_SENT,
        Exchange(takes_body=False, then="silence"),
        Exchange(takes_body=False, then=HttpReply(status=500)),
        Exchange(takes_body=False, then=HttpReply(status=302)),
        Exchange(takes_body=False, then=HttpReply(status=408)),
    ],
)
def test_submit_that_did_not_get_through_is_sent_again(exchange: Exchange) -> None:
    """Whatever came before the last byte was handed over cannot have been paid."""

    @play(exchange, Exchange())
    async def world(world: World) -> None:
        assert await world.submit() == TASK_ID

    assert len(world.transport.began) == 2
    [delayed, submitted] = world.events
    assert isinstance(delayed, SubmitDelayed)
    assert isinstance(delayed.error, NotSentError)
    assert isinstance(submitted, TaskSubmitted)
    assert world.transport.paid == 1


def test_tries_are_counted_and_spaced() -> None:
    """Pauses double, and after the last try the error says that nothing was paid."""

    @play(NOT_SENT)
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, NotSentError)
        assert error.billed == "no"
        assert isinstance(error.__cause__, TransportFailure)

    assert world.transport.began == [0, 0.25, 0.75, 1.75, 3.75]
    assert world.waits == [0.25, 0.5, 1, 2]
    assert world.recorded == []


@pytest.mark.parametrize(
    "exchange",
    [
        UNKNOWN,
        Exchange(then="silence"),
        Exchange(whole=False),
        Exchange(then=HttpReply(status=502, body=b"<html>")),
        Exchange(then=HttpReply(status=307, headers={"location": "/"})),
        Exchange(then=HttpReply(status=408)),
        Exchange(then=HttpReply(status=200, body=b"{}")),
    ],
)
def test_submit_of_unknown_outcome_is_never_sent_again(exchange: Exchange) -> None:
    """It may be paid; the request is on the error for a person to decide."""

    @play(exchange)
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, SubmitOutcomeUnknownError)
        assert error.billed == "unknown"
        assert error.request.prompt == "a cat"

    assert len(world.transport.began) == 1
    assert world.events == []


RESUBMIT = Retries(resubmit_unknown=True)


def test_submit_of_unknown_outcome_is_sent_again_when_a_person_wants_it() -> None:
    """``resubmit_unknown`` is that person's decision."""

    @play(UNKNOWN, Exchange(), retries=RESUBMIT)
    async def world(world: World) -> None:
        assert await world.submit() == TASK_ID

    assert world.transport.began == [0, 0.25]
    assert world.transport.paid == 2


@pytest.mark.parametrize("last", [NOT_SENT, refused(), UNKNOWN, throttled()])
def test_doubt_stays_whatever_the_later_tries_say(last: Exchange) -> None:
    """That the last try was not paid says nothing about the first."""

    @play(UNKNOWN, last, retries=RESUBMIT, limits=Limits(max_wait=1))
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, SubmitOutcomeUnknownError)
        assert error.billed == "unknown"

    assert len(world.transport.began) > 1


def test_doubt_stays_when_the_time_is_over() -> None:
    """A timeout between two tries does not turn "unknown" into "nothing was paid"."""

    @play(UNKNOWN, NOT_SENT, retries=RESUBMIT)
    async def world(world: World) -> None:
        error = await failure_of(world.submit(deadline=1.0))

        assert isinstance(error, SubmitOutcomeUnknownError)

    assert world.transport.began == [0, 0.25, 0.75]


def test_error_beside_a_doubt_is_told() -> None:
    """What the later try said helps the person who has to look."""

    @play(UNKNOWN, refused(400, "BILLING_BALANCE_NOT_ENOUGH"), retries=RESUBMIT)
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert "BILLING_BALANCE_NOT_ENOUGH" in error.__notes__[0]

    assert world.recorded == []


# --- quota ----------------------------------------------------------------------------------------


def test_refusal_for_the_quota_waits_as_long_as_asked() -> None:
    """``Retry-After`` in seconds."""

    @play(throttled("7"), Exchange())
    async def world(world: World) -> None:
        assert await world.submit() == TASK_ID

    assert world.transport.began == [0, 7]
    assert world.waits == [7]
    assert isinstance(world.events[0], SubmitDelayed)
    assert isinstance(world.events[0].error, RateLimitedError)


def test_refusal_for_the_quota_waits_until_the_date() -> None:
    """``Retry-After`` as a date counts from the answer's own date, not from our clock."""
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(moment, usegmt=True),
        "retry_after": format_datetime(moment + timedelta(seconds=9), usegmt=True),
    }

    @play(throttled(**headers), Exchange())
    async def world(world: World) -> None:
        await world.submit()

    assert world.transport.began == [0, 9]


def test_what_is_asked_has_a_ceiling() -> None:
    """A service that says "in a year" is asked again after ``Retries.max_wait``."""

    @play(throttled("31536000"), Exchange(), retries=Retries(max_wait=45))
    async def world(world: World) -> None:
        await world.submit()

    assert world.transport.began == [0, 45]


def test_ceiling_of_zero_is_no_reason_to_hurry() -> None:
    """Without any pause a refused submit would be sent again as fast as the line can."""

    @play(throttled("50"), Exchange(), retries=Retries(max_wait=0))
    async def world(world: World) -> None:
        await world.submit()

    assert world.transport.began == [0, 0.5]


def test_refusals_for_the_quota_are_no_tries() -> None:
    """They pause longer each time and use up nothing."""

    @play(*[throttled()] * 6, Exchange(), retries=Retries(attempts=1))
    async def world(world: World) -> None:
        assert await world.submit() == TASK_ID

    assert world.transport.began == [0, 1, 3, 7, 15, 31, 61]


def test_nothing_but_refusals_ends_after_ten_minutes() -> None:
    """An account without any quota does not wait for ever."""

    @play(throttled("50"))
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, RateLimitedError)
        assert error.billed == "no"
        assert error.retryable
        assert 600 < anyio.current_time() <= 720

    began = world.transport.began
    assert all(later - earlier >= 50 for earlier, later in pairwise(began))
    assert 6 <= len(began) <= 14


def test_after_a_refusal_they_go_one_at_a_time_and_in_order() -> None:
    """First come, first served, also for those that were refused together."""

    @play(
        *[Exchange(after=0.25, then=throttled("5").then)] * 3,
        *(Exchange(after=2, then=reply(200, {"task_id": str(n)})) for n in range(5)),
    )
    async def world(world: World) -> None:
        got = {}

        async def one(name: str, delay: float) -> None:
            await anyio.sleep(delay)
            got[name] = await world.submit()

        async with anyio.create_task_group() as group:
            for number, name in enumerate("abc"):
                group.start_soon(one, name, number / 16)
            group.start_soon(one, "d", 0.5)
            group.start_soon(one, "e", 1)

        assert got == {"a": "0", "b": "1", "c": "2", "d": "3", "e": "4"}

    assert world.transport.began[3:] == [5.375, 7.375, 9.375, 11.375, 13.375]


def test_refused_together_go_in_their_old_order() -> None:
    """Whoever came later does not slip in while the earlier ones wait for their answers."""
    slow = throttled("5")
    first = Exchange(after=3, then=slow.then)

    @play(slow, first, *(accepted(str(n)) for n in range(3)))
    async def world(world: World) -> None:
        got = {}

        async def one(name: str, delay: float) -> None:
            await anyio.sleep(delay)
            got[name] = await world.submit()

        async with anyio.create_task_group() as group:
            group.start_soon(one, "a", 0)
            group.start_soon(one, "b", 0.001)
            group.start_soon(one, "c", 1)

        assert got == {"a": "0", "b": "1", "c": "2"}

    assert len(world.transport.began) == 5


def test_endpoints_have_quotas_of_their_own() -> None:
    """A refusal of one holds up no other."""

    @play(throttled("100"), Exchange())
    async def world(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(world.submit)
            await anyio.sleep(1)
            await world.submit(prepared(kind=Elsewhere))

            assert anyio.current_time() == 1

    assert [call.path for call in world.transport.calls] == [
        "/v3/async/img2img",
        "/v3/async/elsewhere",
        "/v3/async/img2img",
    ]


TEN = Limits(images_per_minute=10)


def test_pinned_quota_counts_images() -> None:
    """What does not fit into this minute waits for the next, without a refusal."""

    @play(limits=TEN)
    async def world(world: World) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(world.submit, prepared(images=4))

    assert world.transport.began == pytest.approx([0, 0, 60.1, 60.1, 120.2])


def test_request_above_the_pinned_quota_is_an_error_at_once() -> None:
    """It could never go."""

    @play(limits=Limits(images_per_minute=7))
    async def world(world: World) -> None:
        error = await failure_of(world.submit(prepared(images=8)))

        assert isinstance(error, RateLimitedError)
        assert not error.retryable
        assert "8 images can never fit 7 images per minute" in error.message

    assert world.transport.calls == []


def test_submit_that_did_not_get_through_uses_no_quota() -> None:
    """The service meters what it accepts."""

    @play(NOT_SENT, Exchange(), limits=Limits(images_per_minute=8))
    async def world(world: World) -> None:
        await world.submit(prepared(images=8))

    assert world.transport.began == [0, 0.25]


def test_withdrawn_submit_uses_no_quota() -> None:
    """The next can have its place."""

    @play(Exchange(uploading=5), limits=Limits(images_per_minute=8))
    async def world(world: World) -> None:
        with anyio.move_on_after(1):
            await world.submit(prepared(images=8))
        await world.submit(prepared(images=8))

    assert world.transport.began == [0, 1]


def test_submit_that_may_be_paid_uses_quota() -> None:
    """Unknown counts as used, or the next would be refused."""

    @play(UNKNOWN, Exchange(), limits=TEN)
    async def world(world: World) -> None:
        await failure_of(world.submit(prepared(images=8)))
        await world.submit(prepared(images=8))

    assert world.transport.began == pytest.approx([0, 60.1])


def test_refusal_while_another_waits_is_waited_for_by_both() -> None:
    """Nobody goes before the service said so."""
    late = Exchange(after=55, then=throttled("40").then)

    @play(accepted("0"), late, Exchange(), limits=TEN)
    async def world(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(world.submit, prepared(images=6))
            group.start_soon(world.submit, prepared(images=4))
            await anyio.sleep(1)
            group.start_soon(world.submit, prepared(images=4))

    # Refused at 55: all wait until 95, though the window had room at 61.
    assert world.transport.began[:2] == [0, 0]
    assert min(world.transport.began[2:]) == 95


def test_turn_that_takes_too_long_is_an_error() -> None:
    """``Limits.max_wait`` is what a web back end can wait for; nothing was sent."""

    @play(limits=Limits(images_per_minute=8, max_wait=20))
    async def world(world: World) -> None:
        await world.submit(prepared(images=8))
        error = await failure_of(world.submit())

        assert isinstance(error, RateLimitedError)
        assert error.retry_after == pytest.approx(60.1)
        assert "within 20 s" in error.message
        assert anyio.current_time() == 0

    assert len(world.transport.began) == 1


def test_turn_behind_others_that_takes_too_long_is_an_error() -> None:
    """Waiting in the queue is waiting as well."""

    @play(limits=Limits(images_per_minute=8, max_wait=70))
    async def world(world: World) -> None:
        await world.submit(prepared(images=8))
        async with anyio.create_task_group() as group:
            group.start_soon(world.submit, prepared(images=8))
            await anyio.sleep(1)
            error = await failure_of(world.submit(prepared(images=8)))

            assert isinstance(error, RateLimitedError)
            assert anyio.current_time() <= 71

    assert world.transport.began == pytest.approx([0, 60.1])


def test_turn_that_another_holds_too_long_is_an_error() -> None:
    """After a refusal they go one at a time, and the one before may take long."""

    @play(throttled("5"), Exchange(after=50), limits=Limits(max_wait=20))
    async def world(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(world.submit)
            await anyio.sleep(6)
            error = await failure_of(world.submit())

            assert isinstance(error, RateLimitedError)
            assert "within 20 s" in error.message
            assert anyio.current_time() == 26

    assert world.transport.began == [0, 5]


def test_waits_for_turns_add_up() -> None:
    """One refusal after the other does not stretch ``Limits.max_wait``."""

    @play(throttled("10"), limits=Limits(max_wait=25))
    async def world(world: World) -> None:
        error = await failure_of(world.submit())

        assert isinstance(error, RateLimitedError)

    assert world.transport.began == [0, 10, 20]


def test_no_wait_at_all_is_possible() -> None:
    """Zero lets through what can go at once."""

    @play(limits=Limits(images_per_minute=8, max_wait=0))
    async def world(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(world.submit, prepared(images=4))
            group.start_soon(world.submit, prepared(images=4))
        await failure_of(world.submit())

    assert world.transport.began == [0, 0]


def test_who_leaves_the_queue_holds_up_nobody() -> None:
    """The turn goes on to the next."""

    @play(limits=Limits(images_per_minute=8))
    async def world(world: World) -> None:
        await world.submit(prepared(images=8))
        with anyio.move_on_after(5):
            await world.submit(prepared(images=8))
        with anyio.move_on_after(5):
            await world.submit(prepared(images=8))
        await world.submit(prepared(images=8))

    assert world.transport.began == pytest.approx([0, 60.1])


# --- crashes --------------------------------------------------------------------------------------


def test_crash_reaches_the_caller() -> None:
    """A mistake of ours is no answer of the service."""

    @play(Exchange(then=LookupError("a mistake")))
    async def world(world: World) -> None:
        with pytest.raises(RuntimeError, match="crashed") as caught:
            await world.submit()

        assert isinstance(caught.value.__cause__, LookupError)

    assert world.recorded == []


def test_record_that_fails_is_a_crash() -> None:
    """An id that could not be recorded is not handed out as if nothing had happened."""

    async def main() -> None:
        def record(task_id: str, what: Prepared) -> None:
            raise LookupError("the disk is full")

        background = Background()
        submitter = Submitter(
            ScriptedTransport(submits=[Exchange()]),
            background,
            quota=AccountQuota(),
            max_wait=None,
            retries=Retries(),
            timeouts=Timeouts(),
            record=record,
            draw=lambda: 0.0,
            emit=lambda _: None,
        )
        with pytest.raises(RuntimeError, match="crashed"):
            await submitter.submit(prepared(), float("inf"))
        await background.stop()

    run_in_virtual_time(main)


# --- timeouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exchange", [Exchange(uploading=9), Exchange(takes_body=False, then="silence"), throttled("9")]
)
def test_timeout_before_the_commit_withdraws(exchange: Exchange) -> None:
    """Nothing is paid, and the error says so."""

    @play(exchange)
    async def world(world: World) -> None:
        error = await failure_of(world.submit(deadline=5))

        assert isinstance(error, TaskTimeoutError)
        assert (error.billed, error.task_id) == ("no", None)
        assert anyio.current_time() == 5

    assert world.transport.paid == 0
    assert world.told(TaskAbandoned) == []


def test_timeout_that_had_passed_already_sends_nothing() -> None:
    """Not even a part."""

    @play()
    async def world(world: World) -> None:
        error = await failure_of(world.submit(deadline=-1))

        assert isinstance(error, TaskTimeoutError)

    assert world.transport.paid == 0


def test_timeout_after_the_commit_waits_a_moment_for_the_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error carries it, so nobody has been left behind."""

    @play(Exchange(after=6))
    async def world(world: World) -> None:
        error = await failure_of(world.submit(deadline=5))

        assert isinstance(error, TaskTimeoutError)
        assert (error.billed, error.task_id) == ("yes", TASK_ID)
        assert anyio.current_time() == 6

    assert world.recorded == [TASK_ID]
    assert world.told(TaskAbandoned) == []
    assert caplog.records == []


def test_timeout_without_an_id_leaves_the_outcome_open() -> None:
    """Should the id come later, it is recorded and reported."""

    @play(Exchange(after=20))
    async def world(world: World) -> None:
        error = await failure_of(world.submit(deadline=5))

        assert isinstance(error, SubmitOutcomeUnknownError)
        assert error.billed == "unknown"
        assert anyio.current_time() == 8
        await anyio.sleep(20)

    assert world.recorded == [TASK_ID]
    assert world.told(TaskAbandoned) == [TaskAbandoned(task_id=TASK_ID)]


def test_answer_in_the_moment_after_the_timeout_is_told() -> None:
    """A refusal is better than "we do not know"."""

    @play(Exchange(after=6, then=refused().then))
    async def world(world: World) -> None:
        assert isinstance(await failure_of(world.submit(deadline=5)), InvalidRequestError)

    assert world.recorded == []


# --- leaving callers ------------------------------------------------------------------------------

Leave = Callable[[Coroutine[Any, Any, object], float], Awaitable[bool]]


async def by_cancel(call: Coroutine[Any, Any, object], after: float) -> bool:
    """``Task.cancel``."""
    task = asyncio.create_task(call)
    await anyio.sleep(after)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


async def by_timeout(call: Coroutine[Any, Any, object], after: float) -> bool:
    """``asyncio.timeout``."""
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(after):
            await call
    return type(caught.value) is TimeoutError


async def by_sibling(call: Coroutine[Any, Any, object], after: float) -> bool:
    """A failing sibling in an ``asyncio.TaskGroup``."""

    async def fail() -> None:
        await anyio.sleep(after)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(call)
            group.create_task(fail())
    return task.cancelled() and [type(error) for error in caught.value.exceptions] == [LookupError]


async def by_scope(call: Coroutine[Any, Any, object], after: float) -> bool:
    """``anyio.move_on_after``."""
    with anyio.move_on_after(after) as scope:
        await call
    return scope.cancelled_caught


WAYS = [by_cancel, by_timeout, by_sibling, by_scope]
# Uploading takes until 10, the answer comes at 20.
SLOW = Exchange(uploading=10, after=10)


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("when", [0.5, 5, 9.5])
def test_caller_that_leaves_before_the_commit_pays_nothing(leave: Leave, when: float) -> None:
    """The submit is withdrawn, and the cancellation goes on as itself."""

    @play(SLOW)
    async def world(world: World) -> None:
        assert await leave(world.submit(), when)
        assert anyio.current_time() == when
        await anyio.sleep(100)

    assert world.transport.paid == 0
    assert world.recorded == []
    assert world.events == []


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("when", [10.5, 15, 19.5])
def test_caller_that_leaves_after_the_commit_waits_for_the_id(
    leave: Leave, when: float, caplog: pytest.LogCaptureFixture
) -> None:
    """It is known when the cancellation goes on, and reported once."""

    @play(SLOW, timeouts=Timeouts(cancel_grace=60))
    async def world(world: World) -> None:
        assert await leave(world.submit(), when)
        assert anyio.current_time() == 20
        assert world.recorded == [TASK_ID]

    assert world.told(TaskAbandoned) == [TaskAbandoned(task_id=TASK_ID)]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert TASK_ID in record.getMessage()


@pytest.mark.parametrize("leave", WAYS)
def test_caller_waits_no_longer_than_the_grace(
    leave: Leave, caplog: pytest.LogCaptureFixture
) -> None:
    """The submit goes on without it, and the id is recorded and reported when it comes."""

    @play(SLOW)
    async def world(world: World) -> None:
        assert await leave(world.submit(), 12)
        assert anyio.current_time() == 15
        assert world.recorded == []
        await anyio.sleep(10)
        assert world.recorded == [TASK_ID]

    assert world.told(TaskAbandoned) == [TaskAbandoned(task_id=TASK_ID)]
    assert len(caplog.records) == 1


def test_second_cancellation_does_not_wait() -> None:
    """An application that insists gets its way; the submit runs on by itself."""

    @play(SLOW, timeouts=Timeouts(cancel_grace=60))
    async def world(world: World) -> None:
        task = asyncio.create_task(world.submit())
        await anyio.sleep(12)
        task.cancel()
        await anyio.sleep(1)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert anyio.current_time() == 13
        await anyio.sleep(10)

    assert world.recorded == [TASK_ID]
    assert world.told(TaskAbandoned) == [TaskAbandoned(task_id=TASK_ID)]


def test_unknown_outcome_without_a_caller_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """There is no id to keep and nobody to raise it to."""

    @play(Exchange(after=10, then="cut"))
    async def world(world: World) -> None:
        await by_scope(world.submit(), 5)
        assert world.told(SubmitAbandoned) == []
        await anyio.sleep(10)

    [event] = world.told(SubmitAbandoned)
    assert isinstance(event, SubmitAbandoned)
    assert event.error.billed == "unknown"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("later", [NOT_SENT, UNKNOWN, throttled("1"), refused()])
def test_nothing_is_sent_again_for_a_caller_that_has_left(later: Exchange) -> None:
    """Its last try ends it, whatever came of it."""
    last = Exchange(after=10, then=later.then, takes_body=True)

    @play(last, Exchange(), retries=RESUBMIT)
    async def world(world: World) -> None:
        await by_scope(world.submit(), 5)
        await anyio.sleep(1000)

    assert len(world.transport.began) == 1
    assert world.told(TaskAbandoned) == []


def test_nothing_is_sent_again_after_a_refusal_for_the_quota() -> None:
    """Also when it has the turn already."""
    last = Exchange(after=10, then=throttled("1").then)

    @play(throttled("1"), last, Exchange())
    async def world(world: World) -> None:
        await by_scope(world.submit(), 5)
        await anyio.sleep(1000)

    assert world.transport.began == [0, 1]


def test_caller_that_leaves_between_tries_ends_them() -> None:
    """A pause is no place where anything can be paid."""

    @play(NOT_SENT)
    async def world(world: World) -> None:
        assert await by_cancel(world.submit(), 1)
        await anyio.sleep(1000)

    assert world.transport.began == [0, 0.25, 0.75]


SCRIPTS = {
    "accepted": [Exchange()],
    "not sent first": [NOT_SENT, Exchange()],
    "throttled first": [throttled("1"), Exchange()],
    "unknown": [UNKNOWN],
    "refused": [refused()],
}
# When the last try of each begins.
BEGINS = {"not sent first": 0.25, "throttled first": 1.0}


class Stubborn(ScriptedTransport):
    """One that cannot be interrupted; only a withdrawn commit point holds it back."""

    async def send(self, call: HttpCall, commit: CommitPoint | None = None) -> HttpReply:
        scope = anyio.CancelScope(shield=True)
        with scope:
            return await super().send(call, commit)
        raise AssertionError("nobody cancels it")


def test_withdrawn_submit_is_not_paid_though_its_upload_goes_on() -> None:
    """The library below writes in a task of its own, which may be a step ahead."""

    async def main() -> None:
        world = World(Stubborn(submits=[SLOW]))
        assert await by_cancel(world.submit(), 5)
        await anyio.sleep(100)
        await world.background.stop()

        assert world.transport.paid == 0
        assert world.recorded == []

    run_in_virtual_time(main)


async def cancel_after(world: World, pause: float, steps: int) -> bool:
    """Cancel a caller after so many steps of the loop; tell whether it was done before."""
    task = asyncio.create_task(world.submit())
    if pause:
        await anyio.sleep(pause)
    for _ in range(steps):
        await checkpoint()
    done = task.done()
    task.cancel()
    # Here the caller learns of it.
    await checkpoint()
    paid_before = world.transport.paid
    await asyncio.wait([task])
    await world.submitter.finish()
    await world.background.stop()

    assert task.cancelled() == (not done)
    assert world.transport.paid == paid_before
    return done


@pytest.mark.parametrize("transport", [ScriptedTransport, Stubborn])
@pytest.mark.parametrize("script", SCRIPTS)
def test_cancellation_may_come_at_any_step(script: str, transport: type[ScriptedTransport]) -> None:
    """Whatever the step: what was paid is returned or recorded, and nothing is paid after it."""
    outcomes = set()

    async def one(pause: float, steps: int) -> None:
        world = World(transport(submits=list(SCRIPTS[script])))
        done = await cancel_after(world, pause, steps)
        paid = bool(world.transport.paid)
        known = paid and script != "unknown"

        assert world.recorded == [TASK_ID] * known
        abandoned = [TaskAbandoned(task_id=TASK_ID)] if known and not done else []
        assert world.told(TaskAbandoned) == abandoned
        in_doubt = paid and not known and not done
        assert len(world.told(SubmitAbandoned)) == in_doubt
        outcomes.add((done, known))

    async def main() -> None:
        for pause in sorted({0.0, BEGINS.get(script, 0.0)}):
            for steps in range(30):
                await one(pause, steps)

    run_in_virtual_time(main)

    assert (False, False) in outcomes
    assert any(done for done, _ in outcomes)
    if script in {"accepted", "not sent first", "throttled first"}:
        assert (False, True) in outcomes


# --- the client closes ----------------------------------------------------------------------------


def closing_at(when: float, *submits: Exchange, **options: Any) -> tuple[World, Any, float]:
    """Close while a submit is under way; return what its caller got, and when."""
    got: list[Any] = []

    @play(*submits, **options)
    async def world(world: World) -> None:
        async def call() -> None:
            try:
                got.append(await world.submit())
            except PPInfraError as error:
                got.append(error)
            got.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.sleep(when)
            await world.submitter.finish()
            await world.background.stop()

    return world, got[0], got[1]


@pytest.mark.parametrize(
    ("when", "script"),
    [(5, [SLOW]), (5, [throttled("60"), Exchange()]), (1, [NOT_SENT, NOT_SENT, NOT_SENT])],
    ids=["uploading", "waiting for its turn", "between tries"],
)
def test_close_withdraws_what_is_not_committed(when: float, script: list[Exchange]) -> None:
    """Its caller learns at once that nothing was paid."""
    world, outcome, at = closing_at(when, *script)

    assert isinstance(outcome, NotSentError)
    assert outcome.billed == "no"
    assert at == when
    assert world.transport.paid == 0


def test_close_waits_a_moment_for_the_id() -> None:
    """The caller gets it as if nothing had happened."""
    _, outcome, at = closing_at(18, SLOW)

    assert (outcome, at) == (TASK_ID, 20)


def test_close_does_not_wait_for_ever() -> None:
    """After the grace the outcome is open, and the error says so."""
    world, outcome, at = closing_at(12, SLOW)

    assert isinstance(outcome, SubmitOutcomeUnknownError)
    assert outcome.billed == "unknown"
    assert at == 15
    assert world.recorded == []


def test_close_between_tries_keeps_the_doubt() -> None:
    """An earlier try may have been paid."""
    _, outcome, _ = closing_at(0.1, UNKNOWN, retries=RESUBMIT)

    assert isinstance(outcome, SubmitOutcomeUnknownError)


def test_close_in_the_moment_of_the_submit() -> None:
    """A submit that has not taken its first step is withdrawn as well."""

    @play(SLOW)
    async def world(world: World) -> None:
        await world.background.start()
        task = asyncio.create_task(world.submit())
        await checkpoint()
        await world.submitter.finish()
        await world.background.stop()
        with pytest.raises(NotSentError):
            await task

    assert world.transport.paid == 0


# --- the whole client -----------------------------------------------------------------------------


@pytest.mark.parametrize("leave", WAYS)
def test_id_of_a_caller_that_left_is_unfinished_business(
    leave: Leave, caplog: pytest.LogCaptureFixture
) -> None:
    """``client.unfinished`` has it, and ``attach`` gives the same handle."""

    async def main() -> None:
        events: list[Event] = []
        client = Client("sk_test", on_event=events.append)
        transport = ScriptedTransport(submits=[SLOW])
        client._connect(transport)
        assert await leave(client._submitter.submit(prepared(), float("inf")), 18)

        [task] = client.unfinished
        assert task.id == TASK_ID
        assert client.attach(TASK_ID) is task
        assert task.request is not None
        assert TaskAbandoned(task_id=TASK_ID) in events
        await client.close()
        assert transport.closed

    run_in_virtual_time(main)

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2

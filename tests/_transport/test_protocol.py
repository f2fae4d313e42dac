"""What every transport promises, held against the real one and against the script that stands in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from ppinfra_async import Timeouts
from ppinfra_async._sansio.wire import HttpCall, HttpReply, TransportFailure
from ppinfra_async._transport import CommitPoint, MaskedText, Withdrawn
from tests._transport.stages import Stage, real_stage, scripted_stage
from tests.exchanges import ACCEPTED, Exchange, Page, redirect, status_call, submit_call
from tests.waiting import until

# More than the systems on both sides hold, so that its end waits for a server that reads.
LARGE = b"x" * 8_000_000

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture(params=[real_stage, scripted_stage], ids=["real", "scripted"])
def stage(request: pytest.FixtureRequest) -> Staged:
    """One of the two transports, on a stage where a script is acted out.

    A deadline is short only where it is the subject: everything else may take a busy machine longer.
    """

    @asynccontextmanager
    async def acted(*script: Exchange, **more: Any) -> AsyncIterator[Stage]:
        with anyio.fail_after(10):
            async with request.param(*script, **{"timeouts": Timeouts(), **more}) as on:
                yield on

    return acted


async def failure_of(call: Any) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        await call
    return caught.value


# --- calls ----------------------------------------------------------------------------------------


async def test_reply_arrives_whole(stage: Staged) -> None:
    """Status, headers in lower case and all bytes of the body are handed over."""
    commit = CommitPoint()
    async with stage(Exchange()) as on:
        reply = await on.transport.send(submit_call(), commit)

        assert on.received == b'{"request":{"prompt":"a cat"}}'
    assert (reply.status, reply.body) == (200, ACCEPTED.body)
    assert reply.headers["x-trace-id"] == "trace-1"
    assert commit.passed


async def test_reply_to_a_call_without_body_arrives(stage: Staged) -> None:
    """A status call sends no body and needs no commit point."""
    async with stage(Exchange()) as on:
        reply = await on.transport.send(status_call())

        assert on.received == b""
    assert reply.body == ACCEPTED.body


async def test_submit_needs_no_commit_point(stage: Staged) -> None:
    """Without one, the body is sent all the same."""
    async with stage(Exchange()) as on:
        assert (await on.transport.send(submit_call())).status == 200


async def test_answer_to_a_status_call_is_the_one_to_its_question(stage: Staged) -> None:
    """Calls under way at the same time get each its own answer, in whatever order they come."""
    asked_about_both = anyio.Event()
    asked: list[str] = []
    told: dict[str, bytes] = {}

    async def answer(call: HttpCall) -> Exchange:
        task_id = dict(call.query)["task_id"]
        asked.append(task_id)
        if len(asked) == 2:
            asked_about_both.set()
        else:
            await asked_about_both.wait()
            await anyio.sleep(0.02)
        assert (call.method, call.path) == ("GET", "/v3/async/task-result")
        return Exchange(then=HttpReply(status=200, body=task_id.encode()))

    async with stage(polls=answer) as on:

        async def ask(task_id: str) -> None:
            told[task_id] = (await on.transport.send(status_call(task_id))).body

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "a b/c&d")
            group.start_soon(ask, "other")

    assert sorted(asked) == ["a b/c&d", "other"]
    assert told == {"a b/c&d": b"a b/c&d", "other": b"other"}


async def test_answer_that_takes_for_ever_ends_at_the_deadline(stage: Staged) -> None:
    """Also when the service does not know yet what to say."""

    async def never(_: HttpCall) -> Exchange:
        await anyio.sleep_forever()
        raise AssertionError

    async with stage(polls=never, timeouts=Timeouts(poll=0.2)) as on:
        failure = await failure_of(on.transport.send(status_call()))

    assert failure.what == "no answer within 0.2 s"
    assert failure.committed is False


@pytest.mark.parametrize("status", [307, 308, 301, 303])
async def test_redirect_of_a_call_is_returned(stage: Staged, status: int) -> None:
    """Following it would pay a second time, perhaps somewhere else."""
    moved = HttpReply(status=status, headers={"location": "/elsewhere"})
    async with stage(Exchange(then=moved)) as on:
        submitted = await on.transport.send(submit_call())
        polled = await on.transport.send(status_call())

        assert on.received == b'{"request":{"prompt":"a cat"}}'
    assert (submitted.status, polled.status) == (status, status)
    assert submitted.headers["location"] == "/elsewhere"


async def test_cut_before_the_commit_is_not_committed(stage: Staged) -> None:
    """A server that cuts before it has read everything cannot have been paid."""
    async with stage(Exchange(takes_body=False, then="cut")) as on:
        failure = await failure_of(on.transport.send(submit_call(LARGE)))

    assert failure.committed is False


@pytest.mark.parametrize("then", ["cut", "garbage"])
async def test_end_after_the_commit_is_committed(stage: Staged, then: Any) -> None:
    """A cut or nonsense after the last byte leaves open what became of the submit."""
    async with stage(Exchange(then=then)) as on:
        failure = await failure_of(on.transport.send(submit_call()))

    assert failure.committed is True


async def test_answer_cut_in_its_middle_is_committed(stage: Staged) -> None:
    """Half an answer is none."""
    async with stage(Exchange(whole=False)) as on:
        failure = await failure_of(on.transport.send(submit_call()))

    assert failure.committed is True


async def test_what_arrived_of_an_answer_is_kept(stage: Staged) -> None:
    """Its beginning may be all that is needed to find a paid task."""
    async with stage(Exchange(whole=False)) as on:
        cut = await failure_of(on.transport.send(submit_call()))
    async with stage(Exchange(then="cut")) as on:
        nothing = await failure_of(on.transport.send(submit_call()))

    assert cut.arrived is not None
    assert (cut.arrived.status, cut.arrived.body) == (200, ACCEPTED.body[:-1])
    assert cut.arrived.headers["x-trace-id"] == "trace-1"
    assert nothing.arrived is None


async def test_failure_names_what_happened_and_why(stage: Staged) -> None:
    """The clause is for a message, and a cut status call is not committed."""
    async with stage(Exchange(then="cut")) as on:
        failure = await failure_of(on.transport.send(status_call()))

    assert failure.what
    assert failure.what == str(failure)
    assert failure.committed is False
    assert failure.changed_input == ""


async def test_silence_after_the_commit_ends_at_the_deadline(stage: Staged) -> None:
    """A server that takes everything and says nothing does not hold the caller for ever."""
    async with stage(Exchange(then="silence"), timeouts=Timeouts(submit_reply=0.2)) as on:
        failure = await failure_of(on.transport.send(submit_call()))

    assert failure.committed is True


async def test_silence_while_uploading_ends_at_the_deadline(stage: Staged) -> None:
    """A server that never reads does not hold the caller for ever, and was not paid."""
    async with stage(
        Exchange(takes_body=False, then="silence"), timeouts=Timeouts(upload_stall=0.2)
    ) as on:
        failure = await failure_of(on.transport.send(submit_call(LARGE)))

    assert failure.committed is False


async def test_silence_to_a_status_call_ends_at_the_deadline(stage: Staged) -> None:
    """A status call is given up after its time."""
    async with stage(Exchange(then="silence"), timeouts=Timeouts(poll=0.2)) as on:
        failure = await failure_of(on.transport.send(status_call()))

    assert failure.committed is False


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_early_answer_is_returned_and_the_last_byte_kept(stage: Staged, status: int) -> None:
    """What was answered is less than the request, and stays less."""
    commit = CommitPoint()
    early = HttpReply(status=status, body=b'{"reason":"RATE_LIMIT_EXCEEDED"}')
    async with stage(Exchange(takes_body=False, then=early)) as on:
        reply = await on.transport.send(submit_call(LARGE), commit)

        assert len(on.received) < len(LARGE)
    assert (reply.status, reply.body) == (status, early.body)
    assert not commit.passed


async def test_before_is_awaited_once_and_the_last_byte_waits_for_it(stage: Staged) -> None:
    """All but the last byte is with the server when the mark is made."""
    seen: list[tuple[bytes, bool]] = []

    async def before() -> None:
        # The server reads in its own time.
        await until(lambda: len(on.received) == 29)
        await anyio.sleep(0.02)
        seen.append((on.received, commit.passed))

    commit = CommitPoint(before)
    async with stage(Exchange()) as on:
        await on.transport.send(submit_call(), commit)

        assert on.received == b'{"request":{"prompt":"a cat"}}'
    assert seen == [(b'{"request":{"prompt":"a cat"}', False)]


async def test_before_is_not_awaited_when_the_body_did_not_get_that_far(stage: Staged) -> None:
    """A mark is made for what may be paid, not for what was refused on the way."""
    calls = []

    async def before() -> None:
        calls.append(1)

    early = HttpReply(status=400)
    async with stage(Exchange(takes_body=False, then=early)) as on:
        await on.transport.send(submit_call(LARGE), CommitPoint(before))

    assert calls == []


async def test_what_before_raises_leaves_as_itself_and_nothing_is_paid(stage: Staged) -> None:
    """A mark that cannot be made stops the submit, and its maker learns why."""

    async def before() -> None:
        raise LookupError("the disk is full")

    commit = CommitPoint(before)
    async with stage(Exchange()) as on:
        with pytest.raises(LookupError, match="the disk is full"):
            await on.transport.send(submit_call(), commit)

        assert len(on.received) < 30
    assert not commit.passed


@pytest.mark.parametrize("when", ["before it began", "at the commit point"])
async def test_withdrawn_submit_keeps_its_last_byte(stage: Staged, when: str) -> None:
    """Nobody wants it any more, so it is not paid."""

    async def before() -> None:
        commit.withdrawn = True

    commit = CommitPoint(before, withdrawn=when == "before it began")
    async with stage(Exchange()) as on:
        failure = await failure_of(on.transport.send(submit_call(), commit))

        assert len(on.received) < 30
    assert failure.committed is False
    assert failure.what == "it was withdrawn"
    assert not commit.passed


async def test_cancelled_submit_keeps_its_last_byte(stage: Staged) -> None:
    """A caller that is cancelled before the commit point has paid nothing."""
    commit = CommitPoint(anyio.sleep_forever)
    async with stage(Exchange()) as on:
        with anyio.move_on_after(0.05):
            await on.transport.send(submit_call(), commit)
        await anyio.sleep(0.02)

        assert len(on.received) < 30
    assert not commit.passed


# --- the end --------------------------------------------------------------------------------------


async def test_closed_transport_sends_and_opens_nothing(stage: Staged) -> None:
    """Whoever is late gets a failure that was not paid; closing twice is closing once."""
    async with stage(Exchange()) as on:
        await on.transport.close()
        await on.transport.close()
        failures = [
            await failure_of(on.transport.send(submit_call())),
            await failure_of(on.transport.send(status_call())),
            await failure_of(read(on)),
        ]

        assert on.received == b""
    assert [failure.what for failure in failures] == ["the client is closed"] * 3
    assert not any(failure.committed for failure in failures)


# --- pictures -------------------------------------------------------------------------------------


async def read(on: Stage, path: str = "/picture") -> tuple[Any, bytes]:
    async with on.transport.fetch(on.origin + path) as fetched:
        data = b""
        while piece := await fetched.read():
            data += piece
        return fetched, data


async def test_picture_arrives_with_status_length_and_type(stage: Staged) -> None:
    """Everything that is needed to verify it is there."""
    page = Page(
        headers={"content-type": "image/png; charset=binary"}, pieces=(b"abc", b"defg", b"h")
    )
    async with stage(pages={"/picture": page}) as on:
        fetched, data = await read(on)

    assert (fetched.status, fetched.length, data) == (200, 8, b"abcdefgh")
    assert fetched.content_type == "image/png"


async def test_picture_comes_in_pieces(stage: Staged) -> None:
    """A caller can stop in the middle of a body that is too long."""
    page = Page(pieces=tuple(b"x" * 200_000 for _ in range(20)))
    async with (
        stage(pages={"/picture": page}) as on,
        on.transport.fetch(on.origin + "/picture") as fetched,
    ):
        first = await fetched.read()

        assert 0 < len(first) < 4_000_000


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_error_page_is_handed_over_with_its_status(stage: Staged, status: int) -> None:
    """The transport judges no status."""
    async with stage(pages={"/picture": Page(status=status, pieces=(b"<html>",))}) as on:
        fetched, data = await read(on)

    assert (fetched.status, data) == (status, b"<html>")


async def test_length_that_nobody_declares_is_none(stage: Staged) -> None:
    """The end of the connection is then the end of the picture."""
    async with stage(pages={"/picture": Page(pieces=(b"abc",), length="none")}) as on:
        fetched, data = await read(on)

    assert (fetched.length, data) == (None, b"abc")


async def test_no_more_than_declared_is_read(stage: Staged) -> None:
    """What follows belongs to nobody."""
    async with stage(pages={"/picture": Page(pieces=(b"abc", b"def"), length=4)}) as on:
        fetched, data = await read(on)

    assert (fetched.length, data) == (4, b"abcd")


@pytest.mark.parametrize("then", ["cut", "end"])
async def test_picture_that_does_not_come_to_its_end_fails(stage: Staged, then: Any) -> None:
    """A cut and an early end are failures, after what did arrive."""
    page = Page(pieces=(b"abc",), length=9, then=then)
    async with (
        stage(pages={"/picture": page}) as on,
        on.transport.fetch(on.origin + "/picture") as fetched,
    ):
        assert await fetched.read() == b"abc"
        failure = await failure_of(fetched.read())

    assert failure.committed is False


@pytest.mark.parametrize(
    "page",
    [
        Page(pieces=(b"abc",), length=9, then="silence"),
        Page(pieces=(b"abc", b"def"), pause=60),
    ],
    ids=["after some of it", "before every piece"],
)
async def test_picture_that_stands_still_fails(stage: Staged, page: Page) -> None:
    """The deadline is from one piece to the next, and the message says how long it is."""
    async with (
        stage(pages={"/picture": page}, timeouts=Timeouts(download_stall=0.1)) as on,
        on.transport.fetch(on.origin + "/picture") as fetched,
    ):
        with pytest.raises(TransportFailure) as caught:
            while await fetched.read():
                pass

    assert caught.value.what == "the image host sent nothing for 0.1 s"
    assert caught.value.committed is False


async def test_picture_that_takes_its_time_arrives(stage: Staged) -> None:
    """A pause that is shorter than the deadline ends nothing, however many there are."""
    page = Page(pieces=tuple(bytes([number]) for number in range(12)), pause=0.1)
    async with stage(pages={"/picture": page}, timeouts=Timeouts(download_stall=1)) as on:
        began = anyio.current_time()
        _, data = await read(on)
        took = anyio.current_time() - began

    assert data == bytes(range(12))
    assert took > 1, "longer than the deadline, or the test shows nothing"


async def test_each_opening_is_an_opening_of_its_own(stage: Staged) -> None:
    """What the host answers the second time is what arrives the second time."""
    pages = [Page(status=503), Page(pieces=(b"abc",))]

    async def next_page() -> Page:
        return pages.pop(0)

    async with stage(pages={"/picture": next_page}) as on:
        first, _ = await read(on)
        second, data = await read(on)

    assert (first.status, second.status, data) == (503, 200, b"abc")


async def test_image_host_that_does_not_answer_ends_at_the_deadline(stage: Staged) -> None:
    """Opening has a deadline too."""

    async def never() -> Page:
        await anyio.sleep_forever()
        raise AssertionError

    timeouts = Timeouts(connect=0.05, download_stall=0.05)
    async with stage(pages={"/picture": never}, timeouts=timeouts) as on:
        failure = await failure_of(read(on))

    assert failure.what == "the image host did not answer in time"


async def test_redirects_of_a_picture_are_followed(stage: Staged) -> None:
    """Image hosts move things; five steps are enough."""
    pages = {f"/{step}": redirect(f"/{step + 1}") for step in range(5)}
    pages["/0"] = redirect("1", 307)
    async with stage(pages=pages | {"/5": Page(pieces=(b"abc",))}) as on:
        fetched, data = await read(on, "/0")

    assert (fetched.status, data) == (200, b"abc")


async def test_too_many_redirects_are_a_failure(stage: Staged) -> None:
    """Circles end."""
    async with stage(pages={"/0": redirect("/0")}) as on:
        failure = await failure_of(read(on, "/0"))

    assert failure.what == "more than 5 redirects"


async def test_redirect_without_a_target_is_handed_over(stage: Staged) -> None:
    """There is nothing to follow."""
    async with stage(pages={"/0": Page(status=302)}) as on:
        fetched, data = await read(on, "/0")

    assert (fetched.status, data) == (302, b"")


# --- values ---------------------------------------------------------------------------------------


async def test_commit_point_without_a_mark_can_be_crossed() -> None:
    """``before`` is optional."""
    commit = CommitPoint()
    await commit.approach()
    commit.cross()
    commit.raise_objection()

    assert commit.passed


def test_withdrawn_commit_point_cannot_be_crossed() -> None:
    """It stays uncrossed."""
    commit = CommitPoint(withdrawn=True)
    with pytest.raises(Withdrawn):
        commit.cross()

    assert not commit.passed


def test_masked_text_is_sent_and_not_shown() -> None:
    """It is text to everything but ``repr``."""
    text = MaskedText("sk_secret")

    assert f"Bearer {text}" == "Bearer sk_secret"
    assert repr(text) == "'***'"
    assert "sk_secret" not in repr({"Authorization": text})

"""From "it is done" to pictures in hands: what counts as success, and how pictures arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from attrs import define

from ppinfra_async import GeneratedImage, ImageType, Polling, Retries, TaskStatus, TaskUpdate
from ppinfra_async._background import Background
from ppinfra_async._delivery import Arrivals, Delivery, Final
from ppinfra_async._images import Images
from ppinfra_async._poller import Poller
from ppinfra_async.errors import (
    BadImageError,
    ImageError,
    IncompleteResultError,
    InvalidKeyError,
    ResultExpiredError,
    TaskFailedError,
    TaskTimeoutError,
)
from ppinfra_async.results import ImageLink, Timing
from tests.answers import reply
from tests.exchanges import Page, Serving
from tests.pictures import draw_picture
from tests.scripted import ScriptedTransport
from tests.service import FAILED, HOST, SUCCEED, Answer, scripted_service, served, status

PICTURES = [draw_picture(16, 12 + number, "PNG") for number in range(4)]
FAST = Polling(min_interval=0.001, max_interval=0.002, polls_per_second=1000)


def at_once(number: int) -> Page:
    return served(PICTURES[number])


def with_status(code: int) -> Page:
    return served(status=code, length="none")


def after(gate: anyio.Event, number: int) -> Serving:
    async def open_it() -> Page:
        await gate.wait()
        return at_once(number)

    return open_it


Answers = Sequence[Answer] | Callable[[str], Awaitable[Answer]]


@define
class World:
    """A delivery and what it stands on."""

    service: ScriptedTransport
    background: Background
    poller: Poller
    delivery: Delivery

    async def final(self) -> Final:
        return await self.delivery.final(await self.poller.watch("t"))


@asynccontextmanager
async def world(
    answers: Answers = (), pages: Mapping[str, Page | Serving] | None = None
) -> AsyncIterator[World]:
    given = {f"{HOST}/{number}": at_once(number) for number in range(4)}
    service = scripted_service(answers or [status(SUCCEED, images=4)], {**given, **(pages or {})})
    background = Background()
    poller = Poller(service, background, polling=FAST, draw=lambda: 0.5, emit=lambda _: None)
    images = Images(service, Retries(max_wait=0), lambda: 0.5)
    try:
        yield World(service, background, poller, Delivery(images, poller, background))
    finally:
        await background.stop()


async def all_of(arrivals: Arrivals) -> tuple[list[GeneratedImage], list[ImageError]]:
    """Return the pictures and the errors, each in the order in which they came."""
    arrived = [await arrivals.next() for _ in range(arrivals.count)]
    images = [item for item in arrived if isinstance(item, GeneratedImage)]
    return images, [item for item in arrived if isinstance(item, ImageError)]


def ended(text: str, *, links: int = 0, reason: str = "") -> Final:
    update = TaskUpdate(
        task_id="t",
        status=TaskStatus(text),
        reason=reason,
        links=tuple(ImageLink(url=f"{HOST}/{number}") for number in range(links)),
        seed=7,
        raw={"task": {}},
    )
    return Final(update, Timing(waited=2.5, polls=3))


def image(index: int) -> GeneratedImage:
    return GeneratedImage(index=index, data=b"", format=ImageType.PNG, width=1, height=1)


# --- what counts as success -------------------------------------------------------------------------


def test_success_with_images_is_success() -> None:
    """Then, and only then, there is something to deliver."""
    ended(SUCCEED, links=1).check()


@pytest.mark.parametrize(
    ("final", "message", "reason"),
    [
        (
            ended("TASK_STATUS_FAILED", reason="out of memory"),
            "The task failed: out of memory.",
            "out of memory",
        ),
        (
            ended("TASK_STATUS_FAILED", links=1),
            "The task failed: the service gives no reason.",
            "",
        ),
        (ended("TASK_STATUS_CANCELED", reason="by you"), "The task canceled: by you.", "by you"),
        (ended(SUCCEED), "The service says that the task succeeded and lists no image.", ""),
    ],
    ids=["failed", "failed without a reason", "canceled", "without any image"],
)
def test_other_ends_are_failures(final: Final, message: str, reason: str) -> None:
    """A failure has the service's reason and the id; whether it was billed is not known."""
    with pytest.raises(TaskFailedError) as caught:
        final.check()

    error = caught.value
    assert (error.message, error.reason, error.task_id) == (message, reason, "t")
    assert error.billed == "unknown"


def test_result_is_put_together_in_the_services_order() -> None:
    """Whatever came first, images stand by their index; the rest is what the service said."""
    result = ended(SUCCEED, links=3).result([image(2), image(0), image(1)], asked=3)

    assert [item.index for item in result.images] == [0, 1, 2]
    assert (result.task_id, result.status, result.seed) == ("t", TaskStatus.SUCCEED, 7)
    assert (result.failed, result.missing) == ((), 0)
    assert result.timing == Timing(waited=2.5, polls=3)
    assert result.raw == {"task": {}}


@pytest.mark.parametrize(("asked", "missing"), [(4, 2), (2, 0), (1, 0), (None, 0)])
def test_fewer_than_asked_is_a_success_that_says_so(asked: int | None, missing: int) -> None:
    """The service filters some; how many were asked for may not be known."""
    assert ended(SUCCEED, links=2).result([image(0), image(1)], asked).missing == missing


def test_listed_image_that_could_not_be_had_is_an_error_with_the_others() -> None:
    """Nothing that arrived is lost, and each failure has its place."""
    failures = [BadImageError("no picture.", index=2), ResultExpiredError("gone.", index=1)]
    with pytest.raises(IncompleteResultError) as caught:
        ended(SUCCEED, links=3).result([failures[0], image(0), failures[1]], asked=4)

    error, result = caught.value, caught.value.result
    assert [item.index for item in result.images] == [0]
    assert [item.index for item in result.failed] == [1, 2]
    assert (result.missing, error.task_id, error.billed) == (1, "t", "yes")
    assert error.message == (
        "2 of 3 images could not be had (gone). The error's .result holds the others; attach to the "
        "task to try again."
    )


# --- how pictures arrive ----------------------------------------------------------------------------


async def test_end_of_a_task_has_its_timing() -> None:
    """How long waiting took and how many polls, beside the service's own times."""
    debug = {"debug_info": {"submit_time_ms": "1000", "complete_time_ms": "3500"}}
    answers = [status("TASK_STATUS_QUEUED"), status(SUCCEED, images=1, extra=debug)]
    async with world(answers) as w:
        timing = (await w.final()).timing

    assert timing.polls == 2
    assert timing.waited > 0
    assert (timing.submit_time_ms, timing.complete_time_ms) == (1000, 3500)


async def test_pictures_are_fetched_at_the_same_time_and_come_as_they_are_ready() -> None:
    """The slow one does not hold the others up, and each keeps its index."""
    gates = [anyio.Event() for _ in range(4)]
    pages = {f"{HOST}/{number}": after(gates[number], number) for number in range(4)}
    async with world(pages=pages) as w:
        arrivals = await w.delivery.start(await w.final(), decode=True)
        came: list[GeneratedImage] = []
        for number in (2, 0, 3, 1):
            gates[number].set()
            arrival = await arrivals.next()
            assert isinstance(arrival, GeneratedImage)
            came.append(arrival)
            assert len(w.service.fetched) == 4
        assert arrivals.count == 4

    assert [item.index for item in came] == [2, 0, 3, 1]
    assert [item.data for item in came] == [PICTURES[number] for number in (2, 0, 3, 1)]
    assert came[0].pil.size == (16, 14)


async def test_failure_of_one_picture_is_an_arrival_of_its_own() -> None:
    """An error has index and task, and the other pictures are there."""
    async with world(pages={f"{HOST}/1": with_status(400)}) as w:
        images, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert len(images) == 3
    assert [(error.index, error.task_id, error.billed) for error in errors] == [(1, "t", "yes")]


async def test_known_pictures_are_not_fetched_again() -> None:
    """What is there already is handed over, and decoded when that is wanted now."""
    async with world() as w:
        final = await w.final()
        first, _ = await all_of(await w.delivery.start(final, decode=False))
        known = tuple(sorted(first, key=lambda item: item.index))
        w.service.fetched.clear()

        same, _ = await all_of(await w.delivery.start(final, decode=False, known=known))
        with pytest.raises(RuntimeError):
            _ = known[0].pil
        decoded, _ = await all_of(await w.delivery.start(final, decode=True, known=known))

    assert [item.index for item in same] == [0, 1, 2, 3]
    assert {id(item) for item in same} == {id(item) for item in decoded} == {id(k) for k in known}
    assert known[0].pil.size == (16, 12)
    assert w.service.fetched == []


# --- expired addresses ------------------------------------------------------------------------------


def signed(number: int, signature: str) -> str:
    return f"{HOST}/{number}?signature={signature}"


def listing(signature: str, images: int = 4) -> Answer:
    tree = [{"image_url": signed(number, signature)} for number in range(images)]
    return reply(200, {"task": {"status": SUCCEED}, "images": tree})


def signed_pages() -> dict[str, Page]:
    fresh = {signed(number, "new"): at_once(number) for number in range(4)}
    return fresh | {signed(number, "old"): with_status(403) for number in range(4)}


async def test_expired_addresses_are_read_again_once_for_all() -> None:
    """One fresh status call gives every picture its new address."""
    async with world([listing("old"), listing("new")], signed_pages()) as w:
        images, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert errors == []
    assert {item.url for item in images} == {signed(number, "new") for number in range(4)}
    assert w.service.asked == ["t", "t"]


@pytest.mark.parametrize("steps", range(12))
async def test_address_that_expires_while_the_result_is_read_again_is_in_it(steps: int) -> None:
    """Whoever finds out at any moment of that reading takes its answer, and does not ask again."""
    asked: list[str] = []
    reading = anyio.Event()

    async def answer(task_id: str) -> Answer:
        asked.append(task_id)
        if len(asked) == 1:
            return listing("old")
        reading.set()
        return listing("new")

    async def expire_late() -> Page:
        await reading.wait()
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        return with_status(403)

    late = {signed(number, "old"): expire_late for number in (1, 2, 3)}
    async with world(answer, {**signed_pages(), **late}) as w:
        images, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert errors == []
    assert {item.url for item in images} == {signed(number, "new") for number in range(4)}
    assert asked == ["t", "t"]


async def test_addresses_that_stay_expired_are_an_error() -> None:
    """When the fresh address is not served either, there is nothing left to try."""
    async with world([listing("old")], signed_pages()) as w:
        _, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert [type(error) for error in errors] == [ResultExpiredError] * 4
    assert len(w.service.fetched) == 8


@pytest.mark.parametrize("images", [0, 1, 5])
async def test_fresh_listing_of_another_length_is_not_used(images: int) -> None:
    """Positions would be others, and a picture would get a wrong index."""
    async with world([listing("old"), listing("new", images)], signed_pages()) as w:
        _, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert [type(error) for error in errors] == [ResultExpiredError] * 4


async def test_fresh_listing_that_cannot_be_had_is_told() -> None:
    """Why the result could not be read again is in the error, and what it was is its cause."""
    answers = [listing("old"), reply(403, {"code": 403, "reason": "INVALID_API_KEY"})]
    async with world(answers, signed_pages()) as w:
        _, errors = await all_of(await w.delivery.start(await w.final(), decode=False))

    assert len(errors) == 4
    for error in errors:
        assert isinstance(error, ResultExpiredError)
        assert "no longer served, and the result could not be read again (" in error.message
        assert isinstance(error.__cause__, InvalidKeyError)
        assert error.task_id == "t"


async def test_task_that_failed_meanwhile_keeps_its_addresses() -> None:
    """A fresh answer that lists nothing takes nothing away."""
    async with world([listing("old"), status(FAILED)], signed_pages()) as w:
        final = await w.final()
        _, errors = await all_of(await w.delivery.start(final, decode=False))

    assert [type(error) for error in errors] == [ResultExpiredError] * 4
    assert final.update.status is TaskStatus.SUCCEED


# --- leaving, closing, crashing ---------------------------------------------------------------------


async def test_dropping_ends_the_downloads() -> None:
    """What nobody waits for is not fetched to its end."""
    gate = anyio.Event()
    pages = {f"{HOST}/{number}": after(gate, number) for number in range(1, 4)}
    async with world(pages=pages) as w:
        before = len(asyncio.all_tasks())
        arrivals = await w.delivery.start(await w.final(), decode=True)
        await arrivals.next()
        assert len(asyncio.all_tasks()) > before + 1
        await anyio.to_thread.run_sync(arrivals.drop)
        while len(asyncio.all_tasks()) > before + 2:
            await anyio.lowlevel.checkpoint()
        arrivals.drop()

        # The host and the poller's loop are left.
        assert len(asyncio.all_tasks()) == before + 2


async def test_cancelled_reader_loses_no_picture() -> None:
    """A picture that comes in the moment of a cancellation is there for the next who asks."""
    arrivals = Arrivals("t", 1, Background())
    first = asyncio.ensure_future(arrivals.next())
    await anyio.lowlevel.checkpoint()
    arrivals.put(image(0))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert (await arrivals.next()).index == 0


async def test_closing_hands_over_what_is_there_and_then_tells() -> None:
    """Pictures that arrived are not lost; the rest is an error with the task's id."""
    gate = anyio.Event()
    async with world(pages={f"{HOST}/2": after(gate, 2)}) as w:
        arrivals = await w.delivery.start(await w.final(), decode=False)
        while len(w.service.fetched) < 4 or len(arrivals._ready) < 3:
            await anyio.lowlevel.checkpoint()
        await w.background.stop()

        assert {(await arrivals.next()).index for _ in range(3)} == {0, 1, 3}
        with pytest.raises(TaskTimeoutError, match="the client was closed") as caught:
            await arrivals.next()
        assert caught.value.task_id == "t"


async def test_closing_reaches_who_waits() -> None:
    """A reader does not wait for a picture that nobody fetches any more."""
    gate = anyio.Event()
    pages = {f"{HOST}/{number}": after(gate, number) for number in range(4)}
    async with world(pages=pages) as w:
        arrivals = await w.delivery.start(await w.final(), decode=False)

        async def wait() -> None:
            with pytest.raises(TaskTimeoutError, match="the client was closed"):
                await arrivals.next()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            await w.background.stop()


async def test_nothing_begins_while_the_client_closes() -> None:
    """Who comes late is told the id, not only that the client is closed."""
    async with world() as w:
        final = await w.final()
        w.background.closed = True
        with pytest.raises(TaskTimeoutError) as caught:
            await w.delivery.start(final, decode=False)

    assert caught.value.task_id == "t"


async def test_crash_reaches_who_waits() -> None:
    """A defect in fetching is told as one, with its cause, and never as a closed client."""

    async def crash() -> Page:
        raise ZeroDivisionError

    async with world(pages={f"{HOST}/2": crash}) as w:
        arrivals = await w.delivery.start(await w.final(), decode=False)
        with pytest.raises(RuntimeError, match="crashed in the background") as caught:
            await all_of(arrivals)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)

"""The client: its key, its address, and what each of its methods promises."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from yarl import URL

from ppinfra_async import Client, ImageInput, Job, Limits, Polling, Retries, Timeouts
from ppinfra_async.errors import (
    ContentRejectedError,
    InsufficientBalanceError,
    InvalidKeyError,
    InvalidRequestError,
    TaskFailedError,
    TaskTimeoutError,
)
from ppinfra_async.events import (
    Event,
    InputReencoded,
    PollFailed,
    ResultDelivered,
    SubmitAbandoned,
    SubmitDelayed,
    TaskPolled,
    TaskSubmitted,
)
from ppinfra_async.testing import Fault, Simulator
from tests.clock import stopped_simulator
from tests.conftest import FAST_POLLING
from tests.exchanges import TASK_ID, Exchange
from tests.loops import run_in_virtual_time
from tests.pictures import draw_picture
from tests.requesting import img2img
from tests.scripted import ScriptedTransport
from tests.service import FAILED, PROCESSING, status
from tests.waiting import until

CLOSED_PORT = "http://127.0.0.1:9"


def client_of(simulator: Simulator) -> Client:
    return Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


# --- the key ----------------------------------------------------------------------------------------


async def answers(simulator: Simulator, key: str | None) -> bool:
    """Tell whether the service takes the key that a client makes of *key*."""
    async with Client(key, base_url=simulator.url) as client:
        try:
            await anext(client.models())
        except InvalidKeyError:
            return False
    return True


@pytest.mark.parametrize(
    "key", ["sk_simulator", "  sk_simulator\n", "Bearer sk_simulator", " Bearer  sk_simulator "]
)
async def test_key_is_taken_as_people_paste_it(simulator: Simulator, key: str) -> None:
    """White space and the header's word around a key are not part of it."""
    assert await answers(simulator, key)


@pytest.mark.parametrize(
    ("environment", "is_right"),
    [
        ({"PPINFRA_API_KEY": "sk_simulator"}, True),
        ({"PPIO_API_KEY": "sk_simulator"}, True),
        ({"PPINFRA_API_KEY": "", "PPIO_API_KEY": "sk_simulator"}, True),
        ({"PPINFRA_API_KEY": "sk_simulator", "PPIO_API_KEY": "other"}, True),
        ({"PPINFRA_API_KEY": "other", "PPIO_API_KEY": "sk_simulator"}, False),
    ],
)
async def test_key_comes_from_the_environment(
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    is_right: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    """PPINFRA_API_KEY first, then PPIO_API_KEY; an empty one counts as none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert await answers(simulator, None) is is_right


async def test_given_key_wins(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed in the program is meant."""
    monkeypatch.setenv("PPINFRA_API_KEY", "other")

    assert await answers(simulator, "sk_simulator")


def test_missing_key_names_the_variables() -> None:
    """Without a key there is no client, and the message says where one is looked for."""
    with pytest.raises(InvalidKeyError, match=r"PPINFRA_API_KEY \(or PPIO_API_KEY\)") as caught:
        Client()
    assert caught.value.billed == "no"


@pytest.mark.parametrize(
    "key", ["", "   ", "Bearer ", "schlüssel", "two words", "tab\tin it", "a\nb"]
)
def test_key_that_cannot_be_one_is_refused(key: str) -> None:
    """A key with such characters could not even be sent; it is not shown either."""
    with pytest.raises(InvalidKeyError) as caught:
        Client(key)
    if key.strip():
        assert key.strip() not in str(caught.value)


def test_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the client's repr, and not in a traceback with local variables."""
    client = Client("sk_secret_1", base_url=CLOSED_PORT)
    assert "sk_secret_1" not in repr(client)

    monkeypatch.setenv("PPINFRA_API_KEY", "sk_secret_2")
    for key in ("sk_secret_1", None):
        with pytest.raises(ValueError, match="https") as caught:
            Client(key, base_url="ftp://example.com")
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [
            frame for frame in told.stack if Path(frame.filename).parent.name == "ppinfra_async"
        ]
        assert ours
        assert "sk_secret" not in str([frame.locals for frame in ours])


# --- the address ------------------------------------------------------------------------------------


def test_address_is_the_services_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word it is PPInfra's, else the environment's, else the given one."""
    assert Client("key").base_url == URL("https://api.ppinfra.com")
    monkeypatch.setenv("PPINFRA_BASE_URL", "https://api.ppio.com")
    assert Client("key").base_url == URL("https://api.ppio.com")
    assert Client("key", base_url="https://x.example/y").base_url == URL("https://x.example/y")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000", "https://example.com/api"],
)
def test_address_that_is_safe_for_a_key(url: str) -> None:
    """Plain http never leaves this machine."""
    assert Client("key", base_url=url).base_url == URL(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.ppinfra.com", "must be https"),
        ("http://192.168.0.7", "must be https"),
        ("http://localhost.example.com", "must be https"),
        ("ftp://example.com", "must begin with https://"),
        ("sk_live_password", "must begin with https://"),
        ("api.ppinfra.com", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("", "must begin with https://"),
        ("http://[::1", "The base URL is not an address"),
        ("https://example.com:99999", "The base URL is not an address"),
        ("https://user:password@example.com", "scheme, host, port and path only"),
        ("http://user:password@example.com", "scheme, host, port and path only"),
        ("https://example.com?key=1", "scheme, host, port and path only"),
        ("https://example.com#part", "scheme, host, port and path only"),
    ],
)
def test_address_that_would_give_the_key_away_is_refused(url: str, words: str) -> None:
    """The key must not be readable on the way; a password that was typed there is not shown."""
    with pytest.raises(ValueError, match=words) as caught:
        Client("key", base_url=url)
    assert "password" not in str(caught.value)


def test_empty_values_are_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable in a program must not lead to the real service, or to another key."""
    monkeypatch.setenv("PPINFRA_API_KEY", "sk_of_somebody")
    monkeypatch.setenv("PPINFRA_BASE_URL", CLOSED_PORT)
    with pytest.raises(InvalidKeyError):
        Client("")
    with pytest.raises(ValueError, match="base URL"):
        Client(base_url="")


def test_coroutine_for_events_is_refused() -> None:
    """Nobody would await it, and its events would be lost."""

    async def on_event(event: Event) -> None:
        raise AssertionError(event)

    with pytest.raises(TypeError, match="on_event must be a plain function"):
        Client("key", on_event=on_event)  # type: ignore[arg-type]  # the mistake is the test


def test_options_are_shown() -> None:
    """What is printed of a client is what it was made with."""
    client = Client("key", base_url=CLOSED_PORT, limits=Limits(images_per_minute=10))

    assert "images_per_minute=10" in repr(client)
    assert "http://127.0.0.1:9" in repr(client)
    assert (client.polling, client.retries, client.timeouts) == (Polling(), Retries(), Timeouts())


# --- check and attach -------------------------------------------------------------------------------


async def test_check_needs_no_network(tmp_path: Path) -> None:
    """Files and rules are looked at where nothing can be reached; the request comes back complete."""
    path = tmp_path / "cat.png"
    path.write_bytes(draw_picture(200, 160, "PNG"))
    async with Client("key", base_url=CLOSED_PORT) as client:
        checked: Any = await client.check(img2img(image=path))
        assert (checked.width, checked.height) == (200, 160)
        with pytest.raises(InvalidRequestError, match="cut short"):
            await client.check(img2img(image=path.read_bytes()[:-20]))


@pytest.mark.parametrize("request_", [None, "a cat", {"prompt": "a cat"}, Job(img2img())])
async def test_what_is_no_request_is_told(request_: Any) -> None:
    """Untyped code gets a sentence, not an AttributeError."""
    async with Client("key", base_url=CLOSED_PORT) as client:
        for use in (client.check, client.submit, client.generate):
            with pytest.raises(InvalidRequestError, match=r"must be a request, such as Img2Img"):
                await use(request_)


def test_attaching_does_nothing_yet() -> None:
    """Not even an event loop is needed for a handle."""
    client = Client("key", base_url=CLOSED_PORT)
    task = client.attach(" 0f8b-11 \n")

    assert task.id == "0f8b-11"
    assert not client.unfinished


@pytest.mark.parametrize("task_id", ["", "  ", None, 7, b"0f8b"])
def test_what_cannot_be_an_id_is_refused(task_id: Any) -> None:
    """Asking about a task called None would go on for long."""
    with pytest.raises(InvalidRequestError, match="task_id: must be the service's task id"):
        Client("key", base_url=CLOSED_PORT).attach(task_id)


async def test_attaching_to_a_known_task_is_the_same_handle(client: Client) -> None:
    """A task that was submitted here keeps its request."""
    task = await client.submit(img2img())

    assert client.attach(task.id) is task
    await task


async def test_any_client_can_attach(client: Client, simulator: Simulator) -> None:
    """The id is all that is needed, from another client or another day."""
    task = await client.submit(img2img(image_num=2))
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as another:
        result = await another.attach(task.id)

    assert (result.task_id, len(result.images), result.missing) == (task.id, 2, 0)
    assert simulator.counters.accepted == 1


async def test_new_task_may_be_unknown_for_a_moment() -> None:
    """A 404 right after the submit is not an end."""
    async with (
        Simulator(
            queue=0, processing=0, tiny_images=True, not_found_for=0.05, unknown_for=0.1
        ) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        assert len((await client.generate(img2img())).images) == 1


# --- submit and generate ----------------------------------------------------------------------------


async def test_submit_returns_the_handle(client: Client, simulator: Simulator) -> None:
    """The task is paid and known, with the request as it was sent."""
    task = await client.submit(img2img(prompt="a cat in oil"))

    assert task.request is not None
    assert task.request.width == 168  # type: ignore[attr-defined]  # of Img2Img
    assert list(client.unfinished) == [task]
    assert simulator.tasks[task.id].prompt == "a cat in oil"
    await task


@pytest.mark.parametrize("envelope", ["flat", "v2"])
async def test_generate_does_all_of_it(envelope: Any) -> None:
    """From a request to pictures with pixels, in both shapes of the submit's answer."""
    async with (
        Simulator(queue=0, processing=0.01, tiny_images=True, envelope=envelope) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        result = await client.generate(img2img(image_num=2, seed=7))

    assert [image.pil.size for image in result.images] == [(8, 8), (8, 8)]
    assert (result.seed, result.missing) == (7, 0)
    assert simulator.counters.accepted == 1
    assert not client.unfinished


async def test_generate_without_decoding(client: Client) -> None:
    """Bytes are verified, pixels are not there."""
    result = await client.generate(img2img(), decode=False)

    assert result.images[0].data
    with pytest.raises(RuntimeError, match=r"await image\.decode\(\)"):
        _ = result.images[0].pil


def time_out(transport: ScriptedTransport) -> None:
    """Let `generate` run into a timeout of a minute, and wait on with the handle in its error."""
    client = Client("key", base_url=CLOSED_PORT)
    client._connect(transport)

    async def main() -> None:
        async with client:
            with pytest.raises(TaskTimeoutError) as caught:
                await client.generate(img2img(), timeout=60)
            error = caught.value
            assert (error.task_id, error.billed) == (TASK_ID, "yes")
            assert list(client.unfinished) == [error.task]

            transport.polls = [Exchange(then=status(FAILED, reason="out of memory"))]
            with pytest.raises(TaskFailedError, match="out of memory"):
                await error.task
            assert not client.unfinished

    run_in_virtual_time(main, busy=lambda: client._images.threads.limiter.borrowed_tokens > 0)
    assert transport.paid == 1


def test_timeout_of_generate_has_the_handle() -> None:
    """The task goes on; awaiting the error's task tells its end."""
    time_out(ScriptedTransport([Exchange()], [Exchange(then=status(PROCESSING))]))


def test_timeout_while_submitting_has_the_handle() -> None:
    """When the id arrives within the grace, it is in the error."""
    time_out(ScriptedTransport([Exchange(after=62)], [Exchange(then=status(PROCESSING))]))


async def test_timeout_before_anything_was_sent_has_no_task(simulator: Simulator) -> None:
    """A request that waited for its turn was not paid."""
    simulator.faults.order("submit", Fault.status(429), times=None)
    async with Client(simulator.api_key, base_url=simulator.url) as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.generate(img2img(), timeout=0.05)

    error = caught.value
    assert (error.task, error.task_id, error.billed) == (None, None, "no")
    assert simulator.counters.accepted == 0


async def test_timeout_while_pictures_are_looked_at_is_not_paid() -> None:
    """A file that takes for ever, as on a dead network drive, does not hold the caller."""
    awake = threading.Event()

    class Stuck(Image.Image):
        def load(self) -> Any:
            awake.wait()
            return super().load()

    stuck = Stuck()
    async with Client("key", base_url=CLOSED_PORT) as client:
        try:
            with pytest.raises(TaskTimeoutError, match="pictures were looked at") as caught:
                await client.generate(img2img(image=stuck), timeout=0.01)
        finally:
            awake.set()

    assert (caught.value.task, caught.value.billed) == (None, "no")


async def test_timeout_that_does_not_pass_is_nothing(client: Client) -> None:
    """A result within the time is a result."""
    assert len((await client.generate(img2img(), timeout=10)).images) == 1


# --- many -------------------------------------------------------------------------------------------


async def test_many_stand_in_input_order(client: Client) -> None:
    """One bad prompt and one failed task are outcomes of their own."""
    prompts = ["a cat", "simulate-illegal", "a dog", "simulate-failure", "a bird"]
    jobs = [Job(img2img(prompt=prompt), key=prompt) for prompt in prompts]
    outcomes = await client.generate_many(jobs)

    assert [outcome.key for outcome in outcomes] == prompts
    errors = [type(outcome.error) for outcome in outcomes]
    none = type(None)
    assert errors == [none, ContentRejectedError, none, TaskFailedError, none]
    assert [len(outcomes[number].result.images) for number in (0, 2, 4)] == [1, 1, 1]
    with pytest.raises(TaskFailedError):
        _ = outcomes[3].result


async def test_broken_request_sinks_nothing(client: Client) -> None:
    """A file that is missing is one outcome; so is something that is no request at all."""
    items: list[Any] = [img2img(), img2img(image=Path("missing.png")), "no request"]
    outcomes = await client.generate_many(items)

    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        InvalidRequestError,
        InvalidRequestError,
    ]


async def test_wrong_key_dooms_the_rest(simulator: Simulator) -> None:
    """What was not begun is not sent, and carries the error all the same."""
    async with Client("other", base_url=simulator.url) as client:
        outcomes = await client.generate_many(img2img() for _ in range(100))

    assert [type(outcome.error) for outcome in outcomes] == [InvalidKeyError] * 100
    assert simulator.counters.submit_starts <= 64


async def test_empty_balance_dooms_the_rest() -> None:
    """What could be paid is delivered, and nothing else is sent on."""
    async with (
        Simulator(queue=0, processing=0, tiny_images=True, balance=3) as simulator,
        Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client,
    ):
        outcomes = await client.generate_many([img2img() for _ in range(100)])

    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    assert [type(error) for error in errors] == [InsufficientBalanceError] * 97
    assert simulator.counters.accepted == 3
    assert simulator.counters.submit_starts <= 67


async def test_cancelled_list_keeps_what_was_done() -> None:
    """Results that nobody will see any more are tasks in `unfinished`."""
    async with stopped_simulator() as (simulator, _), client_of(simulator) as client:
        quick = Fault.outcome(processing=0)
        simulator.faults.order("submit", quick, when=lambda call: "dog" in str(call.body))
        many = asyncio.ensure_future(
            client.generate_many([img2img(prompt="a dog"), img2img(prompt="a cat")])
        )
        await until(lambda: simulator.counters.downloads == 1 and len(client.unfinished) == 1)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many

        assert {task.id for task in client.unfinished} == set(simulator.tasks)


async def test_cancelled_list_keeps_what_was_incomplete() -> None:
    """A task whose picture could not be had is paid, and may still be fetched."""
    async with stopped_simulator() as (simulator, _), client_of(simulator) as client:
        client._images._retries = Retries(attempts=1)
        quick = Fault.outcome(processing=0)
        simulator.faults.order("submit", quick, when=lambda call: "dog" in str(call.body))
        simulator.faults.order("download", Fault.status(500))
        many = asyncio.ensure_future(
            client.generate_many([img2img(prompt="a dog"), img2img(prompt="a cat")])
        )
        await until(lambda: simulator.counters.downloads == 1 and len(client.unfinished) == 1)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many

        assert {task.id for task in client.unfinished} == set(simulator.tasks)
        (dog,) = (task for task in simulator.tasks.values() if task.prompt == "a dog")
        assert (await client.attach(dog.task_id)).images[0].pil.size == (8, 8)


async def test_cancelled_list_tells_of_money_in_doubt(caplog: pytest.LogCaptureFixture) -> None:
    """A submit that may be paid and has no id is told by an event and a warning at least."""
    events: list[Event] = []
    async with stopped_simulator() as (simulator, _):
        client = Client(
            simulator.api_key,
            base_url=simulator.url,
            polling=FAST_POLLING,
            on_event=events.append,
        )
        cut = Fault.cut_after_read()
        simulator.faults.order("submit", cut, when=lambda call: "dog" in str(call.body))
        async with client:
            many = asyncio.ensure_future(
                client.generate_many([img2img(prompt="a dog"), img2img(prompt="a cat")])
            )
            await until(lambda: simulator.counters.accepted == 2 and len(client.unfinished) == 1)
            await anyio.sleep(0.05)
            many.cancel()
            with pytest.raises(asyncio.CancelledError):
                await many

    (lost,) = (event for event in events if isinstance(event, SubmitAbandoned))
    assert getattr(lost.error.request, "prompt", "") == "a dog"
    assert "may have been paid" in caplog.text


async def test_refused_status_call_makes_no_other_request_look_paid() -> None:
    """A key that is refused in the middle dooms what was not sent; only what was sent is paid."""
    async with stopped_simulator() as (simulator, _), client_of(simulator) as client:
        simulator.faults.order("poll", Fault.status(403, "INVALID_API_KEY"))
        requests = [img2img(prompt=str(number)) for number in range(70)]
        many = asyncio.ensure_future(client.generate_many(requests))
        await until(lambda: simulator.counters.faults == 1)
        simulator.faults.order("poll", Fault.status(403, "INVALID_API_KEY"), times=None)
        errors = [outcome.error for outcome in await many]

    sent = [error for error in errors if error and error.task_id]
    assert {error.task_id for error in sent} == set(simulator.tasks)
    assert {error.billed for error in sent} == {"yes"}
    unsent = [error for error in errors if error and not error.task_id]
    # At most 64 are under way at once, and what was not sent by then is withdrawn.
    assert 6 <= len(unsent) == 70 - len(sent)
    assert {(type(error), error.billed) for error in unsent} == {(InvalidKeyError, "no")}


async def test_models_are_listed(client: Client) -> None:
    """The client's own session and key are used."""
    names = [model.model_name async for model in client.models(types="vae", page_size=2)]

    assert len(names) == 5


# --- unfinished -------------------------------------------------------------------------------------


async def test_unfinished_are_those_whose_end_nobody_received(simulator: Simulator) -> None:
    """Submitted and not delivered; delivering, failing or being told the failure takes it out."""
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        kept = await client.submit(img2img())
        had = await client.submit(img2img())
        failed = await client.submit(img2img(prompt="simulate-failure"))
        assert list(client.unfinished) == [kept, had, failed]
        await had
        with pytest.raises(TaskFailedError):
            await failed
        assert list(client.unfinished) == [kept]

    assert list(client.unfinished) == [kept]


async def test_unfinished_tasks_are_named_at_close(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Their ids are in the log, once, for who did not look."""
    client = Client(simulator.api_key, base_url=simulator.url)
    task = await client.submit(img2img())
    with caplog.at_level(logging.WARNING, "ppinfra_async"):
        await client.close()
        await client.close()

    assert caplog.messages == [
        f"The client was closed with tasks that nobody has received (1); paid, or may be: {task.id}"
    ]


# --- events -----------------------------------------------------------------------------------------


async def test_events_tell_the_story_in_order() -> None:
    """What was done to the input, that it is paid, how it stands, what was delivered."""
    events: list[Event] = []
    picture = ImageInput.from_bytes(draw_picture(64, 48, "JPEG", orientation=6))
    async with stopped_simulator() as (simulator, clock):

        def on_event(event: Event) -> None:
            events.append(event)
            # The first poll finds it at work, the next one done.
            clock.now += 61 if isinstance(event, TaskPolled) else 0

        async with Client(
            simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, on_event=on_event
        ) as client:
            result = await client.generate(img2img(image=picture))

    assert kinds(events) == [
        InputReencoded,
        TaskSubmitted,
        TaskPolled,
        TaskPolled,
        ResultDelivered,
    ]
    submitted, delivered = events[1], events[-1]
    assert isinstance(submitted, TaskSubmitted)
    assert (submitted.task_id, submitted.request.width) == (result.task_id, 128)  # type: ignore[attr-defined]  # of Img2Img
    assert isinstance(delivered, ResultDelivered)
    assert delivered.result is result
    polled = [event.update.status.name for event in events if isinstance(event, TaskPolled)]
    assert polled == ["PROCESSING", "SUCCEED"]
    assert result.timing.polls == 2


async def test_events_tell_what_did_not_go_through(simulator: Simulator) -> None:
    """A submit that has to wait and a poll that brought nothing are told, with why."""
    events: list[Event] = []
    simulator.faults.order("submit", Fault.cut_before_read())
    simulator.faults.order("poll", Fault.html(502))
    async with Client(
        simulator.api_key,
        base_url=simulator.url,
        polling=FAST_POLLING,
        retries=Retries(max_wait=0),
        on_event=events.append,
    ) as client:
        await client.generate(img2img())

    assert kinds(events) == [SubmitDelayed, TaskSubmitted, PollFailed, TaskPolled, ResultDelivered]


async def test_callback_that_raises_is_logged_and_harmless(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A paid task does not die of a progress bar."""

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, on_event=broken
    ) as client:
        result = await client.generate(img2img())

    assert len(result.images) == 1
    assert caplog.messages[0] == "on_event raised for TaskSubmitted; the work goes on"
    assert caplog.records[0].exc_info is not None
    assert caplog.messages[-1] == "on_event raised for ResultDelivered; the work goes on"


async def test_events_come_on_the_event_loop(simulator: Simulator) -> None:
    """A callback may touch what belongs to the loop."""
    loops: list[asyncio.AbstractEventLoop] = []
    async with Client(
        simulator.api_key,
        base_url=simulator.url,
        polling=FAST_POLLING,
        on_event=lambda _: loops.append(asyncio.get_running_loop()),
    ) as client:
        await client.generate(img2img())
    await anyio.lowlevel.checkpoint()

    assert set(loops) == {asyncio.get_running_loop()}

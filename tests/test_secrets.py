"""The key, and a proxy's password, go where they must and are shown nowhere."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import anyio
import attrs
import pytest
from attrs import define

from ppinfra_async import Client, Limits, Network, Polling, Retries, Timeouts
from ppinfra_async._sansio.wire import HttpReply
from ppinfra_async.errors import InvalidKeyError
from ppinfra_async.testing import Fault, Simulator
from tests.proxies import proxy
from tests.raw_server import Connection, Head, raw_server, response
from tests.requesting import img2img
from tests.tls import server_context, trusting_context

# Only in globals: a local of a test's own frame would be found in every traceback.
KEY = "sk_do_not_show_me_0123456789"
PASSWORD = "p-do-not-show-me"
SECRETS = ("do_not_show_me", "do-not-show-me", "cC1kby1ub3Qtc2hvdy1tZ")

QUICK = dict[str, Any](
    retries=Retries(attempts=2, max_wait=0),
    polling=Polling(min_interval=0.01, max_interval=0.02, polls_per_second=500, total_deadline=5),
    limits=Limits(max_wait=0.5),
    timeouts=Timeouts(
        connect=0.3, upload_stall=0.2, submit_reply=0.2, poll=0.2, download_stall=0.2,
        cancel_grace=0.1,
    ),
)  # fmt: skip


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        if secret in text:
            at = text.index(secret)
            pytest.fail(f"shown: …{text[max(0, at - 200) : at + 40]}…")


# --- what is left of an error ---------------------------------------------------------------------


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk everything that an error refers to, shown or suppressed."""
    waiting, seen = [error], set()
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions


def shown(value: object, depth: int = 3) -> Iterator[str]:
    """Show a value as the tools do that expand containers and attrs classes."""
    yield repr(value)
    for part in parts(value) if depth else ():
        yield from shown(part, depth - 1)


def parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | set):
        return list(value)
    kind: type[Any] = type(value)
    if attrs.has(kind):
        fields = [field for field in attrs.fields(kind) if field.repr is True]
        return [getattr(value, field.name, None) for field in fields]
    return []


def frames(trace: TracebackType | None) -> Iterator[object]:
    while trace is not None:
        yield from list(trace.tb_frame.f_locals.values())
        trace = trace.tb_next


def assert_error_is_clean(error: BaseException) -> None:
    """Look at it as loggers, crash reporters and debuggers do."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert_clean("".join(lines))
    for each in chain(error):
        assert_clean(f"{each!s} {each!r} {each.args!r} {vars(each)!r}")
        each.__suppress_context__ = False
        for local in frames(each.__traceback__):
            for text in shown(local):
                assert_clean(text)


async def failure_of(call: Awaitable[object]) -> BaseException:
    try:
        await call
    except (Exception, asyncio.CancelledError) as error:
        return error
    pytest.fail("it did not fail")


# --- failures of every kind -----------------------------------------------------------------------


@define
class Scene:
    simulator: Simulator
    client: Client


async def submit(scene: Scene) -> BaseException:
    return await failure_of(scene.client.submit(img2img()))


async def generate(scene: Scene) -> BaseException:
    return await failure_of(scene.client.generate(img2img()))


async def list_models(scene: Scene) -> BaseException:
    return await failure_of(anext(aiter(scene.client.models())))


async def cancelled(call: Callable[[Scene], Awaitable[BaseException]], scene: Scene) -> Any:
    task = asyncio.ensure_future(call(scene))
    await anyio.sleep(0.05)
    task.cancel()
    return await task


async def cancelled_submit(scene: Scene) -> BaseException:
    return await cancelled(submit, scene)  # type: ignore[no-any-return]


async def cancelled_models(scene: Scene) -> BaseException:
    return await cancelled(list_models, scene)  # type: ignore[no-any-return]


async def impatient(scene: Scene) -> BaseException:
    return await failure_of(scene.client.generate(img2img(), timeout=0.05))


async def closed(scene: Scene) -> BaseException:
    await scene.client.close()
    return await failure_of(scene.client.submit(img2img()))


async def gone(scene: Scene) -> BaseException:
    await scene.simulator.stop()
    return await submit(scene)


async def gone_models(scene: Scene) -> BaseException:
    await scene.simulator.stop()
    return await list_models(scene)


Failing = Callable[[Scene], Awaitable[BaseException]]
ELSEWHERE = Fault.redirect(307, "http://127.0.0.1:1/")
FAILURES: dict[str, tuple[Failing, str, Fault | None]] = {
    "connection refused": (gone, "submit", None),
    "connection refused to a listing": (gone_models, "models", None),
    "submit cut before": (submit, "submit", Fault.cut_before_read()),
    "submit cut after": (submit, "submit", Fault.cut_after_read()),
    "answer cut": (submit, "submit", Fault.cut_in_reply(5)),
    "no answer": (submit, "submit", Fault.never_answer()),
    "key repeated": (submit, "submit", Fault.status(403, body=f"The key {KEY} is not known.")),
    "key repeated as JSON": (
        submit,
        "submit",
        Fault.status(403, body=f'{{"code": 403, "reason": "INVALID_API_KEY", "message": "{KEY}"}}'),
    ),
    "key refused": (submit, "submit", Fault.status(403, "INVALID_API_KEY")),
    "balance": (submit, "submit", Fault.status(400, "BILLING_BALANCE_NOT_ENOUGH")),
    "quota": (submit, "submit", Fault.status(429, headers={"Retry-After": "60"})),
    "gateway": (submit, "submit", Fault.html(502)),
    "redirect": (submit, "submit", ELSEWHERE),
    "garbage": (submit, "submit", Fault.garbage()),
    "listing cut": (list_models, "models", Fault.cut_after_read()),
    "listing without answer": (list_models, "models", Fault.never_answer()),
    "listing redirected": (list_models, "models", ELSEWHERE),
    "listing garbled": (list_models, "models", Fault.garbage()),
    "listing refused": (list_models, "models", Fault.status(401)),
    "poll refused": (generate, "poll", Fault.status(403, "INVALID_API_KEY")),
    "download cut": (generate, "download", Fault.cut_in_reply(5)),
    "download refused": (generate, "download", Fault.status(500)),
    "download redirected": (generate, "download", Fault.redirect(302, "http://[::1")),
    "no picture": (generate, "download", Fault.not_an_image()),
    "failed task": (generate, "submit", Fault.outcome(reason="no")),
    "cancelled submit": (cancelled_submit, "submit", Fault.never_answer()),
    "cancelled upload": (cancelled_submit, "submit", Fault.never_read()),
    "cancelled listing": (cancelled_models, "models", Fault.never_answer()),
    "timeout": (impatient, "poll", Fault.never_answer()),
    "closed": (closed, "submit", None),
}


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with (
        Simulator(queue=0, processing=0, tiny_images=True, api_key=KEY) as simulator,
        Client(KEY, base_url=simulator.url, **QUICK) as client,
    ):
        yield Scene(simulator, client)


@pytest.mark.parametrize("name", FAILURES)
async def test_no_failure_shows_the_key(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not its text, not its locals, not what it suppresses, not what is logged meanwhile."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)  # the library's own interface
    failing, where, fault = FAILURES[name]
    async with scene() as on:
        if fault is not None:
            on.simulator.faults.order(where, fault, times=None)  # type: ignore[arg-type]  # one of the places
        error = await failing(on)
        assert_error_is_clean(error)
        assert_clean(repr(on.client))
    assert_clean(caplog.text)


async def test_success_logs_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the libraries below say at their most talkative."""
    caplog.set_level(logging.DEBUG)
    async with scene() as on:
        await on.client.generate(img2img())
    assert_clean(caplog.text)


# --- construction ---------------------------------------------------------------------------------


def construct(**arguments: Any) -> BaseException:
    try:
        Client(**arguments)
    except (InvalidKeyError, ValueError) as error:
        return error
    pytest.fail("it was accepted")


@pytest.mark.parametrize(
    "given",
    [
        lambda: {"api_key": f"{KEY}\n{KEY}"},
        lambda: {"api_key": f"{KEY}é"},
        lambda: {"api_key": KEY, "base_url": "http://api.example"},
        lambda: {"api_key": KEY, "base_url": "https://api.example/?x=1"},
    ],
    ids=["broken key", "foreign key", "plain http", "query"],
)
def test_refused_argument_shows_no_key(given: Callable[[], dict[str, Any]]) -> None:
    """A key with a typing mistake is nearly the key."""
    error = construct(**given())
    # The frames of the test itself hold the arguments.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    assert trace is not None
    assert_error_is_clean(error.with_traceback(trace))


def test_key_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a key like any other."""
    monkeypatch.setenv("PPINFRA_API_KEY", KEY)

    assert_clean(repr(Client()))
    assert_error_is_clean(construct(base_url="http://api.example"))


# --- where it goes --------------------------------------------------------------------------------


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[int, list[Head]]]:
    """Run a host that notes what it is told."""
    heads: list[Head] = []

    async def handle(connection: Connection) -> None:
        while True:
            heads.append(head := await connection.head())
            await connection.body(head.length)
            await connection.send(response(200, {}, b"nothing"))

    async with raw_server(handle) as server:
        yield server.port, heads


async def test_key_is_not_sent_to_an_image_host() -> None:
    """Its address is text from the network."""
    async with listener() as (port, heads), scene() as on:
        url = f"http://127.0.0.1:{port}/picture?signed=1"
        on.simulator.faults.order("poll", Fault.image_url(url), times=None)
        await generate(on)

    assert heads
    for head in heads:
        assert_clean(f"{head.target} {head.headers}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_key_is_not_sent_after_a_redirect(status: int) -> None:
    """No call of ours goes where an answer points."""
    async with listener() as (port, heads), scene() as on:
        away = Fault.redirect(status, f"http://127.0.0.1:{port}/")
        for where in ("submit", "poll", "models"):
            on.simulator.faults.order(where, away, times=1)
        await submit(on)
        await list_models(on)
        await on.client.generate(img2img())

    assert heads == []


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refuse", [None, 407])
@pytest.mark.parametrize("call", [submit, list_models, cancelled_models])
async def test_no_failure_shows_the_password_of_a_proxy(
    refuse: int | None, call: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither as it was written nor as it is sent."""
    caplog.set_level(logging.DEBUG)

    async def cut(connection: Connection) -> None:
        head = await connection.head()
        await connection.body(head.length)
        await anyio.sleep(0.1)
        if head.method == "HEAD":
            await connection.answer(HttpReply(status=200))

    async with raw_server(cut, tls=server_context()) as server, proxy(server.port) as via:
        via.refuse = refuse
        network = Network(
            proxy=f"http://user:{PASSWORD}@127.0.0.1:{via.port}", ssl_context=trusting_context()
        )
        async with Client(KEY, base_url="https://api.example", network=network, **QUICK) as client:
            simulator: Any = None
            assert_error_is_clean(await call(Scene(simulator, client)))
            assert_clean(repr(client))
            assert_clean(repr(network))
        assert via.heads[0].headers["proxy-authorization"].startswith("Basic ")
    assert_clean(caplog.text)


async def test_proxy_that_is_not_there_shows_no_password() -> None:
    """The message names its host and port."""
    network = Network(proxy=f"http://user:{PASSWORD}@127.0.0.1:1")
    async with Client(KEY, base_url="https://api.example", network=network, **QUICK) as client:
        simulator: Any = None
        error = await submit(Scene(simulator, client))

    assert "Connection refused" in str(error)
    assert_error_is_clean(error)

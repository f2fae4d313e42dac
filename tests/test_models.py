"""The service's models, page by page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from ppinfra_async import Client, Model, Retries
from ppinfra_async._background import Background
from ppinfra_async._models import ModelIterator
from ppinfra_async._sansio.wire import HttpCall, HttpReply, TransportFailure
from ppinfra_async.errors import (
    InvalidKeyError,
    InvalidRequestError,
    ProtocolError,
    RateLimitedError,
    ServiceError,
)
from ppinfra_async.testing import Fault, Simulator
from tests.answers import reply
from tests.exchanges import Exchange
from tests.loops import run_in_virtual_time
from tests.scripted import ScriptedTransport

FAST_RETRIES = Retries(max_wait=0)


async def listed(client: Client, **filters: Any) -> list[Model]:
    return [model async for model in client.models(**filters)]


# --- pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end_cursor", ["", "c_0", None])
@pytest.mark.parametrize("page_size", [7, 64, 100])
async def test_all_pages_are_read(end_cursor: str | None, page_size: int) -> None:
    """Every model comes once, whatever the page size and however the last page says it is the last."""
    async with (
        Simulator(end_cursor=end_cursor) as simulator,
        Client(simulator.api_key, base_url=simulator.url) as client,
    ):
        names = [model.model_name for model in await listed(client, page_size=page_size)]
        known = [model.model_name for model in simulator.settings.models]

    assert len(known) == 64
    assert names == known


async def test_pages_are_asked_for_when_they_are_needed(simulator: Simulator) -> None:
    """One page in memory at a time; who stops early asks no more."""
    async with Client(simulator.api_key, base_url=simulator.url) as client:
        models = client.models(page_size=10)
        assert simulator.counters.models == 0
        for _ in range(10):
            await anext(models)
        assert simulator.counters.models == 1
        await anext(models)
        assert simulator.counters.models == 2


@pytest.mark.parametrize("naming", ["ppinfra", "novita"])
async def test_both_naming_schemes_give_what_a_request_wants(naming: Any) -> None:
    """`model_name` is what a request sends, whether the listing calls it so or as Novita does."""
    async with (
        Simulator(naming=naming) as simulator,
        Client(simulator.api_key, base_url=simulator.url) as client,
    ):
        checkpoint = (await listed(client, types="checkpoint"))[0]
        lora = (await listed(client, types="lora"))[0]

    assert checkpoint.model_name == "sd_xl_base_1.0.safetensors"
    assert (checkpoint.name, checkpoint.type) == ("sd xl base 1.0", "checkpoint")
    assert (checkpoint.is_sdxl, checkpoint.base_model) == (True, "SDXL 1.0")
    assert lora.model_name == "add_detail_44319"


async def test_filters_go_on_the_wire(simulator: Simulator) -> None:
    """Each filter narrows the list, booleans as the lower-case words that the service wants."""
    async with Client(simulator.api_key, base_url=simulator.url) as client:
        inpainting = await listed(client, is_inpainting=True)
        sdxl = await listed(client, types="lora", is_sdxl=True)
        others = await listed(client, types="lora", is_sdxl=False)
        found = await listed(client, query="ghibli", visibility="public", source="civitai")
        private = await listed(client, visibility="private")

    assert [model.model_name for model in inpainting] == [
        "realisticVisionV40_v40VAE-inpainting_81543.safetensors",
        "sd-v1-5-inpainting.ckpt",
    ]
    assert (len(sdxl), len(others)) == (3, 9)
    assert [model.model_name for model in found] == ["studioGhibliStyle_offset_7657"]
    assert private == []


@pytest.mark.parametrize("page_size", [0, 101, -1])
def test_page_size_is_checked_before_anything_is_asked(page_size: int) -> None:
    """The service takes 1…100."""
    client = Client("key", base_url="http://127.0.0.1:9")

    with pytest.raises(InvalidRequestError, match="page_size: must be 1…100") as caught:
        client.models(page_size=page_size)

    assert [violation.path for violation in caught.value.violations] == ["page_size"]


# --- cursors and pages that are wrong ---------------------------------------------------------------


def page(names: list[str], cursor: str | None) -> HttpReply:
    pagination = {} if cursor is None else {"next_cursor": cursor}
    return reply(
        200, {"models": [{"model_name": name} for name in names], "pagination": pagination}
    )


async def test_odd_entry_is_left_out_and_logged(
    client: Client, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody loses the list for one entry, and nobody is left to wonder where it is."""
    simulator.faults.order("models", Fault.edited(lambda tree: _without_names(tree, 0)))
    names = [model.model_name async for model in client.models(types="vae")]

    assert len(names) == 4
    assert "left out" in caplog.text
    assert "answer.models[0]" in caplog.text


def _without_names(tree: Any, index: int) -> Any:
    tree["models"][index] = {"id": 1}
    return tree


def listing(answer: Callable[[str], HttpReply | Exception]) -> ScriptedTransport:
    """Return a service that answers a page by its cursor."""

    async def exchange(call: HttpCall) -> Exchange:
        return Exchange(then=answer(dict(call.query).get("pagination.cursor", "")))

    return ScriptedTransport(polls=exchange)


def read_all(
    pages: ScriptedTransport, retries: Retries | None = None, **filters: Any
) -> tuple[list[str], Exception | None]:
    """Read all models in virtual time; return their names and what ended the reading."""
    names: list[str] = []

    async def main() -> None:
        models = ModelIterator(
            pages, Background(), retries or Retries(max_wait=4), filters, page_size=2
        )
        async for model in models:
            names.append(model.model_name)  # noqa: PERF401  # what came before an error counts

    try:
        run_in_virtual_time(main)
    except Exception as error:
        return names, error
    return names, None


def test_cursor_that_repeats_itself_is_the_end() -> None:
    """A last page that answers with its own cursor ends the list."""
    pages = listing(lambda cursor: page(["b"], "two") if cursor == "two" else page(["a"], "two"))

    assert read_all(pages) == (["a", "b"], None)
    assert len(pages.calls) == 2


def test_cursors_in_a_circle_are_an_error() -> None:
    """A list that leads back to an earlier page is told instead of being read for ever."""
    following = {"": "one", "one": "two", "two": "three", "three": "one"}
    pages = listing(lambda cursor: page([cursor or "start"], following[cursor]))

    names, error = read_all(pages)

    assert names == ["start", "one", "two"]
    assert isinstance(error, ProtocolError)
    assert error.message == "The list of models goes in circles at cursor 'one'."
    assert len(pages.calls) == 4


def test_empty_page_in_between_is_not_the_end() -> None:
    """Only the cursor says where the end is."""
    pages = listing(lambda cursor: page(["a"], None) if cursor else page([], "next"))

    assert read_all(pages) == (["a"], None)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>maintenance</html>",
        b"",
        b'{"models": [{"model_na',
        json.dumps({"models": "none"}).encode(),
        json.dumps({"models": [{"id": 3}]}).encode(),
        json.dumps([]).encode(),
    ],
)
def test_broken_page_is_an_error_after_the_good_ones(body: bytes) -> None:
    """What was read stays read, and the answer that cannot be read is shown."""
    pages = listing(lambda cursor: reply(200, body) if cursor else page(["a"], "next"))

    names, error = read_all(pages)

    assert names == ["a"]
    assert isinstance(error, ProtocolError)
    assert error.status == 200


def test_query_is_what_was_asked() -> None:
    """Filters that are None are left out, and the cursor only from the second page on."""
    pages = listing(lambda cursor: page(["b"], "") if cursor else page(["a"], "next"))

    read_all(pages, types="lora", is_sdxl=False, query=None)

    assert [call.path for call in pages.calls] == ["/v3/model", "/v3/model"]
    assert pages.calls[0].query == (
        ("filter.types", "lora"),
        ("filter.is_sdxl", "false"),
        ("pagination.limit", "2"),
    )
    assert pages.calls[1].query[3:] == (("pagination.cursor", "next"),)


# --- trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(500, "UNKNOWN"),
        Fault.status(503),
        Fault.html(502),
        Fault.status(429),
        Fault.cut_after_read(),
        Fault.cut_in_reply(20),
    ],
    ids=["500", "503", "502 page", "429", "cut", "cut in the reply"],
)
async def test_passing_trouble_is_tried_again(simulator: Simulator, fault: Fault) -> None:
    """A listing costs nothing, so whatever may pass is asked for again."""
    simulator.faults.order("models", fault, times=2)
    async with Client(simulator.api_key, base_url=simulator.url, retries=FAST_RETRIES) as client:
        assert len(await listed(client)) == 64

    assert simulator.counters.models == 3


async def test_refused_key_is_not_tried_again(simulator: Simulator) -> None:
    """An answer that will not change is told at once."""
    async with Client("another", base_url=simulator.url) as client:
        with pytest.raises(InvalidKeyError):
            await listed(client)

    assert simulator.counters.models == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(500, {"code": 500, "reason": "UNKNOWN"}), ServiceError),
        (reply(429, {"code": 429, "reason": "RATE_LIMIT_EXCEEDED"}), RateLimitedError),
        (reply(502, b"<html>"), ProtocolError),
        (TransportFailure("the server cut the connection"), ServiceError),
    ],
    ids=["500", "429", "502 page", "cut"],
)
def test_trouble_that_lasts_is_told_after_the_last_try(
    answer: HttpReply | TransportFailure, kind: type[Exception]
) -> None:
    """After `Retries.attempts` tries the last trouble is raised, with what caused it."""
    pages = listing(lambda _: answer)

    names, error = read_all(pages, Retries(attempts=3))

    assert names == []
    assert isinstance(error, kind)
    assert len(pages.calls) == 3
    if isinstance(answer, TransportFailure):
        assert error.__cause__ is answer
        assert str(error).startswith(
            "The models could not be listed: the server cut the connection."
        )


def test_retry_after_is_waited() -> None:
    """The service's own word on how long to wait is followed."""
    answers = [reply(429, {"reason": "RATE_LIMIT_EXCEEDED"}, retry_after="7"), page(["a"], "")]
    times: list[float] = []

    def answer(_: str) -> HttpReply:
        times.append(anyio.current_time())
        return answers.pop(0)

    assert read_all(listing(answer), Retries()) == (["a"], None)
    assert times[1] - times[0] == 7


async def test_closed_client_lists_nothing(client: Client) -> None:
    """Also an iterator that was begun before says that the client is closed."""
    models = client.models(page_size=10)
    await anext(models)
    await client.close()
    for _ in range(9):
        await anext(models)

    with pytest.raises(RuntimeError, match="closed"):
        await anext(models)

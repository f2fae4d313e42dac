"""``ppinfra models`` against the simulator."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ppinfra_async import Client
from ppinfra_async._cli import main
from ppinfra_async._cli._models import _Listing, columns, fits
from ppinfra_async._cli._options import Printing
from ppinfra_async._cli._screen import Screen
from ppinfra_async.results import Model
from ppinfra_async.testing import Fault, SimulatorThread
from tests._cli.commands import Call, Finished, finish, start
from tests._cli.terminals import terminal


def test_a_pipe_gets_columns_between_tabs(service: SimulatorThread, call: Call) -> None:
    """What to type comes first, so that `cut -f1` gives it."""
    del service
    ended = call("models", "--type", "checkpoint", "--limit", 2)
    assert ended == Finished(
        0,
        "sd_xl_base_1.0.safetensors\tcheckpoint\tSDXL 1.0\tsd xl base 1.0\n"
        "v1-5-pruned-emaonly.safetensors\tcheckpoint\tSD 1.5\tv1-5-pruned-emaonly\n",
        "There are more than 2: ask for them with --limit.\n",
    )


def test_json_is_one_document_a_line(service: SimulatorThread, call: Call) -> None:
    """A script reads model after model."""
    del service
    ended = call("models", "--type", "lora", "--query", "pixel art", "--json")
    (tree,) = map(json.loads, ended.out.splitlines())
    assert tree == {
        "model_name": "pixel-art-xl-v1.1_sdxl",
        "type": "lora",
        "base_model": "SDXL 1.0",
        "name": "pixel-art-xl-v1.1 sdxl",
        "usable": True,
        "is_sdxl": True,
        "tags": [],
    }


def test_all_pages_are_read(service: SimulatorThread, call: Call) -> None:
    """The limit counts models, not pages."""
    del service
    assert len(call("models", "--limit", 1000).out.splitlines()) == 64


def test_nothing_found_is_said(service: SimulatorThread, call: Call) -> None:
    """An empty list is no error, and no silence either."""
    del service
    assert call("models", "--query", "no such thing") == Finished(0, "", "No model fits.\n")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, True),
        ("", True),
        ("DREAM", True),
        ("dream 1.5", True),
        ("anime", True),
        ("xl", False),
    ],
)
def test_every_word_must_be_somewhere(query: str | None, expected: bool) -> None:  # noqa: FBT001
    """Name, base model and tags are searched, without regard to case."""
    model = Model(
        model_name="dreamshaper.safetensors", name="Dream", base_model="SD 1.5", tags=("anime",)
    )
    assert fits(model, query) is expected


async def test_a_table_is_drawn_when_all_is_there(client: Client) -> None:
    """On a terminal the columns need all rows first, so nothing is written before."""
    screen, found = Screen(), list[Model]()
    listing = _Listing(screen, Printing(), found, as_table=True)
    await listing.read(client, "vae", None, 3)
    assert len(found) == 3
    assert not screen._pending


async def test_the_list_ends_when_nobody_reads(client: Client) -> None:
    """The model after which the reader left is the last one."""
    reading, writing = os.pipe()
    os.close(reading)
    screen, found = Screen(), list[Model]()
    with os.fdopen(writing, "w") as broken, redirect_stdout(broken):
        await _Listing(screen, Printing(), found, as_table=False).read(client, None, None, 1000)
    assert len(found) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a system without pseudo terminals")
def test_on_a_terminal_it_is_a_table(
    service: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With headings, and columns that stand below each other."""
    del service
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with terminal() as opened, redirect_stdout(opened.stream), redirect_stderr(io.StringIO()):
        assert main(["models", "--type", "upscaler"]) == 0
        shown = re.sub("\x1b\\[[0-9;]*m", "", opened.shown())
    rows = [line.split() for line in shown.splitlines()]
    assert rows[0] == ["model_name", "type", "base", "model", "name"]
    assert rows[1][:2] == ["RealESRGAN_x4plus_anime_6B", "upscaler"]
    assert len(rows) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="a system without pseudo terminals")
@pytest.mark.parametrize("width", [30, 80])
def test_a_models_name_is_never_broken(
    service: SimulatorThread, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """It is there to be copied, however narrow the terminal; other columns give way."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    with terminal() as opened, redirect_stdout(opened.stream), redirect_stderr(io.StringIO()):
        assert main(["models", "--limit", "1000"]) == 0
        shown = re.sub("\x1b\\[[0-9;]*m", "", opened.shown())
    assert {line.split()[0] for line in shown.splitlines()[1:]} == {
        model.model_name for model in service.settings.models
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_behind_the_list_is_an_error(more: list[str]) -> None:
    """A script must not take an empty file for an empty list."""
    errors = io.StringIO()
    with Path("/dev/full").open("w") as full, redirect_stdout(full), redirect_stderr(errors):
        assert main(["models", *more]) == 1
    assert "No space left on device" in errors.getvalue()


def test_a_model_that_is_not_usable_is_marked() -> None:
    """Nobody should pay to find out."""
    assert columns(Model(model_name="m", type="vae", usable=False))[1] == "vae (not usable now)"


def test_a_limit_that_makes_no_sense(call: Call) -> None:
    """One sentence, before anything is asked."""
    assert call("models", "--limit", 0) == Finished(
        2, "", "ppinfra: --limit must be a whole number from 1, got 0.\n"
    )


def test_names_of_strangers_cannot_move_the_cursor(service: SimulatorThread, call: Call) -> None:
    """Whatever a model is called, its line stays one line of four columns."""

    def renamed(tree: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
        tree["models"][0]["name"] = "a\tb\n\x1b[2Jc"
        return tree

    service.faults.order("models", Fault.edited(renamed))
    (line,) = call("models", "--limit", 1).out.splitlines()
    assert line.split("\t")[3] == "a b  [2Jc"


def test_a_server_that_is_down(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the address that does not answer."""
    monkeypatch.setenv("PPINFRA_API_KEY", "sk_x")
    ended = call("models", "--base-url", "http://127.0.0.1:9", "--attempts", 1)
    assert ended == Finished(
        5,
        "",
        "ppinfra: The models could not be listed: no connection to 127.0.0.1:9 "
        "(Connection refused). Nothing was paid for it.\n",
    )


def test_a_reader_who_leaves_ends_the_list(service: SimulatorThread) -> None:
    """`| head -1` is silent and no error, and no further page is asked for."""
    process = start("models", "--limit", "1000")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    ended = finish(process)
    assert (ended.code, ended.err) == (0, "")
    assert service.counters.models == 1

"""The page of a batch as a real browser shows it from the disk; skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from attrs import evolve

from ppinfra_async.batch._gallery import Entry, Picture, write_gallery
from tests.batch.browsers import BROWSER, Tab, browsing, command
from tests.pictures import draw_picture

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'&amp;<!-- <b>"
FOLDER = "results #1, 50%"

ENTRY = Entry(
    title="job",
    outcome="done",
    source="../源 ?/cat.png",
    pictures=(Picture(path="a#1.png", width=60, height=40),),
    prompt="a cat",
    parameters=(("steps", "20"),),
    seed=7,
    task_id="task-7",
    missing=0,
    error="",
)


class Seen(HTMLParser):
    """What a reader finds in the page after its script ran."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run, its sources beside it, all under names that addresses must encode."""
    made = tmp_path / FOLDER
    made.mkdir()
    (tmp_path / "源 ?").mkdir()
    (tmp_path / "源 ?" / "cat.png").write_bytes(draw_picture(60, 40, "PNG"))
    (made / "a#1.png").write_bytes(draw_picture(60, 40, "PNG"))
    yield made
    # A browser's profile is large, and pytest keeps folders.
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def page(folder: Path, entries: list[Entry]) -> str:
    """Write the page; return its address."""
    path = folder / "index.html"
    said: dict[str, Any] = {"title": "Cats", "note": "n", "generator": "g"}
    write_gallery(path, iter(entries), total=len(entries), **said)
    return path.as_uri()


@asynccontextmanager
async def looking(folder: Path, entries: list[Entry]) -> AsyncIterator[Tab]:
    """Write the page and open it to be used."""
    address = await anyio.to_thread.run_sync(page, folder, entries)
    async with browsing(address, folder.parent / "profile") as tab:
        yield tab


def opened(folder: Path, entries: list[Entry], fragment: str = "") -> Seen:
    """Write the page, open it from the disk and return what is in it then."""
    address = page(folder, entries) + fragment
    options = ("--virtual-time-budget=3000", "--dump-dom", address)
    done = subprocess.run(  # noqa: S603  # a browser
        command(folder.parent / "profile", *options), capture_output=True, check=True, timeout=60
    )
    # The script and the style stand in the dump as well.
    return Seen(re.sub(r"<(script|style)\b.*?</\1>", "", done.stdout.decode(), flags=re.DOTALL))


def test_hostile_texts_are_shown_and_run_nothing(folder: Path) -> None:
    """Every text of a job is there as text; no element of its making is, and no script of it ran."""
    entry = evolve(
        ENTRY,
        title=HOSTILE,
        prompt=f"{HOSTILE}\nsecond line \u202e \U0001f63c {'W' * 1024}",
        parameters=((HOSTILE, HOSTILE),),
        task_id=HOSTILE,
        outcome="failed",
        error=HOSTILE,
    )
    seen = opened(folder, [entry])

    assert seen.texts.count(HOSTILE) == 5
    assert entry.prompt in seen.texts
    assert "Cats" in seen.texts
    assert {image["src"] for image in seen.all("img")} == {
        "../%E6%BA%90%20%3F/cat.png",
        "a%231.png",
    }
    assert not [a for _, a in seen.elements if any(name.startswith("on") for name in a)]


def test_pictures_of_other_folders_are_found_and_lost_ones_named(folder: Path) -> None:
    """The policy lets sources of other folders in; where a file is gone the page says so."""
    lost = evolve(ENTRY, source=None, pictures=(Picture(path="gone.png", width=4, height=3),))
    absolute = evolve(ENTRY, source=str(folder / "a#1.png"))
    seen = opened(folder, [ENTRY, absolute, lost])

    # A picture that fails, or that the policy refuses, is replaced by words.
    assert seen.texts.count("not here any more") == 1
    assert len(seen.all("img")) == 4


def test_address_chooses_what_is_listed(folder: Path) -> None:
    """With `#failed` only failed jobs are there, and the button says that it is pressed."""
    entries = [
        evolve(ENTRY, title="good"),
        evolve(ENTRY, title="bad", outcome="failed", pictures=(), error="refused"),
        evolve(ENTRY, title="unsure", outcome="in doubt", pictures=(), error="cut"),
    ]
    seen = opened(folder, entries, "#failed")

    assert [article["aria-label"] for article in seen.all("article")] == ["bad"]
    assert "refused" in seen.texts
    pressed = [button["aria-pressed"] for button in seen.all("button") if "aria-pressed" in button]
    assert pressed == ["false", "false", "true", "false", "false"]
    assert "1 of 3 jobs" in seen.texts


def test_address_can_carry_words(folder: Path) -> None:
    """Words find jobs by title, prompt and task id, in whatever case."""
    entries = [
        evolve(ENTRY, title="one", prompt="a red BALLOON"),
        evolve(ENTRY, title="two", prompt="red", task_id="balloon-9"),
        evolve(ENTRY, title="three", prompt="a red ball"),
    ]
    seen = opened(folder, entries, "#all&q=RED%20balloon")

    assert [article["aria-label"] for article in seen.all("article")] == ["one", "two"]


def test_of_many_jobs_only_those_near_the_eye_are_built(folder: Path) -> None:
    """With 5,000 jobs the page begins with a few, and knows how many there are."""
    seen = opened(folder, [evolve(ENTRY, title=f"job {number}") for number in range(5_000)])

    assert 20 <= len(seen.all("article")) <= 200
    assert "5,000 jobs" in seen.texts
    assert len(seen.all("div")) > 5_000 / 60


async def test_no_typed_letter_is_lost(folder: Path) -> None:
    """The address follows what is typed; told late of it, the page takes no letter back."""
    entries = [evolve(ENTRY, title="cat"), evolve(ENTRY, title="dog", prompt="a dog")]
    async with looking(folder, entries) as tab:
        await tab.ask("search = document.querySelector('search input'); search.focus()")
        await tab.call("Input.insertText", text="c")
        await tab.until("location.hash === '#all&q=c'")
        await tab.ask("search.value = 'ca'; dispatchEvent(new HashChangeEvent('hashchange'))")
        await tab.call("Input.insertText", text="t ")
        await tab.until("location.hash === '#all&q=cat'")

        assert await tab.ask("search.value") == "cat "
        assert await tab.ask("document.querySelector('.showing').textContent") == "1 of 2 jobs"


async def test_large_view_is_led_by_keys(folder: Path) -> None:
    """Arrows go from picture to picture and on to the next job; Escape leads back to its card."""
    failed = evolve(ENTRY, title="bad", outcome="failed", source=None, pictures=(), error="no")
    hostile = evolve(ENTRY, title=HOSTILE, pictures=ENTRY.pictures * 2)
    entries = [evolve(ENTRY, title="first"), failed, hostile]
    async with looking(folder, entries) as tab:
        await tab.ask("document.querySelectorAll('.tile')[1].click()")
        assert await large(tab) == ["first", "Result · 60 × 40", "a%231.png"]
        await tab.press("ArrowRight")
        assert await large(tab) == [HOSTILE, "Source", "../%E6%BA%90%20%3F/cat.png"]
        await tab.press("ArrowRight")
        assert await large(tab) == [HOSTILE, "Result 1 of 2 · 60 × 40", "a%231.png"]
        await tab.press("ArrowUp")
        assert (await large(tab))[:2] == ["first", "Source"]
        await tab.press("ArrowDown")
        await tab.press("Escape")

        # The page hears a moment later that the dialog is closed.
        focused = "document.activeElement.closest('article')?.ariaLabel"
        await tab.until(f"{focused} === {json.dumps(HOSTILE)}")
        assert await tab.ask("document.querySelector('dialog').open") is False


async def test_result_and_source_are_compared(folder: Path) -> None:
    """Of one shape they lie under a handle; of two shapes they stand side by side."""
    (folder / "high.png").write_bytes(draw_picture(40, 60, "PNG"))
    pictures = (*ENTRY.pictures, Picture(path="high.png", width=40, height=60))
    entries = [evolve(ENTRY, pictures=pictures)]
    async with looking(folder, entries) as tab:
        await tab.ask("document.querySelectorAll('.tile')[1].click()")
        await tab.press("c")
        await tab.until("!!document.querySelector('.slide input')")
        await tab.press("ArrowRight")
        await tab.until("document.querySelectorAll('.beside img').length === 2")

        assert await tab.ask("document.querySelector('.slide')") is None
        assert await tab.ask("document.querySelector('[data-name=compare]').ariaPressed") == "true"


async def large(tab: Tab) -> list[str]:
    """Return headline, what is shown and its address in the large view."""
    found = await tab.ask(
        "[...document.querySelectorAll('.top h2, .top p')].map((each) => each.textContent)"
        ".concat(document.querySelector('.top a').getAttribute('href'))"
    )
    assert isinstance(found, list)
    return found

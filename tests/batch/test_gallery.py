"""The page that shows all jobs of a batch, read without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async.batch._gallery import MOST_ENTRIES, Entry, Picture, write_gallery

HOSTILE = (
    "</script><img src=x onerror=alert(1)>'\"&amp;<!--<script>\u2028\u2029\u202e$title${x}\r\n\0"
)
# Halves of characters stand for the bytes of a file name that are not UTF-8.
ANY_TEXT = st.text(max_size=60) | st.text("<>&/\u2028\ud800\udcff'\"\\", max_size=20)

ENTRY = Entry(
    title="cat",
    outcome="done",
    source="../sources/cat.png",
    pictures=(Picture(path="cat-1.png", width=640, height=480),),
    prompt="a cat",
    parameters=(("steps", "20"),),
    seed=2**63 + 1,
    task_id="task-1",
    missing=0,
    error="",
)


def written(folder: Path, entries: Iterable[Entry], **changes: Any) -> str:
    path = folder / "index.html"
    said: dict[str, Any] = {
        "title": "Cats",
        "note": "1 done.",
        "total": 1,
        "generator": "us 1.0",
    } | changes
    write_gallery(path, entries, **said)
    return path.read_bytes().decode()


def block_of(html: str) -> str:
    (block,) = re.findall(
        r'<script type="application/json" id="entries">(.*?)</script>', html, re.DOTALL
    )
    return str(block)


def rows_of(html: str) -> list[list[Any]]:
    rows = json.loads(block_of(html))
    assert isinstance(rows, list)
    return rows


class Elements(HTMLParser):
    """Notes which elements and attributes there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[object] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [tag, *(name for name, _ in attrs)]


@given(text=ANY_TEXT | st.just(HOSTILE))
def test_every_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """What a browser reads from the block is what was given, whatever it is."""
    entry = evolve(
        ENTRY, title=text, prompt=text, parameters=((text, text),), task_id=text, error=text
    )
    (row,) = rows_of(written(tmp_path_factory.mktemp("page"), [entry]))

    # In a browser, two halves that meet are one character.
    same = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert [row[0], row[4], row[5], row[7], row[9]] == [same, same, [[same, same]], same, same]


@given(text=ANY_TEXT | st.just(HOSTILE))
def test_no_text_becomes_part_of_the_page(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """No character of a job can end the block, and no text adds an element or an attribute."""
    folder = tmp_path_factory.mktemp("page")
    entry = evolve(ENTRY, title=text, source=text, prompt=text, task_id=text, error=text)
    plain = written(folder, [ENTRY])
    html = written(folder, [entry], title=text, note=text, generator=text)

    assert not set(block_of(html)) & set("<>&\u2028\u2029")
    assert Elements(html).seen == Elements(plain).seen


def test_texts_of_the_head_can_be_read(tmp_path: Path) -> None:
    """The headline and the note are shown as they were given."""
    text = "</title><b>'\"&amp;$note"
    html = written(tmp_path, [], title=text, note=text)

    assert {unescape(found) for found in re.findall(r"<title>(.*?)</title>", html)} == {text}
    assert re.findall(r'<h1 dir="auto">(.*?)</h1>', html) == re.findall(
        r'<p class="note" dir="auto">(.*?)</p>', html
    )


def test_a_big_seed_keeps_its_last_digit(tmp_path: Path) -> None:
    """A browser's numbers hold 53 bits: seeds are text, and none is none."""
    rows = rows_of(written(tmp_path, [ENTRY, evolve(ENTRY, seed=None), evolve(ENTRY, seed=0)]))

    assert [row[6] for row in rows] == ["9223372036854775809", None, "0"]


def test_policy_allows_our_own_style_and_script_only(tmp_path: Path) -> None:
    """The digests are those of what stands in the page; pictures come from the disk only."""
    html = written(tmp_path, [ENTRY])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)

    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' file:",
        "style-src": f"'sha256-{_sha256(style)}'",
        "script-src": f"'sha256-{_sha256(script)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_page_loads_nothing_and_parses_no_markup(tmp_path: Path) -> None:
    """No address of another place is in it, and its script makes nothing from text but text."""
    html = written(tmp_path, [])

    assert not re.search(r"@import|https?:|url\(", html)
    for way_in in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "srcdoc"):
        assert way_in not in html
    assert "<noscript>" in html


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("a-1.png", "a-1.png"),
        ("../in/a b.png", "../in/a%20b.png"),
        ("50% off?#1.png", "50%25%20off%3F%231.png"),
        ("猫/杯.png", "%E7%8C%AB/%E6%9D%AF.png"),
        ("javascript:alert(1).png", "javascript%3Aalert%281%29.png"),
        ('"><script>.png', "%22%3E%3Cscript%3E.png"),
        ("\udcff.png", "%FF.png"),
        ("\ud800.png", "%EF%BF%BD.png"),
    ],
)
def test_addresses_are_those_of_files(tmp_path: Path, path: str, address: str) -> None:
    """Each part of a path is encoded, so that none is a scheme, a query or a fragment."""
    entry = evolve(ENTRY, source=path, pictures=(Picture(path=path, width=1, height=2),))
    (row,) = rows_of(written(tmp_path, [entry]))

    assert row[2] == address
    assert row[3] == [[address, 1, 2]]


def test_a_source_elsewhere_is_an_address_of_the_disk(tmp_path: Path) -> None:
    """An absolute path works from wherever the page is; a job without source has none."""
    source = tmp_path / "a b#.png"
    absolute, none = rows_of(
        written(tmp_path, [evolve(ENTRY, source=str(source)), evolve(ENTRY, source=None)])
    )

    parts = urlsplit(absolute[2])
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file", "", "", "")
    assert unquote_to_bytes(parts.path).decode().endswith("/a b#.png")
    assert none[2] is None


def test_entries_are_taken_one_by_one_and_not_more_than_shown(tmp_path: Path) -> None:
    """No entry is kept, none is taken in vain, and the page says that there are more."""
    taken = []

    def many() -> Iterator[Entry]:
        for number in range(100):
            taken.append(number)
            yield evolve(ENTRY, title=f"job {number}")

    html = written(tmp_path, many(), total=12_345, most=5)

    assert taken == [0, 1, 2, 3, 4]
    assert [row[0] for row in rows_of(html)] == [f"job {number}" for number in range(5)]
    assert "These are the first 5 of 12,345; all are in results.jsonl." in html


def test_limit_is_told_only_where_it_cuts(tmp_path: Path) -> None:
    """A page that shows all says nothing of it; 20,000 are still all."""
    assert "These are the first" not in written(tmp_path, [ENTRY], total=MOST_ENTRIES)
    assert "the first 20,000 of 20,001;" in written(tmp_path, [ENTRY], total=MOST_ENTRIES + 1)


def test_no_jobs_make_a_page_too(tmp_path: Path) -> None:
    """An empty run is shown as one."""
    assert rows_of(written(tmp_path, [], total=0)) == []


def test_a_new_page_takes_the_place_of_the_old(tmp_path: Path) -> None:
    """Only the page is in the folder afterwards."""
    written(tmp_path, [ENTRY])
    (row,) = rows_of(written(tmp_path, [evolve(ENTRY, title="dog")]))

    assert row[0] == "dog"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    """Nobody ever finds half a page."""
    before = written(tmp_path, [ENTRY])

    def broken() -> Iterator[Entry]:
        yield ENTRY
        raise OSError("the journal cannot be read")

    with pytest.raises(OSError, match="journal"):
        written(tmp_path, broken())

    assert (tmp_path / "index.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_page_fits_phones_and_the_dark(tmp_path: Path) -> None:
    """It says how wide it is and follows the reader's colour scheme."""
    html = written(tmp_path, [])

    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "prefers-color-scheme: dark" in html

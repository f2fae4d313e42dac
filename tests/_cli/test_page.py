"""The page with before and after."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._cli._page import Card, page

# What HTML itself cannot carry is left out; everything hostile is in.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=80)
HOSTILE = '</style><script>alert("1")</script>\'"><img src=x onerror=alert(1)>&amp;$note${x}'


def made(text: str) -> str:
    card = Card(
        prompt=text,
        picture=b"after",
        media_type="image/jpeg",
        size=(960, 640),
        facts=(("seed", text), (text, "7")),
    )
    return page(
        source=text,
        before=b"before",
        before_type="image/png",
        cards=[card, card],
        note=text,
        commands=text,
        generator=text,
    )


class Reader(HTMLParser):
    """Notes elements, attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def value(self, name: str) -> list[str | None]:
        return [value for key, value in self.attributes if key == name]


@given(ANY_TEXT | st.just(HOSTILE))
def test_no_text_becomes_part_of_the_page(text: str) -> None:
    """Prompt, names, facts and commands are shown as they are and change no element."""
    plain, given_text = Reader(made("x")), Reader(made(text))
    assert given_text.elements == plain.elements
    assert [name for name, _ in given_text.attributes] == [name for name, _ in plain.attributes]


def test_texts_are_shown_as_they_were_typed() -> None:
    """What looks like markup or like a placeholder is still readable."""
    read = Reader(made(HOSTILE))
    assert read.texts.count(HOSTILE) >= 6
    assert f"After: {HOSTILE}" in read.value("alt")


def test_the_page_loads_nothing() -> None:
    """All pictures are inside; there is no address in it that a browser would fetch."""
    html = made("x")
    sources = Reader(html).value("src")
    assert sources == ["data:image/jpeg;base64,YWZ0ZXI="] * 2
    assert 'url("data:image/png;base64,YmVmb3Jl")' in html
    assert not re.search(r"(href|@import|https?:|//\w)", html)


def test_the_page_forbids_every_other_script_and_style() -> None:
    """Its policy names the digests of its own script and style, and nothing else may run."""
    html = made(HOSTILE)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy[1]


def test_the_page_fits_phones_and_the_dark() -> None:
    """It says how wide it is and follows the reader's colour scheme."""
    html = made("x")
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "prefers-color-scheme: dark" in html


def test_pictures_are_counted_in_words() -> None:
    """The first line says how many variations there are."""
    assert "Two variations of" in made("x")

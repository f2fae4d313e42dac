"""Makes the page that shows before and after; refuses to let what it shows become part of the page.

One file without network: the pictures are inside. Every text is escaped, and the page's own policy
allows no script and no style but the ones below, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from attrs import frozen

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")


@frozen(kw_only=True)
class Card:
    """One variation.

    Attributes:
        prompt: What was asked.
        picture: The file, as bytes.
        media_type: Such as ``image/jpeg``.
        size: Pixels.
        facts: Names and values to show below.
    """

    prompt: str
    picture: bytes
    media_type: str
    size: tuple[int, int]
    facts: Sequence[tuple[str, str]]


def page(
    *,
    source: str,
    before: bytes,
    before_type: str,
    cards: Sequence[Card],
    note: str,
    commands: str,
    generator: str,
) -> str:
    """Return the page as HTML."""
    style = f'{_part("page.css")}:root {{ --before: url("{_data_url(before, before_type)}"); }}\n'
    script = _part("page.js")
    count = _NUMBERS[len(cards)] if len(cards) < len(_NUMBERS) else str(len(cards))
    return Template(_part("page.html")).substitute(
        title=escape(f"Before and after: {source}"),
        source=escape(source),
        count=count,
        note=escape(note),
        commands=escape(commands),
        generator=escape(generator),
        cards="".join(_card(card, source) for card in cards),
        style=style,
        style_hash=_digest(style),
        script=script,
        script_hash=_digest(script),
    )


def _card(card: Card, source: str) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in card.facts
    )
    return Template(_part("page_card.html")).substitute(
        after=_data_url(card.picture, card.media_type),
        prompt=escape(card.prompt),
        source=escape(source),
        width=card.size[0],
        height=card.size[1],
        facts=facts,
    )


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _digest(text: str) -> str:
    # https://www.w3.org/TR/CSP3/#match-element-to-source-list
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

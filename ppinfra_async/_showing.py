"""How values appear in messages and reprs: short, and without secrets; refuses to print them."""

from __future__ import annotations

import os

_SHOWN_LENGTH = 60


def shown(value: object) -> str:
    """Return *value* as it is put into a message: its ``repr``, cut to a readable length."""
    if isinstance(value, os.PathLike):
        # Never cut: a file's name is at the end.
        return repr(os.fspath(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return shown_size(value)
    if isinstance(value, str):
        rest = f"… ({len(value):,} characters)" if len(value) > _SHOWN_LENGTH else ""
        return f"{value[:_SHOWN_LENGTH]!r}{rest}"
    try:
        text = repr(value)
    except Exception:
        # Such as a number of thousands of digits: a message about a value must not fail for it.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def shown_size(data: bytes | bytearray | memoryview | str | None) -> str:
    """Return how much *data* is, for a ``repr`` that must not hold a picture."""
    if data is None:
        return "None"
    return f"<{len(data):,} {'characters' if isinstance(data, str) else 'bytes'}>"


def url_without_query(url: str) -> str:
    """Return *url* as it may be shown: the query of a signed address lets anybody read the image."""
    bare, _, query = url.partition("?")
    return f"{bare}?…" if query else bare


def shown_url(url: str | None) -> str:
    """Return the same as a ``repr``."""
    return "None" if url is None else repr(url_without_query(url))

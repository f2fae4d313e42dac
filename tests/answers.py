"""Answers of the service: recorded shapes, and replies made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ppinfra_async._sansio.wire import HttpReply

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> Any:
    """Return the JSON tree of the sample *name*."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def reply(status: int, body: Any = None, **headers: str) -> HttpReply:
    """Return a reply; *body* is bytes or a JSON tree, names of *headers* have underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lowered = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status=status, headers=lowered, body=content)


def changed(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy of *tree* with *value* at *path*; ``...`` takes the key away."""
    copied = json.loads(json.dumps(tree))
    place = copied
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied

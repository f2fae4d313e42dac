"""What every request has: an endpoint, an envelope and pictures at known paths; refuses all I/O."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Literal

import attrs
from attrs import frozen

from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests._checks import Checked

Envelope = Literal["extra+request", "flat"]


@frozen(kw_only=True)
class Request(Checked):
    """Base of all requests that answer with a task id.

    Attributes:
        path: Path of the endpoint.
        envelope: ``extra+request`` puts the fields under ``request``, beside ``extra``;
            ``flat`` sends them as they are.
    """

    path: ClassVar[str]
    envelope: ClassVar[Envelope] = "extra+request"

    @property
    def images_asked(self) -> int:
        """How many images this asks for, the unit that the service meters and bills."""
        return getattr(self, "image_num", 1)


def pictures_of(value: Any, path: str = "") -> Iterator[tuple[str, ImageInput]]:
    """Walk *value* and yield each picture in it with its path, such as ``controlnet[0].image``."""
    if isinstance(value, ImageInput):
        yield path, value
    elif isinstance(value, tuple):
        for position, item in enumerate(value):
            yield from pictures_of(item, f"{path}[{position}]")
    elif isinstance(value, Checked):
        kind: Any = type(value)
        for name in _names(kind):
            item = getattr(value, name)
            # Most fields are such, and to ask each of them what it is would take half of the time.
            if item is not None and type(item) not in _NO_PICTURES:
                yield from pictures_of(item, f"{path}.{name}" if path else name)


_NO_PICTURES = {str, int, float, bool, dict}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))

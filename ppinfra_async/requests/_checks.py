"""Rules for request fields, and the base class that reports all broken ones at once; refuses all I/O.

A rule is a function from a field's path and value to the violations in it. It never raises, so one
broken field does not hide the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from enum import Enum
from typing import Any, Self, TypeVar, cast

import attrs
from attrs import frozen

from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.inputs import BadInputError, ImageInput, ImageSource

Rule = Callable[[str, Any], Iterator[Violation]]
E = TypeVar("E", bound=Enum)

_LARGEST_JSON_INTEGER = 2**63 - 1
_DEEPEST_JSON = 100


def integer(low: int, high: int | None = None) -> Rule:
    """Rule: a whole number in *low*…*high*; without *high*, up to what 64 bits hold."""
    ceiling = _LARGEST_JSON_INTEGER if high is None else high
    allowed = (
        f"must be a whole number in {low}…{high}" if high else f"must be a whole number ≥ {low}"
    )

    def check(path: str, value: Any) -> Iterator[Violation]:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and high is None and value > ceiling:
            yield Violation(path, value, f"must be at most {ceiling}: JSON numbers end there")
        elif not (whole and low <= value <= ceiling):
            yield Violation(path, value, allowed)

    return check


def number(low: float, high: float, *, above_low: bool = False) -> Rule:
    """Rule: a number in *low*…*high*, *low* itself excluded with *above_low*."""
    allowed = f"must be a number > {low} and ≤ {high}" if above_low else f"must be {low}…{high}"

    def check(path: str, value: Any) -> Iterator[Violation]:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares false with everything, is refused.
        if not (numeric and low <= value <= high and not (above_low and value == low)):
            yield Violation(path, value, allowed)

    return check


def text(low: int, high: int | None = None) -> Rule:
    """Rule: a ``str`` of *low*…*high* characters that UTF-8 can carry.

    PPInfra does not say whether it counts characters or bytes; characters are the wider reading.
    """
    allowed = f"must be text of {low}…{high} characters" if high else "must be text, not empty"

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, str) or len(value) < low or (high and len(value) > high):
            yield Violation(path, value, allowed)
        elif not is_unicode(value):
            yield Violation(path, value, "must be valid Unicode (no lone surrogates)")

    return check


def flag() -> Rule:
    """Rule: True or False."""

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, bool):
            yield Violation(path, value, "must be True or False")

    return check


def one_of(kind: type[Enum]) -> Rule:
    """Rule: a member of the enum *kind*, or one of its values."""
    allowed = f"must be one of {', '.join(repr(member.value) for member in kind)}"

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, kind):
            yield Violation(path, value, allowed)

    return check


def picture() -> Rule:
    """Rule: an ``ImageInput`` that holds a picture, for endpoints that take the picture itself."""

    def check(path: str, value: Any) -> Iterator[Violation]:
        if isinstance(value, ImageInput):
            if value.url is not None:
                yield Violation(path, value, "must be the picture itself: no address is taken here")
            return
        try:
            ImageInput.of(value)
        except BadInputError as error:
            yield Violation(path, value, str(error))

    return check


def part(kind: type) -> Rule:
    """Rule: one *kind*."""

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, kind):
            yield Violation(path, value, f"must be a {kind.__name__}")

    return check


def parts(kind: type, most: int | None = None) -> Rule:
    """Rule: at most *most* of *kind*, in a list or tuple."""

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, tuple):
            yield Violation(path, value, f"must be a list of {kind.__name__}")
            return
        if most is not None and len(value) > most:
            yield Violation(path, len(value), f"must have at most {most} items")
        for position, item in enumerate(value):
            yield from part(kind)(f"{path}[{position}]", item)

    return check


def json_object() -> Rule:
    """Rule: a mapping from ``str`` to plain JSON."""

    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, dict):
            yield Violation(path, value, "must be a mapping from key to plain JSON")
            return
        for key, item in value.items():
            if not _is_key(key) or not is_json(item):
                yield Violation(f"{path}[{key!r}]", item, "must be plain JSON")

    return check


def is_json(value: object, levels: int = _DEEPEST_JSON) -> bool:
    """Tell whether *value* is made of what JSON can carry exactly, nested at most *levels* deep."""
    if levels == 0:
        return False
    match value:
        case None | bool():
            return True
        case str():
            return is_unicode(value)
        case int():
            return -_LARGEST_JSON_INTEGER <= value <= _LARGEST_JSON_INTEGER
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return all(is_json(item, levels - 1) for item in value)
        case dict():
            return all(_is_key(key) and is_json(item, levels - 1) for key, item in value.items())
    return False


def _is_key(key: object) -> bool:
    return isinstance(key, str) and is_unicode(key)


def is_unicode(value: str) -> bool:
    """Tell whether UTF-8 can carry *value*."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def rule(check: Rule, *, wire: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field whose value is held against *check* when the object is built.

    A field with ``default=None`` is optional: None means "not sent". *wire* is the service's name
    of the field where it differs from ours.
    """
    return {"rule": check, "wire": wire}


def wire_name(field: attrs.Attribute[Any]) -> str:
    """Return the service's name of *field*."""
    return field.metadata.get("wire") or field.name


def as_picture(value: ImageSource) -> ImageInput:
    """Convert to ``ImageInput`` what can be; the rule reports the rest."""
    try:
        return ImageInput.of(value)
    except BadInputError:
        return cast(ImageInput, value)


def as_member(kind: type[E], value: Any) -> Any:
    """Convert an enum's value to its member; the rule reports the rest."""
    try:
        return kind(value)
    except ValueError:
        return value


def as_dict(value: Any) -> Any:
    """Convert a mapping to a dict of our own; the rule reports the rest."""
    if not isinstance(value, Mapping):
        return value
    # What is not JSON may not be copyable either, or too deep for it.
    return deepcopy(dict(value)) if is_json(dict(value), _DEEPEST_JSON + 1) else dict(value)


def as_tuple(value: Any) -> Any:
    """Convert a list to a tuple; the rule reports the rest."""
    return tuple(value) if isinstance(value, list) else value


@frozen(kw_only=True)
class Checked:
    """Base of everything that is sent: frozen, and checked as a whole when it is built."""

    def __attrs_post_init__(self) -> None:
        """Hold every field against its rule.

        Raises:
            InvalidRequestError: with all violations.
        """
        if violations := tuple(self._violations()):
            raise InvalidRequestError.of(type(self).__name__, violations)

    def _violations(self) -> Iterator[Violation]:
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if "rule" not in field.metadata or (value is None and field.default is None):
                continue
            yield from field.metadata["rule"](field.name, value)
        yield from self._keys_given_twice()

    def _keys_given_twice(self) -> Iterator[Violation]:
        more = getattr(self, "more", None)
        if not isinstance(more, dict) or not more:
            return
        names = {wire_name(field) for field in attrs.fields(type(self)) if field.name != "more"}
        for key in names & more.keys():
            yield Violation(f"more[{key!r}]", more[key], "has a field of its own: use that")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with *changes*, checked like a new one."""
        return attrs.evolve(self, **changes)

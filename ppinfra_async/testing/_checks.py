"""Refuses settings that make no sense, each with one sentence; knows none of them by name."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Attribute

Check = Callable[[Any, "Attribute[Any]", Any], None]


def one_of(*choices: object) -> Check:
    """Allow these values only."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if value not in choices:
            known = ", ".join(map(repr, choices))
            raise ValueError(f"{attribute.name} must be one of {known}, got {value!r}.")

    return check


def number(
    low: float, high: float = math.inf, *, open_low: bool = False, optional: bool = False
) -> Check:
    """Allow finite numbers from *low* (with *open_low*, above it) to *high*; *optional* allows None."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if not (optional and value is None):
            ensure_number(attribute.name, value, low, high, open_low=open_low)

    return check


def ensure_number(
    name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False
) -> None:
    """Refuse anything but a finite number in the range.

    Raises:
        ValueError: with the name, the range and the value.
    """
    fits = isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high
    if not fits or (open_low and value == low):
        raise ValueError(f"{name} must be {_range(low, high, open_low)}, got {value!r}.")


def _range(low: float, high: float, open_low: bool) -> str:  # noqa: FBT001  # one of three
    if math.isinf(high):
        return f"more than {low:g}" if open_low else f"{low:g} or more"
    return f"more than {low:g} and at most {high:g}" if open_low else f"{low:g} to {high:g}"


def limit_per(known: Callable[[], frozenset[str]]) -> Check:
    """Allow None, a whole number, or whole numbers by one of the *known* names."""

    def check(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
        if isinstance(value, Mapping):
            for name, each in value.items():
                if name not in known():
                    names = ", ".join(sorted(known()))
                    raise ValueError(f"{attribute.name} knows no {name!r}, only {names}.")
                ensure_number(f"{attribute.name}[{name!r}]", each, 0)
        elif value is not None:
            ensure_number(attribute.name, value, 0)

    return check

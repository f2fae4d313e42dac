"""What answers of the service say beside a task's state, as values; refuses to read any JSON."""

from __future__ import annotations

from attrs import field, frozen

from ppinfra_async.results import Model


class UnreadableError(ValueError):
    """JSON that is not what the service documents; the message names the place."""


@frozen(kw_only=True)
class ErrorBody:
    """An error answer: ``{"code", "reason", "message", "metadata"}``, every part optional."""

    code: int | None = None
    reason: str = ""
    message: str = ""
    details: str = ""

    @property
    def says_no(self) -> bool:
        """True when the code stands for an error; 0 and 200 wrap successes."""
        return self.code is not None and self.code != 0 and not 200 <= self.code < 300


@frozen(kw_only=True)
class ModelPage:
    """One page of models.

    Attributes:
        models: What could be read.
        next_cursor: Of the next page, empty at the end.
        unreadable: Why entries are left out, one line each: one odd entry must not hide the others.
    """

    models: list[Model]
    next_cursor: str
    unreadable: list[str] = field(factory=list)

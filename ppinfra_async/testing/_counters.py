"""Counts what happened on the sockets and in the book; draws no conclusion."""

from collections.abc import Mapping

import attrs
from attrs import define


@define(kw_only=True)
class Counters:
    """What has happened since the start, a `reset` or, with a state file, ever.

    Attributes:
        submit_starts: POSTs to a task endpoint whose headers arrived.
        submits: those of them whose body was read to the end.
        accepted: tasks created, and thus paid.
        images: images paid.
        refused: submits that broke a rule, from the key to the limit.
        refused_429: those of them that the limit of images did not allow.
        polls: requests for task-result, whatever was answered.
        polls_429: those of them that the limit of polls did not allow.
        noticed: tasks whose end was shown to somebody who polled.
        notice_ms: milliseconds from those ends to the first answer that showed them, added up.
        downloads: requests to the origin of the results, whatever was answered.
        models: requests for the listing of models.
        users: requests for the account.
        faults: ordered faults that were met.
        connections: connections made to the API.
        result_connections: connections made to the origin of the results.
        body_bytes: bytes of the submits' bodies, unpacked.
    """

    submit_starts: int = 0
    submits: int = 0
    accepted: int = 0
    images: int = 0
    refused: int = 0
    refused_429: int = 0
    polls: int = 0
    polls_429: int = 0
    noticed: int = 0
    notice_ms: int = 0
    downloads: int = 0
    models: int = 0
    users: int = 0
    faults: int = 0
    connections: int = 0
    result_connections: int = 0
    body_bytes: int = 0

    def snapshot(self) -> "Counters":
        """Copy the numbers of this moment."""
        return attrs.evolve(self)

    def tree(self) -> dict[str, int]:
        """Show the numbers as JSON."""
        return attrs.asdict(self)

    def clear(self) -> None:
        """Begin at zero again."""
        for name in attrs.fields_dict(Counters):
            setattr(self, name, 0)

    def raise_to(self, tree: Mapping[str, int]) -> None:
        """Take over larger numbers of an earlier life."""
        for name, value in tree.items():
            setattr(self, name, max(value, getattr(self, name)))

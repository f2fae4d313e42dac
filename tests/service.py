"""A service without sockets that answers status calls and downloads from a script, in any time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field

from ppinfra_async._sansio.wire import HttpCall, HttpReply, TransportFailure
from ppinfra_async._transport import CommitPoint, Fetched
from tests.answers import reply

QUEUED = "TASK_STATUS_QUEUED"
PROCESSING = "TASK_STATUS_PROCESSING"
SUCCEED = "TASK_STATUS_SUCCEED"
FAILED = "TASK_STATUS_FAILED"
CANCELED = "TASK_STATUS_CANCELED"

HOST = "https://images.example"

Answer = HttpReply | TransportFailure | Exception


def status(text: str, *, images: int = 0, reason: str = "", **more: Any) -> HttpReply:
    """Return a status answer that lists *images* images under ``HOST`` by their numbers."""
    listed = [{"image_url": f"{HOST}/{index}", "image_type": "png"} for index in range(images)]
    tree = {"task": {"status": text, "reason": reason}, "images": listed, "extra": {}}
    return reply(200, {**tree, **more})


def not_found() -> HttpReply:
    return reply(404, {"code": 404, "reason": "TASK_NOT_FOUND", "message": "task not found"})


@define
class Served:
    """What one download gives: ``Fetched``, piece by piece."""

    pieces: list[bytes]
    status: int = 200
    length: int | None = None
    content_type: str = "image/png"

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@define
class ScriptedService:
    """A ``Transport`` for status calls and downloads.

    Attributes:
        answers: What the status calls get, one after the other; the last one again and again. Or a
            function of the task id.
        downloads: What is behind an address; a function may be awaited for it.
        polls: The task ids that were asked about.
        fetched: The addresses that were fetched.
        closed: True after ``close``.
    """

    answers: Sequence[Answer] | Callable[[str], Awaitable[Answer]] = ()
    downloads: Mapping[str, Callable[[], Awaitable[Fetched]]] = field(factory=dict)
    polls: list[str] = field(factory=list)
    fetched: list[str] = field(factory=list)
    closed: bool = False

    async def send(self, call: HttpCall, commit: CommitPoint | None = None) -> HttpReply:
        assert commit is None
        assert call.method == "GET"
        task_id = dict(call.query)["task_id"]
        self.polls.append(task_id)
        answer = await self._answer(task_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _answer(self, task_id: str) -> Answer:
        if callable(self.answers):
            return await self.answers(task_id)
        return self.answers[min(len(self.polls), len(self.answers)) - 1]

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Fetched]:
        self.fetched.append(url)
        yield await self.downloads[url]()

    async def close(self) -> None:
        self.closed = True

"""What the service says about tasks and pictures, as a script for ``ScriptedTransport``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from ppinfra_async import Timeouts
from ppinfra_async._sansio.wire import HttpCall, HttpReply
from tests.answers import reply
from tests.exchanges import Exchange, Page, Serving
from tests.scripted import ScriptedTransport

QUEUED = "TASK_STATUS_QUEUED"
PROCESSING = "TASK_STATUS_PROCESSING"
SUCCEED = "TASK_STATUS_SUCCEED"
FAILED = "TASK_STATUS_FAILED"
CANCELED = "TASK_STATUS_CANCELED"

HOST = "https://images.example"

Answer = HttpReply | Exception


def status(text: str, *, images: int = 0, reason: str = "", **more: Any) -> HttpReply:
    """Return a status answer that lists *images* images under ``HOST`` by their numbers."""
    listed = [{"image_url": f"{HOST}/{index}", "image_type": "png"} for index in range(images)]
    tree = {"task": {"status": text, "reason": reason}, "images": listed, "extra": {}}
    return reply(200, {**tree, **more})


def not_found() -> HttpReply:
    return reply(404, {"code": 404, "reason": "TASK_NOT_FOUND", "message": "task not found"})


def served(
    *pieces: bytes,
    status: int = 200,
    content_type: str = "image/png",
    length: int | Literal["none"] | None = None,
    then: Literal["end", "cut", "silence"] | Exception = "end",
) -> Page:
    """Return what a host of pictures answers."""
    headers = {"content-type": content_type}
    return Page(status=status, headers=headers, pieces=pieces, length=length, then=then)


def answering(*answers: Answer) -> list[Exchange]:
    """Return what status calls meet that get these answers."""
    return [Exchange(then=answer) for answer in answers]


def scripted_service(
    answers: Sequence[Answer] | Callable[[str], Awaitable[Answer]] = (),
    pages: Mapping[str, Page | Serving] | None = None,
) -> ScriptedTransport:
    """Return a service that answers status calls, and has pictures; it may take hours for either.

    Args:
        answers: What the status calls get, one after the other; the last one again and again. Or a
            function of the task id.
        pages: What is behind an address.
    """

    async def exchange(call: HttpCall) -> Exchange:
        assert callable(answers)
        return Exchange(then=await answers(dict(call.query)["task_id"]))

    return ScriptedTransport(
        polls=exchange if callable(answers) else answering(*answers),
        pages=pages or {},
        timeouts=Timeouts(poll=36_000, download_stall=36_000),
    )

"""What may happen to a call or a download, as values: a socket and a script act out the same ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from attrs import field, frozen

from ppinfra_async._sansio.wire import BodyPlan, HttpCall, HttpReply, Upload

Event = Literal["cut", "silence", "garbage"]

TASK_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
ACCEPTED = HttpReply(
    status=200,
    headers={"content-type": "application/json", "x-trace-id": "trace-1"},
    body=b'{"task_id": "%s"}' % TASK_ID.encode(),
)


@frozen(kw_only=True)
class Exchange:
    """What happens to one call.

    Attributes:
        takes_body: Whether the server takes the body to its end; else it acts before it reads any.
        uploading: Seconds that the body takes up to its last byte.
        then: What it does next: it answers, cuts, stays silent or sends something that is not HTTP.
            An exception is for the script only, which raises it.
        after: Seconds before that.
        whole: False cuts the answer in the middle of its body.
    """

    takes_body: bool = True
    uploading: float = 0.0
    then: HttpReply | Event | Exception = ACCEPTED
    after: float = 0.0
    whole: bool = True


@frozen(kw_only=True)
class Page:
    """What a download gets.

    Attributes:
        status: Of the answer.
        headers: Names in lower case, without the length.
        pieces: The body as it is sent.
        pause: Seconds before each of them.
        length: What is declared; None is the true one, "none" declares nothing.
        then: What happens after the pieces. An exception is for the script only, which raises it.
    """

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    pieces: tuple[bytes, ...] = ()
    pause: float = 0.0
    length: int | Literal["none"] | None = None
    then: Literal["end", "cut", "silence"] | Exception = "end"


Answering = Callable[[HttpCall], Awaitable[Exchange]]
"""Decides what happens to a call without a body when it comes."""

Serving = Callable[[], Awaitable[Page]]
"""Decides what a download gets when it is opened; what it raises is for the script only."""


def redirect(location: str, status: int = 302) -> Page:
    return Page(status=status, headers={"location": location})


def submit_call(*pieces: bytes | Upload, commit: bytes = b"}") -> HttpCall:
    """Return a paid call with this body; by default a small one."""
    pieces = pieces or (b'{"request":{"prompt":"a cat"}',)
    sizes = (piece.encoded_size if isinstance(piece, Upload) else len(piece) for piece in pieces)
    plan = BodyPlan(pieces=pieces, commit=commit, size=sum(sizes) + len(commit))
    return HttpCall(method="POST", path="/v3/async/img2img", body=plan, replayable=False, images=1)


def status_call(task_id: str = "a b/c&d") -> HttpCall:
    return HttpCall(method="GET", path="/v3/async/task-result", query=(("task_id", task_id),))

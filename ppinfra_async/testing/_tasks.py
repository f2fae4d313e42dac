"""Keeps what is known of one accepted task and tells its state at a time; changes nothing."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pybase64
from attrs import define, field

from ppinfra_async.testing._pictures import Examined

Status = Literal[
    "TASK_STATUS_QUEUED",
    "TASK_STATUS_PROCESSING",
    "TASK_STATUS_SUCCEED",
    "TASK_STATUS_FAILED",
]


@define(kw_only=True)
class TaskRecord:
    """One task that was accepted, and therefore paid.

    `number` counts the accepted tasks from 1. `request` and `extra` are what was asked in known
    fields, pictures replaced by their lengths. `source` is the input picture; None with tiny images
    or where an endpoint takes none. `images` were paid, `produced` will be had. Times are seconds
    since the epoch, spans are seconds. `polls` and `downloads` count the requests about it; `is_noticed`
    tells whether a poll has shown its end.
    """

    task_id: str
    number: int
    endpoint: str
    task_type: str
    request: Mapping[str, Any]
    extra: Mapping[str, Any]
    images: int
    produced: int
    seed: int
    submitted_at: float
    queue: float
    processing: float
    reason: str = ""
    source: Examined | None = field(default=None, repr=False)
    polls: int = 0
    downloads: int = 0
    is_noticed: bool = False
    _clock: Callable[[], float] = field(repr=False, eq=False)

    @property
    def picture(self) -> bytes | None:
        """The input picture at the asked size, a JPEG file."""
        return None if self.source is None else self.source.scaled

    @property
    def picture_sha256(self) -> str:
        """The digest of the picture file that was sent; empty where none was looked at."""
        return "" if self.source is None else self.source.sha256

    @property
    def prompt(self) -> str:
        """What was asked for in words; empty where an endpoint has none."""
        return str(self.request.get("prompt") or "")

    @property
    def image_type(self) -> str:
        """The format of the results: png unless asked otherwise."""
        return str(self.extra.get("response_image_type") or "png")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the results in pixels."""
        return int(self.request["width"]), int(self.request["height"])

    @property
    def started_at(self) -> float:
        """When the queue ends."""
        return self.submitted_at + self.queue

    @property
    def finished_at(self) -> float:
        """When the work ends."""
        return self.started_at + self.processing

    @property
    def status(self) -> Status:
        """The true state at this moment, whatever answers are told to show."""
        return self.status_at(self._clock())

    def status_at(self, now: float) -> Status:
        """The true state at a time."""
        if now < self.started_at:
            return "TASK_STATUS_QUEUED"
        if now < self.finished_at:
            return "TASK_STATUS_PROCESSING"
        return "TASK_STATUS_FAILED" if self.reason else "TASK_STATUS_SUCCEED"

    def progress_at(self, now: float) -> int:
        """Per cent of the work done at a time."""
        if now >= self.finished_at:
            return 100
        if now <= self.started_at:
            return 0
        return int(100 * (now - self.started_at) / self.processing)

    def tree(self, *, with_picture: bool) -> dict[str, Any]:
        """Show the record as JSON, for the state file or another process."""
        tree = {name: getattr(self, name) for name in (*_KEPT, "picture_sha256")}
        if with_picture and self.picture is not None:
            tree["picture"] = pybase64.b64encode(self.picture).decode()
        return tree

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], clock: Callable[[], float]) -> "TaskRecord":
        """Read back what `tree` gave."""
        kept = {name: tree[name] for name in _KEPT}
        text, digest = tree.get("picture"), tree["picture_sha256"]
        picture = pybase64.b64decode(text) if text else None
        return cls(**kept, source=Examined(digest, picture) if digest else None, clock=clock)


_KEPT = (
    "task_id",
    "number",
    "endpoint",
    "task_type",
    "request",
    "extra",
    "images",
    "produced",
    "seed",
    "submitted_at",
    "queue",
    "processing",
    "reason",
)

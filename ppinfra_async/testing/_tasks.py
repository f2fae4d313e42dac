"""Keeps what is known of one accepted task and tells its state at a time; changes nothing."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pybase64
from attrs import define, field

Status = Literal[
    "TASK_STATUS_QUEUED",
    "TASK_STATUS_PROCESSING",
    "TASK_STATUS_SUCCEED",
    "TASK_STATUS_FAILED",
]


@define(kw_only=True)
class TaskRecord:
    """One task that was accepted, and therefore paid.

    `request` is what was asked, pictures replaced by their lengths; `picture` is the input picture
    scaled to the asked size (None with tiny images); `picture_sha256` is of the file that was sent.
    `images` were paid, `produced` will be had. Times are seconds since the epoch, spans are seconds.
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
    picture: bytes | None = field(default=None, repr=False)
    picture_sha256: str = ""
    polls: int = 0
    downloads: int = 0
    _clock: Callable[[], float] = field(repr=False, eq=False)

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
        tree = {name: getattr(self, name) for name in _KEPT}
        if with_picture and self.picture is not None:
            tree["picture"] = pybase64.b64encode(self.picture).decode()
        return tree

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], clock: Callable[[], float]) -> "TaskRecord":
        """Read back what `tree` gave."""
        kept = {name: tree[name] for name in _KEPT}
        picture = tree.get("picture")
        return cls(**kept, picture=pybase64.b64decode(picture) if picture else None, clock=clock)


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
    "picture_sha256",
)

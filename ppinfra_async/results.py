"""What comes back: updates, results, pictures, outcomes; refuses to fetch or decode by itself.

Facts about the service are from PPInfra's page on the task result:
https://ppinfra.com/docs/models/reference-get-async-task-result
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from ppinfra_async._showing import shown_size, shown_url
from ppinfra_async.errors import ImageError, PPInfraError
from ppinfra_async.requests import ImageType, Request

if TYPE_CHECKING:
    # Pillow takes 70 ms to import and is only needed when a picture is really decoded.
    from PIL.Image import Image as PILImage


class TaskStatus(StrEnum):
    """``task.status``. Open: a string we do not know is ``UNKNOWN``, and the task goes on waiting."""

    QUEUED = "TASK_STATUS_QUEUED"
    PROCESSING = "TASK_STATUS_PROCESSING"
    SUCCEED = "TASK_STATUS_SUCCEED"
    FAILED = "TASK_STATUS_FAILED"
    CANCELED = "TASK_STATUS_CANCELED"
    UNKNOWN = "TASK_STATUS_UNKNOWN"

    @property
    def is_final(self) -> bool:
        """True when the service will not change it any more."""
        return self in {TaskStatus.SUCCEED, TaskStatus.FAILED, TaskStatus.CANCELED}

    @classmethod
    def read(cls, text: str) -> TaskStatus:
        """Return the member for the service's *text*, ``UNKNOWN`` for anything new."""
        try:
            return cls(_STATUS_ALIASES.get(text, text))
        except ValueError:
            return cls.UNKNOWN


_STATUS_ALIASES = {
    # Undocumented spellings that public clients of the service expect.
    "TASK_STATUS_SUCCEEDED": "TASK_STATUS_SUCCEED",
    "TASK_STATUS_PENDING": "TASK_STATUS_QUEUED",
    "TASK_STATUS_RUNNING": "TASK_STATUS_PROCESSING",
    "TASK_STATUS_CANCELLED": "TASK_STATUS_CANCELED",
}


@frozen(kw_only=True)
class Nsfw:
    """``nsfw_detection_result`` of one image.

    Attributes:
        valid: The service's ``valid``.
        confidence: 0…100, or None.
    """

    valid: bool | None = None
    confidence: float | None = None


@frozen(kw_only=True)
class ImageLink:
    """Where one result image is, as the service lists it.

    Attributes:
        url: Its address; signed ones are valid for about an hour. None when it came inline.
        ttl: Seconds the address is valid. None when the service did not say (it sends ``0`` then).
        image_type: The service's word for the format; the bytes decide.
        nsfw: Result of the detection, when it was asked for.
        inline: The picture itself as a data URL, for endpoints that answer so; decoded when fetched.
    """

    url: str | None = field(default=None, repr=shown_url)
    ttl: int | None = None
    image_type: str | None = None
    nsfw: Nsfw | None = None
    inline: str | None = field(default=None, repr=shown_size)


@frozen(kw_only=True)
class Timing:
    """How long a task took.

    Attributes:
        waited: Seconds from when we began to wait until we knew the end.
        polls: How many status calls that took.
        submit_time_ms: The service's clock at submit, milliseconds since 1970, or None.
        execute_time_ms: When it began to work, or None.
        complete_time_ms: When it was done, or None.
    """

    waited: float = 0.0
    polls: int = 0
    submit_time_ms: int | None = None
    execute_time_ms: int | None = None
    complete_time_ms: int | None = None


@frozen(kw_only=True)
class TaskUpdate:
    """What one status answer said about a task.

    Attributes:
        task_id: The task.
        status: Its status, ``UNKNOWN`` for a string we do not know.
        status_text: The service's own string.
        reason: Why it failed; empty otherwise.
        progress_percent: 0…100, or None. Samples show 0 even at success, so do not rely on it.
        eta: Seconds the service expects it to take still, or None. Often 0.
        task_type: The service's word; an open set.
        seed: Base seed of the batch, or None.
        links: The listed images.
        timing: The service's times.
        raw: The whole answer, with what we do not know.
    """

    task_id: str
    status: TaskStatus
    status_text: str = ""
    reason: str = ""
    progress_percent: float | None = None
    eta: float | None = None
    task_type: str = ""
    seed: int | None = None
    links: tuple[ImageLink, ...] = ()
    timing: Timing = field(factory=Timing)
    raw: dict[str, Any] = field(factory=dict, repr=False, eq=False)


class ImageTools(Protocol):
    """Does for an image what must not happen on the event loop."""

    async def decode(self, data: bytes, index: int) -> PILImage:
        """Return the loaded pixels of *data*."""
        ...

    async def save(self, image: GeneratedImage, path: Path) -> Path:
        """Write *image* to *path* atomically; return where it is."""
        ...


@define(eq=False, kw_only=True)
class GeneratedImage:
    """One verified result picture.

    Attributes:
        index: Position in the result's list, from 0.
        data: The bytes as the service made them, verified to be a whole picture.
        format: What the bytes are: ``ImageType.PNG``, ``.JPEG`` or ``.WEBP``.
        width: Pixels.
        height: Pixels.
        url: Where it was, or None. Signed addresses end about an hour after they were made.
        nsfw: Result of the detection, when it was asked for.
    """

    index: int
    data: bytes = field(repr=shown_size)
    format: ImageType
    width: int
    height: int
    url: str | None = field(default=None, repr=shown_url)
    nsfw: Nsfw | None = None
    _pil: PILImage | None = field(default=None, repr=False)
    _tools: ImageTools | None = field(default=None, repr=False)

    @property
    def pil(self) -> PILImage:
        """The pixels, mode and alpha kept. Never decodes.

        Raises:
            RuntimeError: when the image was asked for with ``decode=False``.
        """
        if self._pil is None:
            raise RuntimeError("This image has no pixels yet: call `await image.decode()` first.")
        return self._pil

    async def decode(self) -> PILImage:
        """Decode in a worker thread, once, and return the pixels.

        Raises:
            BadImageError: when the picture is damaged.
        """
        if self._pil is None:
            self._pil = await self._work().decode(self.data, self.index)
        return self._pil

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to *path* atomically, in a worker thread; return where it is.

        The verified bytes are written as they are. Without a picture's suffix the true one is
        added; with another format's suffix the picture is converted (JPEG loses transparency: it
        is laid on white). A file that is there is replaced.

        Raises:
            OSError: when it cannot be written, for example into a folder that is not there.
            BadImageError: when it has to be converted and is damaged.
        """
        return await self._work().save(self, Path(path))

    def _work(self) -> ImageTools:
        if self._tools is None:
            raise RuntimeError("This image was made without a client and cannot do that.")
        return self._tools

    def __getstate__(self) -> dict[str, Any]:
        # The tools hold limits of a live client, which do not travel.
        names = ("index", "data", "format", "width", "height", "url", "nsfw", "_pil")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._tools = None
        for name, value in state.items():
            setattr(self, name, value)


@frozen(kw_only=True, eq=False)
class TaskResult:
    """A finished task.

    Attributes:
        task_id: The service's id.
        status: ``SUCCEED``.
        seed: Base seed of the whole batch, or None when the service did not say.
        images: What arrived, in the service's order; an image's ``index`` is its place there.
        failed: One ``ImageError`` per listed image that could not be had, with its ``index``.
        missing: How many fewer images the service listed than were asked for (it filters some).
            0 when it is not known how many were asked for.
        timing: How long it took.
        raw: The service's whole answer.
    """

    task_id: str
    status: TaskStatus
    seed: int | None = None
    images: tuple[GeneratedImage, ...] = ()
    failed: tuple[ImageError, ...] = ()
    missing: int = 0
    timing: Timing = field(factory=Timing)
    raw: dict[str, Any] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class Job:
    """Ours: a request with a key to find it again by.

    Attributes:
        request: What to ask.
        key: Your name for it, or None.
    """

    request: Request = field(kw_only=False)
    key: str | None = None


@frozen(kw_only=True, eq=False)
class Outcome:
    """How one job ended.

    Attributes:
        index: Position in the input, from 0.
        request: What was asked.
        key: The job's key, or None.
        error: Why there is no complete result, or None.
    """

    index: int
    request: Request
    key: str | None = None
    error: PPInfraError | None = None
    _result: TaskResult | None = None

    @property
    def result(self) -> TaskResult:
        """The result.

        Raises:
            PPInfraError: the job's error, when it has one.
        """
        if self.error is not None:
            raise self.error
        assert self._result is not None  # noqa: S101  # an outcome has an error or a result
        return self._result

    @property
    def task_id(self) -> str | None:
        """The service's id of the job's task; None when there is none, or when it is not known."""
        return self.result.task_id if self.error is None else self.error.task_id


@frozen(kw_only=True)
class Model:
    """One entry of ``GET /v3/model``.

    Attributes:
        model_name: What a request wants: PPInfra's ``model_name``; where only Novita's names are
            there, ``sd_name_in_api`` for LoRAs and embeddings and ``sd_name`` otherwise.
        name: For people.
        type: ``checkpoint``, ``lora``, ``vae``, ``controlnet``, ``upscaler``, ``textualinversion``; open.
        id: The service's number, or None.
        usable: False when the service marks it as not usable (``status`` 0).
        base_model: Such as ``SD 1.5``; empty when not stated.
        is_sdxl: Or None when not stated.
        is_nsfw: Or None when not stated.
        tags: The service's tags.
        cover_url: A sample picture; empty when not stated.
        raw: The whole entry.
    """

    model_name: str
    name: str = ""
    type: str = ""
    id: int | None = None
    usable: bool = True
    base_model: str = ""
    is_sdxl: bool | None = None
    is_nsfw: bool | None = None
    tags: tuple[str, ...] = ()
    cover_url: str = ""
    raw: dict[str, Any] = field(factory=dict, repr=False, eq=False)

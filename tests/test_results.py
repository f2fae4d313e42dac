"""What comes back: updates, results, pictures, outcomes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from PIL import Image

from ppinfra_async import (
    GeneratedImage,
    ImageType,
    Img2Img,
    Job,
    Outcome,
    TaskResult,
    TaskStatus,
    TaskUpdate,
    errors,
)
from ppinfra_async._showing import url_without_query
from ppinfra_async.results import ImageLink, Nsfw, Timing

REQUEST = Img2Img(model_name="m", image=b"abc", prompt="p")
SIGNED = "https://host/1.png?X-Amz-Signature=secret"

STATUSES = [
    ("TASK_STATUS_QUEUED", TaskStatus.QUEUED, False),
    ("TASK_STATUS_PROCESSING", TaskStatus.PROCESSING, False),
    ("TASK_STATUS_SUCCEED", TaskStatus.SUCCEED, True),
    ("TASK_STATUS_FAILED", TaskStatus.FAILED, True),
    ("TASK_STATUS_CANCELED", TaskStatus.CANCELED, True),
    ("TASK_STATUS_UNKNOWN", TaskStatus.UNKNOWN, False),
    ("TASK_STATUS_SUCCEEDED", TaskStatus.SUCCEED, True),
    ("TASK_STATUS_PENDING", TaskStatus.QUEUED, False),
    ("TASK_STATUS_RUNNING", TaskStatus.PROCESSING, False),
    ("TASK_STATUS_CANCELLED", TaskStatus.CANCELED, True),
    ("TASK_STATUS_RESTING", TaskStatus.UNKNOWN, False),
    ("task_status_succeed", TaskStatus.UNKNOWN, False),
    ("SUCCEED", TaskStatus.UNKNOWN, False),
    ("", TaskStatus.UNKNOWN, False),
]


@pytest.mark.parametrize(("text", "status", "is_final"), STATUSES)
def test_statuses(text: str, status: TaskStatus, *, is_final: bool) -> None:
    """The documented ones, spellings that others expect, and anything new, which is pending."""
    assert TaskStatus.read(text) is status
    assert status.is_final is is_final


def test_every_status_is_read_as_itself() -> None:
    """None is forgotten in the table above."""
    assert {TaskStatus.read(status.value) for status in TaskStatus} == set(TaskStatus)
    assert {status for _, status, _ in STATUSES} == set(TaskStatus)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SIGNED, "https://host/1.png?…"),
        ("https://host/1.png", "https://host/1.png"),
        ("https://host/1.png?", "https://host/1.png"),
    ],
)
def test_the_query_of_an_address_is_a_secret(url: str, shown: str) -> None:
    """A signed address lets anybody read the picture."""
    assert url_without_query(url) == shown
    assert repr(ImageLink(url=url)).startswith(f"ImageLink(url='{shown}'")


def test_a_link_is_shown_without_its_picture() -> None:
    """Inline bytes are only counted."""
    assert "inline=<3 characters>" in repr(ImageLink(inline="abc"))
    assert "url=None" in repr(ImageLink())


def test_an_updates_raw_answer_is_neither_shown_nor_compared() -> None:
    """It is there for what we do not know."""
    first = TaskUpdate(task_id="t", status=TaskStatus.QUEUED, raw={"a": 1})

    assert first == TaskUpdate(task_id="t", status=TaskStatus.QUEUED, raw={"b": 2})
    assert hash(first) == hash(TaskUpdate(task_id="t", status=TaskStatus.QUEUED))
    assert "raw" not in repr(first)


@define
class Workshop:
    """Decodes and saves what it is told to, and notes it."""

    pixels: Image.Image = field(factory=lambda: Image.new("RGB", (2, 2)))
    decoded: list[tuple[bytes, int]] = field(factory=list)
    saved: list[Path] = field(factory=list)

    async def decode(self, data: bytes, index: int) -> Image.Image:
        self.decoded.append((data, index))
        return self.pixels

    async def save(self, image: GeneratedImage, path: Path) -> Path:
        self.saved.append(path)
        return path.with_suffix(f".{image.format}")


def picture(**fields: Any) -> GeneratedImage:
    usual = {"index": 2, "data": b"bytes", "format": ImageType.PNG, "width": 2, "height": 3}
    return GeneratedImage(**{**usual, **fields})


async def test_pixels_are_there_after_decoding() -> None:
    """Once, in whatever place the client has for it."""
    workshop = Workshop()
    image = picture(tools=workshop)

    with pytest.raises(RuntimeError, match=r"await image\.decode\(\)"):
        _ = image.pil
    first = await image.decode()
    second = await image.decode()

    assert first is second is image.pil is workshop.pixels
    assert workshop.decoded == [(b"bytes", 2)]


async def test_a_picture_that_came_decoded() -> None:
    """It needs nobody to decode it."""
    pixels = Image.new("RGB", (2, 3))
    image = picture(pil=pixels)

    assert image.pil is pixels
    assert await image.decode() is pixels


async def test_saving_says_where() -> None:
    """Any kind of path goes; the answer is where the file is."""
    workshop = Workshop()

    saved = await picture(tools=workshop).save("out/cat")

    assert workshop.saved == [Path("out/cat")]
    assert saved == Path("out/cat.png")


async def test_a_picture_without_a_client_says_so() -> None:
    """It was made by hand, or came from another process."""
    image = picture()

    with pytest.raises(RuntimeError, match="without a client"):
        await image.decode()
    with pytest.raises(RuntimeError, match="without a client"):
        await image.save("cat.png")


@pytest.mark.parametrize("travel", [copy.copy, lambda image: pickle.loads(pickle.dumps(image))])  # noqa: S301  # our own bytes
def test_a_picture_travels(travel: Any) -> None:
    """With its bytes and pixels; what belongs to a live client stays behind."""
    pixels = Image.new("RGB", (2, 3), "red")
    image = picture(url=SIGNED, nsfw=Nsfw(valid=True), pil=pixels, tools=Workshop())

    arrived = travel(image)

    assert (arrived.index, arrived.data, arrived.format) == (2, b"bytes", ImageType.PNG)
    assert (arrived.width, arrived.height, arrived.url) == (2, 3, SIGNED)
    assert arrived.nsfw == Nsfw(valid=True)
    assert arrived.pil.getpixel((0, 0)) == (255, 0, 0)
    assert arrived._tools is None


def test_a_picture_is_shown_without_bytes_and_signature() -> None:
    """Length and bare address are enough."""
    shown = repr(picture(url=SIGNED, pil=Image.new("RGB", (1, 1)), tools=Workshop()))

    assert "data=<5 bytes>" in shown
    assert "url='https://host/1.png?…'" in shown
    assert "secret" not in shown
    assert "Workshop" not in shown


def test_a_result_keeps_its_raw_answer_to_itself() -> None:
    """It may hold signed addresses."""
    result = TaskResult(task_id="t", status=TaskStatus.SUCCEED, raw={"image_url": SIGNED})

    assert result.raw == {"image_url": SIGNED}
    assert "secret" not in repr(result)
    assert (result.images, result.failed, result.missing) == ((), (), 0)
    assert result.timing == Timing(waited=0.0, polls=0)


def test_an_outcome_is_a_result() -> None:
    """The one of its job."""
    result = TaskResult(task_id="t", status=TaskStatus.SUCCEED)
    outcome = Outcome(index=3, request=REQUEST, key="k", result=result)

    assert (outcome.index, outcome.key, outcome.error) == (3, "k", None)
    assert outcome.result is result


def test_or_an_outcome_is_an_error() -> None:
    """Asking for the result raises it."""
    error = errors.TaskFailedError("no", task_id="t")
    outcome = Outcome(index=0, request=REQUEST, error=error)

    with pytest.raises(errors.TaskFailedError) as caught:
        _ = outcome.result
    assert caught.value is error


def test_a_job_is_a_request_with_a_name() -> None:
    """The request may be written without its keyword; jobs are values."""
    assert Job(REQUEST, key="k") == Job(request=REQUEST, key="k")
    assert Job(REQUEST).key is None
    assert len({Job(REQUEST), Job(REQUEST), Job(REQUEST, key="k")}) == 2

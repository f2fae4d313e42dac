"""What every request has."""

from __future__ import annotations

from attrs import field, frozen

from ppinfra_async import ImageInput
from ppinfra_async.requests import Request
from ppinfra_async.requests._base import pictures_of


@frozen(kw_only=True)
class Tool(Request):
    path = "/v3/async/tool"

    image: ImageInput
    others: tuple[ImageInput, ...] = ()
    words: dict[str, str] = field(factory=dict)


def test_a_request_asks_for_one_image_unless_it_says_more() -> None:
    """Not every endpoint has a number of images."""
    tool = Tool(image=ImageInput.from_bytes(b"one"))

    assert (tool.images_asked, tool.path) == (1, "/v3/async/tool")
    assert tool.envelope == "extra+request"


def test_pictures_are_found_wherever_they_are() -> None:
    """In fields and in lists of them; nowhere else."""
    one, two = ImageInput.from_bytes(b"one"), ImageInput.from_bytes(b"two")
    tool = Tool(image=one, others=(two, one), words={"a": "b"})

    assert list(pictures_of(tool)) == [("image", one), ("others[0]", two), ("others[1]", one)]
    assert list(pictures_of(one)) == [("", one)]
    assert list(pictures_of((one, two), "x")) == [("x[0]", one), ("x[1]", two)]
    assert list(pictures_of("text")) == []

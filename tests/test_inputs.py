"""Where the bytes of an input picture come from."""

from __future__ import annotations

import base64
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppinfra_async import ImageInput
from ppinfra_async.inputs import KIND_RULE, STRING_RULE, BadInputError


class OwnPath(os.PathLike[str]):
    def __fspath__(self) -> str:
        return "cat.png"


def test_a_path(tmp_path: Path) -> None:
    """As text or as any path; nothing is read, so it need not exist."""
    for given_path in ("cat.png", Path("cat.png"), OwnPath()):
        picture = ImageInput.from_path(given_path, fit=512)
        assert picture == ImageInput(path=Path("cat.png"), fit=512)
    assert ImageInput.from_path("~/cat.png").path == Path("~/cat.png")
    assert ImageInput.of(tmp_path / "none.png").path == tmp_path / "none.png"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_all_kinds(kind: Any) -> None:
    """They are copied, so that a buffer may be used again."""
    buffer = kind(b"abc")

    assert ImageInput.from_bytes(buffer).data == b"abc"
    assert ImageInput.of(buffer) == ImageInput.from_bytes(b"abc")
    assert type(ImageInput.of(buffer).data) is bytes


@pytest.mark.parametrize("value", [5, "abc", None, [1, 2], Path("a")])
def test_what_is_not_bytes_is_refused(value: Any) -> None:
    """`bytes(5)` would be five zeros."""
    with pytest.raises(BadInputError, match="must be bytes"):
        ImageInput.from_bytes(value)


def test_a_buffer_may_change_afterwards() -> None:
    """What is sent is what was given."""
    buffer = bytearray(b"abc")
    picture = ImageInput.of(buffer)
    buffer[0] = 0

    assert picture.data == b"abc"


def test_a_pillow_image_and_its_relatives() -> None:
    """Subclasses of Pillow's image are images; other things from its module are not."""

    class OwnImage(Image.Image):
        pass

    for pixels in (Image.new("RGB", (2, 2)), OwnImage()):
        assert ImageInput.of(pixels).pil is pixels
        assert ImageInput.from_pil(pixels, fit=8).fit == 8
    other: Any
    for other in (Image.Resampling.NEAREST, Image.Exif(), Image):
        with pytest.raises(BadInputError):
            ImageInput.of(other)


def test_an_input_is_taken_as_it_is() -> None:
    """The same object, whatever it holds."""
    picture = ImageInput.from_url("https://host/1.png")

    assert ImageInput.of(picture) is picture


@pytest.mark.parametrize("value", ["cat.png", "", "iVBORw0KGgo=", "https://host/1.png"])
def test_a_text_is_refused(value: Any) -> None:
    """A stranger's JSON must not make a server read its files; the sentence says what to write."""
    with pytest.raises(BadInputError) as caught:
        ImageInput.of(value)

    assert str(caught.value) == STRING_RULE
    for way in ("Path(…)", "ImageInput.from_base64(…)", "ImageInput.from_url(…)"):
        assert way in STRING_RULE


@pytest.mark.parametrize("value", [None, 5, 1.5, [b"abc"], {"path": "x"}, object(), ImageInput])
def test_anything_else_is_refused(value: Any) -> None:
    """With what would be taken."""
    with pytest.raises(BadInputError) as caught:
        ImageInput.of(value)

    assert str(caught.value) == KIND_RULE


@given(st.binary())
def test_base64_is_decoded(data: bytes) -> None:
    """With or without a prefix, in lines or in one, as text or bytes."""
    text = base64.b64encode(data).decode()
    in_lines = base64.encodebytes(data).decode()

    for form in (text, in_lines, f"data:image/png;base64,{text}", text.encode(), f" {text}\r\n"):
        assert ImageInput.from_base64(form) == ImageInput.from_bytes(data)


@pytest.mark.parametrize(
    "text",
    ["a", "abc", "ab=c", "abc=d", "ab-_", "äbcd", "\ud800bcd", "abc\0", "abcd====", "cat.png",
     "data:image/png;base64,a", "data:image/svg+xml,<svg/>", b"\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_not_base64_is_refused(text: str | bytes) -> None:
    """Half a picture by mistake would be paid for."""
    with pytest.raises(BadInputError, match="must be base64 text"):
        ImageInput.from_base64(text)


@given(st.text() | st.binary())
def test_any_text_is_base64_or_refused(text: str | bytes) -> None:
    """Nothing else is raised."""
    try:
        picture = ImageInput.from_base64(text)
    except BadInputError:
        return
    assert picture.data is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://host/1.png",
        "http://host",
        "HTTPS://host:8443/a%2Fb?q=%2F#f",
        "https://[::1]/1.png",
        "https://例子.cn/图.png",
    ],
)
def test_an_address_is_passed_on(url: str) -> None:
    """Byte for byte."""
    picture = ImageInput.from_url(url)

    assert (picture.url, picture.path, picture.data, picture.pil) == (url, None, None, None)


@pytest.mark.parametrize(
    "url",
    ["", "cat.png", "/cat.png", "//host/1.png", "ftp://host/1.png", "file:///etc/passwd",
     "data:image/png;base64,aaaa", "https://", "https:///1.png", "https:1.png", "http://[::1",
     "http://host:port/"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url: str) -> None:
    """Only absolute http and https."""
    with pytest.raises(BadInputError, match="must be an http:// or https:// address"):
        ImageInput.from_url(url)


@pytest.mark.parametrize("fit", [None, 1, 512, 2048])
def test_fit(fit: int | None) -> None:
    """The longest side in pixels, up to what the service takes."""
    assert ImageInput.from_path("a", fit).fit == fit
    assert ImageInput.from_bytes(b"a", fit).fit == fit
    assert ImageInput.from_base64("YQ==", fit).fit == fit
    assert ImageInput.from_pil(Image.new("L", (1, 1)), fit).fit == fit


@pytest.mark.parametrize("fit", [0, -1, 2049, True, 512.0, "512", float("nan")])
def test_a_fit_out_of_range_is_refused(fit: Any) -> None:
    """However the input is made."""
    makers: list[Any] = [
        lambda: ImageInput.from_path("a", fit),
        lambda: ImageInput.from_bytes(b"a", fit),
        lambda: ImageInput.from_base64("YQ==", fit),
        lambda: ImageInput.from_pil(Image.new("L", (1, 1)), fit),
        lambda: ImageInput(data=b"a", fit=fit),
    ]
    for make in makers:
        with pytest.raises(BadInputError, match=r"whole number of pixels in 1…2048"):
            make()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fit": 5},
        {"path": Path("a"), "data": b"a"},
        {"data": b"", "url": "https://host"},
        {"path": Path("a"), "pil": Image.new("L", (1, 1))},
    ],
)
def test_an_input_is_exactly_one_picture(fields: Any) -> None:
    """Neither none nor two."""
    with pytest.raises(BadInputError, match="exactly one of"):
        ImageInput(**fields)


def test_names_for_messages() -> None:
    """A path, or what kind of thing it is; no query, which may be a signature."""
    assert ImageInput.from_path("dir/cat.png").name == str(Path("dir/cat.png"))
    assert ImageInput.from_bytes(b"a").name == "image bytes"
    assert ImageInput.from_pil(Image.new("L", (1, 1))).name == "Pillow image"
    assert ImageInput.from_url("https://host/1.png?key=secret").name == "https://host/1.png?…"


def test_repr_is_short_and_keeps_secrets() -> None:
    """Bytes by their number, addresses without query."""
    assert "data=<3,000 bytes>" in repr(ImageInput.from_bytes(b"abc" * 1000))
    shown = repr(ImageInput.from_url("https://host/1.png?key=secret"))
    assert "url='https://host/1.png?…'" in shown
    assert "secret" not in shown
    assert "url=None" in repr(ImageInput.from_path("a"))


def test_equality_and_hash() -> None:
    """By content; a Pillow image, which can change, by identity."""
    pixels = Image.new("L", (1, 1))

    assert ImageInput.from_bytes(b"a") == ImageInput.from_bytes(b"a")
    assert hash(ImageInput.from_bytes(b"a")) == hash(ImageInput.from_bytes(b"a"))
    assert ImageInput.from_bytes(b"a") != ImageInput.from_bytes(b"b")
    assert ImageInput.from_bytes(b"a") != ImageInput.from_bytes(b"a", fit=5)
    assert ImageInput.from_pil(pixels) == ImageInput.from_pil(pixels)
    assert hash(ImageInput.from_pil(pixels)) == hash(ImageInput.from_pil(pixels))
    assert ImageInput.from_pil(pixels) != ImageInput.from_pil(pixels.copy())


def test_an_input_does_not_change() -> None:
    """It is frozen, and travels to another process."""
    picture = ImageInput.from_bytes(b"abc", fit=5)

    with pytest.raises(AttributeError):
        picture.fit = 6  # type: ignore[misc]  # that is the test
    assert pickle.loads(pickle.dumps(picture)) == picture  # noqa: S301  # our own bytes

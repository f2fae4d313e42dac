"""Formats and ends of pictures, from their bytes alone."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ppinfra_async import ImageType
from ppinfra_async._sansio.sniff import HEAD_LENGTH, describe, image_format, is_whole


def draw(mode: str, kind: str, **options: Any) -> bytes:
    """Return a small file with pixels that do not compress to nothing."""
    gradient = Image.linear_gradient("L").resize((24, 18)).rotate(30)
    bands = {"RGBA": 4, "CMYK": 4, "RGB": 3, "LA": 2}.get(mode)
    picture = Image.merge(mode, [gradient] * bands) if bands else gradient.convert(mode)
    if mode == "I;16":
        picture = Image.frombytes("I;16", (12, 18), gradient.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def pictures() -> dict[str, bytes]:
    drawn = {
        f"PNG {mode}": draw(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    }
    drawn |= {f"JPEG {mode}": draw(mode, "JPEG") for mode in ("L", "RGB", "CMYK")}
    drawn |= {f"WEBP {mode}": draw(mode, "WEBP") for mode in ("RGB", "RGBA")}
    drawn["JPEG progressive"] = draw("RGB", "JPEG", progressive=True)
    drawn["JPEG restarts"] = draw("RGB", "JPEG", restart_marker_blocks=1)
    drawn["WEBP lossless"] = draw("RGBA", "WEBP", lossless=True)
    drawn["WEBP with EXIF"] = draw("RGB", "WEBP", exif=b"Exif\0\0odd")
    drawn["PNG with EXIF"] = draw("RGB", "PNG", exif=b"Exif\0\0odd")
    preview = PngImagePlugin.PngInfo()
    preview.add(b"caBX", drawn["PNG L"])
    drawn["PNG with a preview"] = draw("RGB", "PNG", pnginfo=preview)
    drawn["JPEG with a preview"] = draw("RGB", "JPEG", exif=b"Exif\0\0" + drawn["JPEG L"])
    return drawn


NAMES = [
    *(f"PNG {mode}" for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(f"JPEG {what}" for what in ("L", "RGB", "CMYK", "progressive", "restarts")),
    *(f"WEBP {what}" for what in ("RGB", "RGBA", "lossless", "with EXIF")),
    "PNG with EXIF",
    "PNG with a preview",
    "JPEG with a preview",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_picture(name: str) -> None:
    """Each mode and flavour is known by its first bytes and seen to be whole."""
    data = pictures()[name]

    kind = image_format(data[:HEAD_LENGTH])

    assert kind is ImageType(name.split(maxsplit=1)[0].lower())
    assert is_whole(data)
    assert is_whole(bytearray(data))


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_picture_is_whole(name: str) -> None:
    """Wherever it is cut, also behind a preview that has an end of its own."""
    data = pictures()[name]

    assert [cut for cut in range(len(data)) if is_whole(data[:cut])] == []


@pytest.mark.parametrize("name", NAMES)
def test_bytes_after_the_end_are_tolerated(name: str) -> None:
    """Cameras append; a picture that is there is there."""
    data = pictures()[name]

    assert is_whole(data + b"\0")
    assert is_whole(data + b"appended \xff\xd8\xff" * 10)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fill_bytes_before_a_marker_are_allowed(count: int) -> None:
    """ITU T.81 lets any marker be preceded by 0xFF bytes."""
    data = pictures()["JPEG with a preview"]
    filled = data[:2] + b"\xff" * count + data[2:]

    assert is_whole(filled)
    assert [cut for cut in range(len(filled)) if is_whole(filled[:cut])] == []


HEADS = [
    (b"\x89PNG\r\n\x1a\n", ImageType.PNG),
    (b"\xff\xd8\xff\xe0", ImageType.JPEG),
    (b"\xff\xd8\xff\xdb", ImageType.JPEG),
    (b"RIFF\x04\0\0\0WEBP", ImageType.WEBP),
    (b"\x89PNG\r\n\x1a", None),
    (b"\x89PNG\n\x1a\n", None),
    (b"\xff\xd8", None),
    (b"RIFF\x04\0\0\0WEB", None),
    (b"RIFF\x04\0\0\0WAVE", None),
    (b"GIF89a", None),
    (b"BM", None),
    (b"<html>", None),
    (b"", None),
]


@pytest.mark.parametrize(("head", "kind"), HEADS)
def test_formats(head: bytes, kind: ImageType | None) -> None:
    """The three that the service writes; nothing else is a picture here."""
    assert image_format(head) is kind
    assert image_format(bytearray(head)) is kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a;",
        b"<html></html>",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 100,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 12 * 60_000,
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff" + b"\xff" * 100_000,
        b"\xff\xd8\xff" + b"\0" * 100,
        b"\xff\xd8\xff\xda\0\x02 pixels",
        b"RIFF\xff\xff\xff\xffWEBP",
    ],
)
def test_what_has_no_end_is_not_whole(data: bytes) -> None:
    """Hostile bytes neither pass nor take long."""
    assert not is_whole(data)


changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8)


@given(name=st.sampled_from(NAMES), changes=changes, cut=st.integers(0, 2000))
def test_no_damage_raises(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    """Any bytes have a format or none, and are whole or not."""
    data = bytearray(pictures()[name])
    for position, value in changes:
        data[position % len(data)] = value
    del data[len(data) - cut % 50 :]

    assert image_format(data) in {ImageType.PNG, ImageType.JPEG, ImageType.WEBP, None}
    assert is_whole(data) in {True, False}
    assert describe(bytes(data[:80]))


@given(st.binary(max_size=100))
def test_noise_is_described(head: bytes) -> None:
    """Whatever was sent instead of a picture, something can be said about it."""
    assert image_format(head) is None or len(head) >= 3
    assert describe(head)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "nothing"),
        (b" \r\n", "nothing"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<!doctype  HTML><head>", "an HTML page"),
        (b"\n  <html lang='en'>", "an HTML page"),
        (b"<?xml version='1.0'?><Error>", "an XML document"),
        (b"<Error><Code>AccessDenied</Code>", "an XML document"),
        (b'{"code": 404}', "JSON"),
        (b" [1, 2]", "JSON"),
        (b"404 page not found\n", "text"),
        (b"upstream connect error\r\n\tor reset", "text"),
        (b"GIF89a\x01\x00", "something that is not PNG, JPEG or WebP"),
        ("kein Bild: äöü".encode(), "something that is not PNG, JPEG or WebP"),
    ],
)
def test_words_for_what_is_no_picture(head: bytes, words: str) -> None:
    """A person reads them in the error about the picture."""
    assert describe(head) == words

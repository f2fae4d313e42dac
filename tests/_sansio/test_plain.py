"""What is told about plain pictures without Pillow, held against what Pillow tells."""

from __future__ import annotations

import io
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppinfra_async import ImageType, _pixels
from ppinfra_async._sansio.plain import plain_picture
from ppinfra_async._sansio.sniff import is_whole


def draw(mode: str, kind: str, size: tuple[int, int] = (24, 18), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_of(header: bytes, *chunks: bytes, pixels: bytes = chunk(b"IDAT", b"x")) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, pixels]) + END


def png_header(
    depth: int = 8, colour: int = 2, *, width: int = 24, tail: bytes = bytes(3)
) -> bytes:
    return width.to_bytes(4, "big") + bytes((0, 0, 0, 18, depth, colour)) + tail


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def jpeg_of(*segments: bytes, end: bytes = b"\xff\xd9") -> bytes:
    return b"\xff\xd8" + b"".join(segments) + SCAN + b"pixels" + end


END = chunk(b"IEND", b"")
FRAME = segment(0xC0, b"\x08\0\x12\0\x18\x01\x01\x11\0")
SCAN = segment(0xDA, b"\x01\x01\0\0\x3f\0")
TABLE = segment(0xDB, b"\0" + bytes(64))

PLAIN = {
    "PNG L": draw("L", "PNG"),
    "PNG 1": draw("1", "PNG"),
    "PNG P": draw("P", "PNG"),
    "PNG LA": draw("LA", "PNG"),
    "PNG RGB": draw("RGB", "PNG"),
    "PNG RGBA": draw("RGBA", "PNG"),
    "PNG of several chunks": draw("RGB", "PNG", size=(640, 480), compress_level=0),
    "PNG with dpi": draw("RGB", "PNG", dpi=(72, 72)),
    "PNG with a comment": png_of(png_header(), chunk(b"tEXt", b"Comment\0a cat")),
    "PNG interlaced": png_of(png_header(tail=b"\0\0\x01")),
    "PNG with a tail": draw("RGB", "PNG") + b"tail",
    "JPEG L": draw("L", "JPEG"),
    "JPEG RGB": draw("RGB", "JPEG"),
    "JPEG progressive": draw("RGB", "JPEG", progressive=True),
    "JPEG with a comment": draw("RGB", "JPEG", comment="a cat"),
    "JPEG restarts": draw("RGB", "JPEG", restart_marker_blocks=1),
    "JPEG with a tail": draw("RGB", "JPEG") + b"tail",
}

LEFT_TO_PILLOW = {
    "nothing": b"",
    "text": b"a cat",
    "WebP": draw("RGB", "WEBP"),
    "PNG with EXIF": draw("RGB", "PNG", exif=b"Exif\0\0odd"),
    "PNG with a profile": draw("RGB", "PNG", icc_profile=b"profile"),
    "PNG of unknown depth": png_of(png_header(depth=3)),
    "PNG of unknown colour": png_of(png_header(colour=5)),
    "PNG of unknown packing": png_of(png_header(tail=b"\x01\0\0")),
    "PNG of unknown filters": png_of(png_header(tail=b"\0\x01\0")),
    "PNG of unknown interlacing": png_of(png_header(tail=b"\0\0\x02")),
    "PNG without width": png_of(png_header(width=0)),
    "PNG with a long header": png_of(png_header() + b"more"),
    "PNG cut in its header": PLAIN["PNG RGB"][:30],
    "PNG with a wrong sum": PLAIN["PNG RGB"][:29] + b"summ" + PLAIN["PNG RGB"][33:],
    "PNG with EXIF in text": png_of(png_header(), chunk(b"tEXt", b"Raw Profile type EXIF\0x")),
    "PNG with XMP in text": png_of(png_header(), chunk(b"tEXt", b"XML:com.adobe.xmp\0x")),
    "PNG with a nameless text": png_of(png_header(), chunk(b"tEXt", b"\0x")),
    "PNG with a text that is a name": png_of(png_header(), chunk(b"tEXt", b"Comment")),
    "PNG with an odd palette": png_of(png_header(), chunk(b"PLTE", b"1234")),
    "PNG with a damaged text": png_of(png_header(), chunk(b"tEXt", b"C\0x")[:-1] + b"?"),
    "PNG with an unknown chunk": png_of(png_header(), chunk(b"caBX", PLAIN["PNG L"])),
    "PNG with a long text": png_of(png_header(), chunk(b"tEXt", b"C\0" + bytes(70_000))),
    "PNG with many texts": png_of(png_header(), *[chunk(b"tEXt", b"C\0x")] * 300),
    "PNG of very many chunks": png_of(png_header(), pixels=chunk(b"IDAT", b"x") * 300),
    "PNG without pixels": png_of(png_header(), pixels=b""),
    "PNG with something after its pixels": png_of(
        png_header(), pixels=chunk(b"IDAT", b"x") + chunk(b"tEXt", b"C\0x")
    ),
    "JPEG CMYK": draw("CMYK", "JPEG"),
    "JPEG with EXIF": draw("RGB", "JPEG", exif=b"Exif\0\0odd"),
    "JPEG with a profile": draw("RGB", "JPEG", icc_profile=b"profile"),
    "JPEG without a frame": jpeg_of(TABLE),
    "JPEG with two frames": jpeg_of(FRAME, FRAME),
    "JPEG with a short frame": jpeg_of(segment(0xC0, b"\x08\0\x12")),
    "JPEG with a frame of 12 bits": jpeg_of(segment(0xC0, b"\x0c\0\x12\0\x18\x01\x01\x11\0")),
    "JPEG with an incomplete frame": jpeg_of(segment(0xC0, b"\x08\0\x12\0\x18\x03\x01\x11\0")),
    "JPEG without height": jpeg_of(segment(0xC0, b"\x08\0\0\0\x18\x01\x01\x11\0")),
    "JPEG with a damaged table": jpeg_of(segment(0xDB, bytes(64)), FRAME),
    "JPEG with a table of words": jpeg_of(segment(0xDB, b"\x10" + bytes(64)), FRAME),
    "JPEG with an odd first segment": jpeg_of(segment(0xE0, b"JFXX\0" + bytes(9)), FRAME),
    "JPEG with an Adobe segment": jpeg_of(segment(0xEE, b"Adobe" + bytes(7)), FRAME),
    "JPEG with a filler": jpeg_of(b"\xff" + TABLE, FRAME),
    "JPEG with a segment of no length": jpeg_of(b"\xff\xfe\0\x01", FRAME),
    "JPEG with junk": jpeg_of(b"junk", FRAME),
    "JPEG with many comments": jpeg_of(*[segment(0xFE, b"x")] * 300, FRAME),
    "JPEG with a long header": jpeg_of(*[segment(0xFE, bytes(40_000))] * 2, FRAME),
    "JPEG with a long tail": jpeg_of(FRAME) + bytes(5000),
    "JPEG without an end": jpeg_of(FRAME, end=b""),
    "JPEG cut in a segment": jpeg_of(FRAME)[:10],
    "JPEG cut before a segment": jpeg_of(FRAME)[:4],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_picture_is_told_as_pillow_tells_it(name: str) -> None:
    """Format and size, without Pillow."""
    told = plain_picture(PLAIN[name])

    with Image.open(io.BytesIO(PLAIN[name])) as picture:
        assert told == (ImageType(name.split(maxsplit=1)[0].lower()), picture.size)


@pytest.mark.parametrize("name", LEFT_TO_PILLOW)
def test_anything_else_is_left_to_pillow(name: str) -> None:
    """Whatever is unusual, damaged or long gets no answer here."""
    assert plain_picture(LEFT_TO_PILLOW[name]) is None


@pytest.mark.parametrize("name", [name for name in PLAIN if "tail" not in name])
def test_no_part_of_a_picture_is_told(name: str) -> None:
    """Wherever it is cut, it is not a whole picture."""
    data = PLAIN[name]
    cuts = range(len(data)) if len(data) < 5000 else range(0, len(data), 997)

    assert [cut for cut in cuts if plain_picture(data[:cut])] == []


def flipped(data: bytes, places: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[place % len(changed)] = value
    return bytes(changed)


def spliced(data: bytes, cuts: list[int]) -> bytes:
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    parts = [data[start:end] for start, end in pairwise(places)]
    return parts[0] + b"".join(parts[2:] + parts[1:2])


small = st.sampled_from([data for data in PLAIN.values() if len(data) < 2000])
changes: list[st.SearchStrategy[bytes]] = [
    st.builds(flipped, small, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)))),
    st.builds(spliced, small, st.lists(st.integers(0, 400), max_size=3)),
]


@given(data=st.one_of(changes))
def test_what_is_told_is_never_more_than_pillow_would_tell(data: bytes) -> None:
    """However a picture is damaged: a yes here is a yes of the careful way, with the same words."""
    told = plain_picture(data)

    if told is not None:
        header = _pixels.read_header(data)
        assert (header.format, header.size) == told
        assert header.is_upright
        assert is_whole(data)


def test_long_pictures_take_no_longer() -> None:
    """The steps are bounded, so that the event loop is never held."""
    steps: list[int] = []

    class Counted(bytes):
        def __getitem__(self, key: Any) -> Any:
            part = super().__getitem__(key)
            steps.append(len(part) if isinstance(part, bytes) else 1)
            return part

    for data in (
        png_of(png_header(), pixels=chunk(b"IDAT", b"x") * 100_000),
        png_of(png_header(), *[chunk(b"tEXt", b"C\0" + bytes(50))] * 100_000),
        jpeg_of(*[segment(0xFE, bytes(50))] * 100_000, FRAME),
    ):
        steps.clear()
        plain_picture(Counted(data))
        assert len(steps) < 2000
        assert sum(steps) < 300_000

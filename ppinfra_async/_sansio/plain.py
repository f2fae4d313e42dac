"""Reads the size of a picture that has nothing unusual about it; refuses to judge any other.

Looking at a picture in a worker thread costs more CPU than all the rest of what we do for a small
one. Most PNG and JPEG files are so plain that a few steps over their bytes tell everything. Whatever
has one part that is not known here to the last byte (EXIF, colour profiles, animations, damage, a
preview) is not judged but left to Pillow. So the answer here is never "no", only "yes" or "look".

The number of steps and the bytes looked at are bounded, whatever the picture's length.
"""

from __future__ import annotations

import struct
import zlib

from ppinfra_async._sansio.sizes import Size
from ppinfra_async._sansio.sniff import image_format
from ppinfra_async.requests import ImageType

_MOST_PARTS = 256
"""Chunks or segments looked at: libpng writes 8 KB each, so a PNG of 2 MB is judged here."""

_MOST_HEADER = 64 * 1024
"""Bytes before the pixels of a plain picture; a checksum over them is a matter of microseconds."""

# Bit depths by colour type, as in the PNG specification, table 11.1.
_PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PNG_HEADER = struct.Struct(">II5B")
# Chunks before the pixels that say nothing about size or orientation, with their exact length.
_PNG_LENGTHS = {b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"pHYs": 9, b"tIME": 7}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_JPEG_FRAMES = b"\xc0\xc1\xc2"
_JPEG_APP0 = 0xE0
_JPEG_TABLE = 0xDB
_JPEG_SCAN = 0xDA
_JPEG_SAYS_NOTHING = {0xC4, 0xDD, 0xFE}
"""Huffman tables, restart intervals, comments."""

_JPEG_TABLE_LENGTH = 65
_JPEG_TAIL = 4096
"""The end mark must be among the last so many bytes: a longer search would cost time."""


def plain_picture(data: bytes) -> tuple[ImageType, Size] | None:
    """Return format and size of *data* if it is a whole, upright, plain picture; None for "look"."""
    match image_format(data):
        case ImageType.PNG:
            size = _png_size(data)
        case ImageType.JPEG:
            size = _jpeg_size(data)
        case _:
            size = None
    if size is None or 0 in size:
        return None
    kind = ImageType.PNG if data[0] == 0x89 else ImageType.JPEG
    return kind, size


def _png_size(data: bytes) -> Size | None:
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33 or not _sum_is_right(data, 8, 13):
        return None
    width, height, depth, colour, packing, filters, interlace = _PNG_HEADER.unpack_from(data, 16)
    is_known = depth in _PNG_DEPTHS.get(colour, ())
    if not is_known or packing or filters or interlace > 1:
        return None
    pixels = _png_pixels(data)
    return (width, height) if pixels and _png_ends(data, pixels) else None


def _png_pixels(data: bytes) -> int | None:
    """Return where the first chunk of pixels is, when all before it is plain."""
    at = 33
    for _ in range(_MOST_PARTS):
        kind = data[at + 4 : at + 8]
        if kind == b"IDAT":
            return at
        length = int.from_bytes(data[at : at + 4], "big")
        if at + length > min(len(data), _MOST_HEADER) or not _is_plain_chunk(data, at, length):
            return None
        at += 12 + length
    return None


def _is_plain_chunk(data: bytes, at: int, length: int) -> bool:
    kind = data[at + 4 : at + 8]
    if kind == b"PLTE":
        is_plain = 3 <= length <= 768 and length % 3 == 0
    elif kind == b"tEXt":
        # Some writers put EXIF into text, and it says which way is up.
        name = data[at + 8 : at + 8 + length].partition(b"\0")[0].lower()
        is_plain = 1 <= len(name) < length and b"exif" not in name and b"xmp" not in name
    else:
        is_plain = length == _PNG_LENGTHS.get(kind)
    return is_plain and _sum_is_right(data, at, length)


def _sum_is_right(data: bytes, at: int, length: int) -> bool:
    end = at + 8 + length
    return zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def _png_ends(data: bytes, at: int) -> bool:
    """Walk the chunks of pixels to the end chunk."""
    for _ in range(_MOST_PARTS):
        if data[at + 4 : at + 8] != b"IDAT":
            return data[at : at + 12] == _PNG_END
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _jpeg_size(data: bytes) -> Size | None:
    size = None
    at = 2
    for _ in range(_MOST_PARTS):
        head = data[at : at + 4]
        length = int.from_bytes(head[2:], "big")
        end = at + 2 + length
        if len(head) < 4 or head[0] != 0xFF or length < 2 or end > min(len(data), _MOST_HEADER):
            return None
        if head[1] == _JPEG_SCAN:
            tail = max(end, len(data) - _JPEG_TAIL)
            return size if data.find(b"\xff\xd9", tail) >= 0 else None
        if head[1] in _JPEG_FRAMES:
            if size is not None:
                return None
            size = _jpeg_frame(data[at + 4 : end])
        elif not _is_plain_segment(head[1], data[at + 4 : end]):
            return None
        at = end
    return None


def _jpeg_frame(frame: bytes) -> Size | None:
    if len(frame) < 6 or frame[0] != 8 or frame[5] not in {1, 3} or len(frame) != 6 + 3 * frame[5]:
        return None
    return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")


def _is_plain_segment(marker: int, segment: bytes) -> bool:
    if marker == _JPEG_APP0:
        return len(segment) == 14 and segment.startswith(b"JFIF\0")
    if marker == _JPEG_TABLE:
        starts = segment[::_JPEG_TABLE_LENGTH]
        is_made_of_tables = len(segment) == len(starts) * _JPEG_TABLE_LENGTH
        return is_made_of_tables and all(start < 4 for start in starts)
    return marker in _JPEG_SAYS_NOTHING

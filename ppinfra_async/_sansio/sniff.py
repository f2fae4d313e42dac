"""Tells from bytes alone what picture format they are and whether they are whole; refuses to decode.

Formats: PNG (W3C PNG, 5.2 and 11.2.5), JPEG (ITU T.81, B.1.1.3), WebP (RFC 9649, 2.4). These are the
three that the service writes; everything else is ``None``.
"""

from __future__ import annotations

from ppinfra_async.requests import ImageType

HEAD_LENGTH = 16
"""So many bytes are enough for ``image_format``."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xda"
_JPEG_END = b"\xff\xd9"
_MOST_PARTS = 50_000
"""Chunks or segments looked at; libpng writes 8 KB each. Hostile bytes must not cost time."""

_STEP = 1024 * 1024
_SHOWN_TEXT = 80


def image_format(head: bytes | bytearray) -> ImageType | None:
    """Return the format of a file that begins with *head*, or None."""
    if head.startswith(_PNG):
        return ImageType.PNG
    if head.startswith(_JPEG):
        return ImageType.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ImageType.WEBP
    return None


def is_whole(data: bytes | bytearray) -> bool:
    """Tell whether *data* has its format's end, so that a picture cut short is noticed undecoded.

    Bytes after a PNG's or JPEG's end are tolerated, as every decoder does: cameras append.
    """
    match image_format(data):
        case ImageType.PNG:
            return _png_is_whole(data)
        case ImageType.JPEG:
            return _jpeg_ends(data, _jpeg_scan(data))
        case ImageType.WEBP:
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False


def _png_is_whole(data: bytes | bytearray) -> bool:
    """Walk the chunks to the end chunk: one that is a picture itself has an end, too."""
    at = len(_PNG)
    for _ in range(_MOST_PARTS):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data) or kind == b"IEND":
            break
    else:
        return False
    return at <= len(data)


def _jpeg_scan(data: bytes | bytearray) -> int:
    """Return where the pixels begin; a preview in a segment before them has an end, too."""
    at = 2
    for _ in range(_MOST_PARTS):
        at = data.find(b"\xff", at)
        marker = data[at + 1 : at + 2]
        if at < 0 or marker == _JPEG_SCAN:
            break
        # A byte that only fills, or a segment with its length.
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at if at >= 0 else len(data)


def _jpeg_ends(data: bytes | bytearray, begin: int) -> bool:
    """Look for the end mark behind *begin*, from the back, where it should be.

    Step by step: a search of the whole would hold the interpreter, and with it the event loop.
    """
    at = len(data)
    while at > begin:
        start = max(begin, at - _STEP)
        # One step overlaps the other, for an end on the border.
        if data.find(_JPEG_END, start, at + 1) >= 0:
            return True
        at = start
    return False


def describe(head: bytes) -> str:
    """Say in words what *head* looks like, for the message about a picture that is none."""
    beginning = b" ".join(head.split())[:_SHOWN_TEXT]
    if not beginning:
        return "nothing"
    lowered = beginning.lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if lowered.startswith((b"<?xml", b"<error")):
        return "an XML document"
    if beginning.startswith((b"{", b"[")):
        return "JSON"
    if beginning.isascii() and beginning.decode().isprintable():
        return "text"
    return "something that is not PNG, JPEG or WebP"

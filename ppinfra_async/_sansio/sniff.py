"""Tells from bytes alone what picture format they are and whether they are whole; refuses to decode.

Formats: PNG (W3C PNG, 5.2 and 11.2.5), JPEG (ITU T.81, B.1.1.3), WebP (RFC 9649, 2.4). These are the
three that the service writes; everything else is ``None``.
"""

from __future__ import annotations

from ppinfra_async.requests import ImageType

HEAD_LENGTH = 16
"""So many bytes are enough for ``image_format``."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
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
            return _PNG_END in data
        case ImageType.JPEG:
            return data.rfind(_JPEG_END) > 0
        case ImageType.WEBP:
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False


def describe(head: bytes) -> str:
    """Say in words what *head* looks like, for the message about a picture that is none."""
    if not head:
        return "nothing"
    beginning = head.lstrip()[:_SHOWN_TEXT]
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

"""Serves 8 × 8 pictures without Pillow, each marked with its task and index; paints nothing."""

import zlib

import pybase64

_PNG = pybase64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAGUlEQVR42mPUsDkhwfAFE7EwiDBgBYNTAgB23gkqA3GO"
    "lAAAAABJRU5ErkJggg=="
)
_JPEG = pybase64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVG"
    "ZIhlbXd7gYKBTmCNl4x9lnN+gXz/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAA"
    "AAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)
_WEBP = pybase64.b64decode(
    "UklGRjwAAABXRUJQVlA4IDAAAADQAQCdASoIAAgABABoJbACdAEPDAQ/QAD+g8z94+C3fIj8tVJm/xfz+dS1fTp8AAA="
)
_PNG_HEADER_END = 33


def tiny_image(image_type: str, mark: str) -> bytes:
    """Give a valid picture that carries *mark* where viewers do not look (not in webp)."""
    text = mark.encode()
    if image_type == "jpeg":
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        return _JPEG[:2] + comment + _JPEG[2:]
    if image_type == "webp":
        return _WEBP
    data = b"tEXtComment\x00" + text
    chunk = (len(data) - 4).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    return _PNG[:_PNG_HEADER_END] + chunk + _PNG[_PNG_HEADER_END:]

"""Reads the bodies of submits, fast, slowly or in part; parses none."""

import anyio
from aiohttp import web

from ppinfra_async.testing._answers import RefusedError, error

# Slices of a slowly read body per second.
_SLICES = 20


def invite(request: web.BaseRequest) -> None:
    """Tell a client that asks before it sends (curl does, with a large body) that it may."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def read_body(
    request: web.BaseRequest, most: int, bytes_per_second: float | None = None
) -> bytes | bytearray:
    """Read a body to its end, as fast as it comes or no faster than *bytes_per_second*.

    Raises:
        ConnectionError: the client left before.
        RefusedError: there are more than *most* bytes, or they cannot be unpacked.
    """
    if (request.content_length or 0) > most:
        raise _too_large(most)
    invite(request)
    try:
        return await _read(request, most, bytes_per_second)
    except web.RequestPayloadError as problem:
        # Else aiohttp would read on and stumble over it again.
        request.content.feed_eof()
        message = " ".join(f"unreadable body: {problem}".split())
        answer = error("INVALID_REQUEST_BODY", message, headers=(("Connection", "close"),))
        raise RefusedError(answer) from None


async def _read(
    request: web.BaseRequest, most: int, bytes_per_second: float | None
) -> bytes | bytearray:
    content = request.content
    step = -1 if bytes_per_second is None else max(1, int(bytes_per_second / _SLICES))
    body: bytes | bytearray = b""
    while data := await (content.readany() if step < 0 else content.read(step)):
        # The usual body, which comes in one piece, is spared a copy.
        if not body:
            body = data
        elif isinstance(body, bytearray):
            body += data
        else:
            body = bytearray(body + data)
        if len(body) > most:
            raise _too_large(most)
        if bytes_per_second is not None:
            await anyio.sleep(len(data) / bytes_per_second)
    return body


async def read_part(request: web.BaseRequest, wanted: int) -> None:
    """Read exactly *wanted* bytes, or up to the end; negative counts from the end."""
    if wanted < 0:
        wanted = max(0, (request.content_length or 0) + wanted)
    if wanted:
        invite(request)
    while wanted > 0:
        data = await request.content.read(wanted)
        if not data:
            return
        wanted -= len(data)


def _too_large(most: int) -> RefusedError:
    message = f"the body is larger than {most} bytes"
    return RefusedError(error("INVALID_REQUEST_BODY", message, status=413))

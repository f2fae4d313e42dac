"""Carries out faults on real connections; chooses none."""

import contextlib
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import anyio
import anyio.lowlevel
from aiohttp import ClientConnectionError, web

from ppinfra_async.testing._answers import Answer
from ppinfra_async.testing._bodies import invite, read_part
from ppinfra_async.testing._faults import Fault, Kind, edited

# How often a silent connection is looked at, seconds.
_WATCH = 0.02
# Slices of a trickled answer per second.
_SLICES = 20
_ENDLESS_SLICE = bytes(64 * 1024)


def respond(answer: Answer) -> web.Response:
    """Turn values into aiohttp's response; every answer of the service carries a trace id."""
    return web.Response(status=answer.status, body=answer.body, headers=_headers(answer))


def _headers(answer: Answer) -> dict[str, str]:
    return {
        "Content-Type": answer.content_type,
        "x-trace-id": secrets.token_hex(16),
        **dict(answer.headers),
    }


def cut(request: web.BaseRequest, *, reset: bool) -> web.Response:
    """Drop the connection at once; what is returned reaches nobody."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        if reset:
            # Without it the system says FIN when no unread bytes are left.
            _option(request, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    return web.Response()


async def perform(fault: Fault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Let *fault* happen to *answer*, the true one."""
    return await _ACTS[fault.kind](fault, request, answer)


async def _answer(fault: Fault, _: web.BaseRequest, __: Answer) -> web.StreamResponse:
    return respond(fault.answer)


async def _edit(fault: Fault, _: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    if fault.edit is None or answer.status != HTTPStatus.OK:
        return respond(answer)
    return respond(edited(answer, fault.edit))


async def _truth(_: Fault, __: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    return respond(answer)


async def _cut(fault: Fault, request: web.BaseRequest, _: Answer) -> web.StreamResponse:
    return cut(request, reset=fault.reset)


async def _delay(fault: Fault, _: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    await anyio.sleep(fault.amount)
    return respond(answer)


async def _silence(_: Fault, request: web.BaseRequest, __: Answer) -> web.StreamResponse:
    await until_gone(request)
    return web.Response()


async def _truncate(fault: Fault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = await _announced(request, answer, len(answer.body))
    with contextlib.suppress(ClientConnectionError):
        await response.write(answer.body[: int(fault.amount)])
    cut(request, reset=fault.reset)
    return response


async def _misdeclare(fault: Fault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    length = max(0, len(answer.body) + int(fault.amount))
    response = await _announced(request, answer, length)
    with contextlib.suppress(ClientConnectionError):
        await response.write(answer.body)
    # aiohttp itself never sends more than was announced.
    transport = request.transport
    if transport is not None and length < len(answer.body):
        transport.write(answer.body[length:])
    cut(request, reset=False)
    return response


async def _slow(fault: Fault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = await _announced(request, answer, len(answer.body))
    step = max(1, int(fault.amount / _SLICES))
    with contextlib.suppress(ClientConnectionError):
        for start in range(0, len(answer.body), step):
            await anyio.sleep(step / fault.amount)
            await response.write(answer.body[start : start + step])
    return response


async def _endless(fault: Fault, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers=_headers(answer))
    response.enable_chunked_encoding()
    with contextlib.suppress(ClientConnectionError):
        await response.prepare(request)
        await response.write(fault.answer.body or answer.body)
        while True:
            await response.write(_ENDLESS_SLICE)
            # Loopback never pushes back for long; the loop has others to serve.
            await anyio.lowlevel.checkpoint()
    return response


async def _announced(request: web.BaseRequest, answer: Answer, length: int) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_length = length
    with contextlib.suppress(ClientConnectionError):
        await response.prepare(request)
    return response


Act = Callable[[Fault, web.BaseRequest, Answer], Awaitable[web.StreamResponse]]
_ACTS: Mapping[Kind, Act] = {
    "answer": _answer,
    "edit": _edit,
    "outcome": _truth,
    "slow_read": _truth,
    "cut": _cut,
    "delay": _delay,
    "never_answer": _silence,
    "truncate": _truncate,
    "misdeclare": _misdeclare,
    "slow": _slow,
    "endless": _endless,
}

# --- what comes before a body is read to the end ------------------------------------------


async def perform_early(fault: Fault, request: web.BaseRequest) -> web.StreamResponse:
    """Let an early *fault* happen to a submit whose body is not read yet."""
    if fault.kind == "never_read":
        return await _never_read(request, fault.amount)
    if fault.kind == "cut":
        await read_part(request, int(fault.amount))
        return cut(request, reset=fault.reset)
    return respond(fault.answer)


async def _never_read(request: web.BaseRequest, seconds: float) -> web.StreamResponse:
    invite(request)
    # A small window makes a sender stall after a few hundred kilobytes instead of megabytes.
    _option(request, socket.SO_RCVBUF, 4096)
    transport = request.transport
    if transport is not None:
        # aiohttp would go on to fill its own buffer.
        transport.pause_reading()
    with anyio.move_on_after(seconds):
        await until_gone(request)
    return cut(request, reset=True)


async def until_gone(request: web.BaseRequest) -> None:
    """Wait until the other side has left."""
    while (transport := request.transport) is not None and not transport.is_closing():
        if _left(transport.get_extra_info("socket")):
            return
        await anyio.sleep(_WATCH)


def _left(connection: socket.socket) -> bool:
    # A paused transport does not notice the end of its connection; the system does (Linux only,
    # elsewhere such a connection lasts until the simulator stops).
    if not hasattr(socket, "TCP_INFO"):
        return False
    with contextlib.suppress(OSError):
        established = 1
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != established
    return True


def _option(request: web.BaseRequest, name: int, value: int | bytes) -> None:
    transport = request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, name, value)

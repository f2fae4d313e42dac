"""A real browser, and hands for it: keys and questions through its debugging port."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import aiohttp
import anyio
from attrs import define

from tests.waiting import until

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}


def command(profile: Path, *options: str) -> list[str]:
    """Return how the browser is started without a window."""
    assert BROWSER is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    return [BROWSER, *flags, f"--user-data-dir={profile}", *options]


@define
class Tab:
    """One page that is open."""

    socket: aiohttp.ClientWebSocketResponse
    calls: int = 0

    async def call(self, method: str, **params: Any) -> Any:
        self.calls += 1
        await self.socket.send_json({"id": self.calls, "method": method, "params": params})
        while (answer := await self.socket.receive_json()).get("id") != self.calls:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def ask(self, code: str) -> Any:
        """Return what *code* gives in the page; a promise is waited for."""
        answer = await self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until *condition* holds in the page."""
        with anyio.fail_after(20):
            while not await self.ask(condition):  # noqa: ASYNC110  # only the page knows
                await anyio.sleep(0.01)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=_KEYS.get(key, ord(key[0].upper())),
            )


@asynccontextmanager
async def browsing(address: str, profile: Path) -> AsyncIterator[Tab]:
    """Open *address*; the browser is gone at the end of the block."""
    options = ("--remote-debugging-port=0", address)
    process = await anyio.open_process(command(profile, *options), stdout=DEVNULL, stderr=DEVNULL)
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/json") as response,
        ):
            page = next(each for each in await response.json() if each["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                await tab.until(
                    "document.readyState === 'complete' && !!document.querySelector('.bar')"
                )
                try:
                    yield tab
                finally:
                    await tab.call("Browser.close")
    finally:
        with anyio.move_on_after(10, shield=True) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
        await process.aclose()


async def _port(path: Path) -> str:
    # The browser writes the file when it listens: the port, the end of a line and a path.
    await until(lambda: "\n" in _text(path), seconds=20)
    return _text(path).splitlines()[0]


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""

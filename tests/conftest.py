"""Fixtures of all tests: one event loop library, no blocking call on the loop, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ppinfra_async import Client, Polling
from ppinfra_async.testing import Simulator
from tests.blocking import blocking_is_an_error
from tests.pictures import draw_picture

settings.register_profile("fast", max_examples=40, deadline=None)
settings.register_profile(
    "full", max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

FAST_POLLING = Polling(
    min_interval=0.01, max_interval=0.05, polls_per_second=500, total_deadline=20
)


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes share the tests: half of their time is waiting for sockets."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def anyio_backend() -> str:
    """Aiohttp runs on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_call() -> Iterator[None]:
    """Fail any blocking call of ours on an event loop's thread."""
    with blocking_is_an_error("ppinfra_async"):
        yield


@pytest.fixture(autouse=True)
def no_key_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own key and proxies must not reach the tests, nor how they were started."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("PPINFRA_", "PPIO_", "UV_RUN")):
            monkeypatch.delenv(name)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator that answers fast and draws tiny pictures."""
    async with Simulator(queue=0, processing=0.01, tiny_images=True) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    """A client of that simulator."""
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as opened:
        yield opened


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """A small photograph-like PNG file."""
    path = tmp_path / "cat.png"
    path.write_bytes(draw_picture(200, 160, "PNG"))
    return path

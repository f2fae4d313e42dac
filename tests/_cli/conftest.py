"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppinfra_async._cli import main
from ppinfra_async.testing import SimulatorThread, simulator_thread
from tests._cli.commands import Call, Finished


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``ppinfra`` with arguments in this process."""

    def run(*arguments: str | Path) -> Finished:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Finished(code, out, err)

    return run


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorThread]:
    """A fast simulator that the environment points to."""
    with simulator_thread(queue=0, processing=0.01, tiny_images=True) as running:
        monkeypatch.setenv("PPINFRA_API_KEY", running.api_key)
        monkeypatch.setenv("PPINFRA_BASE_URL", running.url)
        yield running

"""Runs the command for tests: in this process where that is enough, else as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from ppinfra_async._cli._options import TaskService
from ppinfra_async.options import Polling
from tests.conftest import FAST_POLLING

MODEL = "sd_xl_base_1.0.safetensors"
PATIENCE = 60


@frozen
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Finished]


class QuickService(TaskService):
    """A service that is asked more often, so that tests do not wait."""

    def polling(self) -> Polling:
        return FAST_POLLING


def start(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start ``ppinfra`` as a process of its own."""
    command = [sys.executable, "-m", "ppinfra_async._cli", *map(str, arguments)]
    return subprocess.Popen(  # noqa: S603  # our own module
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=cwd,
    )


def finish(process: subprocess.Popen[str]) -> Finished:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=PATIENCE)
    return Finished(process.returncode, out, err)


def python(
    code: str,
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a few lines in an interpreter of their own."""
    return subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", code],
        check=False,
        stdout=stdout,
        stderr=stderr,
        timeout=PATIENCE,
        env={**os.environ, **(environment or {})},
    )

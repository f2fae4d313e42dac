"""Gives pytest the fixture `ppinfra_simulator`; imports nothing until a test asks for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ppinfra_async.testing._settings import Options
    from ppinfra_async.testing._thread import SimulatorThread


@pytest.fixture
def ppinfra_simulator_options() -> "Options":
    """Options of the simulator; override this fixture in a module or class to choose others.

    By default tasks are done at once: a test wants to know that its code works, not to wait.
    """
    return {"queue": 0, "processing": 0.01}


@pytest.fixture
def ppinfra_simulator(ppinfra_simulator_options: "Options") -> "Iterator[SimulatorThread]":
    """Run a look-alike of the service on real sockets, in a thread of its own.

    Works in plain tests and under any async plugin. See `SimulatorThread` for what it offers.
    """
    from ppinfra_async.testing._thread import simulator_thread  # noqa: PLC0415  # see above

    with simulator_thread(**ppinfra_simulator_options) as simulator:
        yield simulator

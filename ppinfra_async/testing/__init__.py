"""A look-alike of PPInfra's asynchronous image API, for tests, demos and benchmarks.

Serves real sockets and never talks to the service. Importing this package imports nothing heavy:
pytest loads the plugin inside it in every project that has this package installed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppinfra_async.testing._counters import Counters
    from ppinfra_async.testing._faults import Call, Fault, Faults, bomb_png
    from ppinfra_async.testing._latency import (
        Latency,
        as_draw,
        exponential,
        lognormal,
        mixture,
        uniform,
    )
    from ppinfra_async.testing._models import Model
    from ppinfra_async.testing._process import SimulatorProcess, simulator_process
    from ppinfra_async.testing._settings import Options, Settings
    from ppinfra_async.testing._simulator import Simulator
    from ppinfra_async.testing._tasks import TaskRecord
    from ppinfra_async.testing._thread import SimulatorThread, simulator_thread

_HOMES = {
    "Call": "_faults",
    "Counters": "_counters",
    "Fault": "_faults",
    "Faults": "_faults",
    "Latency": "_latency",
    "Model": "_models",
    "Options": "_settings",
    "Settings": "_settings",
    "Simulator": "_simulator",
    "SimulatorProcess": "_process",
    "SimulatorThread": "_thread",
    "TaskRecord": "_tasks",
    "as_draw": "_latency",
    "bomb_png": "_faults",
    "exponential": "_latency",
    "lognormal": "_latency",
    "mixture": "_latency",
    "simulator_process": "_process",
    "simulator_thread": "_thread",
    "uniform": "_latency",
}

__all__ = [
    "Call",
    "Counters",
    "Fault",
    "Faults",
    "Latency",
    "Model",
    "Options",
    "Settings",
    "Simulator",
    "SimulatorProcess",
    "SimulatorThread",
    "TaskRecord",
    "as_draw",
    "bomb_png",
    "exponential",
    "lognormal",
    "mixture",
    "simulator_process",
    "simulator_thread",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # see the docstring

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Runs a simulator in a thread with an event loop of its own; usable from any test, sync or async."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._faults import Faults
from ppinfra_async.testing._settings import Options, Settings
from ppinfra_async.testing._simulator import Simulator
from ppinfra_async.testing._tasks import TaskRecord


class SimulatorThread:
    """A handle on a simulator in another thread; everything here may be used from anywhere.

    `reset`, `stop` and `start` wait for the other thread, which takes milliseconds; where even that
    is too long for an event loop, call them with `anyio.to_thread.run_sync`.

    Attributes:
        faults: where to order what shall go wrong.
    """

    def __init__(self, simulator: Simulator, portal: BlockingPortal) -> None:
        self._simulator = simulator
        self._portal = portal
        self.faults: Faults = simulator.faults

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self._simulator.url

    @property
    def result_url(self) -> str:
        """The origin that serves results."""
        return self._simulator.result_url

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return self._simulator.api_key

    @property
    def settings(self) -> Settings:
        """What was chosen."""
        return self._simulator.settings

    @property
    def counters(self) -> Counters:
        """A copy of the numbers of this moment."""
        return self._simulator.counters.snapshot()

    @property
    def tasks(self) -> Mapping[str, TaskRecord]:
        """A copy of all accepted tasks by id, in the order of their acceptance."""
        return self._simulator.tasks.copy()

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._simulator.open_connections

    def now(self) -> float:
        """Seconds since the epoch, on the clock of `TaskRecord`'s times."""
        return self._simulator.now()

    def reset(self) -> None:
        """Forget tasks, counters, faults and what the limits have seen."""
        self._portal.call(self._simulator.reset)

    def stop(self) -> None:
        """Cut all connections at once and stop listening."""
        self._portal.call(self._simulator.stop)

    def start(self) -> None:
        """Listen again on the same ports, with all tasks alive."""
        self._portal.call(self._simulator.start)


@contextmanager
def simulator_thread(
    settings: Settings | None = None, /, **options: Unpack[Options]
) -> Iterator[SimulatorThread]:
    """Run a `Simulator` with these settings in a thread for the length of the block."""
    simulator = Simulator(settings, **options)
    with (
        start_blocking_portal("asyncio", name="ppinfra-simulator") as portal,
        portal.wrap_async_context_manager(simulator),
    ):
        yield SimulatorThread(simulator, portal)

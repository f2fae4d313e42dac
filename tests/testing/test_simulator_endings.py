"""Ends that come at a bad moment: nothing listens, runs or stays open afterwards."""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import pytest
from anyio import to_thread

from ppinfra_async.testing import Fault, Simulator, SimulatorProcess, simulator_process

if TYPE_CHECKING:
    from tests.testing.conftest import Bare

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0, "tiny_images": True}
Use = Callable[[], Coroutine[Any, Any, None]]
Ending = Callable[[Use, anyio.Event], Awaitable[None]]


async def by_scope(use: Use, ready: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(use)
        await ready.wait()
        group.cancel_scope.cancel()


async def by_task(use: Use, ready: anyio.Event, times: int = 1) -> None:
    task = asyncio.ensure_future(use())
    await ready.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])


async def by_task_twice(use: Use, ready: anyio.Event) -> None:
    await by_task(use, ready, times=2)


async def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        async with await anyio.connect_tcp(str(parts.hostname), parts.port or 0):
            return True
    except OSError:
        return False


async def is_over(simulator: Simulator) -> bool:
    return not (
        await listens(simulator.url)
        or await listens(simulator.result_url)
        or simulator.open_connections
    )


@asynccontextmanager
async def in_use(simulator: Simulator, client: "Bare", *, busy: bool) -> AsyncIterator[None]:
    """Hold an idle connection to each origin, or a request in flight on each."""
    url = await client.image_url()
    if busy:
        simulator.faults.order("models", Fault.delay(60))
        simulator.faults.order("download", Fault.never_answer())

    async def broken(ask: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            await ask()

    async with anyio.create_task_group() as group:
        if busy:
            group.start_soon(broken, lambda: client.send("GET", "/v3/model"))
            group.start_soon(broken, lambda: client.download(url))
        else:
            await client.download(url)
        while simulator.faults.waiting:  # noqa: ASYNC110  # the simulator announces nothing
            await anyio.sleep(0.005)
        yield


@pytest.mark.parametrize("end", [by_scope, by_task, by_task_twice])
@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancelled_block_ends_both_origins(
    end: Ending,
    busy: bool,  # noqa: FBT001  # one axis of the table
    bare: "Connect",
) -> None:
    """Idle or in the middle of an answer, by whatever kind of cancellation, also by two."""
    before = asyncio.all_tasks()
    simulator, ready = Simulator(**FAST), anyio.Event()

    async def use() -> None:
        async with simulator:
            ready.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        started = anyio.Event()

        async def call() -> None:
            await ready.wait()
            async with in_use(simulator, bare(simulator), busy=busy):
                started.set()

        group.start_soon(call)
        await end(use, started)
    assert await is_over(simulator)
    await anyio.sleep(0.02)
    assert asyncio.all_tasks() <= before


async def test_a_cancelled_block_finishes_its_state_file(tmp_path: Path) -> None:
    """The counters of the end are written all the same."""
    state, ready = tmp_path / "state", anyio.Event()

    async def use() -> None:
        async with Simulator(**FAST, state=state) as simulator:
            simulator.counters.polls = 7
            ready.set()
            await anyio.sleep_forever()

    await by_scope(use, ready)
    async with Simulator(**FAST, state=state) as simulator:
        assert simulator.counters.polls == 7


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_was_interrupted_can_be_repeated(turns: int, bare: "Connect") -> None:
    """Wherever it was cut off, nothing is served; stop ends it and start serves again."""
    simulator = Simulator(**FAST)
    await simulator.start()
    await bare(simulator).submit()
    task = asyncio.ensure_future(simulator.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if turns:
        assert await is_over(simulator)
    await simulator.stop()
    assert await is_over(simulator)
    async with simulator:
        await bare(simulator).submit()
    assert await is_over(simulator)


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_was_interrupted_does_not_prevent_a_start(
    turns: int, bare: "Connect"
) -> None:
    """Without a second stop in between."""
    simulator = Simulator(**FAST)
    await simulator.start()
    task = asyncio.ensure_future(simulator.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    async with simulator:
        await bare(simulator).submit()
    assert await is_over(simulator)


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_start_leaves_nothing_open(turns: int) -> None:
    """Whether it gets to its end or not: where it did not, no port listens."""
    simulator = Simulator()
    task = asyncio.ensure_future(simulator.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        assert await is_over(simulator)
    await simulator.stop()
    assert await is_over(simulator)


async def test_a_start_that_fails_late_leaves_nothing_open(tmp_path: Path) -> None:
    """Here the state file cannot be written when both origins listen already."""
    simulator = Simulator(**FAST, state=tmp_path / "no folder" / "state")
    with pytest.raises(FileNotFoundError):
        await simulator.start()
    assert await is_over(simulator)


async def test_two_starts_at_once_are_one(bare: "Connect") -> None:
    """Neither opens sockets that the other does not know of."""
    simulator = Simulator(**FAST)
    opened: set[tuple[str, str]] = set()

    async def start() -> None:
        await simulator.start()
        opened.add((simulator.url, simulator.result_url))

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        group.start_soon(start)
    assert len(opened) == 1
    await bare(simulator).submit()
    await simulator.stop()
    assert await is_over(simulator)


async def test_an_impossible_option_of_a_socket_leaves_nothing_open() -> None:
    """The listening socket is closed, or the collector of garbage would complain of it."""
    with pytest.raises(TypeError):
        await Simulator(receive_buffer=2**40).start()
    gc.collect()


# asyncio itself forgets a connection that it takes in the turn in which the listener is closed, and
# stumbles over it when it is collected: Python 3.13.0 raises a TypeError there, others warn.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_with_the_end_is_cut_too(turns: int) -> None:
    """Whether the system, the loop or the server has it already."""
    before = asyncio.all_tasks()
    async with Simulator() as simulator:
        parts = urlsplit(simulator.url)
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((parts.hostname, parts.port))
        for _ in range(turns):
            await asyncio.sleep(0)
    gc.collect()
    with anyio.fail_after(3):
        try:
            await asyncio.get_running_loop().sock_recv(connection, 1)
        except ConnectionError:
            pass
        finally:
            connection.close()
    assert asyncio.all_tasks() <= before


# --- child processes ----------------------------------------------------------------------


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


needs_proc = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="no list of children here"
)


@needs_proc
@pytest.mark.parametrize("end", [by_scope, by_task, by_task_twice])
async def test_a_cancelled_block_ends_its_child(end: Ending) -> None:
    """In a cancelled scope the leaving code must still run."""
    process, ready = simulator_process(**FAST), anyio.Event()

    async def use() -> None:
        async with process:
            ready.set()
            await anyio.sleep_forever()

    await end(use, ready)
    await no_child_is_left(process)


@needs_proc
@pytest.mark.parametrize("end", [by_scope, by_task, by_task_twice])
@pytest.mark.parametrize("pause", [0, 0.02, 0.2])
async def test_a_cancelled_start_ends_its_child(end: Ending, pause: float) -> None:
    """Before the child exists, while it begins, and while it is waited for."""
    process, ready = simulator_process(**FAST), anyio.Event()

    async def use() -> None:
        async with process:
            await anyio.sleep_forever()

    async def soon() -> None:
        await anyio.sleep(pause)
        ready.set()

    async with anyio.create_task_group() as group:
        group.start_soon(soon)
        await end(use, ready)
    await no_child_is_left(process)


@needs_proc
async def test_a_child_that_begins_when_its_parent_has_given_up_is_ended() -> None:
    """The thread that starts it may be late."""
    process, given_up = simulator_process(**FAST), threading.Event()
    given_up.set()
    with pytest.raises(RuntimeError, match="did not start"):
        await to_thread.run_sync(process._start, given_up)
    await no_child_is_left(process)


async def no_child_is_left(process: SimulatorProcess) -> None:
    with anyio.fail_after(5):
        # The system announces nothing.
        while await to_thread.run_sync(children) or process.pid is not None:  # noqa: ASYNC110
            await anyio.sleep(0.01)


def test_a_second_start_of_a_process_does_nothing() -> None:
    """The running child goes on, and no other is left behind."""
    with simulator_process(**FAST) as process:
        pid = process.pid
        process.start()
        assert process.pid == pid

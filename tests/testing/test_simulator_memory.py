"""What a long load leaves in memory: nothing of forgotten tasks, and equal things once."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ppinfra_async.testing import Simulator

if TYPE_CHECKING:
    from tests.testing.conftest import Bare, Time

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0}


async def test_forgotten_tasks_leave_no_record(bare: "Connect", turned: "Time") -> None:
    """Their results are gone with them; numbers and counters go on."""
    async with Simulator(**FAST, clock=turned, forget_after=50) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        old = await client.submit()
        turned.now += 30
        young = await client.submit()
        turned.now += 20
        assert (await client.download(url)).status == 404
        assert list(simulator.tasks) == [young]
        assert (await client.poll(old)).reason == "TASK_NOT_FOUND"
        assert (await client.poll(young)).status == 200
        last = simulator.tasks[await client.submit()]
        assert (last.number, simulator.counters.accepted) == (4, 4)


async def test_a_long_load_stays_flat(bare: "Connect", turned: "Time") -> None:
    """With `forget_after`, no more is kept than was submitted in that time."""
    async with Simulator(**FAST, clock=turned, forget_after=10, tiny_images=True) as simulator:
        client = bare(simulator)
        for number in range(60):
            await client.submit(prompt=f"number {number}")
            turned.now += 1
            assert len(simulator.tasks) <= 10
        service = simulator._service
        assert len(service._ageing) == len(simulator.tasks)


async def test_many_different_requests_are_not_all_remembered(bare: "Connect") -> None:
    """What is kept for sharing has an end of its own."""
    async with Simulator(**FAST, tiny_images=True) as simulator:
        client = bare(simulator)
        for number in range(300):
            await client.submit(prompt=f"number {number}")
        assert len(simulator._service._requests) <= 256
        assert [task.prompt for task in simulator.tasks.values()][::299] == [
            "number 0",
            "number 299",
        ]


async def test_equal_pictures_and_requests_are_kept_once(bare: "Connect", tmp_path: Path) -> None:
    """Also those of a state file; and only as long as a task has them."""
    state = tmp_path / "state"
    async with Simulator(**FAST, state=state) as simulator:
        client = bare(simulator)
        for width in (128, 128, 136):
            await client.submit(width=width)
        one, same, other = simulator.tasks.values()
        assert one.picture is same.picture is not other.picture is not None
        assert one.request is same.request is not other.request
    async with Simulator(**FAST, state=state, forget_after=1000) as simulator:
        one, same, other = simulator.tasks.values()
        assert one.picture is same.picture is not other.picture is not None
        del one, same, other
        await anyio.to_thread.run_sync(simulator.reset)
        gc.collect()
        assert not simulator._service._sources


async def test_numbers_go_on_after_a_restart(bare: "Connect", tmp_path: Path) -> None:
    """Chance depends on them, and no task should repeat another's."""
    state = tmp_path / "state"
    for expected in (1, 2):
        async with Simulator(**FAST, state=state) as simulator:
            task_id = await bare(simulator).submit()
            assert simulator.tasks[task_id].number == expected

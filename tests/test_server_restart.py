"""A server that is killed in the middle and comes back: real processes, real signals."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from ppinfra_async import Client, Polling, Retries, TaskResult
from ppinfra_async.events import Event, PollFailed
from ppinfra_async.testing import simulator_process
from tests.requesting import img2img
from tests.waiting import until

POLLING = Polling(min_interval=0.02, max_interval=0.1, polls_per_second=500, total_deadline=30)


async def test_tasks_survive_a_killed_server(tmp_path: Path) -> None:
    """Results arrive although the server died under them; nothing is lost and nothing paid twice."""
    run = anyio.to_thread.run_sync
    events: list[Event] = []
    results: list[TaskResult] = []
    async with simulator_process(
        queue="0", processing="0.5", tiny_images=True, state=tmp_path / "state.jsonl"
    ) as server:
        client = Client(
            server.api_key, base_url=server.url, polling=POLLING, on_event=events.append
        )
        async with client:
            tasks = [await client.submit(img2img(image_num=2)) for _ in range(5)]
            url = server.url

            async def wait(number: int) -> None:
                results.append(await tasks[number])

            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(wait, number)
                await run(server.kill)
                # Nobody is told about a server that is away: the tasks go on waiting.
                await until(lambda: any(isinstance(event, PollFailed) for event in events))
                await run(server.start)
            assert server.url == url
            assert not client.unfinished

        assert {result.task_id for result in results} == {task.id for task in tasks}
        assert [len(result.images) for result in results] == [2] * 5
        counters = await run(server.counters)
        assert (counters.accepted, counters.images) == (5, 10)
        known = {task["task_id"] for task in await run(server.tasks)}
        assert known == {task.id for task in tasks}


async def test_submit_to_a_server_that_is_away_is_sent_when_it_is_back(tmp_path: Path) -> None:
    """A refused connection costs nothing, so the submit is tried until the server is there."""
    run = anyio.to_thread.run_sync
    results: list[TaskResult] = []
    retries = Retries(attempts=1000, max_wait=0.05)
    async with simulator_process(
        queue="0", processing="0", tiny_images=True, state=tmp_path / "state.jsonl"
    ) as server:
        await run(server.kill)
        async with Client(
            server.api_key, base_url=server.url, polling=POLLING, retries=retries
        ) as client:

            async def generate() -> None:
                results.append(await client.generate(img2img()))

            async with anyio.create_task_group() as group:
                group.start_soon(generate)
                await anyio.sleep(0.05)
                await run(server.start)

        assert [len(result.images) for result in results] == [1]
        assert (await run(server.counters)).accepted == 1

"""How much CPU does one task cost, beside the same calls made with bare aiohttp and orjson?

Each contender runs in a process of its own against one simulator in another process: one submit with
a small picture, status calls until done, one download, no decoding. CPU time of the contender's
process only, its start not counted; the median of several rounds, contenders in turn.

    uv run python benchmarks/overhead.py [--tasks 500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import aiohttp
import orjson
from yarl import URL

from ppinfra_async import Client, ImageInput, Img2Img, Polling
from ppinfra_async.testing import simulator_process

AT_ONCE = 64
INTERVAL = 0.5
MODEL = "dreamshaper_8_93211.safetensors"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAK0lEQVR42mPk4OBgIAWw8PPzk6ZBUFCQNA0CAgKjGkY1UEMD4/fv30nSAABykAXYWE5U5AAAAABJRU5ErkJggg=="
)

Contender = Callable[[str, str, int], Awaitable[None]]


async def ours(url: str, key: str, tasks: int) -> None:
    """Run the client with a fixed poll interval, so that all contenders make the same calls."""
    polling = Polling(min_interval=INTERVAL, max_interval=INTERVAL, polls_per_second=10_000)
    request = Img2Img(
        model_name=MODEL, image=ImageInput.from_bytes(PICTURE), prompt="x", width=128, height=128
    )
    async with Client(key, base_url=url, polling=polling) as client:

        async def work(shared: list[int]) -> None:
            while shared:
                shared.pop()
                result = await client.generate(request, decode=False)
                assert result.images[0].data

        await run_workers(work, tasks)


def body_of(picture: bytes) -> dict[str, object]:
    return {
        "request": {
            "model_name": MODEL,
            "image_base64": base64.b64encode(picture).decode(),
            "prompt": "x",
            "width": 128,
            "height": 128,
            "image_num": 1,
            "steps": 20,
            "guidance_scale": 7.5,
            "sampler_name": "Euler a",
        }
    }


def address_of(answer: Any) -> URL:
    """Return the picture's address as it came: aiohttp would quote it anew, and break its signature."""
    return URL(answer["images"][0]["image_url"], encoded=True)


async def bare(url: str, key: str, tasks: int) -> None:
    """Make the same calls with nothing but aiohttp and orjson: the floor."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work(shared: list[int]) -> None:
            while shared:
                shared.pop()
                body = orjson.dumps(body_of(PICTURE))
                async with session.post(
                    f"{url}/v3/async/img2img", data=body, headers=headers
                ) as reply:
                    task_id = orjson.loads(await reply.read())["task_id"]
                while True:
                    await asyncio.sleep(INTERVAL)
                    async with session.get(
                        f"{url}/v3/async/task-result", params={"task_id": task_id}, headers=headers
                    ) as reply:
                        answer = orjson.loads(await reply.read())
                    if answer["task"]["status"] == "TASK_STATUS_SUCCEED":
                        break
                async with session.get(address_of(answer)) as reply:
                    assert reply.status == 200
                    assert await reply.read()

        await run_workers(work, tasks)


async def naive(url: str, key: str, tasks: int) -> None:
    """Do what most scripts do: `json`, a gather over everything, a session's own helpers."""
    headers = {"Authorization": f"Bearer {key}"}
    limit = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(headers=headers) as session, aiohttp.ClientSession() as images:

        async def one() -> None:
            async with limit:
                async with session.post(f"{url}/v3/async/img2img", json=body_of(PICTURE)) as reply:
                    task_id = (await reply.json())["task_id"]
                while True:
                    await asyncio.sleep(INTERVAL)
                    async with session.get(
                        f"{url}/v3/async/task-result?task_id={task_id}"
                    ) as reply:
                        answer = json.loads(await reply.text())
                    if answer["task"]["status"] == "TASK_STATUS_SUCCEED":
                        break
                async with images.get(address_of(answer)) as reply:
                    assert reply.status == 200
                    assert await reply.read()

        await asyncio.gather(*(one() for _ in range(tasks)))


async def run_workers(work: Callable[[list[int]], Awaitable[None]], tasks: int) -> None:
    shared = list(range(tasks))
    await asyncio.gather(*(work(shared) for _ in range(AT_ONCE)))


CONTENDERS: dict[str, Contender] = {"ours": ours, "bare aiohttp + orjson": bare, "naive": naive}


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def contend(name: str, url: str, key: str, tasks: int) -> None:
    """Run one contender in this process and print its CPU seconds per task."""

    async def run() -> float:
        # The first tasks import and connect; they are not counted.
        await CONTENDERS[name](url, key, AT_ONCE)
        before = cpu()
        await CONTENDERS[name](url, key, tasks)
        return (cpu() - before) / tasks

    print(asyncio.run(run()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contend:
        contend(*options.contend, options.tasks)
        return
    figures: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with simulator_process(queue=0, processing=0.1, tiny_images=True) as simulator:
        for _ in range(options.rounds):
            for name, seconds in figures.items():
                command = [sys.executable, __file__, "--tasks", str(options.tasks)]
                done = subprocess.run(  # noqa: S603  # our own interpreter and file
                    [*command, "--contend", name, simulator.url, simulator.api_key],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds.append(float(done.stdout))
    report(figures, options.tasks)


def report(figures: dict[str, list[float]], tasks: int) -> None:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "anyio", "cattrs"))
    print(f"Python {platform.python_version()}, {libraries}, {os.cpu_count()} cores, {tasks} tasks")
    floor = figures["bare aiohttp + orjson"]
    rows = {}
    for name, seconds in figures.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, floor, strict=True))
        rows[name] = {"ms_per_task": statistics.median(seconds) * 1000, "ratio": ratio}
        print(f"{name:24} {rows[name]['ms_per_task']:7.2f} ms CPU per task  {ratio:5.2f} × bare")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

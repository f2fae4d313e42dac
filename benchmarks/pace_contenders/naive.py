"""The script that most people write: ask every second, and after a 429 wait a second and try again."""

from __future__ import annotations

import asyncio

import aiohttp
from jobs import Work, compete
from measure import Tally, body_of


async def run(work: Work) -> Tally:
    tally, numbers = Tally(), iter(range(work.jobs))

    async def submitted(session: aiohttp.ClientSession, body: dict[str, object]) -> str:
        while True:
            async with session.post(f"{work.url}/v3/async/img2img", json=body) as reply:
                if reply.status != 429:
                    return str((await reply.json())["task_id"])
            await asyncio.sleep(1.0)

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            try:
                task_id = await submitted(session, body_of(work.picture, number))
                status = ""
                while status not in {"TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"}:
                    await asyncio.sleep(work.interval)
                    url = f"{work.url}/v3/async/task-result?task_id={task_id}"
                    async with session.get(url) as reply:
                        status = (await reply.json())["task"]["status"]
                tally.done += status == "TASK_STATUS_SUCCEED"
            except Exception as error:
                tally.fell(error)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Authorization": f"Bearer {work.key}"}
    ) as session:
        await asyncio.gather(*(worker(session) for _ in range(work.at_once)))
    return tally


if __name__ == "__main__":
    compete(lambda work: asyncio.run(run(work)))

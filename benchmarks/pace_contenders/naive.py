"""The script that most people write: ask every second, and after a 429 wait a second and try again."""

from __future__ import annotations

import asyncio
import base64

import aiohttp
from jobs import MODEL, SIDE, Tally, Work, compete


def body_of(work: Work, number: int) -> dict[str, object]:
    return {
        "request": {
            "model_name": MODEL,
            "image_base64": base64.b64encode(work.picture.read_bytes()).decode(),
            "prompt": f"job {number}",
            "width": SIDE,
            "height": SIDE,
            "image_num": 1,
            "steps": 20,
            "guidance_scale": 7.5,
            "sampler_name": "Euler a",
        }
    }


async def run(work: Work) -> Tally:
    tally, numbers = Tally(), iter(range(work.jobs))

    async def submitted(session: aiohttp.ClientSession, body: dict[str, object]) -> str:
        while True:
            async with session.post(f"{work.url}/v3/async/img2img", json=body) as reply:
                if reply.status != 429:
                    return str((await reply.json())["task_id"])
            tally.again += 1
            await asyncio.sleep(1.0)

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            try:
                task_id = await submitted(session, body_of(work, number))
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

"""What does the `asyncio.gather` script cost that most people write?

At its best for what it is: one session, no limit on connections, one semaphore around each job.
"""

from __future__ import annotations

import asyncio
from io import BytesIO

import aiohttp
from measure import Tally, Work, body_of, compete
from PIL import Image
from yarl import URL


async def address_of(session: aiohttp.ClientSession, work: Work, number: int) -> str:
    """Submit one job and ask until it is done."""
    async with session.post(
        f"{work.url}/v3/async/img2img", json=body_of(work.picture, number)
    ) as reply:
        task_id = (await reply.json())["task_id"]
    while True:
        await asyncio.sleep(work.interval)
        async with session.get(f"{work.url}/v3/async/task-result?task_id={task_id}") as reply:
            answer = await reply.json()
        status = answer["task"]["status"]
        if status == "TASK_STATUS_SUCCEED":
            return str(answer["images"][0]["image_url"])
        if status == "TASK_STATUS_FAILED":
            raise RuntimeError(answer["task"]["reason"])


async def run(work: Work) -> Tally:
    tally = Tally()
    limit = asyncio.Semaphore(work.in_flight)
    headers = {"Authorization": f"Bearer {work.key}"}

    def session(sent: dict[str, str] | None = None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=sent)

    # The storage refuses the key, so pictures have a session of their own.
    async with session(headers) as api, session() as storage:

        async def one(number: int) -> None:
            async with limit:
                address = await address_of(api, work, number)
                # As it came: aiohttp would quote it anew, and its signature would not fit.
                async with storage.get(URL(address, encoded=True)) as reply:
                    data = await reply.read()
                picture = Image.open(BytesIO(data))
                picture.load()
                tally.succeeded(picture.size)

        jobs = [one(number) for number in range(work.jobs)]
        for ended in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(ended, BaseException):
                tally.fell(ended)
    return tally


if __name__ == "__main__":
    compete(lambda work: asyncio.run(run(work)), ("aiohttp", "pillow"))

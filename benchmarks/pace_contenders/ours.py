"""Our client, asked for the end of each task and not for its pictures."""

from __future__ import annotations

import asyncio

from jobs import Work, compete
from measure import MODEL, SIDE, Tally

from ppinfra_async import Client, Img2Img, Limits, Polling, PPInfraError, TaskStatus


async def run(work: Work) -> Tally:
    tally, numbers = Tally(), iter(range(work.jobs))
    polling = Polling(polls_per_second=work.polls_per_second)
    limits = Limits(images_per_minute=work.images_per_minute or "auto")

    async def worker(client: Client) -> None:
        for number in numbers:
            request = Img2Img(
                model_name=MODEL,
                image=work.picture,
                prompt=f"job {number}",
                width=SIDE,
                height=SIDE,
            )
            try:
                task = await client.submit(request)
                async for update in task.updates():
                    if update.status is TaskStatus.SUCCEED:
                        tally.done += 1
            except PPInfraError as error:
                tally.fell(error)

    async with (
        Client(work.key, base_url=work.url, polling=polling, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(work.at_once):
            group.create_task(worker(client))
    return tally


if __name__ == "__main__":
    compete(lambda work: asyncio.run(run(work)))

"""What does `run_batch` cost, with its journal, its pictures and its gallery on the disk?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from measure import MODEL, SIDE, Tally, Work, compete

from ppinfra_async import Client, Polling, batch


def manifest_of(work: Work) -> Path:
    return Path(work.folder, f"{work.name}.jsonl")


def write_manifest(work: Work) -> None:
    with manifest_of(work).open("w") as manifest:
        for number in range(work.jobs):
            job = {
                "key": f"job-{number}",
                "model_name": MODEL,
                "image": work.picture.name,
                "prompt": f"job {number}",
                "width": SIDE,
                "height": SIDE,
            }
            manifest.write(f"{json.dumps(job)}\n")


async def run(work: Work) -> Tally:
    polling = Polling(polls_per_second=work.polls_per_second)
    async with Client(work.key, base_url=work.url, polling=polling) as client:
        summary = await batch.run_batch(
            client,
            manifest_of(work),
            Path(work.folder, work.name),
            max_in_flight=work.in_flight,
        )
    lost = work.jobs - summary.done
    return Tally(summary.done, lost, str(summary) if lost else None)


if __name__ == "__main__":
    compete(
        lambda work: asyncio.run(run(work)), ("aiohttp", "anyio", "pillow"), prepare=write_manifest
    )

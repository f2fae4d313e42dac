"""What does `client.map` cost over a lazy stream of requests?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from measure import MODEL, SIDE, Tally, Work, compete

from ppinfra_async import Client, Img2Img, Polling
from ppinfra_async.requests import Request


def requests(work: Work) -> Iterator[Request]:
    for number in range(work.jobs):
        yield Img2Img(
            model_name=MODEL,
            image=work.picture,
            prompt=f"job {number}",
            width=SIDE,
            height=SIDE,
        )


async def run(work: Work) -> Tally:
    tally = Tally()
    polling = Polling(polls_per_second=work.polls_per_second)
    async with (
        Client(work.key, base_url=work.url, polling=polling) as client,
        client.map(requests(work), max_in_flight=work.in_flight) as outcomes,
    ):
        async for outcome in outcomes:
            if outcome.error is not None:
                tally.fell(outcome.error)
                continue
            picture = outcome.result.images[0].pil
            tally.succeeded(picture.size)
    return tally


if __name__ == "__main__":
    compete(lambda work: asyncio.run(run(work)), ("aiohttp", "anyio", "pillow"))

# /// script
# dependencies = ["novita-client==0.7.1", "dataclass-wizard<0.27"]
# ///
"""What does the vendor family's SDK cost, in as many threads as there are jobs in flight?

A client per thread, as its session keeps ten connections only. `sdk` lets it download, which makes a
pool of threads and a connection per picture; `sdk-lean` downloads beside it with a session per thread.
"""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import requests
from measure import Tally, Work, asked_by_sdk, compete
from novita_client import NovitaClient, settings
from PIL import Image


def run(work: Work) -> Tally:
    tally = Tally()
    mine = threading.local()
    # Read at every pause, so that setting it here is enough.
    settings.DEFAULT_POLL_INTERVAL = work.interval

    def start() -> None:
        mine.client = NovitaClient(work.key, work.url)
        mine.storage = requests.Session()

    def one(number: int) -> tuple[int, int] | Exception:
        try:
            downloads = work.contender == "sdk"
            result = asked_by_sdk(mine.client, work.picture, number, download=downloads)
            picture = Image.open(BytesIO(data_of(result)))
            picture.load()
            return picture.size
        except Exception as error:  # counted
            return error

    def data_of(result: object) -> bytes:
        if work.contender == "sdk":
            return base64.b64decode(result.images_encoded[0])
        return mine.storage.get(result.images[0].image_url, timeout=30).content

    with ThreadPoolExecutor(work.in_flight, initializer=start) as pool:
        for ended in pool.map(one, range(work.jobs)):
            if isinstance(ended, Exception):
                tally.fell(ended)
            else:
                tally.succeeded(ended)
    return tally


if __name__ == "__main__":
    compete(run, ("novita-client", "dataclass-wizard", "requests", "pillow"))

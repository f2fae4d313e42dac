# /// script
# dependencies = ["novita-client==0.7.1", "dataclass-wizard<0.27"]
# ///
"""The vendor family's SDK with its own interval of 0.5 s, a thread and a client for each job at once.

It gives up on a 429, so whoever uses it catches that and tries again; a second later here.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from jobs import MODEL, SIDE, Tally, Work, compete
from novita_client import NovitaClient, settings


def one(client: NovitaClient, work: Work, number: int) -> None:
    client.img2img_v3(
        model_name=MODEL,
        input_image=str(work.picture),
        prompt=f"job {number}",
        image_num=1,
        width=SIDE,
        height=SIDE,
        steps=20,
        guidance_scale=7.5,
        sampler_name="Euler a",
        response_image_type="png",
        download_images=False,
    )


class Run:
    """One run of the jobs, by as many threads as there are jobs at once."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tally = Tally()
        self._numbers = iter(range(work.jobs))
        self._lock = threading.Lock()

    def worker(self, _: int) -> None:
        client = NovitaClient(self.work.key, self.work.url)
        while (number := self._following()) is not None:
            while not self._ended(client, number):
                time.sleep(1.0)  # noqa: TID251  # threads

    def _following(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _ended(self, client: NovitaClient, number: int) -> bool:
        """Carry a job out; tell whether it is over, or was refused for the quota's sake."""
        try:
            one(client, self.work, number)
        except Exception as error:
            with self._lock:
                if "429" in str(error):
                    self.tally.again += 1
                    return False
                self.tally.fell(error)
            return True
        with self._lock:
            self.tally.done += 1
        return True


def run(work: Work) -> Tally:
    settings.DEFAULT_POLL_INTERVAL = work.interval
    running = Run(work)
    with ThreadPoolExecutor(work.at_once) as pool:
        list(pool.map(running.worker, range(work.at_once)))
    return running.tally


if __name__ == "__main__":
    compete(run)

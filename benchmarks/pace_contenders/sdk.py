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

from jobs import Work, compete
from measure import Tally, asked_by_sdk
from novita_client import NovitaClient, settings


class Run:
    """One run of the jobs, by as many threads as there are jobs at once."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tally = Tally()
        self._numbers = iter(range(work.jobs))
        self._lock = threading.Lock()

    def worker(self, _: int) -> None:
        """Carry out one job after the other until there are no more."""
        client = NovitaClient(self.work.key, self.work.url)
        while (number := self._following()) is not None:
            while not self._ended(client, number):
                time.sleep(1.0)  # noqa: TID251  # a thread of its own, no event loop

    def _following(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _ended(self, client: NovitaClient, number: int) -> bool:
        """Carry a job out; tell whether it is over, or was refused for the quota's sake."""
        try:
            asked_by_sdk(client, self.work.picture, number, download=False)
        except Exception as error:
            if "429" in str(error):
                return False
            with self._lock:
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

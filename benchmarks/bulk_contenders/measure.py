"""What did a bulk run cost the process it ran in? Shared by the contenders; needs the standard library only.

A contender is a script. Without arguments it only imports what it needs and prints its versions; with a
JSON object it runs once to warm up, once for the figures, and prints them as a JSON line.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = "dreamshaper_8_93211.safetensors"
SIDE = 128


def body_of(picture: Path, number: int) -> dict[str, object]:
    """Return what a script without a client sends for one job."""
    return {
        "request": {
            "model_name": MODEL,
            "image_base64": base64.b64encode(picture.read_bytes()).decode(),
            "prompt": f"job {number}",
            "width": SIDE,
            "height": SIDE,
            "image_num": 1,
            "steps": 20,
            "guidance_scale": 7.5,
            "sampler_name": "Euler a",
        }
    }


def asked_by_sdk(client: Any, picture: Path, number: int, *, download: bool) -> Any:
    """Carry the same job out with a client of the SDK."""
    return client.img2img_v3(
        model_name=MODEL,
        input_image=str(picture),
        prompt=f"job {number}",
        image_num=1,
        width=SIDE,
        height=SIDE,
        steps=20,
        guidance_scale=7.5,
        sampler_name="Euler a",
        response_image_type="png",
        download_images=download,
    )


@dataclass(frozen=True)
class Work:
    """What the contender is asked for."""

    contender: str
    url: str
    key: str
    folder: str
    jobs: int
    in_flight: int
    interval: float
    polls_per_second: float
    name: str = "measured"

    @property
    def picture(self) -> Path:
        """The picture file of every job."""
        return Path(self.folder, "tiny.png")


@dataclass
class Tally:
    """How many jobs ended in a decoded picture; why the first one did not."""

    done: int = 0
    failed: int = 0
    first_failure: str | None = None

    def succeeded(self, size: tuple[int, int]) -> None:
        """Count a job by the size of its decoded picture."""
        assert size[0] > 0
        self.done += 1

    def fell(self, error: BaseException) -> None:
        """Count a job without a picture."""
        self.failed += 1
        self.first_failure = self.first_failure or repr(error)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Return the most memory this process ever held.

    Linux lets `ru_maxrss` begin at what the parent held, so its own file is asked first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


def compete(
    run: Callable[[Work], Tally],
    libraries: tuple[str, ...],
    prepare: Callable[[Work], None] = lambda _: None,
) -> None:
    """Be the main program of a contender."""
    if len(sys.argv) == 1:
        versions = [f"{name} {version(name)}" for name in libraries]
        print(", ".join([f"Python {platform.python_version()}", *versions]))
        return
    work = Work(**json.loads(sys.argv[1]))
    # The first jobs import, start threads and fill caches; they are not counted.
    warm_up = dataclasses.replace(work, name="warm-up", jobs=work.in_flight)
    for each in (warm_up, work):
        prepare(each)
    run(warm_up)
    before, began = cpu(), time.perf_counter()
    tally = run(work)
    figures = {"seconds": time.perf_counter() - began, "cpu": cpu() - before, "peak_mb": peak_mb()}
    print(json.dumps({**figures, **dataclasses.asdict(tally)}))

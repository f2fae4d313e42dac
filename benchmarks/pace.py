"""Over real sockets: how early are ends noticed with how many polls, and how is a quota used?

500 tasks at once against one simulator in another process; each contender in a process of its own, in
turn. What happened is counted by the simulator: polls, milliseconds from the end of a task to the first
answer that showed it, images accepted, submits refused. The simulator announces no remaining times, as
in the published samples, but in the row that says so.

    uv run python benchmarks/pace.py                 # a quarter of an hour
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bulk import allow_files, command_of
from PIL import Image

from ppinfra_async.testing import SimulatorProcess, simulator_process

HERE = Path(__file__).parent / "pace_contenders"
# What the contenders of both benchmarks ask for.
SHARED = Path(__file__).parent / "bulk_contenders"
SERVICE = {"queue": 0.07, "tiny_images": True, "forget_after": 120.0}
AT_ONCE = 500
PRICE = 0.15
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SHARED)}

Row = dict[str, float]


def can_run(script: str) -> bool:
    done = subprocess.run(  # noqa: S603  # our own files
        command_of(HERE / script), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{script} is skipped: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return not done.returncode


def played(command: list[str], seconds: float | None) -> int:
    """Let a contender run to its end, or kill it after *seconds*; return how many jobs failed."""
    contender = subprocess.Popen(  # noqa: S603  # our own files
        command,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        # The SDK logs each refusal.
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = contender.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        # The whole group: uv runs the SDK's script in a process of its own.
        os.killpg(contender.pid, signal.SIGKILL)
        contender.communicate()
        return 0
    if contender.returncode:
        sys.exit(f"{command} failed: {contender.returncode}")
    told = json.loads(output.splitlines()[-1])
    if told["failed"]:
        print(f"{told['failed']} failed, first {told['first_failure']}")
    return int(told["failed"])


def run(script: str, simulator: SimulatorProcess, seconds: float | None, **asked: Any) -> Row:
    """Run one contender; return what the simulator counted meanwhile."""
    before = simulator.counters()
    with tempfile.TemporaryDirectory(prefix="ppinfra-pace-") as folder:
        Image.new("L", (16, 16), 128).save(Path(folder, "tiny.png"))
        work = {
            "url": simulator.url,
            "key": simulator.api_key,
            "folder": folder,
            "at_once": AT_ONCE,
            "images_per_minute": None,
            "polls_per_second": 1000,
            **asked,
        }
        command = [*command_of(HERE / script), json.dumps(work)]
        failed = played(command, seconds)
        after = simulator.counters()
    accepted, noticed = after.accepted - before.accepted, after.noticed - before.noticed
    return {
        "accepted": accepted,
        "failed": failed,
        "polls": (after.polls - before.polls) / max(accepted, 1),
        "delay": (after.notice_ms - before.notice_ms) / 1000 / max(noticed, 1),
        "refused": after.refused_429 - before.refused_429,
    }


def notices(jobs: int, contenders: dict[str, tuple[str, float, str]]) -> dict[str, Row]:
    """Compare polls and delays of tasks of 15 s, log-normal with σ = 0.3."""
    print(f"\nNotices: {jobs} tasks of 15 s (σ 0.3), {AT_ONCE} at once, price {PRICE} s per poll")
    print(f"{'contender':26} {'polls/task':>10} {'delay s':>8} {'cost s':>7} {'failed':>7}")
    rows: dict[str, Row] = {}
    for name, (script, interval, says) in contenders.items():
        with simulator_process(
            **SERVICE, processing="lognormal:15,0.3", eta=says, progress=says
        ) as simulator:
            row = run(script, simulator, None, jobs=jobs, interval=interval)
        row["cost"] = PRICE * row["polls"] + row["delay"]
        rows[name] = row
        print(
            f"{name:26} {row['polls']:10.2f} {row['delay']:8.2f} {row['cost']:7.2f} "
            f"{row['failed']:7.0f}",
            flush=True,
        )
    return rows


def quotas(
    limit: int, minutes: float, contenders: dict[str, tuple[str, float, int | None]]
) -> dict[str, Row]:
    """Compare how a quota is used, with a sliding window."""
    print(f"\nQuota: {limit} images per minute (sliding), {AT_ONCE} at once, for {minutes:g} min")
    print(f"{'contender':26} {'accepted':>9} {'of the best':>12} {'refused':>8} {'share':>7}")
    rows: dict[str, Row] = {}
    # A sliding window lets a whole limit through at once, in the beginning and each minute after.
    best = limit * (int(minutes) + (minutes % 1 > 0))
    for name, (script, interval, pinned) in contenders.items():
        with simulator_process(
            **SERVICE, processing="lognormal:3.8,0.3", images_per_minute=limit
        ) as simulator:
            row = run(
                script,
                simulator,
                60 * minutes,
                jobs=10 * best,
                interval=interval,
                images_per_minute=pinned,
            )
        row["share"] = row["accepted"] / best
        row["refused share"] = row["refused"] / (row["refused"] + row["accepted"])
        rows[name] = row
        print(
            f"{name:26} {row['accepted']:9.0f} {row['share']:12.1%} {row['refused']:8.0f} "
            f"{row['refused share']:7.1%}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--limit", type=int, default=300, help="images per minute")
    parser.add_argument("--minutes", type=float, default=2.5)
    options = parser.parse_args()
    allow_files()
    usable = {script for script in ("ours.py", "naive.py", "sdk.py") if can_run(script)}

    polling = {
        "ours": ("ours.py", 0.0, "zero"),
        "ours, true eta": ("ours.py", 0.0, "honest"),
        "naive script, every 1 s": ("naive.py", 1.0, "zero"),
        "SDK, every 0.5 s": ("sdk.py", 0.5, "zero"),
    }
    paying = {
        "ours, limit pinned": ("ours.py", 0.0, options.limit),
        "ours, auto": ("ours.py", 0.0, None),
        "naive script": ("naive.py", 1.0, None),
        "SDK": ("sdk.py", 0.5, None),
    }
    noticed = notices(options.jobs, {n: c for n, c in polling.items() if c[0] in usable})
    used = quotas(
        options.limit, options.minutes, {n: c for n, c in paying.items() if c[0] in usable}
    )
    print(json.dumps({"notices": noticed, "quotas": used}))


if __name__ == "__main__":
    main()

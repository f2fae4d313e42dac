"""What do 1,000 and 100,000 jobs cost in bulk, beside a `gather` script and the vendor's SDK?

Each contender runs in a process of its own against one simulator in another process, in turn: the same
small picture file, as many jobs in flight, every result decoded. CPU time of the contender's process
only, its start and a warm-up not counted. The script and the SDK ask at a fixed interval; ours as the
client always does, but for the ceiling of its polls per second, which would be what is measured.

    uv run python benchmarks/bulk.py [--jobs 1000,100000] [--contenders map,naive] [--skip-large ""]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from ppinfra_async.testing import SimulatorProcess, simulator_process

HERE = Path(__file__).parent / "bulk_contenders"
SCRIPTS = {
    "map": "map.py",
    "batch": "batch.py",
    "naive": "naive.py",
    "sdk": "sdk.py",
    "sdk-lean": "sdk.py",
}
# The simulator forgets what is older, so that its memory stays flat; no job takes that long.
FORGET_AFTER = 60.0
# Seconds in the queue. With the default of --processing it is the only latency of this API that anybody
# documents (Novita's sample of a result: 69 ms, then 3.8 s for SDXL at 20 steps).
QUEUE = 0.07
# Each job in flight may hold two connections; the usual soft limit is 1024.
FILES = 8192

Row = dict[str, Any]


def command_of(script: Path) -> list[str]:
    if script.name == "sdk.py":
        # The project does not depend on the SDK: uv makes a throw-away environment for the script.
        return ["uv", "run", "--quiet", "--python", sys.executable, "--script", str(script)]
    return [sys.executable, str(script)]


def versions_of(name: str) -> str | None:
    """Return what a contender runs on; None, with a printed reason, when it cannot run."""
    try:
        done = subprocess.run(  # noqa: S603  # our own files
            command_of(HERE / SCRIPTS[name]), capture_output=True, text=True, check=False
        )
    except OSError as error:
        print(f"{name} is skipped: {error}")
        return None
    if done.returncode == 0:
        return done.stdout.strip()
    print(f"{name} is skipped: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return None


def draw_picture(path: Path) -> None:
    noise = random.Random(0).randbytes(16 * 16)
    Image.frombytes("L", (16, 16), noise).save(path)


def run_once(name: str, jobs: int, simulator: SimulatorProcess, options: argparse.Namespace) -> Row:
    """Run one contender over so many jobs."""
    before = simulator.counters()
    with tempfile.TemporaryDirectory(prefix="ppinfra-bulk-") as folder:
        draw_picture(Path(folder, "tiny.png"))
        work = {
            "contender": name,
            "url": simulator.url,
            "key": simulator.api_key,
            "folder": folder,
            "jobs": jobs,
            "in_flight": options.in_flight,
            "interval": options.interval,
            "polls_per_second": options.polls_per_second,
        }
        command = [*command_of(HERE / SCRIPTS[name]), json.dumps(work)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own files
    told = json.loads(done.stdout.splitlines()[-1])
    after = simulator.counters()
    # The warm-up's jobs are like the others and in all counters.
    all_jobs = jobs + options.in_flight
    if told["failed"]:
        print(f"{name}, {jobs:,} jobs: {told['failed']} failed, first {told['first_failure']}")
    # A large run takes long; this says how far it is, apart from the tables.
    print(f"{name}, {jobs:,} jobs: {told['seconds']:.0f} s", file=sys.stderr)
    return {
        "jobs_per_second": jobs / told["seconds"],
        "cpu_ms_per_job": told["cpu"] / jobs * 1000,
        "peak_mb": told["peak_mb"],
        "polls_per_job": (after.polls - before.polls) / all_jobs,
        "seconds_per_job": options.in_flight * told["seconds"] / jobs,
        "failures": jobs - told["done"],
        "paid_too_often": after.accepted - before.accepted - all_jobs,
    }


def middle(rows: list[Row]) -> Row:
    """Return the medians of several rounds; failures are added up."""
    sums = {"failures", "paid_too_often"}
    return {
        field: (sum if field in sums else statistics.median)(row[field] for row in rows)
        for field in rows[0]
    }


def memory_mb(pid: int | None) -> float | None:
    """Return what a process holds now, where the system tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def show(jobs: int, rows: dict[str, Row]) -> None:
    print(f"\n{jobs:,} jobs")
    print(
        "contender  jobs/s  CPU ms/job  peak MB  polls/job  s/job in flight  failures  paid twice"
    )
    for name, row in rows.items():
        print(
            f"{name:9} {row['jobs_per_second']:7.1f} {row['cpu_ms_per_job']:11.2f}"
            f" {row['peak_mb']:8.1f} {row['polls_per_job']:10.2f} {row['seconds_per_job']:16.2f}"
            f" {row['failures']:9} {row['paid_too_often']:11}"
        )


def conclude(tables: dict[int, dict[str, Row]]) -> dict[str, float]:
    """Return and print what the figures say: ratios, and memory by job count."""
    said: dict[str, float] = {}
    goals = {"naive": "goal ≤ 1.00", "sdk": "goal ≤ 0.20", "sdk-lean": "", "batch": ""}
    print()
    for jobs, rows in tables.items():
        for rival, goal in goals.items():
            if "map" in rows and rival in rows:
                ratio = rows["map"]["cpu_ms_per_job"] / rows[rival]["cpu_ms_per_job"]
                said[f"map_cpu_by_{rival}_{jobs}"] = ratio
                print(f"CPU per job, {jobs:,} jobs: map = {ratio:.2f} × {rival}  {goal}".rstrip())
    small, large = min(tables), max(tables)
    for name in tables[large] if large > small else ():
        growth = tables[large][name]["peak_mb"] - tables[small][name]["peak_mb"]
        said[f"{name}_growth_mb"] = growth
        goal = "  goal ≤ 30 MB" if name == "map" else ""
        print(f"memory, {large:,} jobs minus {small:,}: {name} {growth:+.1f} MB{goal}")
    return said


def parsed() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return sorted({int(part) for part in text.split(",")})

    def contenders(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := set(names) - set(SCRIPTS):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return names

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", type=numbers, default=[1000, 10_000])
    add("--contenders", type=contenders, default=list(SCRIPTS))
    # What a job costs them hardly depends on how many there are, and they take longest.
    slow = ["naive", "sdk", "sdk-lean"]
    add("--skip-large", type=contenders, default=slow, help="run these with the least jobs only")
    add("--in-flight", type=int, default=512)
    add("--interval", type=float, default=0.5, help="of the naive script and the SDK")
    add("--processing", default="lognormal:3.8,0.3", help="seconds the service takes per task")
    add("--polls-per-second", type=float, default=1000, help="our ceiling; the client's own is 20")
    add("--rounds", type=int, default=1)
    return parser.parse_args()


def allow_files() -> None:
    """Let this process and those it starts open enough sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def main() -> None:
    options = parsed()
    allow_files()
    versions = {name: found for name in options.contenders if (found := versions_of(name))}
    for name, found in versions.items():
        print(f"{name:9} {found}")
    print(
        f"{os.cpu_count()} cores, {options.in_flight} in flight, processing {options.processing} s,"
        f" interval {options.interval} s, our ceiling {options.polls_per_second:g} polls/s"
    )
    world = {"queue": QUEUE, "processing": options.processing, "tiny_images": True}
    tables: dict[int, dict[str, Row]] = {}
    with simulator_process(**world, forget_after=FORGET_AFTER) as simulator:
        for jobs in options.jobs:
            skipped = options.skip_large if jobs > options.jobs[0] else []
            names = [name for name in versions if name not in skipped]
            rounds = [
                {name: run_once(name, jobs, simulator, options) for name in names}
                for _ in range(options.rounds)
            ]
            tables[jobs] = {name: middle([rows[name] for rows in rounds]) for name in names}
            show(jobs, tables[jobs])
        service_mb = memory_mb(simulator.pid)
    report = {"ratios": conclude(tables), "versions": versions, "simulator_mb": service_mb}
    print(json.dumps({**vars(options), **report, "rows": tables}))
    if any(row["failures"] for rows in tables.values() for row in rows.values()):
        sys.exit("There were failures: the figures mean nothing.")


if __name__ == "__main__":
    main()

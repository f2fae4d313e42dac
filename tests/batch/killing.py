"""Starts victims, ends them, and holds what they left against what the service was paid for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from attrs import field, frozen

from tests.measuring import unmeasured
from tests.requesting import MODEL, PICTURE

PATIENCE = 60
VICTIM = Path(__file__).with_name("victim.py")
OURS = {"journal.sqlite3", "results.jsonl", "index.html"}


class Victims:
    """Starts processes that run a batch; ``with`` ends what is left of them."""

    def __init__(self) -> None:
        self._nest = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, str(VICTIM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=unmeasured(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._nest:
            assert self._nest.stdin is not None
            self._nest.stdin.close()
            self._nest.wait(PATIENCE)

    @contextmanager
    def victim(self, order: Mapping[str, Any]) -> Iterator[Iterator[list[str]]]:
        """Start one, give what it says, as words, and kill it at the end of the block."""
        assert self._nest.stdin is not None
        self._nest.stdin.write(f"{json.dumps(order)}\n")
        lines = self._lines()
        word, pid = next(lines)
        assert word == "pid"
        try:
            yield lines
        finally:
            os.kill(int(pid), signal.SIGKILL)
            while self._next() != ["gone"]:
                pass

    def _lines(self) -> Iterator[list[str]]:
        while True:
            words = self._next()
            yield words
            if words[0] in {"ended", "crashed"}:
                return

    def _next(self) -> list[str]:
        assert self._nest.stdout is not None
        words = self._nest.stdout.readline().split()
        assert words, "whatever starts victims has died"
        return words


@frozen(kw_only=True)
class Story:
    """A batch that is begun again and again.

    Attributes:
        root: A folder for the manifest, the picture and the output.
        url: The service.
        key: For it.
        max_in_flight: Jobs under way at once.
    """

    root: Path
    url: str
    key: str
    max_in_flight: int = 1
    manifest: Path = field(init=False)
    folder: Path = field(init=False)

    @manifest.default
    def _manifest(self) -> Path:
        return self.root / "manifest.jsonl"

    @folder.default
    def _folder(self) -> Path:
        return self.root / "out"

    def write_manifest(self, images: Iterable[int]) -> None:
        """Ask for so many images per job; each job is known again by its prompt."""
        (self.root / "cat.png").write_bytes(PICTURE)
        lines = [
            {
                "key": f"job{number}",
                "model_name": MODEL,
                "image": "cat.png",
                "prompt": f"job{number}",
                "image_num": asked,
            }
            for number, asked in enumerate(images)
        ]
        self.manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def order(self, *point: object) -> dict[str, Any]:
        """Return what a victim is told: to run the batch, and where to stop."""
        return {
            "url": self.url,
            "key": self.key,
            "manifest": str(self.manifest),
            "folder": str(self.folder),
            "max_in_flight": self.max_in_flight,
            "point": point or None,
        }

    def results(self) -> list[dict[str, Any]]:
        """Return what the last run wrote."""
        text = (self.folder / "results.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@frozen(kw_only=True)
class Account:
    """How a story ended.

    Attributes:
        jobs: In the manifest.
        done: Jobs with every picture.
        in_doubt: Jobs in doubt.
        other: States of all others.
        accepted: Tasks that the service took.
        unknown: Tasks that it took and whose id is not in the journal, by their job.
        paid_twice: Jobs with more than one task.
        lost: Tasks that no job has, and whose job is not in doubt.
        wrong: Pictures that are not what the results say, or not there, or there twice.
    """

    jobs: int
    done: int
    in_doubt: int
    other: tuple[str, ...]
    accepted: int
    unknown: tuple[str, ...]
    paid_twice: tuple[str, ...]
    lost: tuple[str, ...]
    wrong: tuple[str, ...]


def account(story: Story, tasks: Mapping[str, str]) -> Account:
    """Hold the folder against *tasks*: the job (its prompt) of each task id."""
    results = story.results()
    states = {result["key"]: result["state"] for result in results}
    known = {result["task_id"] for result in results}
    unknown = {task: job for task, job in tasks.items() if task not in known}
    jobs = list(tasks.values())
    return Account(
        jobs=len(results),
        done=sum(state == "done" for state in states.values()),
        in_doubt=sum(state == "in doubt" for state in states.values()),
        other=tuple(sorted(set(states.values()) - {"done", "in doubt"})),
        accepted=len(tasks),
        unknown=tuple(unknown.values()),
        paid_twice=tuple({job for job in jobs if jobs.count(job) > 1}),
        lost=tuple(job for job in unknown.values() if states.get(job) != "in doubt"),
        wrong=tuple(_wrong_pictures(story.folder, results)),
    )


def _wrong_pictures(folder: Path, results: list[dict[str, Any]]) -> Iterator[str]:
    left = {file.name for file in folder.iterdir()} - OURS
    for result in results:
        images = result["images"]
        if result["state"] == "done" and len(images) != result["request"]["image_num"]:
            yield f"{result['key']} has {len(images)} pictures"
        for number, image in enumerate(images, start=1):
            left.discard(image["path"])
            path = folder / image["path"]
            if image["path"] != f"{result['key']}-{number}.png":
                yield f"{image['path']} is picture {number} of {result['key']}"
            elif not path.is_file():
                yield f"{image['path']} is not there"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != image["sha256"]:
                yield f"{image['path']} is another picture"
    # Nobody looks for a passing file: what died with its writer keeps its strange name.
    yield from (name for name in left if not re.fullmatch(r"\.[0-9a-f]{16}\.part", name))

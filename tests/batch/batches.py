"""Folders with a manifest, pictures and what a batch makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppinfra_async import Client
from ppinfra_async.batch import BatchSummary, run_batch
from tests.requesting import MODEL, PICTURE

JOURNAL = "journal.sqlite3"


def line(prompt: str = "a cat", **fields: Any) -> dict[str, Any]:
    """Return a line that the service takes, with *fields* in place of what it has."""
    return {"model_name": MODEL, "image": "cat.png", "prompt": prompt, **fields}


def lines(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return *count* lines with different prompts."""
    return [line(f"cat {number}", **fields) for number in range(count)]


class Place:
    """A folder with ``cat.png``, ``jobs.jsonl`` and, once something ran, ``out``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "cat.png").write_bytes(PICTURE)

    @property
    def manifest(self) -> Path:
        return self.folder / "jobs.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write(self, manifest: Iterable[Mapping[str, Any] | str]) -> None:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in manifest]
        self.manifest.write_text("".join(f"{text}\n" for text in texts))

    async def run(
        self,
        client: Client,
        manifest: Iterable[Mapping[str, Any] | str] | None = None,
        **options: Any,
    ) -> BatchSummary:
        """Run *manifest*, or the one that is there."""
        if manifest is not None:
            self.write(manifest)
        return await run_batch(client, self.manifest, self.out, **options)

    @property
    def pictures(self) -> list[str]:
        """The names of all pictures in the output folder."""
        return sorted(path.name for path in self.out.glob("*.png"))

    @property
    def results(self) -> list[dict[str, Any]]:
        """What is in ``results.jsonl``."""
        return [json.loads(text) for text in (self.out / "results.jsonl").read_text().splitlines()]

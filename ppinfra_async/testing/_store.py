"""Writes accepted tasks to a file before they are answered; decides nothing.

One JSON document per line, appended without flushing the disk: it survives the death of the process,
which is what tests need, not that of the machine. All methods block; callers use a worker thread.
"""

import threading
from pathlib import Path
from typing import Any

import orjson


class Store:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> list[dict[str, Any]]:
        """Read all whole lines; a last line cut off by a kill is removed: nobody was answered."""
        with self._lock:
            try:
                raw = self._path.read_bytes()
            except FileNotFoundError:
                return []
            if raw and not raw.startswith(b"{"):
                raise ValueError(f"{self._path} is no simulator's state; it was left as it is.")
            whole = raw.rfind(b"\n") + 1
            if whole < len(raw):
                with self._path.open("r+b") as file:
                    file.truncate(whole)
            return [orjson.loads(line) for line in raw[:whole].splitlines()]

    def append(self, tree: dict[str, Any]) -> None:
        """Add one line."""
        line = orjson.dumps(tree) + b"\n"
        with self._lock, self._path.open("ab", buffering=0) as file:
            file.write(line)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._path.write_bytes(b"")

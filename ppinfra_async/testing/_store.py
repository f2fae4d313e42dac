"""Writes accepted tasks to a file before they are answered; decides nothing.

The first line tells that the file is a simulator's; a file without it is never touched. Then one JSON
document per line, appended without flushing the disk: it survives the death of the process, which is
what tests need, not that of the machine. All methods block; callers use a worker thread.
"""

import threading
from pathlib import Path
from typing import Any

import orjson

_SIGNATURE = b'{"state_of":"ppinfra_async.testing.Simulator","version":1}\n'


class Store:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> list[dict[str, Any]]:
        """Read all whole lines; a last line cut off by a kill is passed over: nobody was answered.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is another's file, or damaged.
        """
        with self._lock:
            raw = self._read()
        lines = raw[len(_SIGNATURE) : _whole(raw)].splitlines()
        return [self._parsed(number, line) for number, line in enumerate(lines, start=2)]

    def mend(self) -> None:
        """Remove a last line that was cut off, so that others may follow."""
        with self._lock:
            raw = self._read()
            if _whole(raw) < len(raw):
                with self._path.open("r+b") as file:
                    file.truncate(_whole(raw))

    def append(self, tree: dict[str, Any]) -> None:
        """Add one line."""
        line = orjson.dumps(tree) + b"\n"
        with self._lock, self._path.open("ab", buffering=0) as file:
            # One write, so that a kill leaves either both or nothing of a new file.
            file.write(line if file.tell() else _SIGNATURE + line)

    def clear(self, *trees: dict[str, Any]) -> None:
        """Forget everything but *trees*.

        Raises:
            OSError: the file cannot be read or written.
            ValueError: it is another's file; it is left as it is.
        """
        lines = b"".join(orjson.dumps(tree) + b"\n" for tree in trees)
        with self._lock:
            self._read()
            self._path.write_bytes(_SIGNATURE + lines)

    def _read(self) -> bytes:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        if raw and not raw.startswith(_SIGNATURE):
            raise ValueError(
                f"{self._path} is not a state file of the simulator; it was left as it is."
            )
        return raw

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        damaged = f"{self._path} is damaged in line {number}; it was left as it is."
        try:
            tree = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ValueError(damaged) from None
        if isinstance(tree, dict):
            return tree
        raise ValueError(damaged)


def _whole(raw: bytes) -> int:
    return raw.rfind(b"\n") + 1

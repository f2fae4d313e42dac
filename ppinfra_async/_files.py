"""Writes finished files under a passing name first; refuses to leave half a one behind.

Everything here blocks: callers use a worker thread.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppinfra_async.requests import ImageType

SUFFIX = {ImageType.PNG: ".png", ImageType.JPEG: ".jpg", ImageType.WEBP: ".webp"}
"""How a file of each format is called."""


@contextmanager
def passing_file(folder: Path, data: bytes = b"") -> Iterator[Path]:
    """Write *data* to a file in *folder* that nobody looks for, to be renamed or linked in the block.

    It is on the disk, not only in its cache, and gone at the end of the block unless it was renamed.

    Raises:
        OSError: when it cannot be written.
    """
    path = folder / f".{secrets.token_hex(8)}.part"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)

"""What this process has open, as the operating system sees it."""

from __future__ import annotations

import os
from pathlib import Path

import anyio


def open_sockets() -> int:
    """Count the open sockets of this process."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith("socket:")
        except OSError:
            # The folder's own descriptor, closed meanwhile.
            continue
    return count


async def until_open_sockets_are(wanted: int) -> None:
    """Wait until no more than *wanted* sockets are open; a transport closes a moment later."""
    with anyio.fail_after(2):
        while await anyio.to_thread.run_sync(open_sockets) > wanted:
            await anyio.sleep(0.005)


can_count = os.path.isdir("/proc/self/fd")  # noqa: PTH112  # at import, before any event loop

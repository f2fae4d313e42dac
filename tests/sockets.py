"""What this process has open, as the operating system sees it."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread


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
    with anyio.fail_after(10):
        while await anyio.to_thread.run_sync(open_sockets) > wanted:  # noqa: ASYNC110  # no event
            await anyio.sleep(0.005)

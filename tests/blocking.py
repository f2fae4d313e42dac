"""A guard that fails blocking calls on an event loop's thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx


@contextmanager
def blocking_is_an_error(scanned_module: str | None = None) -> Iterator[None]:
    """Fail each blocking call on an event loop's thread, or only those below *scanned_module*."""
    with blockbuster_ctx(scanned_module) as guard:
        # The lock that coverage's tracers of all threads share: the call is not the code's own, and
        # another thread that happens to hold it must not fail a test.
        guard.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield

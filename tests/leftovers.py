"""What is left on the loop."""

from __future__ import annotations

import asyncio

from tests.waiting import until


async def settled(tasks: int) -> None:
    """Return when not more than *tasks* tasks are left on the loop."""
    await until(lambda: len(asyncio.all_tasks()) <= tasks)

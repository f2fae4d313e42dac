"""Waiting for what another side does in its own time."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait until *condition* holds; fail when it does not within *seconds*."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for knows of no event
            await anyio.sleep(0.002)

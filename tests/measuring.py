"""Keeping coverage out of processes in which it is in the way."""

from __future__ import annotations

import os


def unmeasured() -> dict[str, str]:
    """Return the environment of a process whose imports, or whose time, are what a test is about."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

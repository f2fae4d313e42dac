"""A folder for a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.batch.batches import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder of its own, so that there is something outside of it."""
    return Place(tmp_path / "place")

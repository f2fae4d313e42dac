"""What a batch leaves on the disk: neither the key nor the source picture is in any of it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ppinfra_async import Client
from ppinfra_async.batch import run_batch
from ppinfra_async.testing import Fault, Simulator
from tests.batch.killing import OURS, Story
from tests.conftest import FAST_POLLING
from tests.requesting import PICTURE

pytestmark = pytest.mark.anyio

KEY = "sk_recognisable_key_0123456789"


async def test_key_and_picture_are_in_no_file_of_a_batch(tmp_path: Path) -> None:
    """Also not after refusals and doubts, whose messages are kept."""
    async with Simulator(queue=0, processing=0.01, tiny_images=True, api_key=KEY) as simulator:
        story = Story(root=tmp_path, url=simulator.url, key=KEY, max_in_flight=1)
        story.write_manifest([1, 1, 1, 1])
        simulator.faults.order("submit", Fault.cut_after_read())
        simulator.faults.order("submit", Fault.status(400))
        simulator.faults.order("submit", Fault.outcome(reason="no memory"))
        async with Client(KEY, base_url=simulator.url, polling=FAST_POLLING) as client:
            summary = await run_batch(client, story.manifest, story.folder, max_in_flight=1)

    assert (summary.in_doubt, summary.failed, summary.done) == (1, 2, 1)
    files = {file.name: file.read_bytes() for file in story.folder.iterdir()}
    assert files.keys() == OURS | {"job3-1.png"}
    middle = PICTURE[len(PICTURE) // 2 :][:60]
    in_base64 = base64.b64encode(PICTURE)[100:160]
    assert [name for name, data in files.items() if KEY.encode() in data] == []
    assert [name for name, data in files.items() if middle in data or in_base64 in data] == []
    assert b"cat.png" in files["journal.sqlite3"]

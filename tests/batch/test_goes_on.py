"""What a run does when a job's way is not straight: it stays one job, paid for once, with its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppinfra_async import Client, Retries
from ppinfra_async.batch import run_batch
from ppinfra_async.testing import Call, Fault, Simulator
from tests.batch.killing import Story, account
from tests.conftest import FAST_POLLING

pytestmark = pytest.mark.anyio


@pytest.fixture
def story(simulator: Simulator, tmp_path: Path) -> Story:
    """One job of two pictures."""
    story = Story(root=tmp_path, url=simulator.url, key=simulator.api_key)
    story.write_manifest([2])
    return story


async def test_second_fetch_brings_only_what_is_missing(story: Story, simulator: Simulator) -> None:
    """A picture that was saved before another one failed is not saved a second time."""
    refused: list[int] = []

    def second_picture_until_it_is_given_up(call: Call) -> bool:
        # All tries of the first fetch.
        if call.index != 1 or len(refused) >= 5:
            return False
        refused.append(call.number)
        return True

    simulator.faults.order(
        "download", Fault.status(500), times=None, when=second_picture_until_it_is_given_up
    )

    async with Client(
        story.key, base_url=story.url, polling=FAST_POLLING, retries=Retries(max_wait=0.01)
    ) as client:
        summary = await run_batch(client, story.manifest, story.folder)

    assert summary.done == 1
    found = account(story, {task.task_id: task.prompt for task in simulator.tasks.values()})
    assert found.wrong == ()
    assert len(refused) == 5
    assert simulator.counters.downloads == 7


async def test_sending_a_doubtful_job_again_in_vain_leaves_it_in_doubt(
    story: Story, simulator: Simulator
) -> None:
    """The first try may have been paid, whatever is known of the second."""
    simulator.faults.order("submit", Fault.cut_after_read())
    simulator.faults.order("submit", Fault.status(400), times=None)
    retries = Retries(attempts=3, max_wait=0.01, resubmit_unknown=True)
    async with Client(
        story.key, base_url=story.url, polling=FAST_POLLING, retries=retries
    ) as client:
        first = await run_batch(client, story.manifest, story.folder)
    assert (first.in_doubt, first.left, first.images_in_doubt) == (1, 0, 2)
    assert simulator.counters.submits == 2

    simulator.faults.clear()
    async with Client(story.key, base_url=story.url, polling=FAST_POLLING) as client:
        second = await run_batch(client, story.manifest, story.folder)

    assert (second.in_doubt, second.left) == (1, 0)
    assert simulator.counters.submits == 2

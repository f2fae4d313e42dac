"""Batches whose process is killed: nothing is lost, nothing is paid twice, whatever dies when."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ppinfra_async import Client
from ppinfra_async.batch import BatchSummary, run_batch
from ppinfra_async.testing import (
    Call,
    Fault,
    SimulatorProcess,
    SimulatorThread,
    simulator_process,
    simulator_thread,
)
from tests.batch.killing import PATIENCE, Account, Story, Victims, account
from tests.conftest import FAST_POLLING
from tests.waiting import until

pytestmark = pytest.mark.anyio

IS_FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"
JOBS = int(os.environ.get("KILLED_JOBS", "1000" if IS_FULL else "60"))
KILLS = int(os.environ.get("KILLS", "50" if IS_FULL else "6"))
IN_FLIGHT = 16


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    """Whatever starts processes that are killed."""
    with Victims() as started:
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorThread]:
    """A simulator for all stories of three jobs; each finds it empty."""
    with simulator_thread(queue=0, processing=0.01, tiny_images=True) as running:
        yield running


@pytest.fixture
def story(server: SimulatorThread, tmp_path: Path) -> Story:
    """Three jobs of two pictures, one after the other: the second is the one that is killed."""
    server.reset()
    story = Story(root=tmp_path, url=server.url, key=server.api_key)
    story.write_manifest([2, 2, 2])
    return story


async def run_to_the_end(story: Story) -> BatchSummary:
    """Say the same command again."""
    async with Client(story.key, base_url=story.url, polling=FAST_POLLING) as client:
        return await run_batch(client, story.manifest, story.folder, max_in_flight=IN_FLIGHT)


async def ended(story: Story, server: SimulatorThread) -> Account:
    """Run to the end, and tell how it stands."""
    summary = await run_to_the_end(story)
    assert summary.left == 0
    return account(story, {task.task_id: task.prompt for task in server.tasks.values()})


def at_second(call: Call) -> bool:
    return call.number == 2


POINTS: list[tuple[str, str, int, Fault | None, bool]] = [
    ("plan", "before", 1, None, False),
    ("plan", "after", 1, None, False),
    ("note_sending", "before", 2, None, False),
    ("note_sending", "after", 2, None, True),
    ("note_accepted", "before", 2, None, True),
    ("note_accepted", "after", 2, None, False),
    ("note_not_taken", "before", 1, Fault.status(429), True),
    ("note_not_taken", "after", 1, Fault.status(429), False),
    ("note_in_doubt", "before", 1, Fault.cut_after_read(), True),
    ("note_in_doubt", "after", 1, Fault.cut_after_read(paid=False), True),
    ("note_error", "before", 1, Fault.cut_after_read(), True),
    # Before the first picture of the second job, between its two, and with both in place.
    ("note_placing", "before", 3, None, False),
    ("note_placing", "after", 3, None, False),
    ("note_placing", "before", 4, None, False),
    ("note_placing", "after", 4, None, False),
    ("note_done", "before", 2, None, False),
    ("note_done", "after", 2, None, False),
    ("summarize", "before", 1, None, False),
    ("write_results", "before", 1, None, False),
    ("write_results", "after", 1, None, False),
    ("write_page", "after", 1, None, False),
]


@pytest.mark.parametrize(("entry", "side", "number", "fault", "is_in_doubt"), POINTS)
async def test_killed_at_a_point_of_the_story(
    victims: Victims,
    story: Story,
    server: SimulatorThread,
    entry: str,
    side: str,
    number: int,
    fault: Fault | None,
    *,
    is_in_doubt: bool,
) -> None:
    """A job is in doubt exactly when the kill came between its durable mark and its durable id."""
    if fault is not None:
        server.faults.order("submit", fault, when=at_second)

    await anyio.to_thread.run_sync(kill_at, victims, story, entry, side, number)

    found = await ended(story, server)
    assert (found.paid_twice, found.lost, found.wrong, found.other) == ((), (), (), ())
    assert (found.done, found.in_doubt) == ((2, 1) if is_in_doubt else (3, 0))


def kill_at(victims: Victims, story: Story, entry: str, side: str, number: int) -> None:
    with victims.victim(story.order(entry, side, number)) as lines:
        assert ["at", entry] in lines


@pytest.mark.parametrize(
    "fault", [Fault.delay(600), Fault.never_answer(), Fault.never_answer(paid=False)]
)
async def test_killed_while_the_answer_is_awaited(
    victims: Victims, story: Story, server: SimulatorThread, fault: Fault
) -> None:
    """Sent, perhaps paid, and no id: in doubt, and left alone."""
    server.faults.order("submit", fault, when=at_second)

    with victims.victim(story.order()):
        await until(lambda: server.counters.submits == 2, seconds=PATIENCE)

    found = await ended(story, server)
    assert (found.paid_twice, found.lost, found.wrong, found.other) == ((), (), (), ())
    assert (found.done, found.in_doubt, found.accepted) == (2, 1, 3 if fault.paid else 2)
    assert found.unknown == (("job1",) if fault.paid else ())


@pytest.mark.parametrize("side", ["before", "after"])
async def test_killed_when_a_task_has_failed(
    victims: Victims, story: Story, server: SimulatorThread, side: str
) -> None:
    """It is paid and failed: known once, and asked for no second time."""
    server.faults.order("submit", Fault.outcome(reason="no memory"), when=at_second)

    await anyio.to_thread.run_sync(kill_at, victims, story, "note_failed", side, 1)

    found = await ended(story, server)
    assert (found.paid_twice, found.lost, found.wrong, found.accepted) == ((), (), (), 3)
    assert (found.done, found.in_doubt, found.other) == (2, 0, ("failed",))
    assert await ended(story, server) == found


# --- at any moment ---


@pytest.fixture
def service() -> Iterator[SimulatorProcess]:
    """A simulator in a process of its own."""
    with simulator_process(queue="0", processing="0.02", tiny_images=True) as running:
        yield running


async def test_killed_at_any_moment_again_and_again(
    victims: Victims, service: SimulatorProcess, tmp_path: Path
) -> None:
    """Thousands of jobs and dozens of kills: every task is fetched or in doubt, none is paid twice."""
    seed = random.randrange(2**32)
    story = Story(root=tmp_path, url=service.url, key=service.api_key, max_in_flight=IN_FLIGHT)
    story.write_manifest([1 + number % 2 for number in range(JOBS)])
    began = time.perf_counter()

    await anyio.to_thread.run_sync(kill_again_and_again, victims, story, random.Random(seed))
    # Once more, which changes nothing.
    await anyio.to_thread.run_sync(let_end, victims, story)
    await anyio.to_thread.run_sync(let_end, victims, story)

    tasks = {
        task["task_id"]: task["request"]["prompt"]
        for task in await anyio.to_thread.run_sync(service.tasks)
    }
    found = account(story, tasks)
    seconds = time.perf_counter() - began
    print(  # noqa: T201  # pytest -s shows it
        f"\n{JOBS} jobs, {KILLS} kills, {seconds:.1f} s (seed {seed}): {found.accepted} paid, "
        f"{found.done} done, {found.in_doubt} in doubt ({len(found.unknown)} of them paid), "
        f"{len(found.lost)} lost, {len(found.paid_twice)} paid twice, {len(found.wrong)} wrong pictures"
    )
    assert (found.paid_twice, found.lost, found.wrong, found.other) == ((), (), (), ())
    assert found.jobs == JOBS == found.done + found.in_doubt
    assert found.accepted == found.done + len(found.unknown)
    assert len(found.unknown) <= found.in_doubt <= KILLS * IN_FLIGHT


def kill_again_and_again(victims: Victims, story: Story, chance: random.Random) -> None:
    for kills_left in range(KILLS, 0, -1):
        with victims.victim(story.order()) as lines:
            if chance.random() > 0.1:
                word, to_send = next(lines)
                assert word == "planned"
                # So few that the last kill, too, meets jobs that were not sent.
                for _ in range(chance.randint(0, int(to_send) // (kills_left + 1))):
                    assert next(lines)[0] == "sent"
            anyio.run(anyio.sleep, chance.uniform(0, 0.05))


def let_end(victims: Victims, story: Story) -> None:
    with victims.victim(story.order()) as lines:
        assert ["ended"] in lines

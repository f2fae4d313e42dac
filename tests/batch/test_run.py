"""A batch against a service that refuses, breaks and goes away: paid once, fetched, recorded."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ppinfra_async import Client, Limits, Retries, Timeouts
from ppinfra_async._journal_jobs import JobRecord
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch import (
    Batch,
    BatchStoppedError,
    JournalError,
    Listeners,
    Manifest,
    OutputError,
    run_batch,
)
from ppinfra_async.errors import (
    InsufficientBalanceError,
    InvalidKeyError,
    InvalidRequestError,
    NotAllowedError,
)
from ppinfra_async.journal import Journal
from ppinfra_async.testing import Fault, Options, Simulator
from tests.batch.batches import JOURNAL, Place, line, lines
from tests.conftest import FAST_POLLING
from tests.leftovers import at_work, our_tasks, settled
from tests.pictures import draw_picture
from tests.requesting import MODEL
from tests.waiting import until

OTHER_MODEL = "dreamshaper_8_93211.safetensors"


@asynccontextmanager
async def service(**options: Any) -> AsyncIterator[tuple[Simulator, Client]]:
    """Run a service and a client that gives up soon."""
    settings: Options = {"queue": 0, "processing": 0.01, "tiny_images": True, **options}  # type: ignore[typeddict-item]  # any option
    async with Simulator(**settings) as simulator, impatient(simulator) as client:
        yield simulator, client


def impatient(simulator: Simulator, **options: Any) -> Client:
    """Return a client that does not try anything twice."""
    return Client(
        simulator.api_key,
        base_url=simulator.url,
        polling=FAST_POLLING,
        retries=Retries(attempts=1, max_wait=0.01),
        **options,
    )


def batch_of(client: Client, place: Place, lines: Iterable[Any], **options: Any) -> Batch:
    place.write(lines)
    return Batch(
        client=client, manifest=Manifest.from_file(place.manifest), folder=place.out, **options
    )


def states(place: Place) -> list[str]:
    """Return the states of all jobs in the manifest's order."""
    return [one["state"] for one in place.results]


def refuse_after(simulator: Simulator, count: int, fault: Fault) -> None:
    """Let *count* submits pass, and meet every further one with *fault*."""
    passed = itertools.count()
    simulator.faults.order("submit", fault, times=None, when=lambda _: next(passed) >= count)


# --- all is well ---


async def test_every_picture_is_on_the_disk(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Named by source or key and number, whole; with results, a gallery and a journal beside them."""
    (place.folder / "dog.png").write_bytes(draw_picture(64, 48, "PNG"))
    manifest = [
        line("a", image_num=2),
        line("b", image="dog.png", extra={"response_image_type": "jpeg"}),
        line("c", key="night", extra={"response_image_type": "webp"}),
    ]
    summary = await place.run(client, manifest)

    assert sorted(path.name for path in place.out.iterdir()) == [
        "cat-1.png",
        "cat-2.png",
        "dog-1.jpg",
        "index.html",
        JOURNAL,
        "night-1.webp",
        "results.jsonl",
    ]
    for one in place.results:
        for picture in one["images"]:
            assert (place.out / picture["path"]).stat().st_size == picture["bytes"] > 0
    assert (summary.jobs, summary.done, summary.pictures, summary.images_paid) == (3, 3, 4, 4)
    assert (summary.failed, summary.in_doubt, summary.left, summary.gone) == (0, 0, 0, 0)
    assert not summary.is_capped
    assert str(summary).startswith("3 done, 0 failed, 0 in doubt, 0 left.")
    assert simulator.counters.images == 4


async def test_the_same_call_again_does_nothing(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Nothing is sent, asked or fetched, and nothing is written but the summaries."""
    await place.run(client, lines(3))
    before = {name: (place.out / name).stat().st_mtime_ns for name in place.pictures}
    counters = simulator.counters.snapshot()
    summary = await place.run(client)
    assert (summary.jobs, summary.done, summary.pictures) == (3, 3, 0)
    assert simulator.counters == counters
    assert {name: (place.out / name).stat().st_mtime_ns for name in place.pictures} == before


async def test_no_file_of_somebody_else_is_replaced(client: Client, place: Place) -> None:
    """Neither a picture nor a broken link nor a folder that has the name already."""
    place.out.mkdir()
    (place.out / "cat-1.png").write_bytes(b"mine")
    (place.out / "cat-2.png").symlink_to("nowhere")
    (place.out / "cat-3.png").mkdir()
    await place.run(client, [line(image_num=3)])
    assert (place.out / "cat-1.png").read_bytes() == b"mine"
    assert (place.out / "cat-2.png").is_symlink()
    assert not (place.out / "nowhere").exists()
    assert [picture["path"] for picture in place.results[0]["images"]] == [
        "cat-1-2.png",
        "cat-2-2.png",
        "cat-3-2.png",
    ]


async def test_objects_are_a_manifest(client: Client, simulator: Simulator, place: Place) -> None:
    """From a program, with pictures relative to the folder it names; known again as well."""
    for _ in range(2):
        summary = await run_batch(client, tuple(lines(2)), place.out, folder=place.folder)
        assert summary.done == 2
    assert simulator.counters.accepted == 2


async def test_an_empty_manifest_is_done_at_once(client: Client, place: Place) -> None:
    """And leaves a folder that says so."""
    summary = await place.run(client, [])
    assert summary.jobs == 0
    assert place.results == []


async def test_listeners_are_told(client: Client, place: Place) -> None:
    """Of every id, every picture with its path and every end."""
    sent: dict[str, str] = {}
    pictures: list[tuple[str, Path]] = []
    ends: list[tuple[str, JobState, Exception | None]] = []

    def on_sent(job: JobRecord, task_id: str) -> None:
        sent[job.label] = task_id

    def on_picture(job: JobRecord, path: Path) -> None:
        pictures.append((job.label, path))

    def on_end(job: JobRecord, state: JobState, error: Exception | None) -> None:
        ends.append((job.label, state, error))

    listeners = Listeners(on_sent=on_sent, on_picture=on_picture, on_end=on_end)
    manifest = [line("a", key="a", image_num=2), line("simulate-illegal", key="b")]
    batch = batch_of(client, place, manifest, listeners=listeners)
    await batch.run()

    assert sent == {"a": place.results[0]["task_id"]}
    assert sorted(pictures) == [("a", place.out / "a-1.png"), ("a", place.out / "a-2.png")]
    assert sorted((label, state) for label, state, _ in ends) == [
        ("a", JobState.DONE),
        ("b", JobState.FAILED),
    ]
    progress = batch.progress
    assert (progress.total, progress.pictures, progress.images, progress.images_left) == (
        2,
        2,
        3,
        1,
    )
    assert progress.count(JobState.DONE) == progress.count(JobState.FAILED) == 1


async def test_one_at_a_time_is_enough(client: Client, simulator: Simulator, place: Place) -> None:
    """A batch that may have one job under way gets through, in the manifest's order."""
    await place.run(client, lines(5), max_in_flight=1)
    assert [task.prompt for task in simulator.tasks.values()] == [f"cat {at}" for at in range(5)]


@pytest.mark.parametrize(
    "options",
    [{"max_in_flight": 0}, {"max_in_flight": True}, {"max_images": 0}, {"max_images": 1.5}],
)
async def test_numbers_that_make_no_sense_are_refused(
    client: Client, place: Place, options: dict[str, Any]
) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="must be a whole number from 1"):
        await place.run(client, lines(1), **options)
    assert not place.out.exists()


# --- jobs that fail ---


async def test_what_has_failed_is_not_sent_again_unless_asked(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """One that the service refused and one that it gave up on, beside one that is done."""
    manifest = [line("simulate-failure"), line("simulate-illegal"), line("fine")]
    for _ in range(2):
        summary = await place.run(client, manifest)
        assert (summary.done, summary.failed, summary.left) == (1, 2, 0)
        assert states(place) == ["failed", "failed", "done"]
        assert simulator.counters.accepted == 2
    errors = [one["error"] and one["error"]["type"] for one in place.results]
    assert errors == ["TaskFailedError", "ContentRejectedError", None]

    await place.run(client, retry_failed=True)
    assert simulator.counters.accepted == 3
    assert simulator.counters.refused == 2


async def test_a_failed_job_that_is_sent_again_can_succeed(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Then nothing is left of its failure but what it has cost."""
    simulator.faults.order("submit", Fault.outcome(reason="out of memory"))
    await place.run(client, [line()])
    assert states(place) == ["failed"]
    summary = await place.run(client, retry_failed=True)
    assert (summary.done, summary.images_paid) == (1, 2)
    assert place.results[0]["error"] is None


async def test_fewer_pictures_than_asked_for_are_noted(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """The job is done, and what the service did not make is counted."""
    simulator.faults.order("submit", Fault.outcome(produced=1))
    await place.run(client, [line(image_num=3)])
    assert [(one["state"], one["missing"], len(one["images"])) for one in place.results] == [
        ("done", 2, 1)
    ]


async def test_a_job_in_doubt_is_left_alone_unless_asked(place: Place) -> None:
    """It is listed by its name, however often the batch is run."""
    async with service() as (simulator, client):
        simulator.faults.order("submit", Fault.cut_after_read())
        for _ in range(2):
            summary = await place.run(client, [line(key="odd"), line()], max_in_flight=1)
            assert (summary.done, summary.in_doubt, summary.doubtful) == (1, 1, ("odd",))
            assert (summary.images_paid, summary.images_in_doubt) == (1, 1)
            assert states(place) == ["in doubt", "done"]
            assert simulator.counters.accepted == 2
        await place.run(client, retry_failed=True)
        assert simulator.counters.accepted == 2

        summary = await place.run(client, resubmit_unknown=True)
        assert (summary.done, summary.in_doubt, summary.images_in_doubt) == (2, 0, 1)
        assert simulator.counters.accepted == 3


async def test_a_client_that_sends_again_what_is_in_doubt_counts_right(place: Place) -> None:
    """The job is done, it may have been paid twice, and no count is off."""
    async with service() as (simulator, _):
        retries = Retries(attempts=2, max_wait=0.01, resubmit_unknown=True)
        async with Client(
            simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, retries=retries
        ) as client:
            simulator.faults.order("submit", Fault.cut_after_read())
            batch = batch_of(client, place, [line()])
            summary = await batch.run()
        assert (summary.done, summary.images_paid, summary.images_in_doubt) == (1, 1, 1)
        assert {state: jobs for state, jobs in batch.progress.jobs.items() if jobs} == {
            JobState.DONE: 1
        }


# --- the account ---


async def test_an_empty_balance_stops_the_batch(place: Place) -> None:
    """What is paid is finished, nothing more is sent, and after a payment the rest is."""
    async with service(balance=4) as (simulator, client):
        with pytest.raises(BatchStoppedError) as caught:
            await place.run(client, lines(30), max_in_flight=3)
        assert isinstance(caught.value.__cause__, InsufficientBalanceError)
        summary = caught.value.summary
        assert (summary.done, summary.failed, summary.left, summary.paid_left) == (4, 0, 26, 0)
        assert summary.images_left == 26
        assert simulator.counters.refused <= 3
        assert str(summary) in str(caught.value)
        assert states(place).count("planned") == 26
    async with service() as (simulator, client):
        assert (await place.run(client)).done == 30
        assert simulator.counters.accepted == 26


async def test_a_wrong_key_stops_the_batch(simulator: Simulator, place: Place) -> None:
    """Before anything is paid."""
    async with Client("sk_wrong", base_url=simulator.url) as client:
        with pytest.raises(BatchStoppedError) as caught:
            await place.run(client, lines(20), max_in_flight=2)
    assert isinstance(caught.value.__cause__, InvalidKeyError)
    assert caught.value.summary.left == 20
    assert simulator.counters.refused <= 2


async def test_a_model_that_is_not_allowed_stops_its_own_jobs(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Other models go on; those that were not sent are left for the next run."""
    simulator.faults.order(
        "submit",
        Fault.status(403, "NEED_REAL_NAME_VERIFY"),
        times=None,
        when=lambda call: call.body["request"]["model_name"] == OTHER_MODEL,
    )
    manifest = [
        line(f"{at}", model_name=OTHER_MODEL if at % 2 else MODEL, key=f"{at}") for at in range(20)
    ]
    summary = await place.run(client, manifest, max_in_flight=2)
    assert (summary.done, summary.failed, summary.left) == (10, 0, 10)
    assert simulator.counters.faults <= 2
    left = [one for one in place.results if one["state"] == "planned"]
    assert {one["error"]["type"] for one in left} == {NotAllowedError.__name__}
    simulator.faults.clear()
    assert (await place.run(client)).done == 20
    assert simulator.counters.accepted == 20


# --- the cap ---


async def test_no_more_images_than_allowed_are_ever_submitted(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Over all runs together, whatever is under way at the same time."""
    manifest = [line(f"{at}", image_num=1 + at % 3) for at in range(30)]
    for cap, paid in ((7, 7), (7, 7), (8, 7), (20, 19), (None, 60)):
        summary = await place.run(client, manifest, max_images=cap)
        assert simulator.counters.images == summary.images_paid == paid
        assert summary.is_capped == (cap is not None)
        assert summary.images_left == 60 - paid
    assert simulator.counters.accepted == 30


async def test_a_refused_job_makes_room_under_the_cap(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """It was not paid, so the next one can be; then the cap has kept nothing back."""
    manifest = [line("simulate-illegal"), line("simulate-illegal 2"), line("fine")]
    summary = await place.run(client, manifest, max_images=1, max_in_flight=2)
    assert (summary.done, summary.failed, summary.left) == (1, 2, 0)
    assert not summary.is_capped
    assert simulator.counters.images == 1


async def test_images_in_doubt_count_under_the_cap(place: Place) -> None:
    """They may be paid."""
    async with service() as (simulator, client):
        simulator.faults.order("submit", Fault.cut_after_read())
        for _ in range(2):
            summary = await place.run(client, lines(5), max_images=3, max_in_flight=1)
            assert (summary.done, summary.in_doubt, summary.left) == (2, 1, 2)
        assert simulator.counters.images == 3


async def test_a_client_that_sends_again_keeps_to_the_cap(place: Place) -> None:
    """A second submit that might be paid counts as well, and is kept back when it is too much."""
    async with service() as (simulator, _):
        retries = Retries(attempts=5, max_wait=0.01, resubmit_unknown=True)
        async with Client(
            simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, retries=retries
        ) as client:
            simulator.faults.order("submit", Fault.cut_after_read(), times=None)
            summary = await place.run(client, [line()], max_images=2)
        assert simulator.counters.images == 2
        assert (summary.in_doubt, summary.images_in_doubt) == (1, 2)


# --- pictures that are late ---


async def test_pictures_that_are_missing_are_fetched_later(place: Place) -> None:
    """With fresh addresses, once those of the first run have expired; only what is missing."""
    now = [1_000_000.0]
    async with service(clock=lambda: now[0], result_ttl=60, resign=True, processing=0) as (
        simulator,
        client,
    ):
        simulator.faults.order("download", Fault.not_an_image(), when=lambda call: call.index == 1)
        first = await place.run(client, [line(image_num=3)])
        assert (first.done, first.left, first.paid_left, first.pictures) == (0, 1, 1, 2)
        assert place.pictures == ["cat-1.png", "cat-3.png"]
        assert states(place) == ["submitted"]

        now[0] += 3600
        downloads = simulator.counters.downloads
        second = await place.run(client)
        assert (second.done, second.pictures) == (1, 1)
        assert simulator.counters.downloads == downloads + 1
        assert place.pictures == ["cat-1.png", "cat-2.png", "cat-3.png"]
        assert simulator.counters.accepted == 1


async def test_a_picture_that_was_removed_or_damaged_is_fetched_again(place: Place) -> None:
    """While its job is not done; what somebody else has put there stays."""
    async with service() as (simulator, client):
        simulator.faults.order("download", Fault.not_an_image(), when=lambda call: call.index == 0)
        await place.run(client, [line(image_num=4)])
        assert place.pictures == ["cat-2.png", "cat-3.png", "cat-4.png"]
        (place.out / "cat-2.png").unlink()
        (place.out / "cat-3.png").write_bytes(b"edited")
        summary = await place.run(client)
        assert (summary.done, summary.pictures) == (1, 3)
        assert (place.out / "cat-3.png").read_bytes() == b"edited"
        assert [picture["path"] for picture in place.results[0]["images"]] == [
            "cat-1.png",
            "cat-2.png",
            "cat-3-2.png",
            "cat-4.png",
        ]


async def test_a_download_that_breaks_is_tried_again_in_the_same_run(place: Place) -> None:
    """Only that picture, and no picture is there twice."""
    async with service() as (simulator, client):
        simulator.faults.order("download", Fault.status(503), when=lambda call: call.index == 1)
        summary = await place.run(client, [line(image_num=3)])
        assert (summary.done, summary.pictures) == (1, 3)
        assert place.pictures == ["cat-1.png", "cat-2.png", "cat-3.png"]
        assert simulator.counters.downloads == 4


async def test_a_stop_does_not_wait_for_the_next_fetch(place: Place) -> None:
    """What is paid is tried once more at once, well within the patience; the next run goes on."""
    async with (
        Simulator(queue=0, processing=0.01, tiny_images=True) as simulator,
        Client(
            simulator.api_key,
            base_url=simulator.url,
            polling=FAST_POLLING,
            retries=Retries(attempts=1),
        ) as client,
    ):
        simulator.faults.order("download", Fault.status(503), times=None)
        batch = batch_of(client, place, [line()], patience=5)

        def pauses() -> bool:
            return batch._run is not None and batch._run._stopped.statistics().tasks_waiting > 0

        async def stop() -> None:
            await until(pauses)
            batch.stop()

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            summary = await batch.run()
    assert (summary.paid_left, simulator.counters.downloads) == (1, 2)


async def test_a_task_that_the_service_has_forgotten_has_failed(place: Place) -> None:
    """It was paid and cannot be had: a person is told, and nothing is sent by itself."""
    async with service() as (simulator, client):
        simulator.faults.order("download", Fault.not_an_image())
        await place.run(client, [line()])
        simulator.reset()
        summary = await place.run(client)
        assert (summary.failed, summary.paid_left) == (1, 0)
        assert place.results[0]["error"]["type"] == "TaskNotFoundError"
        assert simulator.counters.accepted == 0


# --- a service that goes away ---


async def test_a_service_that_is_down_for_a_while_is_waited_for(place: Place) -> None:
    """No job fails for it, and none is paid twice."""
    async with service(processing=0) as (simulator, client):
        batch = batch_of(client, place, lines(12), max_in_flight=3)
        taken = anyio.Event()

        def on_sent(*_: object) -> None:
            if simulator.counters.accepted >= 4:
                taken.set()

        batch.listeners.on_sent = on_sent

        async def interrupt() -> None:
            await taken.wait()
            await simulator.stop()
            # All jobs under way may be waiting for their tasks: then nothing is sent meanwhile.
            with anyio.move_on_after(1):
                await until(lambda: batch.progress.pause[0] > 0)
            await simulator.start()

        async with anyio.create_task_group() as group:
            group.start_soon(interrupt)
            summary = await batch.run()
        assert summary.failed == 0
        assert summary.done + summary.in_doubt + summary.paid_left == 12
        assert (await place.run(client)).done == 12 - summary.in_doubt
        assert simulator.counters.accepted <= 12


async def test_a_service_that_never_comes_leaves_everything_for_later(place: Place) -> None:
    """A person who stops the waiting finds all jobs where they were."""
    async with service() as (simulator, client):
        await simulator.stop()
        batch = batch_of(client, place, lines(5))
        async with anyio.create_task_group() as group:

            async def lose_patience() -> None:
                await until(lambda: batch.progress.pause[0] > 0)
                batch.stop()

            group.start_soon(lose_patience)
            summary = await batch.run()
        assert (summary.left, summary.failed) == (5, 0)
        await simulator.start()
        assert (await place.run(client)).done == 5
        assert simulator.counters.accepted == 5


# --- the folder ---


async def test_a_folder_that_cannot_be_written_is_found_first(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """A file in its place, or above it."""
    place.out.write_text("a file")
    for out in (place.out, place.out / "below"):
        place.write(lines(1))
        with pytest.raises(OutputError, match=r"cannot be written .* Nothing was sent or paid"):
            await run_batch(client, place.manifest, out)
    assert place.out.read_text() == "a file"
    assert simulator.counters.connections == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_a_folder_that_may_not_be_written_is_found_first(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """With the system's words."""
    place.out.mkdir()
    place.out.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        await place.run(client, lines(1))
    assert simulator.counters.connections == 0


async def test_results_without_a_journal_are_refused(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Every job would be paid again; moving the results away says that this is wanted."""
    await place.run(client, lines(2))
    (place.out / JOURNAL).unlink()
    with pytest.raises(JournalError, match=r"its journal.sqlite3 is gone"):
        await place.run(client)
    assert simulator.counters.accepted == 2
    (place.out / "results.jsonl").unlink()
    with pytest.raises(JournalError, match=r"has an index.html that is not ours"):
        await place.run(client)
    assert simulator.counters.accepted == 2
    (place.out / "index.html").unlink()
    summary = await place.run(client)
    assert (summary.done, simulator.counters.accepted) == (2, 4)
    assert place.pictures == ["cat-1-2.png", "cat-1.png", "cat-2-1-2.png", "cat-2-1.png"]


@asynccontextmanager
async def once_sent(count: int, change: Callable[[], object]) -> AsyncIterator[Any]:
    """Run a service whose tasks end once *count* were accepted and *change* was made."""
    is_changed = threading.Event()

    def clock() -> float:
        return 1e6 + (time.perf_counter() * 1000 if is_changed.is_set() else 0)

    async def watch(simulator: Simulator) -> None:
        await until(lambda: simulator.counters.accepted >= count)
        await anyio.to_thread.run_sync(change)
        is_changed.set()

    async with (
        service(clock=clock, processing=1, result_ttl=1e9) as (simulator, client),
        anyio.create_task_group() as group,
    ):
        group.start_soon(watch, simulator)
        yield simulator, client


async def test_a_folder_that_is_gone_stops_the_batch(place: Place) -> None:
    """Nothing more is sent, the ids are in the journal, and the next run fetches what is paid."""
    aside = place.folder / "aside"

    def take_away() -> None:
        place.out.rename(aside)
        place.out.write_text("a file")

    async with once_sent(2, take_away) as (simulator, client):
        with pytest.raises(BatchStoppedError) as caught:
            await place.run(client, lines(9), max_in_flight=2)
        assert isinstance(caught.value.__cause__, OutputError)
        assert simulator.counters.accepted == caught.value.summary.paid_left <= 3
        place.out.unlink()
        aside.rename(place.out)
        assert (await place.run(client)).done == 9
        assert simulator.counters.accepted == 9


async def test_results_that_cannot_be_written_are_an_error_of_their_own(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Everything is done then, and the next run writes them."""
    (place.out / "index.html").mkdir(parents=True)
    with pytest.raises(BatchStoppedError, match="could not be written") as caught:
        await place.run(client, lines(1))
    assert caught.value.summary.done == 1
    (place.out / "index.html").rmdir()
    assert (await place.run(client)).done == 1
    assert simulator.counters.accepted == 1


async def test_a_picture_that_has_become_a_link_to_elsewhere_is_not_sent(
    client: Client, simulator: Simulator, place: Place, tmp_path: Path
) -> None:
    """What was inside when the lines were read is looked at again; the other jobs go on."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(draw_picture(64, 48, "PNG"))
    dog = place.folder / "dog.png"
    dog.write_bytes(draw_picture(64, 48, "PNG"))

    planned = anyio.Event()

    async def swap() -> None:
        await planned.wait()
        dog.unlink()
        dog.symlink_to(secret)

    # The second page of jobs is read when the first one is under way.
    many = [line(f"a {number}") for number in range(256)]
    manifest = [*many, line("b", image="dog.png"), line("c")]
    batch = batch_of(client, place, manifest, listeners=Listeners(on_sent=lambda *_: planned.set()))
    async with anyio.create_task_group() as group:
        group.start_soon(swap)
        summary = await batch.run()
    assert (summary.done, summary.failed) == (257, 1)
    assert place.results[256]["error"]["type"] == InvalidRequestError.__name__
    assert "b" not in {task.request["prompt"] for task in simulator.tasks.values()}


# --- the end of a run ---


async def test_stopping_finishes_what_is_paid(place: Place) -> None:
    """Nothing more is sent; what is on its way is waited for."""
    async with service(processing=0.2) as (simulator, client):
        batch = batch_of(client, place, lines(20), max_in_flight=4)
        batch.listeners.on_sent = lambda *_: batch.stop()
        summary = await batch.run()
        assert summary.done == simulator.counters.accepted <= 4
        assert (summary.left, summary.paid_left, summary.in_doubt) == (20 - summary.done, 0, 0)
        assert batch.progress.stopping
        assert (await place.run(client)).done == 20
        assert simulator.counters.accepted == 20


async def test_stopping_waits_no_longer_than_its_patience(place: Place) -> None:
    """A task that takes an hour is left to a later run."""
    async with service(processing=3600) as (simulator, client):
        batch = batch_of(client, place, lines(3), max_in_flight=1, patience=0.05)
        batch.listeners.on_sent = lambda *_: batch.stop()
        summary = await batch.run()
        assert (summary.left, summary.paid_left, simulator.counters.accepted) == (3, 1, 1)
        assert states(place) == ["submitted", "planned", "planned"]


async def test_cancelling_leaves_nothing_behind_and_loses_nothing(place: Place) -> None:
    """No task, thread or connection; and the next run pays for what was not paid, once."""
    async with service(processing=0.05) as (simulator, client):
        place.write(lines(40))
        for enough in (3, 10, 25):
            async with anyio.create_task_group() as group:
                group.start_soon(place.run, client)
                await until(lambda: simulator.counters.accepted >= enough)  # noqa: B023  # awaited here
                group.cancel_scope.cancel()
            # What is left is the client's own.
            await until(lambda: our_tasks() <= {"Background._host", "Poller._run"})
            await until(lambda: not at_work())
            with closing(sqlite3.connect(place.out / JOURNAL)) as journal:
                (doubtful,) = journal.execute(
                    "SELECT count(*) FROM jobs WHERE state IN ('in doubt', 'sending')"
                ).fetchone()
            assert doubtful == 0
            gc.collect()
        assert (await place.run(client)).done == 40
        assert simulator.counters.accepted == 40
        assert len(place.pictures) == 40
    assert not list(place.out.glob(".*"))


async def test_cancelling_while_lines_are_read_leaves_nothing_behind(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """The reading ends at the next line, and nothing of it is kept."""
    place.write(lines(3000))
    read = anyio.Event()
    batch = Batch(
        client=client,
        manifest=Manifest.from_file(place.manifest),
        folder=place.out,
        on_lines=lambda _: read.set(),
    )
    before = len(asyncio.all_tasks())
    async with anyio.create_task_group() as group:
        group.start_soon(batch.run)
        await read.wait()
        group.cancel_scope.cancel()
    await settled(before)
    await until(lambda: not at_work())
    assert simulator.counters.connections == 0
    assert (await place.run(client, lines(2))).jobs == 2


async def test_two_batches_do_not_share_a_folder(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """While one is at it, another one ends at once, and sends nothing."""
    await place.run(client, lines(2))
    async with Journal(place.out / JOURNAL):
        with pytest.raises(JournalError, match="in use by another process"):
            await place.run(client, lines(3))
    assert simulator.counters.accepted == 2
    assert (await place.run(client)).done == 3


# --- the client's own limits ---


async def test_a_job_that_never_fits_the_pace_of_the_client_is_left(place: Place) -> None:
    """A batch is no way around the account's quota, and the others need not wait for such a one."""
    async with service() as (simulator, _):
        async with impatient(simulator, limits=Limits(images_per_minute=2)) as client:
            summary = await place.run(client, [line(image_num=3), line()])
        assert (summary.done, summary.failed, summary.left) == (1, 0, 1)
        assert place.results[0]["error"]["type"] == "RateLimitedError"


async def test_a_silent_service_leaves_a_job_in_doubt(place: Place) -> None:
    """The client's deadlines hold: a submit without an answer may be paid."""
    async with service() as (simulator, _):
        async with impatient(simulator, timeouts=Timeouts(submit_reply=0.2)) as client:
            simulator.faults.order("submit", Fault.never_answer())
            summary = await place.run(client, lines(2), max_in_flight=1)
        assert (summary.done, summary.in_doubt) == (1, 1)

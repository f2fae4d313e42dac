"""What a plan finds before anything is paid: bad lines, known jobs, names of files."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import Client
from ppinfra_async import _journal_jobs as records
from ppinfra_async._journal_file import open_journal
from ppinfra_async.batch import (
    BadLine,
    Batch,
    BatchStoppedError,
    JournalError,
    Manifest,
    ManifestError,
    StoppedError,
)
from ppinfra_async.batch._plan import Planner
from ppinfra_async.testing import Fault, Simulator
from tests.batch.batches import JOURNAL, Place, line, lines

Line = dict[str, Any]
Entry = tuple[str | None, str]


# --- bad lines ---


async def test_every_bad_line_is_told_before_anything_is_paid(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """With its number and what is wrong with it, however many good ones stand around it."""
    place.write([line(), "{", line(steps=0), line(), line(image="dog.png"), "", line(promt="x")])
    with pytest.raises(ManifestError) as caught:
        await place.run(client)
    assert [bad.number for bad in caught.value.lines] == [2, 3, 5, 7]
    assert caught.value.count == 4
    assert str(caught.value).startswith(f"{place.manifest}: 4 bad line(s): line 2: is not JSON")
    assert str(caught.value).endswith("(and 1 more). Nothing was sent or paid.")
    assert simulator.counters.connections == 0
    assert not place.pictures


async def test_a_bad_line_leaves_the_journal_as_it_was(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Byte for byte, and the file of results too."""
    await place.run(client, lines(2))
    before = {path.name: path.read_bytes() for path in place.out.iterdir()}
    with pytest.raises(ManifestError, match=r"1 bad line\(s\): line 3: key: must be text"):
        await place.run(client, [*lines(1), line("new"), line(key=7)])
    assert {path.name: path.read_bytes() for path in place.out.iterdir()} == before
    assert simulator.counters.accepted == 2


async def test_a_key_given_twice_names_both_lines(client: Client, place: Place) -> None:
    """Each later one says where the first one is."""
    place.write([line("a", key="k"), line("b"), line("c", key="k"), line("d", key="k")])
    with pytest.raises(ManifestError) as caught:
        await place.run(client)
    said = "key: 'k' stands on line 1 already"
    assert caught.value.lines == (BadLine(3, said), BadLine(4, said))


async def test_bad_lines_are_told_as_they_are_found(client: Client, place: Place) -> None:
    """To whoever listens; the error remembers the first thousand, and counts all."""
    place.write(["{"] * 1200)
    told: list[BadLine] = []
    batch = _batch(client, place, on_bad_line=told.append)
    with pytest.raises(ManifestError) as caught:
        await batch.run()
    assert [bad.number for bad in told] == list(range(1, 1201))
    assert len(caught.value.lines) == 1000
    assert caught.value.count == 1200


# --- a look ahead ---


def _batch(client: Client, place: Place, **options: Any) -> Batch:
    return Batch(
        client=client, manifest=Manifest.from_file(place.manifest), folder=place.out, **options
    )


async def test_a_check_counts_what_would_be_sent_and_writes_nothing(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Neither into a folder that is not there nor into a journal that is."""
    place.write([line("a", image_num=3), line("b")])
    plan = await _batch(client, place).check()
    assert (plan.jobs, plan.new, plan.to_send) == (2, 2, 2)
    assert plan.images_to_send == {"/v3/async/img2img": 4}
    assert not place.out.exists()

    await place.run(client)
    before = {path.name: path.read_bytes() for path in place.out.iterdir()}
    place.write([line("a", image_num=3), line("c", image_num=5), line("b")])
    plan = await _batch(client, place).check()
    assert (plan.jobs, plan.new, plan.to_send, plan.submitted) == (3, 1, 1, 4)
    assert plan.images_to_send == {"/v3/async/img2img": 5}
    assert {path.name: path.read_bytes() for path in place.out.iterdir()} == before
    assert simulator.counters.accepted == 2


async def test_a_batch_can_be_run_after_its_check(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """The same object, as a program does that asks in between."""
    place.write(lines(2))
    batch = _batch(client, place)
    assert (await batch.check()).to_send == 2
    assert (await batch.run()).done == 2
    assert simulator.counters.accepted == 2


async def test_a_check_finds_what_a_run_would(client: Client, place: Place) -> None:
    """Bad lines, and a journal that is gone."""
    place.write([line(steps=0)])
    with pytest.raises(ManifestError):
        await _batch(client, place).check()
    assert not place.out.exists()

    await place.run(client, lines(1))
    (place.out / JOURNAL).unlink()
    with pytest.raises(JournalError, match="is gone"):
        await _batch(client, place).check()


async def test_stopping_while_lines_are_read_plans_nothing(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """A person need not wait for a million lines."""
    place.write(lines(50))
    batch = _batch(client, place)
    batch.stop()
    with pytest.raises(StoppedError, match="Nothing was sent or paid"):
        await batch.run()
    assert simulator.counters.connections == 0
    assert (await _batch(client, place).check()).new == 50


# --- which job a line means ---


def with_keys(manifest: list[Line]) -> list[Line]:
    return [{**tree, "key": f"k {at}"} for at, tree in enumerate(manifest)]


def half_with_keys(manifest: list[Line]) -> list[Line]:
    return [{**tree, "key": f"k {at}"} if at % 2 else tree for at, tree in enumerate(manifest)]


def same_requests(manifest: list[Line]) -> list[Line]:
    return [{**tree, "prompt": f"cat {at % 7}"} for at, tree in enumerate(manifest)]


@pytest.mark.parametrize(
    "kind",
    [
        list,
        with_keys,
        half_with_keys,
        same_requests,
        lambda manifest: half_with_keys(same_requests(manifest)),
    ],
)
async def test_lines_may_come_and_go_and_change_places(
    client: Client, simulator: Simulator, place: Place, kind: Any
) -> None:
    """Of a hundred finished jobs, one new line at the top, one gone, all shuffled: one submit."""
    manifest = kind(lines(100))
    await place.run(client, manifest)
    assert simulator.counters.accepted == 100

    del manifest[40]
    random.Random(1).shuffle(manifest)
    summary = await place.run(client, [line("a new one"), *manifest])

    assert simulator.counters.accepted == 101
    assert (summary.jobs, summary.done) == (100, 100)
    assert [task.prompt for task in simulator.tasks.values()][-1] == "a new one"


async def test_keys_can_be_given_and_taken_later(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Neither makes a job another one."""
    manifest = same_requests(lines(10))
    await place.run(client, manifest)
    await place.run(client, with_keys(manifest))
    assert [one["key"] for one in place.results] == [f"k {at}" for at in range(10)]
    await place.run(client, manifest)
    await place.run(client, half_with_keys(manifest))
    assert simulator.counters.accepted == 10


async def test_lines_with_keys_choose_first(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """One that got its key only now can have no job of another key; one without can."""
    await place.run(client, [line(), line(key="old")])
    for manifest in ([line(), line(key="new")], [line(key="newer"), line()]):
        summary = await place.run(client, manifest)
        assert summary.done == 2
    assert simulator.counters.accepted == 3


async def test_a_line_that_goes_takes_the_job_with_it_that_is_least_done(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Of the same request twice, one done and one refused, the line that stays is the done one."""
    simulator.faults.order("submit", Fault.status(400, "INVALID_REQUEST_BODY"))
    first = await place.run(client, [line(), line()], max_in_flight=1)
    assert (first.done, first.failed) == (1, 1)
    second = await place.run(client, [line()], retry_failed=True)
    assert (second.jobs, second.done) == (1, 1)
    assert simulator.counters.accepted == 1


async def test_a_changed_request_under_a_known_key_is_a_bad_line(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Nothing is sent, of new lines neither, until a person says that it is to be paid anew."""
    manifest = with_keys(lines(4))
    await place.run(client, manifest)
    manifest[1]["prompt"] = "another"
    manifest[3]["steps"] = 30
    place.write([*manifest, line("new")])

    with pytest.raises(ManifestError) as caught:
        await place.run(client)
    assert [bad.number for bad in caught.value.lines] == [2, 4]
    assert "'k 1' is known, and what it asks has changed" in caught.value.lines[0].message
    assert simulator.counters.accepted == 4

    summary = await place.run(client, redo_changed=True)
    assert (summary.done, summary.pictures) == (5, 3)
    again = sorted(task.prompt for task in list(simulator.tasks.values())[4:])
    assert again == ["another", "cat 3", "new"]
    assert len(place.pictures) == 7
    await place.run(client, redo_changed=True)
    assert simulator.counters.accepted == 7


async def test_a_touched_picture_is_a_change(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Pictures are known by size and time, not read again."""
    await place.run(client, [line(key="k")])
    os.utime(place.folder / "cat.png", ns=(1, 1))
    with pytest.raises(ManifestError, match=r"picture files count by size and time"):
        await place.run(client)
    await place.run(client, redo_changed=True)
    assert simulator.counters.accepted == 2


async def test_a_folder_can_be_moved_as_a_whole(
    client: Client, simulator: Simulator, place: Place, tmp_path: Path
) -> None:
    """Manifest, pictures and output; done or not yet, with keys or without."""
    manifest = half_with_keys(lines(6))
    await place.run(client, manifest, max_images=4)
    assert simulator.counters.accepted == 4

    moved = Place(tmp_path / "moved")
    shutil.rmtree(moved.folder)
    place.folder.rename(moved.folder)

    assert (await moved.run(client)).done == 6
    assert simulator.counters.accepted == 6


async def test_the_way_in_which_a_path_is_written_does_not_count(
    client: Client, simulator: Simulator, place: Place, tmp_path: Path
) -> None:
    """Absolute before the folder is moved, relative afterwards: what is left is sent from there."""
    absolute = str(place.folder / "cat.png")
    await place.run(client, [line("a", image=absolute), line("b", image=absolute)], max_images=1)

    moved = Place(tmp_path / "moved")
    shutil.rmtree(moved.folder)
    place.folder.rename(moved.folder)

    summary = await moved.run(client, [line("a", image="./cat.png"), line("b")])
    assert (summary.done, simulator.counters.accepted) == (2, 2)
    assert [one["source"] for one in moved.results] == ["./cat.png", "cat.png"]


async def test_jobs_that_are_no_longer_in_the_manifest_stay_in_the_results(
    client: Client, place: Place
) -> None:
    """Those of the last run stand first, in its order."""
    await place.run(client, lines(3))
    await place.run(client, [line("cat 2"), line("new")])
    assert [one["request"]["prompt"] for one in place.results] == ["cat 2", "new", "cat 0", "cat 1"]


# --- random edits ---


@define
class Ledger:
    """What a person believes to have paid for: requests by key, and requests without one."""

    keyed: dict[str, str] = field(factory=dict)
    bare: Counter[str] = field(factory=Counter)

    def run(self, manifest: list[Entry]) -> int:
        """Pay for what is not there yet; return how many that are."""
        named = {key for key, _ in manifest if key is not None}
        paid = 0
        free = self.bare.copy()
        for key, request in manifest:
            if key is not None and key not in self.keyed:
                # Takes over a job without a key, or is a new one.
                self.keyed[key] = request
                if free[request]:
                    free[request] -= 1
                    self.bare[request] -= 1
                else:
                    paid += 1
        free.update(request for key, request in self.keyed.items() if key not in named)
        wanted = Counter(request for key, request in manifest if key is None)
        for request, count in (wanted - free).items():
            self.bare[request] += count
            paid += count
        return paid


_keys = st.none() | st.sampled_from(["k1", "k2", "k3"])
# A key always has the same request: what has changed is another test's.
_REQUEST_OF = {"k1": "a", "k2": "a", "k3": "b"}
_entries = st.tuples(_keys, st.sampled_from("ab")).map(
    lambda entry: (entry[0], _REQUEST_OF.get(entry[0] or "", entry[1]))
)


def _is_unambiguous(manifest: list[Entry]) -> bool:
    keys = [key for key, _ in manifest if key is not None]
    return len(keys) == len(set(keys))


_manifests = st.lists(_entries, max_size=7).filter(_is_unambiguous)


def _submits(connection: sqlite3.Connection, manifest: Manifest) -> int:
    """Plan, and have everything done at once; return how many were new."""
    plan = Planner(manifest=manifest).plan(connection)
    sent = list(records.jobs(connection, "state = 'planned'"))
    assert plan.to_send == plan.new == len(sent)
    for job in sent:
        records.note_accepted(connection, job.id, f"task {job.id}", job.images, 0)
        records.note_done(connection, job.id, None, 0, 0)
    return plan.new


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture that nobody touches."""
    return Place(tmp_path_factory.mktemp("still")).folder


@given(st.lists(_manifests, min_size=1, max_size=6))
def test_whatever_becomes_of_a_manifest_each_job_is_paid_once(
    still: Path, manifests: list[list[Entry]]
) -> None:
    """One manifest after the other into the same folder: as many submits as a person would expect."""
    connection = open_journal(Path("in memory"), is_to_be_kept=False)
    expected = Ledger()
    try:
        for manifest in manifests:
            objects = [
                line(request) if key is None else line(request, key=key)
                for key, request in manifest
            ]
            submits = _submits(connection, Manifest.from_objects(objects, still))
            assert submits == expected.run(manifest)
    finally:
        connection.close()


@given(_manifests.flatmap(lambda manifest: st.tuples(st.just(manifest), st.permutations(manifest))))
def test_shuffling_costs_nothing(still: Path, both: tuple[list[Entry], list[Entry]]) -> None:
    """The order of lines is nobody's business."""
    counts = []
    with closing(open_journal(Path("in memory"), is_to_be_kept=False)) as connection:
        for manifest in both:
            objects = [line(request, key=key) for key, request in manifest]
            counts.append(_submits(connection, Manifest.from_objects(objects, still)))
    assert counts == [len(both[0]), 0]


# --- how files are called ---


def stems_of(still: Path, *manifest: Line) -> list[str]:
    with closing(open_journal(Path("in memory"), is_to_be_kept=False)) as connection:
        Planner(manifest=Manifest.from_objects(list(manifest), still)).plan(connection)
        return [job.stem for job in records.jobs(connection)]


def test_files_are_called_after_the_key_else_after_the_picture(still: Path) -> None:
    """The same name again gets a number, also where only case differs."""
    named = [line(key="Cat"), line("b"), line("c"), line(key="小猫"), line(key="cat-2")]
    assert stems_of(still, *named) == ["Cat", "cat-3", "cat-4", "小猫", "cat-2"]


HOSTILE_KEYS = [
    "a/b", "a\\b", "..", "C:\\x", "nul\0l", "x\n", "\x1b[31m", ".hidden", "-rf", "...", " . ", "é",
    "e\u0301", "É", "k" * 200, "K" * 200, "🐱" * 200, "journal.sqlite3", "results.jsonl", "?*", "_",
]  # fmt: skip


def test_no_key_leads_out_of_the_folder(still: Path) -> None:
    """Whatever a key is, its files lie in the folder, and no two jobs have the same."""
    keys = [key for key in HOSTILE_KEYS if key != ".."]
    stems = stems_of(still, *(line(key=key) for key in keys))
    assert len({stem.casefold() for stem in stems}) == len(keys)
    for stem in stems:
        name = f"{stem}-8-99.webp"
        assert Path(name).name == name
        assert not name.startswith((".", "-"))
        assert name.isprintable()
        assert len(name.encode()) < 256


@given(st.lists(st.text(min_size=1, max_size=200), max_size=8, unique=True))
def test_any_keys_have_names_of_their_own(still: Path, keys: list[str]) -> None:
    """Keys that cannot be used are bad lines, and all others have different names."""
    try:
        stems = stems_of(still, *(line(key=key) for key in keys))
    except ManifestError as error:
        assert all(bad.message.startswith("key: ") for bad in error.lines)  # noqa: PT017  # or all are good
        return
    assert len({stem.casefold() for stem in stems}) == len(keys)
    assert all(Path(f"{stem}-1.png").name == f"{stem}-1.png" for stem in stems)


def test_thousands_of_jobs_of_one_picture_are_named_in_one_go(still: Path) -> None:
    """The count goes on where it was."""
    stems = stems_of(still, *(line(f"{number}") for number in range(300)))
    assert stems[-1] == "cat-300"


async def test_names_stay_when_lines_move(client: Client, place: Place) -> None:
    """A job keeps the names of its files, whatever comes before it later."""
    await place.run(client, lines(2))
    await place.run(client, [line("new"), *lines(2)])
    assert [(one["request"]["prompt"], one["images"][0]["path"]) for one in place.results] == [
        ("new", "cat-3-1.png"),
        ("cat 0", "cat-1.png"),
        ("cat 1", "cat-2-1.png"),
    ]


# --- pictures that change ---


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


async def test_changed_picture_is_not_paid_for_again_unasked(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """A copied folder has other times: its jobs without a key are named, not silently paid anew."""
    await place.run(client, lines(3))
    touch(place.folder / "cat.png")

    with pytest.raises(ManifestError, match="its picture has changed") as caught:
        await place.run(client)
    assert [bad.number for bad in caught.value.lines] == [1, 2, 3]
    assert simulator.counters.accepted == 3

    summary = await place.run(client, redo_changed=True)
    assert (summary.done, simulator.counters.accepted) == (3, 6)


async def test_doubt_outlives_a_changed_picture(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """What may be paid is not sent again because its picture was touched, nor by `redo_changed` alone."""
    simulator.faults.order("submit", Fault.cut_after_read())
    await place.run(client, lines(1))
    touch(place.folder / "cat.png")

    for redo in (False, True):
        with pytest.raises(ManifestError):
            await place.run(client, redo_changed=redo)
    assert simulator.counters.accepted == 1

    summary = await place.run(client, redo_changed=True, resubmit_unknown=True)
    assert (summary.done, simulator.counters.accepted) == (1, 2)


@pytest.mark.parametrize("key", [None, "mine"])
async def test_paid_task_is_fetched_without_its_source(
    client: Client, simulator: Simulator, place: Place, key: str | None
) -> None:
    """A source that was tidied away is not needed for what is paid already."""
    simulator.faults.order("download", Fault.status(404), times=None)
    manifest = [line() if key is None else line(key=key)]
    assert (await place.run(client, manifest)).paid_left == 1
    simulator.faults.clear()
    (place.folder / "cat.png").unlink()

    assert (await place.run(client)).done == 1
    assert (await place.run(client)).done == 1
    assert simulator.counters.accepted == 1


async def test_picture_that_was_never_sent_may_change(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """Nothing is paid for a job that was only planned."""
    with pytest.raises(BatchStoppedError):
        simulator.faults.order("submit", Fault.status(403, "INVALID_API_KEY"), times=None)
        await place.run(client, lines(2))
    simulator.faults.clear()
    touch(place.folder / "cat.png")

    assert (await place.run(client)).done == 2
    assert simulator.counters.accepted == 2


async def test_another_scale_is_not_paid_for_again_unasked(
    client: Client, simulator: Simulator, place: Place
) -> None:
    """`fit` added to a finished batch changes what is sent: the jobs are named, not paid anew."""
    await place.run(client, lines(2))

    with pytest.raises(ManifestError, match="--fit"):
        await place.run(client, fit=1024)
    assert simulator.counters.accepted == 2

"""What is written down of a batch: documents, the gallery's entries, the summary."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from ppinfra_async import Client
from ppinfra_async._journal_jobs import JobRecord, PictureRecord
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch import BatchSummary
from ppinfra_async.batch._results import document
from ppinfra_async.testing import Fault, Simulator
from tests.batch.batches import Place, line
from tests.requesting import MODEL

RECORD = JobRecord(
    id=7,
    key="night",
    state=JobState.DONE,
    stem="night",
    line={"prompt": "猫", "image": "in/cat.png"},
    source="in/cat.png",
    images=3,
    position=4,
    run=2,
    task_id="task-1",
    seed=2**63 + 5,
    missing=1,
    pictures=(
        PictureRecord(number=0, name="night-1.png", size=10, sha256=bytes(32), width=8, height=9),
        PictureRecord(
            number=1, name="night-2.png", size=11, sha256=bytes(range(32)), width=8, height=9
        ),
    ),
)


def test_a_document_has_everything_about_a_job() -> None:
    """As JSON that survives the way to a file and back, a seed of more than 63 bits too."""
    tree = json.loads(json.dumps(document(RECORD)))
    digests = ["00" * 32, bytes(range(32)).hex()]
    assert tree == {
        "key": "night",
        "line": 4,
        "run": 2,
        "state": "done",
        "source": "in/cat.png",
        "task_id": "task-1",
        "seed": 2**63 + 5,
        "images": [
            {
                "path": f"night-{at + 1}.png",
                "width": 8,
                "height": 9,
                "bytes": 10 + at,
                "sha256": digests[at],
            }
            for at in range(2)
        ],
        "missing": 1,
        "error": None,
        "request": {"prompt": "猫", "image": "in/cat.png"},
    }


def test_a_job_is_called_by_its_key_else_by_its_picture() -> None:
    """And by the name of its files where there is neither."""
    assert RECORD.label == "night"
    assert evolve(RECORD, key=None).label == "in/cat.png"
    assert evolve(RECORD, key=None, source=None).label == "night"


def test_a_summary_says_in_one_line_how_things_stand() -> None:
    """With the images, which are the money."""
    summary = BatchSummary(
        done=4, failed=3, in_doubt=2, left=1, images_paid=8, images_in_doubt=2, images_left=4
    )
    assert str(summary) == (
        "4 done, 3 failed, 2 in doubt, 1 left. Images: 8 paid, 2 in doubt, 4 left."
    )


def rows(place: Place) -> list[list[Any]]:
    """Return what the page knows of the jobs, in its order."""
    page = (place.out / "index.html").read_text()
    (block,) = re.findall(
        r'<script type="application/json" id="entries">(.*?)</script>', page, re.DOTALL
    )
    found: list[list[Any]] = json.loads(block)
    return found


async def test_the_results_are_lines_of_their_own(client: Client, place: Place) -> None:
    """Also where a text has what somebody takes for the end of one; and no passing file is left."""
    prompt = "猫\u2028 \u2029\x85\n\x1c"
    await place.run(client, [line(prompt), line("b")])
    text = (place.out / "results.jsonl").read_bytes()
    assert text.count(b"\n") == 2
    assert "猫".encode() in text
    assert [one["line"] for one in place.results] == [1, 2]
    assert place.results[0]["request"]["prompt"] == prompt
    assert not list(place.out.glob(".*"))


@pytest.fixture
def troubled(simulator: Simulator) -> Simulator:
    """A service that leaves the first submit in doubt and spoils the second one's picture."""
    simulator.faults.order("submit", Fault.cut_after_read())
    simulator.faults.order("download", Fault.not_an_image())
    return simulator


async def test_the_gallery_shows_every_job_with_its_outcome(
    troubled: Simulator, client: Client, place: Place
) -> None:
    """Sources are relative to the folder of the page, wherever the manifest is."""
    (place.folder / "in").mkdir()
    (place.folder / "cat.png").rename(place.folder / "in" / "cat #1.png")
    image = {"image": "in/cat #1.png"}
    manifest = [
        line("a", key="lost", **image),
        line("b", key="late", **image),
        line("simulate-failure", key="broken", **image),
        line("c", key="good", **image),
        line("d", key="kept", **image),
    ]
    summary = await place.run(client, manifest, max_in_flight=1, max_images=4)
    assert (summary.done, summary.failed, summary.in_doubt, summary.left) == (1, 1, 1, 2)
    assert [(one["key"], one["state"]) for one in place.results] == [
        ("lost", "in doubt"),
        ("late", "submitted"),
        ("broken", "failed"),
        ("good", "done"),
        ("kept", "planned"),
    ]
    found = rows(place)
    assert [(title, outcome) for title, outcome, *_ in found] == [
        ("lost", "in doubt"),
        ("late", "left"),
        ("broken", "failed"),
        ("good", "done"),
        ("kept", "left"),
    ]
    assert {row[2] for row in found} == {"../in/cat%20%231.png"}
    assert [[name for name, *_ in row[3]] for row in found] == [[], [], [], ["good-1.png"], []]
    assert [row[4] for row in found] == ["a", "b", "simulate-failure", "c", "d"]
    assert found[0][5] == [["model_name", MODEL]]
    assert [row[7] for row in found] == [one["task_id"] for one in place.results]
    assert "simulated failure" in found[2][9]
    assert (found[3][9], found[4][9]) == ("", "Not sent yet.")
    assert str(summary) in (place.out / "index.html").read_text()
    assert troubled.counters.accepted == 4


async def test_a_link_in_the_place_of_the_results_is_exchanged_not_followed(
    client: Client, place: Place
) -> None:
    """What it points to is somebody else's."""
    await place.run(client, [line()])
    elsewhere = place.folder / "elsewhere"
    elsewhere.write_text("not ours")
    (place.out / "results.jsonl").unlink()
    (place.out / "results.jsonl").symlink_to(elsewhere)
    await place.run(client)
    assert elsewhere.read_text() == "not ours"
    assert len(place.results) == 1
    assert not (place.out / "results.jsonl").is_symlink()


def test_paths_in_documents_are_names_in_the_folder() -> None:
    """So that the folder can be moved."""
    for picture in document(RECORD)["images"]:
        assert Path(picture["path"]).name == picture["path"]

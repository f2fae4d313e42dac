"""Manifest files and the folders that their pictures are confined to."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppinfra_async import Client
from ppinfra_async._sansio.manifest import LONGEST_LINE, BadLineError
from ppinfra_async.batch import Manifest, ManifestError, Plan, run_batch
from ppinfra_async.batch._plan import Planner
from ppinfra_async.journal import Journal
from ppinfra_async.testing import Simulator
from tests.batch.batches import Place, line
from tests.pictures import draw_picture
from tests.requesting import PICTURE


def manifest_of(place: Place, **options: Any) -> Manifest:
    return Manifest.from_file(place.manifest, **options)


def looked_at(manifest: Manifest, image: str) -> Path:
    """Return the file that *image* means on a line, once it is found to be there."""
    job = manifest.job(line(image=image))
    assert job is not None
    manifest.digest(job)
    request: Any = job.request
    path: Path = request.image.path
    return path


def complaint(manifest: Manifest, image: str) -> str:
    with pytest.raises(BadLineError) as caught:
        looked_at(manifest, image)
    return str(caught.value)


# --- where pictures may be ---


def test_pictures_are_relative_to_the_manifest(place: Place) -> None:
    """Not to the current folder; and a part of the path may lead up as long as it stays inside."""
    (place.folder / "deep").mkdir()
    for image in ("cat.png", "./cat.png", "deep/../cat.png", str(place.folder / "cat.png")):
        assert looked_at(manifest_of(place), image).samefile(place.folder / "cat.png")


@pytest.fixture
def outside(place: Place) -> Path:
    """A picture beside the folder of the manifest, whose name begins like it."""
    folder = place.folder.with_name(f"{place.folder.name}-beside")
    folder.mkdir()
    path = folder / "secret.png"
    path.write_bytes(PICTURE)
    return path


def test_no_picture_may_be_outside(place: Place, outside: Path) -> None:
    """Neither up, nor absolute, nor through a link to a file or to a folder."""
    (place.folder / "link.png").symlink_to(outside)
    (place.folder / "linked").symlink_to(outside.parent)
    up = f"../{outside.parent.name}/secret.png"
    for image in (up, str(outside), "link.png", "linked/secret.png", f"linked/../{up}", "..", "/"):
        said = complaint(manifest_of(place), image)
        assert said.startswith(f"image: must be inside {place.folder} (see --allow-dir), got ")


def test_a_link_inside_is_fine(place: Place) -> None:
    """What counts is where the picture is in the end."""
    (place.folder / "link.png").symlink_to("cat.png")
    assert looked_at(manifest_of(place), "link.png").name == "link.png"


def test_a_manifest_in_a_linked_folder_has_its_pictures_inside(
    place: Place, tmp_path: Path
) -> None:
    """Whichever of its names the folder is called by."""
    link = tmp_path / "link"
    link.symlink_to(place.folder)
    there = Manifest.from_file(link / "jobs.jsonl")
    assert looked_at(there, "cat.png").samefile(place.folder / "cat.png")
    assert looked_at(there, str(place.folder / "cat.png")).samefile(place.folder / "cat.png")


def test_further_folders_can_be_allowed(place: Place, outside: Path) -> None:
    """Those and no other."""
    allowing = manifest_of(place, allow_dirs=[outside.parent])
    assert looked_at(allowing, str(outside)) == outside
    assert looked_at(allowing, "cat.png").name == "cat.png"
    assert "must be inside" in complaint(allowing, str(outside.parent.parent / "other.png"))


def test_pictures_can_be_elsewhere_than_the_manifest(place: Place, outside: Path) -> None:
    """Another folder takes the place of the manifest's own."""
    there = manifest_of(place, folder=outside.parent)
    assert looked_at(there, "secret.png") == outside
    assert "must be inside" in complaint(there, str(place.folder / "cat.png"))


async def test_one_text_is_not_several_folders(client: Client, place: Place) -> None:
    """The first letter of a path would allow everything."""
    for allow_dirs in (str(place.folder), os.fsencode(place.folder), place.folder):
        with pytest.raises(TypeError, match="several folders"):
            await run_batch(client, [line()], place.out, allow_dirs=allow_dirs)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("image", ["no\0file.png", "x" * 5000, "a/" * 3000])
def test_a_path_that_no_system_takes_is_a_bad_line(place: Place, image: str) -> None:
    """It is the line's fault, not ours."""
    assert complaint(manifest_of(place), image).startswith("image: ")


def test_a_picture_is_looked_for(place: Place) -> None:
    """One that is not there is named."""
    said = complaint(manifest_of(place), "dog.png")
    assert said == f"image: {place.folder / 'dog.png'} cannot be read (No such file or directory)"


# --- what pictures must be ---


async def plan(manifest: Manifest, **options: Any) -> Plan:
    async with Journal(Path("unused"), is_to_be_kept=False) as journal:
        return await journal.write(Planner(manifest=manifest, **options).plan)


async def bad_lines(manifest: Manifest) -> dict[int, str]:
    with pytest.raises(ManifestError) as caught:
        await plan(manifest)
    assert caught.value.count == len(caught.value.lines)
    return {line.number: line.message for line in caught.value.lines}


async def test_what_is_no_picture_is_found_before_anything_is_sent(place: Place) -> None:
    """A folder, a pipe, a text, half a picture, one that is too large, and parts of a line."""
    (place.folder / "folder.png").mkdir()
    os.mkfifo(place.folder / "pipe.png")
    (place.folder / "text.png").write_text("a cat")
    (place.folder / "half.png").write_bytes(PICTURE[:20])
    (place.folder / "empty.png").touch()
    (place.folder / "long.png").write_bytes(draw_picture(2049, 4, "PNG"))
    unit = {"model_name": "canny", "image": "text.png"}
    names = ["folder", "pipe", "text", "half", "empty", "long"]
    place.write([*(line(image=f"{name}.png") for name in names), line(controlnet=[unit]), line()])
    said = await bad_lines(manifest_of(place))
    assert list(said) == [1, 2, 3, 4, 5, 6, 7]
    assert "must be a picture file, but it is a folder" in said[1]
    assert "must be a picture file, but it is not a regular file" in said[2]
    assert "must be a picture, but it is text" in said[3]
    assert "must be a picture, but it" in said[4]
    assert "must be a picture, but it" in said[5]
    assert "each side must be at most 2048 pixels, but it has 2049 × 4" in said[6]
    assert said[7].startswith("controlnet[0].image: must be a picture")


async def test_a_picture_that_is_too_large_can_be_scaled(place: Place) -> None:
    """With a length for all pictures of the manifest."""
    (place.folder / "long.png").write_bytes(draw_picture(2049, 4, "PNG"))
    place.write([line(image="long.png")])
    assert (await plan(manifest_of(place, fit=1024))).to_send == 1


@pytest.mark.parametrize("fit", [0, -1, 2049, True, 1.5, "512"])
def test_a_length_that_makes_no_sense_is_no_fault_of_the_lines(place: Place, fit: Any) -> None:
    """It is said at once, and once."""
    with pytest.raises(ValueError, match="fit must be a whole number of pixels"):
        manifest_of(place, fit=fit)


# --- the file ---


async def test_blank_lines_count_and_say_nothing(place: Place) -> None:
    """The numbers of the others are those of an editor."""
    place.manifest.write_text(f"\n  \t\n\r\n{json.dumps(line())}\n\n{{}}\n\n{json.dumps(line())}")
    assert list(await bad_lines(manifest_of(place))) == [6]
    place.manifest.write_text(f"\n\n{json.dumps(line())}\n\n")
    assert (await plan(manifest_of(place))).jobs == 1


async def test_an_empty_manifest_has_no_jobs(place: Place) -> None:
    """And no last line that is missing its end."""
    place.manifest.touch()
    assert (await plan(manifest_of(place))).jobs == 0


async def test_a_line_without_end_is_not_read_into_memory(place: Place) -> None:
    """A file of another kind may have no line ends at all."""
    place.write([line()])
    with place.manifest.open("a") as file:
        file.write("x" * (LONGEST_LINE + 1))
    with pytest.raises(
        ManifestError, match=r"line 2: is longer than 1,048,576 bytes\. Nothing was"
    ):
        await plan(manifest_of(place))


async def test_a_manifest_that_is_not_there_is_an_error_of_its_own(place: Place) -> None:
    """Like one that may not be read."""
    with pytest.raises(ManifestError, match=r"cannot be read \(No such file"):
        await plan(manifest_of(place))
    place.manifest.mkdir()
    with pytest.raises(ManifestError, match=r"cannot be read \(it is not a regular file"):
        await plan(manifest_of(place))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be"])
async def test_what_is_no_utf_8_is_one_error(place: Place, encoding: str) -> None:
    """Not one for each of a picture's thousand lines."""
    place.write([line()])
    place.manifest.write_bytes(place.manifest.read_text().encode(encoding) * 1000)
    with pytest.raises(ManifestError, match=r"cannot be read \(it is not UTF-8 text") as caught:
        await plan(manifest_of(place))
    assert caught.value.count == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_manifest_that_may_not_be_read_is_an_error_of_its_own(place: Place) -> None:
    """With the system's words."""
    place.write([line()])
    place.manifest.chmod(0)
    with pytest.raises(ManifestError, match=r"cannot be read \(Permission denied"):
        await plan(manifest_of(place))


async def test_a_pipe_is_no_manifest(client: Client, simulator: Simulator, place: Place) -> None:
    """It cannot be read twice: that would be a batch without jobs, or a wait for ever."""
    os.mkfifo(place.manifest)
    with pytest.raises(ManifestError, match="not a regular file; write a pipe's lines to one"):
        await place.run(client)
    assert simulator.counters.submit_starts == 0


def _many(count: int, length: int) -> Iterator[str]:
    more = {"x": "x" * length}
    return (f"{json.dumps(line(key=f'k{number}', more=more))}\n" for number in range(count))


async def test_a_long_manifest_is_not_held_in_memory(place: Place) -> None:
    """Planning takes far less memory than the lines."""
    with place.manifest.open("w") as file:
        file.writelines(_many(1000, 20_000))
    told: list[int] = []
    tracemalloc.start()
    try:
        planned = await plan(manifest_of(place), on_progress=told.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert planned.to_send == 1000
    assert told == [1000]
    assert place.manifest.stat().st_size > 20_000_000
    assert peak < 5_000_000


# --- objects ---


async def test_objects_are_numbered_like_lines(place: Place) -> None:
    """A batch may come from a program; its pictures are relative to a folder it names."""
    manifest = Manifest.from_objects([line(), line(image="dog.png")], place.folder, name="item")
    assert list(await bad_lines(manifest)) == [2]


@pytest.mark.parametrize("odd", ["cat.png", 7, None, ["cat.png"]])
async def test_what_is_no_object_is_a_bad_line(place: Place, odd: Any) -> None:
    """Whatever else is in the list."""
    said = await bad_lines(Manifest.from_objects([line(), odd], place.folder))
    assert said == {2: f"is not an object with the fields of a request, got {odd!r}"}


@pytest.mark.parametrize("objects", [iter([line()]), (line() for _ in range(2)), line()])
async def test_what_can_be_read_once_only_is_refused(
    client: Client, place: Place, objects: Any
) -> None:
    """So is a single object, whose names would be taken for jobs."""
    with pytest.raises(TypeError, match="give a list"):
        await run_batch(client, objects, place.out, folder=place.folder)
    assert not place.out.exists()

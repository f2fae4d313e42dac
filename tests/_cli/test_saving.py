"""Files that are placed without ever replacing one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppinfra_async._cli._saving import Folder, _claim
from ppinfra_async._sansio.names import numbered
from ppinfra_async.requests import ImageType


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    """A folder that is not there is made, and the try to write into it leaves nothing behind."""
    folder = Folder.opened(tmp_path / "a" / "b")
    assert list(folder.path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A file where the folder should be is refused before anything is done."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileExistsError):
        Folder.opened(tmp_path / "taken")


def test_a_new_folder_leaves_the_old_one_alone(tmp_path: Path) -> None:
    """A folder of that name gets a neighbour with the next number."""
    names = [Folder.new(tmp_path / "demo").path.name for _ in range(3)]
    assert names == ["demo", "demo-2", "demo-3"]


@pytest.mark.parametrize(
    ("image_type", "name"),
    [
        (ImageType.PNG, "cat-3.png"),
        (ImageType.JPEG, "cat-3.jpg"),
        (ImageType.WEBP, "cat-3.webp"),
    ],
)
def test_a_picture_is_named_after_source_and_place(
    tmp_path: Path, image_type: ImageType, name: str
) -> None:
    """The name is the stem, the number counted from 1, and the true suffix."""
    path = Folder(tmp_path).place_picture(b"picture", "cat", 2, image_type)
    assert path == tmp_path / name
    assert path.read_bytes() == b"picture"


def test_no_file_is_replaced(tmp_path: Path) -> None:
    """A file, or a link that leads elsewhere, keeps its name; the new file takes the next one."""
    (tmp_path / "cat-1.png").write_bytes(b"old")
    (tmp_path / "cat-1-2.png").symlink_to(tmp_path / "outside" / "nowhere.png")
    path = Folder(tmp_path).place_picture(b"new", "cat", 0, ImageType.PNG)
    assert path.name == "cat-1-3.png"
    assert (tmp_path / "cat-1.png").read_bytes() == b"old"
    assert not (tmp_path / "outside").exists()


def test_at_the_same_moment_everybody_gets_a_name_of_his_own(tmp_path: Path) -> None:
    """Many writers of one name lose nothing to each other."""
    folder = Folder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        data = [str(number).encode() for number in range(24)]
        paths = list(pool.map(lambda one: folder.place(one, numbered("cat", ".png")), data))
    assert sorted(path.read_bytes() for path in paths) == sorted(data)
    assert len(list(tmp_path.iterdir())) == 24


def test_nothing_is_left_behind_when_it_cannot_be_written(tmp_path: Path) -> None:
    """A name that the system refuses is an error, and no half file stays."""
    with pytest.raises(OSError, match="too long"):
        Folder(tmp_path).place(b"data", iter(["x" * 300]))
    assert list(tmp_path.iterdir()) == []


def test_without_free_name_it_is_an_error(tmp_path: Path) -> None:
    """When all names are taken nothing is replaced and nothing stays."""
    (tmp_path / "only").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="no free name"):
        Folder(tmp_path).place(b"new", iter(["only"]))
    assert [path.name for path in tmp_path.iterdir()] == ["only"]


def test_without_hard_links_a_name_is_claimed_first(tmp_path: Path) -> None:
    """On file systems without hard links an existing file is not replaced either."""
    (tmp_path / "new.part").write_bytes(b"new")
    (tmp_path / "taken.png").write_bytes(b"old")
    assert not _claim(tmp_path / "new.part", tmp_path / "taken.png")
    assert _claim(tmp_path / "new.part", tmp_path / "free.png")
    assert (tmp_path / "taken.png").read_bytes() == b"old"
    assert (tmp_path / "free.png").read_bytes() == b"new"


def test_a_claimed_name_is_given_back_when_the_file_cannot_move(tmp_path: Path) -> None:
    """No empty file stays where a picture should have been."""
    with pytest.raises(FileNotFoundError):
        _claim(tmp_path / "gone.part", tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []

"""``ppinfra demo``."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import pytest
from PIL import Image

from ppinfra_async._cli._demo import _Source, _write_page, demo
from ppinfra_async._cli._messages import CommandError
from ppinfra_async._cli._options import Printing
from ppinfra_async._cli._saving import Folder
from ppinfra_async.testing import Settings
from tests._cli.commands import Call, Finished, finish, start
from tests._cli.terminals import interrupting
from tests.conftest import FAST_POLLING
from tests.pictures import draw_picture

Capture = pytest.CaptureFixture[str]
NAMES = ["oil", "watercolour", "glass", "neon"]


def ran(
    capsys: Capture,
    image: Path | None,
    out: Path,
    *,
    as_json: bool = False,
    failing: bool = False,
    open_page: bool = False,
) -> Finished:
    code = demo(
        image,
        Printing(json=as_json),
        out=out,
        open_page=open_page,
        settings=Settings(queue=0, processing=0.01, failure_rate=float(failing), tiny_images=True),
        polling=FAST_POLLING,
    )
    return Finished(code, *capsys.readouterr())


def test_a_person_with_nothing_sees_pictures_and_a_page(tmp_path: Path) -> None:
    """No key, no picture, no network: a real process draws one and says where everything is."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    ended = finish(start("demo", cwd=tmp_path, environment=nowhere))
    assert ended.code == 0
    assert ended.out == "ppinfra-demo/index.html\n"
    folder = tmp_path / "ppinfra-demo"
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "before.jpg", *(f"{name}-1.jpg" for name in NAMES)}
    with Image.open(folder / "oil-1.jpg") as after, Image.open(folder / "before.jpg") as before:
        assert after.size == before.size == (960, 640)
        assert after.tobytes() != before.tobytes()
    lines = ended.err.splitlines()
    assert lines[0].startswith("A simulator on this machine makes four variations.")
    assert f"See before and after in a browser: {(folder / 'index.html').as_uri()}" in lines
    assert any(line.startswith("4 variations of a drawn landscape in ") for line in lines)
    assert any("not by the service. Nothing was sent or paid." in line for line in lines)
    assert lines[-1].strip().startswith("ppinfra img2img cat.png --model ")


def test_a_given_picture_is_shown_before_and_after(
    picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """One JSON document has the page and the pictures; the page has the picture's name and all prompts."""
    ended = ran(capsys, picture_file, tmp_path / "demo", as_json=True)
    assert ended.code == 0
    tree = json.loads(ended.out)
    assert tree["simulated"] is True
    assert [Path(image["path"]).name for image in tree["images"]] == [f"{n}-1.jpg" for n in NAMES]
    html = Path(tree["page"]).read_text()
    assert "Four variations of <strong>cat.png</strong>" in html
    assert all(image["prompt"] in html for image in tree["images"])
    assert all(f"<dd>{image['seed']}</dd>" in html for image in tree["images"])
    assert len(re.findall("src=", html)) == 4


def test_a_folder_that_is_there_is_left_alone(
    picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A second run has a folder of its own."""
    paths = [ran(capsys, picture_file, tmp_path / "demo").out.strip() for _ in range(2)]
    assert paths == [
        str(tmp_path / "demo" / "index.html"),
        str(tmp_path / "demo-2" / "index.html"),
    ]


def test_a_photograph_of_a_phone_will_do(tmp_path: Path, capsys: Capture) -> None:
    """It may be too large for the service and lie on its side."""
    photo = tmp_path / "IMG_1.JPG"
    photo.write_bytes(draw_picture(1600, 800, "JPEG", orientation=6))
    assert ran(capsys, photo, tmp_path / "demo").code == 0
    with Image.open(tmp_path / "demo" / "before.jpg") as before:
        assert before.size == (480, 960)


def test_nothing_is_left_behind_when_nothing_came_of_it(
    picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Without a single picture there is no page, no folder, and an exit code that says so."""
    ended = ran(capsys, picture_file, tmp_path / "demo", failing=True)
    assert (ended.code, ended.out) == (1, "")
    assert "There is no page" in ended.err
    assert not (tmp_path / "demo").exists()


def test_a_simulator_that_cannot_listen_is_one_sentence(
    picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The demo says why, and leaves no folder behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = demo(
            picture_file,
            Printing(),
            out=tmp_path / "demo",
            open_page=False,
            settings=Settings(port=taken.getsockname()[1]),
            polling=FAST_POLLING,
        )
    assert code == 2
    assert "ppinfra: The simulator cannot start (" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def is_working() -> bool:
    """Tell whether an event loop has had something to do for its worker threads."""
    return any("AnyIO" in thread.name for thread in threading.enumerate())


def test_an_interrupted_demo_ends_in_order(
    picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Ctrl-C leaves neither a page nor an empty folder nor a traceback."""
    out = tmp_path / "demo"
    with interrupting(is_working):
        code = demo(
            picture_file,
            Printing(),
            out=out,
            open_page=False,
            settings=Settings(queue=60, tiny_images=True),
            polling=FAST_POLLING,
        )
    assert code == 130
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "Nothing was paid." in err
    assert "is paid" not in err
    assert not out.exists()


def test_the_page_is_opened_on_request(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """With --open the browser gets its address, in this case one that writes it down."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    ended = ran(capsys, picture_file, tmp_path / "demo", open_page=True)
    assert ended.code == 0
    opened = (tmp_path / "opened").read_text().strip()
    assert opened == (tmp_path / "demo" / "index.html").as_uri()


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A disk that is full by then is said, without a traceback."""
    gone = Folder(tmp_path / "gone")
    with pytest.raises(CommandError, match=r"^The page cannot be written \(No such file"):
        _write_page(gone, _Source("cat.png", "cat.png", b"picture"), [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "it cannot be read (No such file or directory)."),
        (b"Dear diary", "it must be a picture, but it is text."),
    ],
)
def test_a_bad_picture_is_one_sentence(
    content: bytes | None, words: str, tmp_path: Path, call: Call
) -> None:
    """Nothing is started and no folder is made."""
    path = tmp_path / "cat.png"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "demo"
    assert call("demo", path, "--out", out) == Finished(2, "", f"ppinfra: {path}: {words}\n")
    assert not out.exists()


def test_a_place_that_cannot_be_written(picture_file: Path, call: Call) -> None:
    """The sentence names the option that helps."""
    ended = call("demo", picture_file, "--out", picture_file / "demo")
    assert ended.code == 2
    assert ended.err.startswith(f"ppinfra: The folder {picture_file / 'demo'} cannot be made (")
    assert ended.err.endswith("choose another with --out.\n")

"""The two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppinfra_async._cli._screen import Screen, is_live
from tests._cli.commands import python

Capture = pytest.CaptureFixture[str]


def test_results_and_notes_keep_their_order_and_their_streams(capsys: Capture) -> None:
    """Results go to stdout, everything else to stderr."""
    screen = Screen()
    for number in range(3):
        screen.result(f"result {number}")
        screen.say(f"note {number}")
    screen.drain()
    assert capsys.readouterr() == (
        "result 0\nresult 1\nresult 2\n",
        "note 0\nnote 1\nnote 2\n",
    )


def test_quiet_leaves_out_progress_only(capsys: Capture) -> None:
    """Steps are progress; what is said stays."""
    screen = Screen(quiet=True)
    screen.step("working")
    screen.say("failed")
    screen.drain()
    assert capsys.readouterr().err == "failed\n"


def test_a_note_is_one_line_whatever_is_in_it(capsys: Capture) -> None:
    """A message of the service cannot clear the screen."""
    screen = Screen()
    screen.say("a\nb\x1b[2Jc")
    screen.drain()
    assert capsys.readouterr().err == "a b [2Jc\n"


def test_without_a_terminal_nothing_is_redrawn(capsys: Capture) -> None:
    """In a pipe or a log file steps are plain lines."""
    screen = Screen()
    with screen.showing(lambda now: f"never drawn {now}"):
        screen.step("working")
    assert not is_live()
    screen.drain()
    assert capsys.readouterr().err == "working\n"


_WRITE = """
from ppinfra_async._cli._screen import Screen
screen = Screen()
screen.result("one")
screen.say("two")
screen.drain()
screen.result("three")
screen.drain()
print(screen.has_reader, screen.output_error, file=__import__("sys").stderr)
"""


def test_a_reader_who_has_left_is_no_error() -> None:
    """A closed pipe stops neither the work nor makes a noise, not even at the interpreter's end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = python(_WRITE, stdout=writing)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"two\nFalse None\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_disk_behind_stdout_is_remembered() -> None:
    """Results that could not be written are an error of the command, said at its end."""
    with Path("/dev/full").open("w") as full:
        ended = python(_WRITE, stdout=full.fileno())
    assert ended.returncode == 0
    assert ended.stderr == b"two\nFalse [Errno 28] No space left on device\n"


def test_streams_that_do_not_exist_are_no_error() -> None:
    """A command started without stdout and stderr still does its work."""
    ended = python(
        "import sys; sys.stdout = sys.stderr = None\n"
        "from ppinfra_async._cli._screen import Screen, prepare_streams, is_live\n"
        "prepare_streams(); screen = Screen(); screen.result('x'); screen.say('y'); screen.drain()\n"
        "assert not is_live()"
    )
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", b"\xffcat\xc3\x97\n"), ("ascii", b"\\udcffcat\\xd7\n")]
)
def test_any_file_name_can_be_written(encoding: str, written: bytes) -> None:
    """Bytes that are no text come out as they went in; letters a terminal lacks are escaped."""
    ended = python(
        "from ppinfra_async._cli._screen import Screen, prepare_streams\n"
        "prepare_streams(); screen = Screen(); screen.result('\\udcffcat×'); screen.drain()",
        environment={"PYTHONIOENCODING": encoding},
    )
    assert ended.stdout == written


_LIVE = """
import anyio
from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen
screen = Screen()
async def work():
    with anyio.fail_after(20):
        while not drawn:
            await anyio.sleep(0.01)
    screen.step("a step that the display shows")
    screen.result("path.png")
    screen.say("a note")
drawn = []
def view(now):
    drawn.append(now)
    return "the display"
run(work, screen, view=view)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a system without pseudo terminals")
@pytest.mark.parametrize("results_too", [False, True])
def test_on_a_terminal_the_display_is_redrawn_and_results_stay_whole(
    results_too: bool,  # noqa: FBT001  # a case of the table
) -> None:
    """Results go to their own stream, or between two drawings when both are the same terminal."""
    terminal, side = os.openpty()
    try:
        ended = python(
            _LIVE,
            stdout=side if results_too else subprocess.PIPE,
            stderr=side,
            environment={"TERM": "xterm", "COLUMNS": "80", "LINES": "25"},
        )
        shown = os.read(terminal, 100_000).decode()
    finally:
        os.close(terminal)
        os.close(side)
    assert ended.returncode == 0
    assert "the display" in shown
    assert "a note\r\n" in shown
    assert "a step" not in shown
    assert ("path.png\r\n" in shown) is results_too
    assert ended.stdout == (None if results_too else b"path.png\n")
    # The cursor is given back.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")

"""The two streams."""

from __future__ import annotations

import io
import os
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen, is_live, prepare_streams
from tests._cli.commands import python
from tests._cli.terminals import terminal
from tests.waiting import until

needs_terminals = pytest.mark.skipif(
    sys.platform == "win32", reason="a system without pseudo terminals"
)
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


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_broken_stream_is_given_up(which: str, capsys: Capture) -> None:
    """What cannot be written is dropped, and the other stream goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    redirect = redirect_stdout if which == "stdout" else redirect_stderr
    screen = Screen()
    with os.fdopen(writing, "w") as broken, redirect(broken):
        for _ in range(2):
            screen.result("a result")
            screen.say("a note")
            screen.drain()
    out, err = capsys.readouterr()
    assert (out, err) == {
        "stdout": ("", "a note\na note\n"),
        "stderr": ("a result\na result\n", ""),
    }[which]
    assert screen.has_reader is (which == "stderr")
    assert screen.output_error is None


def test_a_closed_stream_is_given_up() -> None:
    """A stream that was closed behind our back is no reason to stop."""
    closed = io.StringIO()
    closed.close()
    screen = Screen()
    with redirect_stdout(closed), redirect_stderr(closed):
        screen.result("a result")
        screen.say("a note")
        screen.drain()
    assert not screen.has_reader


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_disk_behind_stdout_is_remembered() -> None:
    """Results that could not be written are an error of the command, said at its end."""
    screen = Screen()
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        screen.result("a result")
        screen.drain()
    assert screen.output_error is not None
    assert screen.output_error.strerror == "No space left on device"


def test_streams_that_do_not_exist_are_no_error() -> None:
    """A command started without stdout and stderr still does its work."""
    screen = Screen()
    with redirect_stdout(None), redirect_stderr(None):
        prepare_streams()
        screen.result("a result")
        screen.say("a note")
        screen.drain()
        assert not is_live()


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


@needs_terminals
@pytest.mark.parametrize("results_too", [False, True])
def test_on_a_terminal_the_display_is_redrawn_and_results_stay_whole(
    results_too: bool,  # noqa: FBT001  # a case of the table
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Results go to their own stream, or between two drawings when both are the same terminal."""
    monkeypatch.setenv("TERM", "xterm")
    screen, drawn = Screen(), list[float]()

    def view(now: float) -> str:
        drawn.append(now)
        return "the display"

    async def work() -> None:
        await until(lambda: bool(drawn))
        screen.step("a step that the display shows")
        screen.milestone("a milestone")
        screen.result("path.png")
        screen.say("a note")

    with terminal() as opened, redirect_stderr(opened.stream):
        with redirect_stdout(opened.stream) if results_too else nullcontext():
            assert is_live()
            run(work, screen, view=view)
        shown = opened.shown()
    assert "the display" in shown
    assert "a note\r\n" in shown
    assert "a milestone\r\n" in shown
    assert "a step" not in shown
    assert ("path.png\r\n" in shown) is results_too
    assert capsys.readouterr().out == ("" if results_too else "path.png\n")
    # The cursor is given back.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@needs_terminals
@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("quiet", "")])
def test_no_display_where_none_is_wanted(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that cannot redraw gets lines, and --quiet gets nothing."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    screen = Screen(quiet=variable == "quiet")
    with terminal() as opened, redirect_stderr(opened.stream):
        with screen.showing(lambda now: f"never drawn {now}"):
            screen.step("a step")
            screen.milestone("a milestone")
            screen.say("a note")
        screen.drain()
        shown = opened.shown()
    assert shown == ("a note\r\n" if screen.quiet else "a step\r\na milestone\r\na note\r\n")

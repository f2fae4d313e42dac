"""How work is run and ended."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from contextlib import redirect_stderr

import anyio
import anyio.lowlevel
import pytest

from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._running import report, run
from ppinfra_async._cli._screen import Screen
from tests._cli.terminals import terminal

Capture = pytest.CaptureFixture[str]


def test_work_that_ends_is_done(capsys: Capture) -> None:
    """Results and notes are written, each to its stream."""
    screen = Screen()

    async def work() -> None:
        screen.result("path.png")
        screen.say("summary")
        await anyio.lowlevel.checkpoint()

    assert run(work, screen).code is ExitCode.DONE
    assert capsys.readouterr() == ("path.png\n", "summary\n")


def test_results_are_written_while_the_work_goes_on(capsys: Capture) -> None:
    """A script sees each result as soon as it is there."""
    screen = Screen()
    seen: list[str] = []

    async def work() -> None:
        screen.result("first")
        with anyio.fail_after(10):
            while not seen:
                await anyio.sleep(0.001)
                if out := capsys.readouterr().out:
                    seen.append(out)
        screen.result("second")

    run(work, screen)
    assert seen == ["first\n"]
    assert capsys.readouterr().out == "second\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CommandError("Which picture?"), 2, "ppinfra: Which picture?\n"),
        (
            ZeroDivisionError("by zero"),
            70,
            "ppinfra: This is a bug in ppinfra: ZeroDivisionError: by zero. --debug shows where.\n",
        ),
    ],
)
@pytest.mark.parametrize("with_stop", [False, True])
def test_an_error_is_one_sentence(
    error: Exception,
    code: int,
    words: str,
    with_stop: bool,  # noqa: FBT001  # a case of the table
    capsys: Capture,
) -> None:
    """Whatever happens inside, no traceback and no group of errors reaches the person."""

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    async def stop() -> None:
        await anyio.lowlevel.checkpoint()

    ending = run(work, Screen(), stop=stop if with_stop else None)
    assert (ending.code, ending.error) == (code, error)
    assert capsys.readouterr().err == words


def test_a_traceback_is_shown_when_it_was_asked_for(capsys: Capture) -> None:
    """With --debug the place is shown too."""
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        screen = Screen(debug=True)
        report(error, screen, about="cat.png")
    screen.drain()
    err = capsys.readouterr().err
    assert err.startswith("cat.png: This is a bug in ppinfra: ZeroDivisionError: by zero.")
    assert "test_a_traceback_is_shown_when_it_was_asked_for" in err


@pytest.mark.parametrize("debug", [False, True])
def test_log_lines_stay_off_the_terminal(debug: bool) -> None:  # noqa: FBT001  # a case of the table
    """What matters in them is said in sentences; --debug shows them."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    screen = Screen(debug=debug)
    stream = io.StringIO()

    async def work() -> None:
        logging.getLogger("ppinfra_async").warning("a log line")
        await anyio.lowlevel.checkpoint()

    try:
        with redirect_stderr(stream):
            run(work, screen)
    finally:
        root.handlers = handlers
        root.setLevel(logging.WARNING)
    assert ("a log line" in stream.getvalue()) is debug


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED),
        (signal.SIGTERM, ExitCode.TERMINATED),
        (signal.SIGHUP, ExitCode.HUNG_UP),
    ],
)
def test_an_interruption_lets_the_work_end_by_itself(number: int, code: ExitCode) -> None:
    """Ctrl-C, SIGTERM and a closed terminal call stop, and the work goes on to its own end."""
    happened: list[str] = []
    stopped = anyio.Event()

    async def work() -> None:
        os.kill(os.getpid(), number)
        await stopped.wait()
        await anyio.lowlevel.checkpoint()
        happened.append("work ended")

    async def stop() -> None:
        happened.append("stop")
        stopped.set()

    assert run(work, Screen(), stop=stop).code is code
    assert happened == ["stop", "work ended"]


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """`nohup` means that the work goes on when the terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await anyio.sleep(0.02)

    try:
        assert run(work, Screen()).code is ExitCode.DONE
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="a system without pseudo terminals")
def test_a_broken_display_lets_the_work_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in what is drawn must not lose what is paid."""
    monkeypatch.setenv("TERM", "xterm")
    happened: list[str] = []
    stopped = anyio.Event()

    async def work() -> None:
        await stopped.wait()
        await anyio.lowlevel.checkpoint()
        happened.append("work ended")

    async def stop() -> None:
        happened.append("stop")
        stopped.set()

    def view(now: float) -> str:
        raise ZeroDivisionError(now)

    with terminal() as opened, redirect_stderr(opened.stream):
        ending = run(work, Screen(), stop=stop, view=view)
    assert ending.code is ExitCode.BUG
    assert happened == ["stop", "work ended"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_without_an_end_of_its_own_is_cancelled(number: int) -> None:
    """What has no stop is cancelled at once."""

    async def work() -> None:
        os.kill(os.getpid(), number)
        await anyio.sleep_forever()

    assert run(work, Screen()).code in {130, 143}


def test_a_second_interruption_ends_everything_at_once() -> None:
    """Whoever cannot wait for the stop presses Ctrl-C again."""

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    async def stop() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    assert run(work, Screen(), stop=stop).code is ExitCode.INTERRUPTED

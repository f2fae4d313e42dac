"""Help, version, and what is wrong with a command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ppinfra_async._cli._app import app
from ppinfra_async._cli._options import Printing
from tests._cli.commands import Call, Finished, python

PRINTING = Printing()


def test_without_arguments_help_is_shown(call: Call) -> None:
    """A person who types the bare name sees the commands and the exit codes."""
    ended = call()
    assert (ended.code, ended.err) == (0, "")
    assert ended == call("--help")
    for word in ("demo", "img2img", "models", "task", "simulate", "PPINFRA_API_KEY", "130:"):
        assert word in ended.out


@pytest.mark.parametrize("command", ["demo", "img2img", "models", "task", "simulate"])
def test_every_command_has_help_that_can_be_piped(command: str, call: Call) -> None:
    """Plain text: no boxes, no colours, and not a word of the key as an option."""
    ended = call(command, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"Usage: ppinfra {command}")
    assert not set(ended.out) & set("╭│╰\x1b")
    assert "--api-key" not in ended.out


def test_the_version_is_told(call: Call) -> None:
    """One line, for a bug report."""
    ended = call("--version")
    assert ended.code == 0
    assert ended.out.startswith("ppinfra-async 0.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["paint"],
            (
                'Unknown command "paint". Available commands: demo, img2img, batch, models, task, simulate. '
                "See `ppinfra --help`."
            ),
        ),
        (["task", "--xyz"], "Unknown option: --xyz. See `ppinfra task --help`."),
        (["img2img", "--model"], "--model needs a value. See `ppinfra img2img --help`."),
        (
            ["img2img", "a.png", "--model", "m", "--prompt", "p"],
            "--out is missing. See `ppinfra img2img --help`.",
        ),
        (["models", "extra"], "Unexpected: extra. See `ppinfra models --help`."),
        (
            ["models", "--limit", "many"],
            (
                'Invalid value for --limit: unable to convert "many" into int. '
                "See `ppinfra models --help`."
            ),
        ),
        (
            ["models", "--limit", "1", "--limit", "2"],
            "--limit is given more than once. See `ppinfra models --help`.",
        ),
        (
            ["simulate", "--window", "leaky"],
            (
                'Invalid value "leaky" for --window. Choose from: "sliding", "fixed", "bucket". '
                "See `ppinfra simulate --help`."
            ),
        ),
    ],
)
def test_a_mistyped_command_line_is_one_sentence(
    arguments: list[str], words: str, call: Call
) -> None:
    """What is wrong and where to look; no box, no traceback, exit code 2."""
    assert call(*arguments) == Finished(2, "", f"ppinfra: {words}\n")


def test_a_text_may_begin_with_a_dash(call: Call) -> None:
    """A prompt is never taken for an option."""
    ended = call("img2img", "--model", "m", "--prompt", "-x", "--out", "o")
    assert ended.err.startswith("ppinfra: Which picture?")


def test_without_the_extra_one_sentence_says_how_to_get_it() -> None:
    """The library can be installed without the command line's packages."""
    for missing in ("cyclopts", "rich"):
        ended = python(
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from ppinfra_async._cli import main; sys.exit(main(['demo']))"
        )
        assert ended.returncode == 2
        assert ended.stderr == (
            b"ppinfra: the command line needs two more packages: pip install 'ppinfra-async[cli]'\n"
        )


def test_help_is_there_before_anything_heavy_is_imported() -> None:
    """Looking something up does not wait for aiohttp and Pillow."""
    ended = python(
        "import sys\nfrom ppinfra_async._cli import main\nmain(['img2img', '--help'])\n"
        "print([name for name in ('aiohttp', 'PIL') if name in sys.modules], file=sys.stderr)"
    )
    assert ended.stderr == b"[]\n"


@pytest.fixture
def broken() -> Iterator[None]:
    """A command with a bug, and one that is interrupted before its work begins."""

    def bug(*, printing: Printing = PRINTING) -> int:
        return len(str(printing)) // 0

    def interrupted() -> int:
        raise KeyboardInterrupt

    app.command(bug, name="bug")
    app.command(interrupted, name="interrupted")
    yield
    del app["bug"], app["interrupted"]


def test_a_bug_shows_its_traceback_on_request_only(broken: None, call: Call) -> None:
    """Whatever happens, one sentence; the rest with --debug."""
    sentence = (
        "ppinfra: This is a bug in ppinfra: ZeroDivisionError: integer division or modulo by zero. "
        "--debug shows where.\n"
    )
    assert call("bug") == Finished(70, "", sentence)
    loud = call("bug", "--debug")
    assert loud.code == 70
    assert loud.err.startswith("Traceback")
    assert loud.err.endswith(sentence)


def test_an_early_interruption_is_silent(broken: None, call: Call) -> None:
    """Ctrl-C while the command still starts shows no traceback."""
    assert call("interrupted") == Finished(130, "", "")


def test_a_reader_of_the_help_may_leave() -> None:
    """`ppinfra --help | head -1` is silent and no error, not even at the interpreter's end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = python(
            "import sys; from ppinfra_async._cli import main; sys.exit(main(['--help']))",
            stdout=writing,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_help_that_cannot_be_written_is_one_sentence(call: Call) -> None:
    """A full disk is no reason for a traceback, and nothing was paid."""
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        ended = call("--version")
    assert ended == Finished(1, "", "ppinfra: No space left on device.\n")


def test_without_streams_help_and_errors_go_nowhere(call: Call) -> None:
    """A command started without stdout and stderr has its exit code all the same."""
    with redirect_stdout(None), redirect_stderr(None):
        assert call("paint").code == 2
        assert call("--version").code == 0

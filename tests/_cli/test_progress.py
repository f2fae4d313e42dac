"""The live display."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._progress import JobsView


def drawn(jobs: list[Job], notice: str = "", *, now: float = 10.0, width: int = 100) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(JobsView(jobs, lambda: notice)(now))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_each_job_has_a_line_with_state_and_time() -> None:
    """What is done, failed, under way and still waiting can be told apart."""
    jobs = [
        Job("a.png", "a", state="done", began=1, took=3.25, ended=True, saved=[Path("a-1.png")]),
        Job("b.png", "b", state="failed", began=1, took=2, ended=True, error=ValueError("x")),
        Job("c.png", "c", state="working", began=4, percent=50),
        Job("d.png", "d"),
    ]
    lines = drawn(jobs)
    assert lines[0].startswith("✓ a.png")
    assert lines[0].endswith("done                3.2 s")
    assert lines[1].startswith("✗ b.png")
    assert lines[2].endswith("working             6.0 s")
    assert lines[3].startswith("· d.png")
    assert lines[3].endswith("waiting")
    assert lines[4] == "2 of 4 done, pictures saved: 1, failed: 1"


def test_the_end_of_a_long_path_stays_readable() -> None:
    """Folders say less than the name of the file."""
    (line, _) = drawn([Job("/a/very/long/way/down/to/the/folder/of/cat.png", "cat", began=1)])
    assert "…n/to/the/folder/of/cat.png" in line


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_row_fits_into_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures can be told apart by the end of their names, and no row becomes two."""
    monkeypatch.setenv("COLUMNS", str(width))
    job = Job("/a/long/way/to/cat.png", "cat", state="fetching pictures", began=1)
    lines = drawn([job], "Trying again in 1.0 s: The request was not sent.", width=width)
    assert "cat.png" in lines[0]
    assert lines[0].endswith("9.0 s")
    assert " ".join(lines[2:]) == "Trying again in 1.0 s: The request was not sent."


def test_of_many_jobs_only_those_under_way_are_shown() -> None:
    """A thousand jobs fit on a screen."""
    jobs = [Job(f"{number}.png", str(number)) for number in range(1000)]
    for job in jobs[:30]:
        job.began = 1
    jobs[0].ended = True
    lines = drawn(jobs)
    assert len(lines) == 13
    assert "1.png" in lines[0]
    assert lines[-1] == "1 of 1000 done, pictures saved: 0"


def test_a_notice_stands_below_and_cannot_move_the_cursor() -> None:
    """What the service said is shown without its control characters."""
    lines = drawn([Job("[bold]a.png\x1b[2J", "a")], notice="no\x1b[2Jconnection\n")
    assert lines[0].startswith("· [bold]a.png [2J")
    assert lines[-1] == "no [2Jconnection"

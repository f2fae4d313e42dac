"""What the live display of a batch shows."""

from __future__ import annotations

import pytest
from rich.console import Console

from ppinfra_async._cli._batch_view import BatchView, counts, duration, pace, pause, status_line
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch import Progress


def progress(**fields: object) -> Progress:
    states = {
        JobState.DONE: 12,
        JobState.FAILED: 1,
        JobState.IN_DOUBT: 2,
        JobState.SUBMITTED: 5,
        JobState.PLANNED: 80,
    }
    made = Progress(jobs=states)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def shown(view: BatchView, now: float = 0.0) -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(view(now))
    return captured.get()


def test_jobs_are_counted_by_what_became_of_them() -> None:
    """Done, failed, in doubt, at the service, and not sent yet."""
    assert counts(progress()) == "12 done, 1 failed, 2 in doubt, 5 under way, 80 waiting"


def test_pace_stands_beside_the_quota_with_the_time_left() -> None:
    """Images of the last minute, of how many, and how long the rest takes at that."""
    made = progress(images_left=100, pictures=17)
    for second in range(120):
        made.accepted(0 if second % 6 else 1, float(second))

    text = pace(made, 10, 119.0)

    assert text == "10 images in the last minute, quota 10, pictures saved: 17, about 8 min left"


def test_pace_without_a_known_quota_goes_by_what_was_measured() -> None:
    """With `auto` the time that is left follows from the pace so far."""
    made = progress(images_left=50)
    made.accepted(10, 20.0)
    made.accepted(20, 50.0)

    # Nothing is concluded from less than a minute.
    assert pace(made, "auto", 59.0) == "30 images in the last minute, pictures saved: 0"
    assert (
        pace(made, "auto", 60.0)
        == "30 images in the last minute, pictures saved: 0, about 40 s left"
    )


def test_pace_says_nothing_of_time_before_anything_is_known() -> None:
    """No pace, no prophecy; and none while stopping."""
    assert "left" not in pace(progress(images_left=30), "auto", 0.0)
    assert pace(progress(images_left=30, stopping=True), 10, 1.0).endswith("stopping")


def test_cool_down_is_shown_while_it_lasts() -> None:
    """After a 429 the seconds count down, with the reason."""
    made = progress(pause=(70.0, "RATE_LIMIT_EXCEEDED."))

    assert pause(made, 60.0) == "Waiting 10 s: RATE_LIMIT_EXCEEDED."
    assert pause(made, 70.0) == ""
    assert status_line(made, 10, 60.0).endswith("; Waiting 10 s: RATE_LIMIT_EXCEEDED.")


def test_display_has_a_bar_counts_pace_and_notice() -> None:
    """All of it, on the lines of a terminal; a stranger's text cannot move its cursor."""
    text = shown(BatchView(progress(images_left=50), lambda: 10, lambda: "line 5\x1b[2J"))

    assert "15 of 100" in text
    assert "12 done, 1 failed" in text
    assert "images in the last minute, quota 10" in text
    assert "\x1b" not in text


def test_display_before_the_jobs_are_known() -> None:
    """While lines are read it says so."""
    assert "Looking at the jobs" in shown(BatchView(Progress(), lambda: "auto", lambda: ""))
    assert "line 1,000" in shown(BatchView(Progress(), lambda: "auto", lambda: "line 1,000"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3600, "1 h 0 min"),
        (9000, "2 h 30 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration_is_said_as_people_say_it(seconds: float, text: str) -> None:
    """Seconds, minutes, hours or days."""
    assert duration(seconds) == text

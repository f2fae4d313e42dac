"""How a batch waits for a service that cannot be reached."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio.outage import Outage

ROUNDING = 1e-9


def test_pauses_grow_up_to_fifteen_seconds() -> None:
    """A server that restarts is met again soon; one that is away is not hammered."""
    outage, now, pauses = Outage(), 1000.0, []
    for _ in range(7):
        pause = outage.pause(now)
        assert pause is not None
        pauses.append(pause)
        now += pause

    assert pauses == [1, 2, 4, 8, 15, 15, 15]


def test_failures_at_the_same_time_are_one() -> None:
    """Sixty-four jobs that fail together pause together, and none makes the next pause longer."""
    outage = Outage()
    assert outage.pause(10) == 1

    assert [outage.pause(10), outage.pause(10.25), outage.pause(10.75)] == [1, 0.75, 0.25]

    assert outage.pause(11) == 2


def test_one_that_gets_through_ends_the_outage() -> None:
    """The next failure begins a new one, with the first pause and all the patience."""
    outage = Outage(patience=20)
    for now in (0, 1, 3, 7, 15):
        assert outage.pause(now) is not None

    outage.ended()

    assert outage.since is None
    assert outage.pause(100) == 1
    assert outage.since == 100


def test_patience_ends_after_nothing_but_failures() -> None:
    """At its last second there is hope, after it there is none."""
    outage = Outage(patience=20)
    outage.pause(100)

    assert outage.pause(120) is not None
    assert outage.pause(120.5) is None


def test_end_before_the_first_failure_changes_nothing() -> None:
    """Jobs that get through all say so."""
    outage = Outage()
    outage.ended()

    assert outage.since is None
    assert outage.pause(5) == 1


@given(st.lists(st.one_of(st.none(), st.floats(0, 60)), max_size=60))
def test_pause_is_never_longer_than_the_longest_and_never_nothing(
    steps: list[float | None],
) -> None:
    """Whatever fails and gets through when: a job that may try again waits a moment, not for ever."""
    outage, now = Outage(), 0.0
    for step in steps:
        if step is None:
            outage.ended()
            continue
        now += step
        pause = outage.pause(now)
        since = outage.since
        assert since is not None
        assert (pause is None) == (now - since > outage.patience)
        assert pause is None or 0 < pause <= 15 + ROUNDING

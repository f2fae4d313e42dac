"""Every pair of a state and a move, held against the table and against what the table is for."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async._sansio import job
from ppinfra_async._sansio.job import MOVES, IllegalMoveError, JobState, Move, moved

PAIRS = list(product(JobState, Move))

BY_A_PERSON = {Move.AGAIN, Move.REDONE}
"""Moves that nothing but a person's wish makes."""


def drawn_table() -> dict[tuple[JobState, Move], JobState]:
    """Read the table out of the module's docstring."""
    rule = r"(?:=+ *)+\n"
    found = re.search(f"{rule}(.*)\n{rule}((?:.*\n)*?){rule}", job.__doc__ or "")
    assert found is not None
    _, *moves = re.split(r"  +", found[1])
    table = {}
    for row in found[2].splitlines():
        state, *cells = re.split(r"  +", row.rstrip())
        for move, cell in zip(moves, cells, strict=True):
            if cell != "–":
                table[JobState(state), Move(move)] = JobState(cell.rstrip("¹²³"))
    return table


def reachable(start: JobState, *without: Move) -> set[JobState]:
    """Return where a job can get from *start* by any moves but *without*, *start* not counted."""
    found: set[JobState] = set()
    waiting = [start]
    while waiting:
        state = waiting.pop()
        for (before, move), after in MOVES.items():
            if before is state and move not in without and after not in found:
                found.add(after)
                waiting.append(after)
    return found


@pytest.mark.parametrize(("state", "move"), PAIRS)
def test_every_pair_moves_by_the_table_or_is_refused(state: JobState, move: Move) -> None:
    """There is no third way, and the refusal names both."""
    if (state, move) in MOVES:
        assert moved(state, move) is MOVES[state, move]
        return
    with pytest.raises(IllegalMoveError, match=rf"{state} cannot be moved by .*{move}"):
        moved(state, move)


def test_drawn_table_is_the_table() -> None:
    """What the docstring shows people is what the code does."""
    assert drawn_table() == dict(MOVES)


def test_drawn_table_has_every_state_and_every_move() -> None:
    """None is left out of the picture, and each state can be left by some move."""
    assert {state for state, _ in MOVES} == set(JobState)
    assert {move for _, move in MOVES} == set(Move)


@pytest.mark.parametrize("state", [JobState.SUBMITTED, JobState.DONE])
def test_what_is_paid_becomes_planned_only_when_its_request_has_changed(state: JobState) -> None:
    """Nothing but a person's wish for another picture lets a paid job be sent again."""
    ways = {move for move in Move if MOVES.get((state, move)) is JobState.PLANNED}

    assert ways == {Move.REDONE}
    assert reachable(state, *BY_A_PERSON).isdisjoint(
        {JobState.PLANNED, JobState.SENDING, JobState.IN_DOUBT}
    )


def test_nothing_but_a_person_plans_a_job_in_doubt() -> None:
    """What may be paid waits for a person; the client's own second try passes by the mark again."""
    ways = {move: after for (before, move), after in MOVES.items() if before is JobState.IN_DOUBT}

    assert {move for move, after in ways.items() if after is JobState.PLANNED} == BY_A_PERSON
    assert JobState.DONE not in ways.values()
    assert JobState.FAILED not in ways.values()


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED])
def test_ended_job_stays_until_a_person_wants_it_again(state: JobState) -> None:
    """A run never moves a job that has come to its end."""
    assert reachable(state, *BY_A_PERSON) == set()


def test_doubt_begins_at_the_mark_alone() -> None:
    """A job can be in doubt only from sending: between the durable mark and the durable id."""
    assert {before for (before, _), after in MOVES.items() if after is JobState.IN_DOUBT} == {
        JobState.SENDING
    }


def test_job_is_done_only_after_its_id_is_known() -> None:
    """No way leads past the task id to a done job."""
    assert {before for (before, _), after in MOVES.items() if after is JobState.DONE} == {
        JobState.SUBMITTED
    }
    assert {move for (_, move), after in MOVES.items() if after is JobState.SUBMITTED} == {
        Move.ACCEPTED
    }


@given(st.lists(st.sampled_from([move for move in Move if move not in BY_A_PERSON])))
def test_without_a_person_a_job_is_accepted_once(moves: list[Move]) -> None:
    """However moves follow one another, two ids need a person between them."""
    state, accepted = JobState.PLANNED, 0
    for move in moves:
        if (state, move) in MOVES:
            state = moved(state, move)
            accepted += move is Move.ACCEPTED

    assert accepted <= 1

"""The states of a job in a journal and the moves between them; refuses every move that is not listed.

The story of a job. It is **planned** when it is first seen: nothing was sent. Just before the last
byte of its submit is handed over it becomes **sending**, on disk, because from then on it may be
paid. The answer decides: with a task id it is **submitted**, paid and never sent again; when the
service certainly did not take it, it is planned again; when nobody can know, it is **in doubt**. A
journal that is opened after a crash turns *sending* into *in doubt* for the same reason: the process
died between the mark and the id. Only a person lets a job in doubt be sent again.

A submitted job is **done** when every picture is on the disk under its final name. Until then it
stays submitted, however often the process dies or a download breaks: its task is asked again.
It has **failed** when asking again cannot help: the service refused it, gave up on its task, or does
not know the task any more. A failed job is planned again when a person asks for that, and any job is
when its request has changed and a person asks for that.

=========  =========  ===========  =========  =========  =========  =========  ========  ========
state      sending    accepted     not taken  unclear    done       failed     again     redone
=========  =========  ===========  =========  =========  =========  =========  ========  ========
planned    sending    submitted¹   –          –          –          failed     –         planned
sending    –          submitted    planned    in doubt   –          –          –         –
in doubt   sending²   submitted³   –          –          –          –          planned   planned
submitted  –          –            –          –          done       failed     –         planned
done       –          –            –          –          –          –          –         planned
failed     –          –            –          –          –          –          planned   planned
=========  =========  ===========  =========  =========  =========  =========  ========  ========

¹ An answer with an id came before the last byte was asked for. ² With ``Retries.resubmit_unknown``
the client itself sends it again. ³ The id came late, after its caller had left.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is."""

    PLANNED = "planned"
    SENDING = "sending"
    IN_DOUBT = "in doubt"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"


class Move(StrEnum):
    """What happens to a job."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    NOT_TAKEN = "not taken"
    UNCLEAR = "unclear"
    DONE = "done"
    FAILED = "failed"
    AGAIN = "again"
    REDONE = "redone"


MOVES: Mapping[tuple[JobState, Move], JobState] = {
    (JobState.PLANNED, Move.SENDING): JobState.SENDING,
    (JobState.PLANNED, Move.ACCEPTED): JobState.SUBMITTED,
    (JobState.PLANNED, Move.FAILED): JobState.FAILED,
    (JobState.PLANNED, Move.REDONE): JobState.PLANNED,
    (JobState.SENDING, Move.ACCEPTED): JobState.SUBMITTED,
    (JobState.SENDING, Move.NOT_TAKEN): JobState.PLANNED,
    (JobState.SENDING, Move.UNCLEAR): JobState.IN_DOUBT,
    (JobState.IN_DOUBT, Move.SENDING): JobState.SENDING,
    (JobState.IN_DOUBT, Move.ACCEPTED): JobState.SUBMITTED,
    (JobState.IN_DOUBT, Move.AGAIN): JobState.PLANNED,
    (JobState.IN_DOUBT, Move.REDONE): JobState.PLANNED,
    (JobState.SUBMITTED, Move.DONE): JobState.DONE,
    (JobState.SUBMITTED, Move.FAILED): JobState.FAILED,
    (JobState.SUBMITTED, Move.REDONE): JobState.PLANNED,
    (JobState.DONE, Move.REDONE): JobState.PLANNED,
    (JobState.FAILED, Move.AGAIN): JobState.PLANNED,
    (JobState.FAILED, Move.REDONE): JobState.PLANNED,
}
"""Every move there is."""


class IllegalMoveError(Exception):
    """A move that is not in the table: a mistake of ours, noticed before anything is written."""


def moved(state: JobState, move: Move) -> JobState:
    """Return the state after *move*.

    Raises:
        IllegalMoveError: when there is no such move.
    """
    try:
        return MOVES[state, move]
    except KeyError:
        raise IllegalMoveError(f"A job that is {state} cannot be moved by {move!r}.") from None

"""The jobs of a journal against a dictionary: whatever is noted in whatever order, both agree."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ppinfra_async import _journal_jobs as records
from ppinfra_async._journal_file import close_journal, open_journal
from ppinfra_async._journal_jobs import CapReachedError, PictureRecord
from ppinfra_async._sansio.job import MOVES, IllegalMoveError, JobState, Move
from ppinfra_async.errors import SubmitOutcomeUnknownError
from tests.journals import plan_row

ERROR = {"type": "ServiceError", "message": "no “memory”", "billed": "yes"}


@define
class Model:
    """What is to be known of one job: its submits are pairs of images and a task id."""

    images: int
    state: JobState = JobState.PLANNED
    task_id: str | None = None
    seed: int | None = None
    missing: int = 0
    error: dict[str, str] | None = None
    ended: float | None = None
    pictures: dict[int, PictureRecord] = field(factory=dict)
    submits: list[tuple[int, str | None]] = field(factory=list)

    def close_submit(self, *with_id: str) -> bool:
        """Give the newest submit without an id one, or remove it; tell whether there was one."""
        for place in reversed(range(len(self.submits))):
            images, task_id = self.submits[place]
            if task_id is None:
                self.submits[place : place + 1] = [(images, each) for each in with_id]
                return True
        return False


class JournalAgainstModel(RuleBasedStateMachine):
    """Any notes in any order, with the file closed and opened between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.connection = self.opened()
        self.models: dict[int, Model] = {}
        self.tasks = 0

    def opened(self) -> sqlite3.Connection:
        connection = open_journal(Path(self.folder.name, "journal.sqlite3"))
        # What is durable is another test's: this one makes thousands of entries.
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def teardown(self) -> None:
        close_journal(self.connection)
        self.folder.cleanup()

    def chosen(self, place: int) -> tuple[int, Model]:
        return list(self.models.items())[place % len(self.models)]

    def noted(self, model: Model, move: Move, work: Callable[[], object]) -> bool:
        """Note something by *work*; tell whether the table has the move. Else nothing is written."""
        self.connection.execute("BEGIN")
        if (model.state, move) in MOVES:
            work()
            self.connection.execute("COMMIT")
            model.state = MOVES[model.state, move]
            return True
        before = self.connection.total_changes
        with pytest.raises(IllegalMoveError):
            work()
        assert self.connection.total_changes == before
        self.connection.execute("ROLLBACK")
        return False

    @property
    def submitted(self) -> int:
        return sum(images for model in self.models.values() for images, _ in model.submits)

    jobs = st.integers(0, 5)

    @initialize(images=st.lists(st.integers(1, 8), min_size=1, max_size=4))
    def begin(self, images: list[int]) -> None:
        for asked in images:
            self.plan(asked)

    @rule(images=st.integers(1, 8))
    def plan(self, images: int) -> None:
        row = plan_row(self.connection, len(self.models), images=images)
        self.models[row] = Model(images)

    @rule(place=jobs, room=st.one_of(st.none(), st.integers(-3, 12)))
    def sending(self, place: int, room: int | None) -> None:
        """With a cap that leaves *room* for so many images, or none."""
        job, model = self.chosen(place)
        most = None if room is None else self.submitted + room
        if room is not None and room < model.images:
            before = self.connection.total_changes
            with pytest.raises(CapReachedError):
                records.note_sending(self.connection, job, model.images, 1.0, most)
            assert self.connection.total_changes == before
        elif self.noted(
            model,
            Move.SENDING,
            lambda: records.note_sending(self.connection, job, model.images, 1.0, most),
        ):
            model.submits.append((model.images, None))
            model.error = None

    @rule(place=jobs)
    def accepted(self, place: int) -> None:
        job, model = self.chosen(place)
        self.tasks += 1
        task_id = f"task-{self.tasks}"
        if self.noted(
            model,
            Move.ACCEPTED,
            lambda: records.note_accepted(self.connection, job, task_id, model.images, 2.0),
        ):
            model.task_id, model.error = task_id, None
            if not model.close_submit(task_id):
                model.submits.append((model.images, task_id))

    @rule(place=jobs, is_in_doubt=st.booleans())
    def not_taken(self, place: int, *, is_in_doubt: bool) -> None:
        """With an earlier try in doubt, where there is one."""
        job, model = self.chosen(place)
        without_id = [images for images, task_id in model.submits if task_id is None]
        is_in_doubt = is_in_doubt and len(without_id) > 1
        if self.noted(
            model,
            Move.UNCLEAR if is_in_doubt else Move.NOT_TAKEN,
            lambda: records.note_not_taken(self.connection, job, is_in_doubt=is_in_doubt),
        ):
            assert model.close_submit()

    @rule(place=jobs, error=st.sampled_from([None, ERROR]))
    def in_doubt(self, place: int, error: dict[str, str] | None) -> None:
        job, model = self.chosen(place)
        if self.noted(
            model, Move.UNCLEAR, lambda: records.note_in_doubt(self.connection, job, error)
        ):
            model.error = error

    @rule(
        place=jobs,
        seed=st.one_of(st.none(), st.integers(-(2**63), 2**64)),
        missing=st.integers(0, 3),
    )
    def done(self, place: int, seed: int | None, missing: int) -> None:
        job, model = self.chosen(place)
        if self.noted(
            model, Move.DONE, lambda: records.note_done(self.connection, job, seed, missing, 3.5)
        ):
            model.seed, model.missing, model.error, model.ended = seed, missing, None, 3.5

    @rule(place=jobs)
    def failed(self, place: int) -> None:
        job, model = self.chosen(place)
        if self.noted(
            model, Move.FAILED, lambda: records.note_failed(self.connection, job, ERROR, 4.5)
        ):
            model.error, model.ended = ERROR, 4.5

    @rule(place=jobs)
    def error(self, place: int) -> None:
        job, model = self.chosen(place)
        records.note_error(self.connection, job, ERROR)
        model.error = ERROR

    @rule(place=jobs, number=st.integers(0, 2), size=st.integers(1, 9))
    def placing(self, place: int, number: int, size: int) -> None:
        job, model = self.chosen(place)
        picture = PictureRecord(
            number=number, name=f"p-{number}.png", size=size, sha256=b"s", width=8, height=8
        )
        records.note_placing(self.connection, job, picture)
        model.pictures[number] = picture

    @rule(place=jobs, move=st.sampled_from([Move.AGAIN, Move.REDONE]))
    def again(self, place: int, move: Move) -> None:
        job, model = self.chosen(place)
        if self.noted(model, move, lambda: records.begin_again(self.connection, job, move)):
            self.models[job] = Model(model.images, submits=model.submits)

    @rule()
    def crash(self) -> None:
        """The process dies: what was sending is in doubt, and says that it may be paid."""
        self.reopen()
        left = [model for model in self.models.values() if model.state is JobState.SENDING]
        assert records.mend_after_crash(self.connection) == len(left)
        assert records.mend_after_crash(self.connection) == 0
        errors = {job.id: job.error for job in records.jobs(self.connection)}
        for job, model in self.models.items():
            if model.state is JobState.SENDING:
                model.state, model.error = JobState.IN_DOUBT, errors[job]
                assert model.error is not None
                assert model.error["type"] == SubmitOutcomeUnknownError.__name__
                assert model.error["billed"] == "unknown"

    @rule()
    def reopen(self) -> None:
        close_journal(self.connection)
        self.connection = self.opened()

    @invariant()
    def jobs_are_the_same(self) -> None:
        found = {job.id: job for job in records.jobs(self.connection)}
        assert found.keys() == self.models.keys()
        for job, model in self.models.items():
            has = found[job]
            assert (has.state, has.task_id, has.images) == (
                model.state,
                model.task_id,
                model.images,
            )
            assert (has.seed, has.missing, has.ended) == (model.seed, model.missing, model.ended)
            assert has.error == model.error
            assert has.pictures == tuple(picture for _, picture in sorted(model.pictures.items()))
            assert records.pictures(self.connection, job) == has.pictures

    @invariant()
    def submits_are_the_same(self) -> None:
        rows = self.connection.execute("SELECT job, images, task_id FROM submits ORDER BY id")
        found: dict[int, list[tuple[int, str | None]]] = {job: [] for job in self.models}
        for job, images, task_id in rows:
            found[job].append((images, task_id))
        assert found == {job: model.submits for job, model in self.models.items()}

    @invariant()
    def totals_are_the_same(self) -> None:
        submits = [one for model in self.models.values() for one in model.submits]
        paid = sum(images for images, task_id in submits if task_id is not None)
        assert records.images_submitted(self.connection) == self.submitted
        assert records.images_paid(self.connection) == (paid, self.submitted - paid)
        expected: dict[JobState, tuple[int, int]] = {}
        for model in self.models.values():
            jobs, images = expected.get(model.state, (0, 0))
            expected[model.state] = jobs + 1, images + model.images
        assert records.images_by_state(self.connection, 1) == expected
        assert records.images_by_state(self.connection, 2) == {}

    @invariant()
    def what_is_known_of_a_task_fits_its_state(self) -> None:
        for model in self.models.values():
            open_submits = [images for images, task_id in model.submits if task_id is None]
            assert model.state is not JobState.SENDING or open_submits
            assert model.state is not JobState.IN_DOUBT or open_submits
            assert (model.task_id is not None) or model.state not in {
                JobState.SUBMITTED,
                JobState.DONE,
            }


JournalAgainstModel.TestCase.settings = settings(stateful_step_count=50)
test_journal_is_what_a_dictionary_is = JournalAgainstModel.TestCase

"""Finds every line's job in the journal, or plans it there; refuses to send anything.

All of it is one transaction: when any line is bad, the journal is as it was. A line's job is found
by its key, else by the digest of its request: a job with that digest that no other line of this run
has, and that no key of this manifest belongs to; the furthest one first, so that a line that goes
costs nothing. Lines with a key choose first. So lines may come, go and change places.
Everything here blocks: it runs in the journal's thread.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import chain
from typing import Any

from attrs import define, field, frozen

from ppinfra_async._journal_jobs import begin_again, images_submitted, last_run, mend_after_crash
from ppinfra_async._sansio.job import JobState, Move
from ppinfra_async._sansio.manifest import BadLineError, ManifestJob
from ppinfra_async._sansio.names import free_stem, safe_stem
from ppinfra_async._uploads import look_at
from ppinfra_async.batch._known import (
    Choices,
    Known,
    find,
    find_paid,
    objection_to_redo,
    occurrence,
)
from ppinfra_async.batch._manifest import Manifest
from ppinfra_async.errors import InvalidRequestError
from ppinfra_async.requests._base import pictures_of

_REMEMBERED = 1000
"""Bad lines whose text is kept; the others are counted."""

_LOOKED_AT = 4096
"""Pictures that are remembered as good."""


@frozen
class BadLine:
    """A line that cannot be used: its number and why."""

    number: int
    message: str


class ManifestError(Exception):
    """A manifest cannot be used. Nothing was sent or paid, and the journal is as it was.

    Attributes:
        lines: The first bad lines.
        count: How many there are.
    """

    def __init__(self, message: str, lines: tuple[BadLine, ...] = (), count: int = 0) -> None:
        super().__init__(message)
        self.lines = lines
        self.count = count


class StoppedError(Exception):
    """A person stopped the planning; nothing was planned."""

    def __init__(self) -> None:
        super().__init__("Stopped while the lines were read. Nothing was sent or paid.")


@frozen(kw_only=True)
class Plan:
    """What a run is about.

    Attributes:
        run: Its number.
        jobs: Lines.
        new: Jobs that the journal did not know.
        to_send: Jobs that would be submitted.
        images_to_send: Their images, by endpoint.
        crashed: Jobs that died between their mark and their id, now in doubt.
        submitted: Images that were ever submitted before this run.
        in_doubt: Known jobs that may be paid and are left alone.
        failed: Known jobs that failed and are left alone.
        repeated: New jobs that ask exactly what another one asks; each is paid.
    """

    run: int
    jobs: int = 0
    new: int = 0
    to_send: int = 0
    images_to_send: dict[str, int] = field(factory=dict)
    crashed: int = 0
    submitted: int = 0
    in_doubt: int = 0
    failed: int = 0
    repeated: int = 0


@frozen(kw_only=True)
class Planner:
    """Plans a manifest into a journal; give ``plan`` to ``Journal.write``.

    Attributes:
        manifest: The lines.
        choices: What a person decided.
        on_bad_line: Called in the journal's thread with every bad line.
        on_progress: Called there with the number of a line, now and then.
        is_stopped: Asked there at every line.
    """

    manifest: Manifest
    choices: Choices = field(factory=Choices)
    on_bad_line: Callable[[BadLine], None] = lambda _: None
    on_progress: Callable[[int], None] = lambda _: None
    is_stopped: Callable[[], bool] = lambda: False

    def plan(self, connection: sqlite3.Connection) -> Plan:
        """Plan; what is raised leaves the journal as it was.

        Raises:
            ManifestError: with every line that is bad.
            StoppedError: a person stopped it.
        """
        return _Planning(self, connection).plan()

    def check(self, connection: sqlite3.Connection) -> Plan:
        """Do the same, and raise ``CheckedError`` with the plan, so that nothing is kept."""
        raise CheckedError(self.plan(connection))


class CheckedError(Exception):
    """Ends a transaction that is not to be kept; no error.

    Attributes:
        plan: What would be done.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__("nothing is kept")
        self.plan = plan


@define
class _Planning:
    """One planning under way."""

    planner: Planner
    connection: sqlite3.Connection
    run: int = 0
    jobs: int = 0
    new: int = 0
    to_send: int = 0
    repeated: int = 0
    are_all_keyed: bool = True
    bad_count: int = 0
    bad: list[BadLine] = field(factory=list)
    images: dict[str, int] = field(factory=dict)
    left_alone: Counter[JobState] = field(factory=Counter)
    stems: dict[str, int] = field(factory=dict)
    good: OrderedDict[Hashable, None] = field(factory=OrderedDict)

    def plan(self) -> Plan:
        crashed = mend_after_crash(self.connection)
        self.run = last_run(self.connection) + 1
        self.connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, line INT)"
        )
        self.connection.execute("DELETE FROM temp.keys")
        for number, job in chain(self._jobs_with_key(), self._jobs_without_key()):
            self._line(number, job)
        self._refuse_bad_lines()
        return Plan(
            run=self.run,
            jobs=self.jobs,
            new=self.new,
            to_send=self.to_send,
            images_to_send=self.images,
            crashed=crashed,
            submitted=images_submitted(self.connection),
            in_doubt=self.left_alone[JobState.IN_DOUBT],
            failed=self.left_alone[JobState.FAILED],
            repeated=self.repeated,
        )

    # --- the lines ---

    def _jobs_with_key(self) -> Iterator[tuple[int, ManifestJob]]:
        """Note every key with its line, so that no line without one takes a job with one."""
        for number, job in self._jobs(self._note_bad):
            if job.key is None:
                self.are_all_keyed = False
                continue
            first = self.connection.execute(
                "INSERT INTO temp.keys VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING line",
                (job.key, number),
            ).fetchone()
            if first is not None:
                yield number, job
                continue
            (line,) = self.connection.execute(
                "SELECT line FROM temp.keys WHERE key = ?", (job.key,)
            ).fetchone()
            self._note_bad(number, f"key: {job.key!r} stands on line {line} already")

    def _jobs_without_key(self) -> Iterator[tuple[int, ManifestJob]]:
        if self.are_all_keyed:
            return
        # What is bad was told the first time.
        for number, job in self._jobs(lambda *_: None):
            if job.key is None:
                yield number, job

    def _jobs(self, on_bad: Callable[[int, str], None]) -> Iterator[tuple[int, ManifestJob]]:
        for number, content in self._lines():
            try:
                job = self.planner.manifest.job(content)
            except BadLineError as error:
                on_bad(number, str(error))
                continue
            if job is not None:
                yield number, job

    def _lines(self) -> Iterator[tuple[int, Any]]:
        try:
            for number, content in self.planner.manifest.lines():
                if self.planner.is_stopped():
                    raise StoppedError
                if number % 1000 == 0:
                    self.planner.on_progress(number)
                yield number, content
        except OSError as error:
            why = error.strerror or error
            raise ManifestError(
                f"{self.planner.manifest.name} cannot be read ({why}). Nothing was sent or paid."
            ) from error
        except BadLineError as error:
            raise ManifestError(
                f"{self.planner.manifest.name}: {error}. Nothing was sent or paid."
            ) from None

    def _note_bad(self, number: int, message: str) -> None:
        line = BadLine(number, message)
        self.bad_count += 1
        if len(self.bad) < _REMEMBERED:
            self.bad.append(line)
        self.planner.on_bad_line(line)

    def _refuse_bad_lines(self) -> None:
        if not self.bad_count:
            return
        self.bad.sort(key=lambda line: line.number)
        first = "; ".join(f"line {line.number}: {line.message}" for line in self.bad[:3])
        more = f" (and {self.bad_count - 3} more)" if self.bad_count > 3 else ""
        raise ManifestError(
            f"{self.planner.manifest.name}: {self.bad_count} bad line(s): {first}{more}. Nothing was "
            "sent or paid.",
            tuple(self.bad),
            self.bad_count,
        )

    # --- one line ---

    def _line(self, number: int, job: ManifestJob) -> None:
        self.jobs += 1
        try:
            self._find_or_plan(number, job)
        except BadLineError as error:
            self._note_bad(number, str(error))

    def _find_or_plan(self, number: int, job: ManifestJob) -> None:
        shape = self.planner.manifest.shape(job)
        try:
            digest = self.planner.manifest.digest(job)
        except BadLineError:
            # What is paid is fetched also when its source is gone.
            paid = find_paid(self.connection, self.run, job.key, shape)
            if paid is None:
                raise
            self._take(number, job, paid)
            return
        known = find(self.connection, self.run, job.key, digest, shape)
        state = None if known is None else self._bring_in(number, job, (digest, shape), known)
        if state in {None, JobState.PLANNED}:
            self._look(job)
            self._count(job)
        elif state is not None:
            self.left_alone[state] += 1
        if state is None and not self.bad_count:
            self._plan_new(number, job, (digest, shape))

    def _count(self, job: ManifestJob) -> None:
        path = job.request.path
        self.to_send += 1
        self.images[path] = self.images.get(path, 0) + job.request.images_asked

    def _bring_in(
        self, number: int, job: ManifestJob, digests: tuple[bytes, bytes], known: Known
    ) -> JobState:
        """Bring a known job into this run; return its state."""
        state = known.state
        if known.digest != digests[0]:
            self._redo(known, job, digests)
            state = JobState.PLANNED
        elif self._is_wanted_again(state):
            begin_again(self.connection, known.row, Move.AGAIN)
            state = JobState.PLANNED
        self._take(number, job, known)
        return state

    def _take(self, number: int, job: ManifestJob, known: Known) -> None:
        # The same request may be written in another way now, with other paths to the same pictures.
        self.connection.execute(
            "UPDATE jobs SET run = ?, position = ?, key = coalesce(key, ?), line = ?, source = ? "
            "WHERE id = ?",
            (self.run, number, job.key, _as_json(job.tree), job.source, known.row),
        )

    def _is_wanted_again(self, state: JobState) -> bool:
        choices = self.planner.choices
        if state is JobState.FAILED:
            return choices.retry_failed
        return state is JobState.IN_DOUBT and choices.resubmit_unknown

    def _redo(self, known: Known, job: ManifestJob, digests: tuple[bytes, bytes]) -> None:
        if objection := objection_to_redo(known.state, job.key, self.planner.choices):
            raise BadLineError(objection)
        begin_again(
            self.connection,
            known.row,
            Move.REDONE,
            digest=digests[0],
            shape=digests[1],
            occurrence=occurrence(self.connection, digests[0]),
            line=_as_json(job.tree),
            source=job.source,
            images=job.request.images_asked,
        )

    def _plan_new(self, number: int, job: ManifestJob, digests: tuple[bytes, bytes]) -> None:
        if len(self.stems) > _LOOKED_AT:
            # The count then begins at 2 again, which is only slower.
            self.stems.clear()
        nth = occurrence(self.connection, digests[0])
        self.repeated += nth > 1
        stem = free_stem(safe_stem(job.name), self.stems, self._is_taken)
        self.connection.execute(
            "INSERT INTO jobs (key, digest, shape, occurrence, state, stem, folded, line, source, "
            "images, position, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job.key, *digests, nth, JobState.PLANNED, stem, stem.casefold(), _as_json(job.tree),
                job.source, job.request.images_asked, number, self.run,
            ),
        )  # fmt: skip
        self.new += 1

    def _is_taken(self, folded: str) -> bool:
        row = self.connection.execute("SELECT 1 FROM jobs WHERE folded = ?", (folded,)).fetchone()
        return row is not None

    def _look(self, job: ManifestJob) -> None:
        """Look at the pictures of a job that would be sent.

        Raises:
            BadLineError: with everything that is wrong with them.
        """
        key = tuple(_identity(picture) for _, picture in pictures_of(job.request))
        if key in self.good:
            self.good.move_to_end(key)
            return
        try:
            look_at(job.request)
        except InvalidRequestError as error:
            raise BadLineError("; ".join(map(str, error.violations))) from None
        self.good[key] = None
        if len(self.good) > _LOOKED_AT:
            self.good.popitem(last=False)


def _identity(picture: Any) -> Hashable:
    status = picture.path.stat()
    return str(picture.path), status.st_size, status.st_mtime_ns, picture.fit


def _as_json(tree: dict[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))

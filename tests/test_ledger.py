"""What a submit tells the ledger, in which order, whatever becomes of it. Virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from attrs import define, field

from ppinfra_async import Retries
from ppinfra_async._sansio.job import MOVES, JobState, Move
from ppinfra_async.errors import (
    NotSentError,
    PPInfraError,
    RateLimitedError,
    SubmitOutcomeUnknownError,
)
from ppinfra_async.requests import Request
from tests.exchanges import TASK_ID, Exchange
from tests.test_submitter import (
    NOT_SENT,
    UNKNOWN,
    World,
    accepted,
    play,
    prepared,
    refused,
    throttled,
)


class _FullDiskError(Exception):
    """What a ledger raises that cannot write."""


@define
class Ledger:
    """A ledger that notes what it is told, takes its time, and objects where it is asked to."""

    told: list[str] = field(factory=list)
    objects_to: str = ""
    takes: float = 0.0
    paid_before: list[int] = field(factory=list)
    world: World | None = None

    async def _note(self, what: str) -> None:
        if self.world is not None:
            self.paid_before.append(self.world.transport.paid)
        self.told.append(what)
        await anyio.sleep(self.takes)
        if self.objects_to == what.partition(" ")[0]:
            raise _FullDiskError

    async def sending(self) -> None:
        await self._note("sending")

    async def accepted(self, task_id: str) -> None:
        await self._note(f"accepted {task_id}")

    async def not_taken(self) -> None:
        await self._note("not_taken")

    async def in_doubt(self) -> None:
        await self._note("in_doubt")


@define(eq=False)
class Owner:
    """An owner that objects to one prompt, once it knows."""

    objects_to: str = ""

    def objection(self, request: Request) -> PPInfraError | None:
        same = getattr(request, "prompt", "") == self.objects_to
        return NotSentError("It makes no sense.") if same else None


def told(*submits: Exchange, ledger: Ledger | None = None, **options: object) -> list[str]:
    """Submit once; return what the ledger was told."""
    ledger = ledger or Ledger()

    async def scene(world: World) -> None:
        ledger.world = world
        try:
            await world.submitter.submit(prepared(), float("inf"), ledger=ledger)
        except Exception as error:  # what it is told matters here, not how it ends
            ledger.told.append(type(error).__name__)

    play(*submits, **options)(scene)
    return ledger.told


@pytest.mark.parametrize(
    ("submits", "story"),
    [
        ([accepted("t")], ["sending", "accepted t"]),
        ([refused()], ["sending", "not_taken", "InvalidRequestError"]),
        ([throttled("1"), accepted("t")], ["sending", "not_taken", "sending", "accepted t"]),
        ([NOT_SENT, accepted("t")], ["sending", "accepted t"]),
        ([UNKNOWN], ["sending", "in_doubt", "SubmitOutcomeUnknownError"]),
    ],
)
def test_story_of_a_submit(submits: list[Exchange], story: list[str]) -> None:
    """A mark before each last byte, and then what became of it."""
    assert told(*submits) == story


@pytest.mark.parametrize("submits", [[accepted("t")], [UNKNOWN], [throttled("1"), accepted("t")]])
def test_every_story_is_in_the_table(submits: list[Exchange]) -> None:
    """A journal that follows the ledger never meets a move that it has to refuse."""
    moves = {
        "sending": Move.SENDING,
        "accepted": Move.ACCEPTED,
        "not_taken": Move.NOT_TAKEN,
        "in_doubt": Move.UNCLEAR,
    }
    state = JobState.PLANNED
    for what in told(*submits, retries=Retries(attempts=3, resubmit_unknown=True)):
        if what.partition(" ")[0] in moves:
            state = MOVES[state, moves[what.partition(" ")[0]]]


def test_doubt_that_a_person_lets_be_sent_again_is_marked_again() -> None:
    """With `resubmit_unknown` each try has its own mark."""
    retries = Retries(attempts=2, resubmit_unknown=True)

    assert told(UNKNOWN, accepted("t"), retries=retries) == [
        "sending", "in_doubt", "sending", "accepted t"
    ]  # fmt: skip


def test_mark_comes_before_the_last_byte() -> None:
    """Nothing is paid before the ledger's mark is done, however long it takes."""
    ledger = Ledger(takes=5)

    told(accepted("t"), ledger=ledger)

    assert ledger.paid_before[0] == 0
    assert ledger.paid_before[1] == 1


def test_ledger_that_cannot_mark_keeps_the_submit_back() -> None:
    """When the mark cannot be written nothing is paid, and the caller gets the ledger's own error."""
    ledger = Ledger(objects_to="sending")

    assert told(accepted("t"), ledger=ledger) == ["sending", "_FullDiskError"]
    assert ledger.world is not None
    assert ledger.world.transport.paid == 0


def test_ledger_that_cannot_write_the_id_does_not_hide_it() -> None:
    """The caller gets the ledger's error, and the client knows the task all the same."""
    ledger = Ledger(objects_to="accepted")

    assert told(accepted(TASK_ID), ledger=ledger)[-1] == "_FullDiskError"
    assert ledger.world is not None
    assert ledger.world.recorded == [TASK_ID]


Leave = Callable[[World, Ledger], Awaitable[None]]


@pytest.mark.parametrize(
    ("when", "story"),
    [
        # Uploading takes one second, the ledger's mark another one.
        (0.5, []),
        (1.5, ["sending", "not_taken"]),
        (2.5, ["sending", f"accepted {TASK_ID}"]),
    ],
)
@pytest.mark.parametrize("how", ["cancelled", "withdrawn"])
def test_leaving_tells_the_ledger_what_became_of_it(
    when: float, story: list[str], how: str
) -> None:
    """Before the last byte nothing was paid, and the mark is taken back; after it the id is noted."""
    ledger = Ledger(takes=1)
    owner = Owner()
    errors: list[BaseException] = []

    async def submit(world: World) -> None:
        try:
            await world.submitter.submit(prepared(), float("inf"), owner=owner, ledger=ledger)
        except NotSentError as error:
            errors.append(error)

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(submit, world)
            await anyio.sleep(when)
            if how == "cancelled":
                group.cancel_scope.cancel()
            else:
                owner.objects_to = "a cat"
                world.submitter.withdraw(owner)
        await anyio.sleep(10)

    play(Exchange(uploading=1, after=1))(scene)

    assert ledger.told == story
    assert len(errors) == (how == "withdrawn" and when < 2)


def test_only_the_owners_submits_with_a_reason_are_withdrawn() -> None:
    """Submits of others, and those for which there is no reason, go on."""
    owner, other = Owner(), Owner()
    ended: dict[str, str] = {}

    async def submit(world: World, name: str, whose: Owner) -> None:
        try:
            await world.submitter.submit(prepared(prompt=name), float("inf"), owner=whose)
        except NotSentError:
            ended[name] = "withdrawn"
        else:
            ended[name] = "sent"

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:
            for name, whose in (("a", owner), ("b", owner), ("c", other)):
                group.start_soon(partial(submit, world, name, whose))
            await anyio.sleep(0.5)
            owner.objects_to = "a"
            world.submitter.withdraw(owner)

    play(Exchange(uploading=1))(scene)

    assert ended == {"a": "withdrawn", "b": "sent", "c": "sent"}


def test_objection_that_came_up_before_the_submit_is_its_error() -> None:
    """What turned out to make no sense while the pictures were looked at is not even begun."""

    async def scene(world: World) -> None:
        with pytest.raises(NotSentError, match="It makes no sense"):
            await world.submitter.submit(prepared(), float("inf"), owner=Owner("a cat"))

    assert play(Exchange())(scene).transport.began == []


def test_withdrawn_in_the_queue_is_not_uploaded() -> None:
    """What waits for its turn after a 429 is taken out of the queue."""
    owner = Owner()

    async def scene(world: World) -> None:
        async with anyio.create_task_group() as group:

            async def submit() -> None:
                with pytest.raises((NotSentError, RateLimitedError)):
                    await world.submitter.submit(prepared(), float("inf"), owner=owner)

            for _ in range(5):
                group.start_soon(submit)
            await anyio.sleep(1)
            owner.objects_to = "a cat"
            world.submitter.withdraw(owner)
            await checkpoint()

    world = play(throttled("60"))(scene)

    assert len(world.transport.began) == 4
    assert world.transport.paid == 0


def test_in_doubt_error_names_what_happened() -> None:
    """The error is the submit's, whether there is a ledger or not."""

    async def scene(world: World) -> None:
        with pytest.raises(SubmitOutcomeUnknownError, match="may have been paid"):
            await world.submitter.submit(prepared(), float("inf"), ledger=Ledger())

    play(UNKNOWN)(scene)

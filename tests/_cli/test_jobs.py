"""Jobs run at the same time, each with its own end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ppinfra_async import Client, ImageInput, Img2Img, Limits, Timeouts, errors
from ppinfra_async._cli._jobs import Job, Runner
from ppinfra_async._cli._messages import ExitCode, exit_code, sentence
from ppinfra_async._cli._saving import Folder
from ppinfra_async.events import Event
from ppinfra_async.testing import Fault, Simulator
from tests._cli.commands import MODEL
from tests.conftest import FAST_POLLING
from tests.waiting import until


@pytest.fixture
def runner(client: Client, tmp_path: Path) -> Runner:
    (tmp_path / "out").mkdir()
    return Runner(client, Folder(tmp_path / "out"))


@pytest.fixture
def job(picture_file: Path) -> Any:
    def make(stem: str = "cat", **fields: Any) -> Job:
        given = {"prompt": "a cat", "image": ImageInput.from_path(picture_file), **fields}
        return Job(label=f"{stem}.png", stem=stem, request=Img2Img(model_name=MODEL, **given))

    return make


async def test_pictures_are_saved_and_counted(runner: Runner, job: Any) -> None:
    """A job that is done knows its task, its seed and where each of its pictures is."""
    jobs = [job("cat", image_num=2, seed=7), job("dog")]
    ended: list[Job] = []
    pictures: list[Path] = []
    runner.on_end = ended.append
    runner.on_picture = lambda one: pictures.append(one.saved[-1])
    await runner.run(jobs)
    cat, dog = jobs
    assert [one.error for one in jobs] == [None, None]
    assert [path.name for _, path in sorted(cat.pictures.items())] == ["cat-1.png", "cat-2.png"]
    assert [path.name for path in dog.saved] == ["dog-1.png"]
    assert (cat.seed, cat.missing, cat.images) == (7, 0, 2)
    assert cat.task_id is not None
    assert cat.task_id != dog.task_id
    assert set(map(id, ended)) == set(map(id, jobs))
    assert sorted(pictures) == sorted(cat.saved + dog.saved)
    assert all(one.ended and one.took is not None for one in jobs)


async def test_states_are_told_in_their_order(tmp_path: Path, job: Any) -> None:
    """A person sees how the task goes from sending to pictures."""
    async with Simulator(queue=0.1, processing=0.15, tiny_images=True) as slow:
        states: list[str] = []

        def heard(event: Event) -> None:
            watching.note(event)

        async with Client(
            slow.api_key,
            base_url=slow.url,
            polling=FAST_POLLING,
            on_event=heard,
        ) as slow_client:
            watching = Runner(slow_client, Folder(tmp_path))
            watching.on_change = lambda one: states.append(one.state)
            await watching.run([job()])
    assert states == ["sending", "sent", "queued", "working", "fetching pictures"]


async def test_one_failure_stops_no_other(runner: Runner, job: Any) -> None:
    """A task that fails is one job's error; the others are done."""
    jobs = [job("bad", prompt="simulate-failure"), job("good")]
    await runner.run(jobs)
    bad, good = jobs
    assert isinstance(bad.error, errors.TaskFailedError)
    assert (bad.state, good.state) == ("failed", "done")
    assert good.error is None


async def test_an_empty_balance_dooms_what_was_not_sent(tmp_path: Path, job: Any) -> None:
    """Further submits would only get the same answer, so they are not made."""
    async with (
        Simulator(queue=0, processing=0.01, tiny_images=True, balance=0) as poor,
        Client(poor.api_key, base_url=poor.url, polling=FAST_POLLING) as client,
    ):
        jobs = [job(str(number)) for number in range(70)]
        await Runner(client, Folder(tmp_path)).run(jobs)
        assert all(isinstance(one.error, errors.InsufficientBalanceError) for one in jobs)
        assert [one.began for one in jobs[64:]] == [None] * 6
        assert poor.counters.submits <= 64


async def test_bad_pictures_are_all_found_before_anything_is_sent(
    runner: Runner, job: Any, simulator: Simulator, tmp_path: Path
) -> None:
    """Every bad one has its own error, the good ones are not sent, and nothing is paid."""
    (tmp_path / "text.png").write_text("no picture")
    jobs = [
        job("good"),
        job("missing", image=ImageInput.from_path(tmp_path / "missing.png")),
        job("text", image=ImageInput.from_path(tmp_path / "text.png")),
    ]
    ended: list[Job] = []
    runner.on_end = ended.append
    assert not await runner.check(jobs)
    assert ended == jobs
    assert isinstance(jobs[0].error, errors.NotSentError)
    assert isinstance(jobs[1].error, errors.InvalidRequestError)
    assert isinstance(jobs[2].error, errors.InvalidRequestError)
    assert simulator.counters.submit_starts == 0


async def test_good_pictures_pass(runner: Runner, job: Any) -> None:
    """With nothing wrong the jobs are still to be run."""
    jobs = [job("a"), job("b")]
    assert await runner.check(jobs)
    assert not any(one.ended for one in jobs)


async def test_a_picture_that_did_not_arrive_leaves_the_others(
    runner: Runner, job: Any, simulator: Simulator
) -> None:
    """What arrived is saved, and the error says that the rest can be fetched."""
    simulator.faults.order(
        "download", Fault.html(200), times=None, when=lambda call: call.index == 1
    )
    one = job(image_num=3, seed=5)
    await runner.run([one])
    assert isinstance(one.error, errors.IncompleteResultError)
    assert sorted(one.pictures) == [0, 2]
    assert one.seed == 5


async def test_fewer_pictures_than_asked_are_a_success(
    runner: Runner, job: Any, simulator: Simulator
) -> None:
    """The service filters some; the job is done and says how many are missing."""
    simulator.faults.order("submit", Fault.outcome(produced=1))
    one = job(image_num=3)
    await runner.run([one])
    assert (one.error, one.missing, len(one.saved)) == (None, 2, 1)


async def test_a_disk_that_refuses_is_one_jobs_error(
    client: Client, tmp_path: Path, job: Any
) -> None:
    """A picture that cannot be written is paid, and its task id is known."""
    one = job()
    await Runner(client, Folder(tmp_path / "not there")).run([one])
    assert isinstance(one.error, OSError)
    assert str(one.error) == (
        f"A picture could not be written to {tmp_path / 'not there'} (No such file or directory)."
    )
    assert one.task_id is not None


async def test_a_disk_that_refuses_stops_what_is_not_sent_yet(
    client: Client, tmp_path: Path, job: Any, simulator: Simulator
) -> None:
    """What is paid from then on could not be saved either."""
    jobs = [job() for _ in range(80)]
    await Runner(client, Folder(tmp_path / "not there")).run(jobs)
    assert simulator.counters.accepted < 80
    unsent = [one.error for one in jobs if one.task_id is None]
    assert len(unsent) == 80 - simulator.counters.accepted
    assert {(type(error), getattr(error, "billed", "")) for error in unsent} == {
        (errors.NotSentError, "no")
    }
    assert "could not be written" in str(unsent[0])


async def test_what_waits_for_the_quota_is_withdrawn_when_nothing_can_be_written(
    simulator: Simulator, tmp_path: Path, job: Any
) -> None:
    """Jobs in the queue of the quota are neither uploaded nor paid, and say why."""
    jobs = [job() for _ in range(20)]
    async with Client(
        simulator.api_key,
        base_url=simulator.url,
        polling=FAST_POLLING,
        limits=Limits(images_per_minute=2),
    ) as client:
        await Runner(client, Folder(tmp_path / "not there")).run(jobs)

    assert simulator.counters.submit_starts == 2
    unsent = [one.error for one in jobs if one.task_id is None]
    assert len(unsent) == 18
    assert all("could not be written" in str(error) for error in unsent)


async def test_a_task_of_ours_that_is_gone_is_paid_and_not_here(runner: Runner, job: Any) -> None:
    """Its id cannot be wrong, so nobody is sent to look for a typing mistake."""
    gone = errors.TaskNotFoundError("404", task_id="t")
    error = runner._judged(job(), gone)
    assert sentence(error) == (
        "The service accepted the task t and does not know it any more. It is paid."
    )
    assert exit_code(error) is ExitCode.PAID_NOT_HERE
    assert runner._judged(Job(label="t", stem="t", task_id="t"), gone) is gone


async def test_a_known_task_is_waited_for(runner: Runner, job: Any) -> None:
    """A job may be a task id instead of a request; nothing is sent for it."""
    first = job(seed=3)
    await runner.run([first])
    again = Job(label="again", stem="again", task_id=first.task_id)
    await runner.run([again])
    assert again.error is None
    assert (again.seed, [path.name for path in again.saved]) == (3, ["again-1.png"])


async def test_a_service_that_is_silent_about_a_known_task_is_given_up(tmp_path: Path) -> None:
    """The last trouble is said, instead of waiting for half an hour."""

    def heard(event: Event) -> None:
        waiting.note(event)

    async with Client(
        "sk_x", base_url="http://127.0.0.1:9", polling=FAST_POLLING, on_event=heard
    ) as nowhere:
        waiting = Runner(nowhere, Folder(tmp_path), patience=0.1)
        one = Job("t", "t", task_id="t")
        states: list[str] = []
        waiting.on_change = lambda job: states.append(job.state)
        await waiting.run([one])
    assert states == ["no answer about it, asking again"]
    assert isinstance(one.error, errors.ServiceError)
    assert "no connection to 127.0.0.1:9" in one.error.message


async def test_a_service_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Without any trouble to name, the silence itself is said."""
    async with Simulator() as silent:
        silent.faults.order("poll", Fault.never_answer(), times=None)
        async with Client(silent.api_key, base_url=silent.url, polling=FAST_POLLING) as client:
            one = Job("t", "t", task_id="t")
            await Runner(client, Folder(tmp_path), patience=0.1).run([one])
    assert isinstance(one.error, errors.ServiceError)
    assert one.error.message == "The service said nothing about the task for 0.1 s."


async def test_stopping_tells_each_job_what_became_of_its_money(tmp_path: Path, job: Any) -> None:
    """What waits for its task is paid and keeps its id; what had no turn was never sent."""
    async with (
        Simulator(queue=60, tiny_images=True) as slow,
        Client(slow.api_key, base_url=slow.url, polling=FAST_POLLING) as client,
    ):
        runner = Runner(client, Folder(tmp_path))
        jobs = [job(str(number)) for number in range(66)]
        async with anyio.create_task_group() as group:
            group.start_soon(runner.run, jobs)
            await until(lambda: all(one.task_id for one in jobs[:64]))
            await runner.stop()
        assert slow.counters.accepted == 64
    for one in jobs[:64]:
        assert isinstance(one.error, errors.TaskTimeoutError)
        assert one.error.task_id == one.task_id
    for one in jobs[64:]:
        assert isinstance(one.error, errors.NotSentError)
        assert (one.task_id, one.began) == (None, None)


async def test_stopping_while_pictures_are_looked_at_sends_nothing(
    runner: Runner, job: Any, simulator: Simulator
) -> None:
    """Whoever stops in the middle of the check has not found a bad picture."""
    jobs = [job(str(number)) for number in range(5)]
    async with anyio.create_task_group() as group:
        group.start_soon(runner.check, jobs)
        await anyio.lowlevel.checkpoint()
        await runner.stop()
    assert all(isinstance(one.error, errors.NotSentError) for one in jobs)
    assert simulator.counters.submit_starts == 0


async def test_stopping_before_the_check_ends_sends_nothing(
    runner: Runner, job: Any, simulator: Simulator
) -> None:
    """An interruption while the files are looked at ends every job unsent."""
    jobs = [job("a"), job("b")]
    await runner.stop()
    assert not await runner.check(jobs)
    assert all(isinstance(one.error, errors.NotSentError) for one in jobs)
    assert simulator.counters.submit_starts == 0


async def test_what_was_cut_off_in_the_middle_is_not_called_unpaid(
    client: Client, job: Any
) -> None:
    """After a second Ctrl-C every job still ends, and only what had no turn is surely unpaid."""
    sending, waiting, unsent, done = jobs = [job(str(number)) for number in range(4)]
    sending.began = waiting.began = 1.0
    waiting.task_id = "t"
    done.ended = True
    ended: list[Job] = []
    Runner(client, Folder(Path()), on_end=ended.append).give_up(jobs)
    assert ended == [sending, waiting, unsent]
    assert isinstance(sending.error, errors.SubmitOutcomeUnknownError)
    assert isinstance(waiting.error, errors.TaskTimeoutError)
    assert waiting.error.task_id == "t"
    assert isinstance(unsent.error, errors.NotSentError)
    assert done.error is None


async def test_a_submit_of_unknown_outcome_is_said_to_be_one(tmp_path: Path, job: Any) -> None:
    """Stopped between the last byte and the answer, a job is in doubt and not called unpaid."""
    async with Simulator(tiny_images=True) as silent:
        silent.faults.order("submit", Fault.never_answer(), times=None)
        quick = Timeouts(cancel_grace=0.05)
        async with Client(silent.api_key, base_url=silent.url, timeouts=quick) as client:
            runner = Runner(client, Folder(tmp_path))
            one = job()
            async with anyio.create_task_group() as group:
                group.start_soon(runner.run, [one])
                await until(lambda: silent.counters.accepted == 1)
                await runner.stop()
    assert isinstance(one.error, errors.SubmitOutcomeUnknownError)
    assert one.error.billed == "unknown"

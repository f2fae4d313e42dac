"""What is told of jobs, while they run and afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppinfra_async import Img2Img, errors
from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._messages import ExitCode
from ppinfra_async._cli._report import Reporter, document
from ppinfra_async._cli._running import Ending
from ppinfra_async._cli._screen import Screen
from ppinfra_async.events import InputReencoded, SubmitDelayed

Capture = pytest.CaptureFixture[str]


def job(label: str = "cat.png", *, images: int = 1, task_id: str | None = None) -> Job:
    request = Img2Img(model_name="m", image=b"x", prompt="p", image_num=images)
    one = Job(label=label, stem="cat", request=request, task_id=task_id)
    one.began = 0.0
    return one


def done(one: Job, *names: str) -> Job:
    for index, name in enumerate(names):
        one.saved.append(Path(name))
        one.pictures[index] = Path(name)
    one.ended, one.took, one.state = True, 1.25, "done"
    return one


def failed(one: Job, error: Exception) -> Job:
    one.error, one.ended, one.state = error, True, "failed"
    return one


def written(screen: Screen, capsys: Capture) -> tuple[list[str], list[str]]:
    screen.drain()
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_a_path_is_told_as_soon_as_the_picture_is_there(capsys: Capture) -> None:
    """One line per picture on stdout, and none more at the end."""
    screen, one = Screen(), done(job(task_id="t"), "out/cat-1.png")
    reporter = Reporter(screen, [one], as_json=False)
    reporter.picture(one)
    reporter.end(one)
    assert written(screen, capsys) == (["out/cat-1.png"], ["cat.png: done in 1.2 s"])


def test_a_job_is_one_line_of_json(capsys: Capture) -> None:
    """A script gets source, task, seed and paths in the order of the result."""
    screen, one = Screen(), job(task_id="t", images=2)
    one.pictures = {1: Path("b.png"), 0: Path("a.png")}
    one.ended, one.seed = True, 7
    reporter = Reporter(screen, [one], as_json=True)
    reporter.picture(one) if one.saved else None
    reporter.end(one)
    (line,), _ = written(screen, capsys)
    assert json.loads(line) == {
        "source": "cat.png",
        "task_id": "t",
        "seed": 7,
        "images": ["a.png", "b.png"],
        "missing": 0,
        "error": None,
    }


def test_an_error_in_json_says_what_is_known_of_the_money() -> None:
    """Type, sentence, billed and the task to come back to."""
    one = failed(job(task_id="t"), errors.TaskTimeoutError("Not done after 5 s.", task_id="t"))
    assert document(one)["error"] == {
        "type": "TaskTimeoutError",
        "message": "Not done after 5 s. The task t goes on at the service and is paid.",
        "billed": "yes",
        "task_id": "t",
    }


@pytest.mark.parametrize(
    ("task_id", "error", "billed"),
    [
        (None, errors.NotSentError("x"), "no"),
        (None, errors.SubmitOutcomeUnknownError("x"), "unknown"),
        (None, ZeroDivisionError("x"), "unknown"),
        ("t", errors.InvalidKeyError("x"), "yes"),
        ("t", errors.TaskFailedError("x"), "unknown"),
        ("t", OSError("x"), "yes"),
    ],
)
def test_what_has_a_task_is_never_called_unpaid(
    task_id: str | None, error: Exception, billed: str
) -> None:
    """The task counts more than the last error about it."""
    assert document(failed(job(task_id=task_id), error))["error"]["billed"] == billed


def test_one_reason_for_many_is_said_once(capsys: Capture) -> None:
    """A wrong key is not repeated for every picture; other failures name theirs."""
    screen = Screen()
    key = errors.InvalidKeyError("The key is wrong.")
    never_sent = failed(job("c.png"), errors.NotSentError("Not sent."))
    never_sent.began = None
    jobs = [
        failed(job("a.png"), key),
        failed(job("b.png"), key),
        never_sent,
        failed(job("d.png", task_id="t"), errors.TaskFailedError("It failed.", task_id="t")),
    ]
    reporter = Reporter(screen, jobs, as_json=False)
    for one in jobs:
        reporter.end(one)
    assert written(screen, capsys)[1] == [
        "ppinfra: The key is wrong. Nothing was paid for it.",
        "d.png: It failed. It may have been paid.",
    ]


def test_steps_and_events_are_told(capsys: Capture) -> None:
    """Where no display is, sending, work, waiting and changed pictures are plain lines."""
    screen, one = Screen(), job()
    reporter = Reporter(screen, [one], as_json=False)
    reencoded = InputReencoded(path="image", name="cat.png", why="fit", size=(2048, 1024))
    error = errors.NotSentError("The request was not sent: no connection. Nothing was paid.")
    reporter.on_event(reencoded)
    reporter.on_event(reencoded)
    reporter.on_event(SubmitDelayed(error=error, wait=2.5))
    assert reporter.notice == "Trying again in 2.5 s: The request was not sent: no connection."
    for state in ("sending", "sent", "queued", "working", "fetching pictures"):
        one.state, one.task_id = state, "t"
        reporter.step(one)
    assert reporter.notice == ""
    assert written(screen, capsys)[1] == [
        "cat.png: sent as 2048 × 1024 (fit)",
        "ppinfra: Trying again in 2.5 s: The request was not sent: no connection.",
        "cat.png: sent, task t",
        "cat.png: queued",
        "cat.png: working",
    ]


def test_fewer_pictures_than_asked_are_mentioned(capsys: Capture) -> None:
    """The job is done, and the person knows that the service left some out."""
    screen, one = Screen(), done(job(task_id="t", images=3), "cat-1.png")
    one.missing = 2
    Reporter(screen, [one], as_json=False).end(one)
    assert written(screen, capsys)[1][0] == (
        "cat.png: the service made 2 fewer than asked; it may have filtered them."
    )


def summary(
    jobs: list[Job], capsys: Capture, *, ending: Ending | None = None, others: tuple[str, ...] = ()
) -> tuple[ExitCode, list[str]]:
    screen = Screen()
    code = Reporter(screen, jobs, as_json=False).summarize(
        ending or Ending(), seconds=2.0, others=others, resume=["--out", "my pictures"]
    )
    return code, written(screen, capsys)[1]


def test_the_summary_counts_jobs_pictures_and_money(capsys: Capture) -> None:
    """What was done, what is paid, what is in doubt, and how to fetch the rest."""
    jobs = [
        done(job("a.png", images=2, task_id="ta"), "a-1.png", "a-2.png"),
        failed(job("b.png", images=3, task_id="tb"), errors.TaskTimeoutError("x", task_id="tb")),
        failed(job("c.png", images=4), errors.SubmitOutcomeUnknownError("x")),
        failed(job("d.png", images=5), errors.NotSentError("x")),
        failed(job("e.png", images=6, task_id="te"), errors.TaskFailedError("x", task_id="te")),
    ]
    code, lines = summary(jobs, capsys)
    assert code is ExitCode.PAID_NOT_HERE
    assert lines == [
        "1 of 5 jobs done in 2.0 s: 2 pictures saved. Paid: 5 images. In doubt: 10 images.",
        "Fetch what is paid and not here yet with",
        "  ppinfra task tb --out 'my pictures'",
    ]


def test_what_was_not_sent_is_named(capsys: Capture) -> None:
    """Many may fail for one reason, which is said once; a person has to know which they were."""
    jobs = [done(job("a.png", task_id="ta"), "a-1.png")]
    jobs += [job(f"{number}.png") for number in range(25)]
    screen = Screen()
    reporter = Reporter(screen, jobs, as_json=False)
    for one in jobs[1:]:
        one.began = 1.0
        reporter.end(failed(one, errors.InsufficientBalanceError("The balance is not enough.")))
    reporter.summarize(Ending(), seconds=2.0, others=(), resume=())
    lines = written(screen, capsys)[1]
    assert lines[0] == "ppinfra: The balance is not enough. Nothing was paid for it."
    names = ", ".join(f"{number}.png" for number in range(20))
    assert lines[2:] == [f"Not sent: {names} and 5 more."]


def test_an_interrupted_command_lists_every_paid_task(capsys: Capture) -> None:
    """Also those that only the client knows of, and those still under way after a second Ctrl-C."""
    under_way, stopped = job("a.png", task_id="ta"), job("b.png", task_id="tb")
    failed(stopped, errors.TaskTimeoutError("x", task_id="tb"))
    code, lines = summary(
        [under_way, stopped, job("c.png")],
        capsys,
        ending=Ending(ExitCode.INTERRUPTED),
        others=("ta", "tx"),
    )
    assert code is ExitCode.INTERRUPTED
    assert lines[-1] == "  ppinfra task ta tb tx --out 'my pictures'"


@pytest.mark.parametrize("was_answered", [True, False])
def test_an_id_that_was_only_typed_is_not_offered_as_paid(
    was_answered: bool,  # noqa: FBT001  # a case of the table
    capsys: Capture,
) -> None:
    """Once the service has spoken of the task it is, with the command to come back to it."""
    typed = Job("t", "t", task_id="t", began=1.0, was_answered=was_answered)
    _, lines = summary([failed(typed, errors.InvalidKeyError("x", task_id="t"))], capsys)
    assert ("Fetch what is paid and not here yet with" in lines) is was_answered


def test_a_single_failure_needs_no_summary(capsys: Capture) -> None:
    """One clear sentence was said already."""
    code, lines = summary([failed(job(), errors.InvalidKeyError("x"))], capsys)
    assert (code, lines) == (ExitCode.ACCOUNT, [])


def test_results_that_could_not_be_written_are_an_error(capsys: Capture) -> None:
    """A full disk behind stdout is said, and the command does not call itself done."""
    screen = Screen()
    screen.output_error = OSError(28, "No space left on device")
    one = done(job(task_id="t"), "cat-1.png")
    code = Reporter(screen, [one], as_json=False).summarize(
        Ending(), seconds=1.0, others=(), resume=()
    )
    assert code is ExitCode.SOME_FAILED
    assert written(screen, capsys)[1][-1] == (
        "ppinfra: The results could not be written to standard output (No space left on device)."
    )

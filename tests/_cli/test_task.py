"""``ppinfra task`` against the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ppinfra_async import Client
from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._options import Printing
from ppinfra_async._cli._task import _line, _Look, task
from ppinfra_async.events import Event, PollFailed
from ppinfra_async.results import TaskStatus, TaskUpdate
from ppinfra_async.testing import Fault, Simulator, SimulatorThread, simulator_thread
from tests._cli.commands import MODEL, Call, Finished, QuickService
from tests.conftest import FAST_POLLING

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def paid(call: Call, picture_file: Path, tmp_path: Path) -> Callable[[SimulatorThread], str]:
    """Pay for a task and leave it alone."""

    def make(service: SimulatorThread) -> str:
        call(
            "img2img", picture_file, "--model", MODEL, "--prompt", "x", "-n", 2,
            "--out", tmp_path / "unused", "--timeout", "0.001",
        )  # fmt: skip
        return list(service.tasks)[-1]

    return make


def ran(capsys: Capture, ids: list[str], out: Path, *, wait: bool = True) -> Finished:
    code = task(ids, QuickService(), Printing(), out=out, wait=wait)
    return Finished(code, *capsys.readouterr())


def test_a_paid_task_is_fetched(
    service: SimulatorThread,
    paid: Callable[[SimulatorThread], str],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    """Its pictures are saved under its id, and nothing is paid again."""
    task_id = paid(service)
    ended = ran(capsys, [task_id, f" {task_id}"], tmp_path / "out")
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == [
        str(tmp_path / "out" / f"{task_id}-{number}.png") for number in (1, 2)
    ]
    assert ended.err.splitlines()[-1].endswith(": 2 pictures saved.")
    assert service.counters.accepted == 1


def test_a_task_can_be_looked_at_without_waiting(
    paid: Callable[[SimulatorThread], str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--no-wait says how it stands, as a line or as JSON, and saves nothing."""
    with simulator_thread(queue=60, tiny_images=True) as slow:
        monkeypatch.setenv("PPINFRA_API_KEY", slow.api_key)
        monkeypatch.setenv("PPINFRA_BASE_URL", slow.url)
        task_id = paid(slow)
        assert call("task", task_id, "--no-wait") == Finished(
            0, f"{task_id}  TASK_STATUS_QUEUED\n", ""
        )
        tree = json.loads(call("task", task_id, "--no-wait", "--json").out)
    assert tree["task_id"] == task_id
    assert tree["status"] == "TASK_STATUS_QUEUED"
    assert set(tree) == {
        "task_id", "status", "progress_percent", "eta", "reason", "seed", "images"
    }  # fmt: skip


def test_a_hostile_id_stays_in_its_folder(
    service: SimulatorThread, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is a name like any other; what it asks for is not found."""
    del service
    monkeypatch.chdir(tmp_path)
    ended = call("task", "../../evil", "--no-wait")
    assert ended.code == 1
    assert ended.err.startswith("ppinfra: The service does not know the task ../../evil: the id is")


@pytest.mark.parametrize("answers", [True, False])
async def test_a_look_does_not_wait_for_ever(
    answers: bool,  # noqa: FBT001  # a case of the table
    simulator: Simulator,
) -> None:
    """A service that says nothing useful is given up after a while, with the trouble it had."""
    fault = Fault.html() if answers else Fault.never_answer()
    simulator.faults.order("poll", fault, times=None)
    look = _Look("t", patience=0.2)

    def heard(event: Event) -> None:
        if isinstance(event, PollFailed):
            look.failed(event.error)

    async with Client(
        simulator.api_key, base_url=simulator.url, polling=FAST_POLLING, on_event=heard
    ) as client:
        with pytest.raises(CommandError) as caught:
            await look.by(client)
    assert caught.value.code is ExitCode.SERVICE
    words = "something we cannot read" if answers else "The service said nothing about the task."
    assert words in str(caught.value)


def test_one_unknown_task_does_not_hide_the_others(
    service: SimulatorThread, paid: Callable[[SimulatorThread], str], call: Call
) -> None:
    """Each id has its line or its error, and the exit code tells of the error."""
    task_id = paid(service)
    ended = call("task", "typo", task_id, "--no-wait")
    assert ended.code == 1
    assert ended.out.startswith(f"{task_id}  TASK_STATUS_")
    assert ended.err.startswith("typo: The service does not know the task typo")


def test_a_line_says_how_far_a_task_is_and_why_it_failed() -> None:
    """Progress while it works, the reason when it has failed."""
    working = TaskUpdate(task_id="t", status=TaskStatus.PROCESSING, progress_percent=40)
    failed = TaskUpdate(task_id="t", status=TaskStatus.FAILED, reason="out\nof memory")
    assert _line(working) == "t  TASK_STATUS_PROCESSING  40 %"
    assert _line(failed) == "t  TASK_STATUS_FAILED  out of memory"


@pytest.mark.parametrize("arguments", [(), ("",), (" ", "x")])
def test_an_id_is_needed(arguments: tuple[str, ...], call: Call) -> None:
    """The sentence shows how the command is meant."""
    assert call("task", *arguments) == Finished(
        2, "", "ppinfra: Which task? Give its id: ppinfra task ID --out DIR.\n"
    )


def test_no_key(call: Call) -> None:
    """The same sentence as everywhere, and its exit code."""
    ended = call("task", "some-id")
    assert ended.code == 3
    assert ended.err.startswith("ppinfra: There is no API key: put yours into")

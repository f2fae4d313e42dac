"""``ppinfra batch``: what it writes, says and leaves, and how it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from ppinfra_async._cli._app import _end, app
from ppinfra_async._cli._messages import ExitCode
from ppinfra_async.testing import Fault, SimulatorThread
from tests._cli.commands import MODEL, Call, Finished, QuickService, finish, start
from tests._cli.terminals import interrupting, terminal
from tests.pictures import draw_picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a few pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("cat", "dog", "owl"):
        (tmp_path / "in" / f"{name}.png").write_bytes(draw_picture(64, 48, "PNG"))
    return tmp_path


def line(key: str | None = None, **fields: Any) -> dict[str, Any]:
    tree = {"model_name": MODEL, "image": "in/cat.png", "prompt": "a cat", **fields}
    return tree if key is None else {"key": key, **tree}


def write(path: Path, lines: Iterable[dict[str, Any] | str]) -> Path:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def batch(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``ppinfra batch`` in this process; it asks about tasks more often than people need."""

    def run(*arguments: str | Path) -> Finished:
        try:
            words = ["batch", *map(str, arguments)]
            command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
            bound.arguments["service"] = QuickService()
            code = command(*bound.args, **bound.kwargs)
        except Exception as error:  # as the command line does
            code = _end(error, debug=False)
        out, err = capsys.readouterr()
        return Finished(code, out, err)

    return run


# --- what it does ---


def test_manifest_becomes_pictures_results_and_a_page(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """Every picture is on stdout and on the disk; the summary says what was paid."""
    manifest = write(folder / "jobs.jsonl", [line("a", image_num=2), line(), line("b/c")])

    done = batch(manifest, "--out", "out")

    names = ["a-1.png", "a-2.png", "b_c-1.png", "cat-1.png"]
    assert done.code == ExitCode.DONE
    assert sorted(done.out.splitlines()) == [f"out/{name}" for name in names]
    others = ["index.html", "journal.sqlite3", "results.jsonl"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(names + others)
    assert "3 of 3 jobs done" in done.err
    assert "Images: 4 paid, 0 in doubt, 0 left" in done.err
    assert service.counters.images == 4


def test_same_command_again_pays_nothing(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """Done jobs are skipped; a line more is one submit more, wherever it stands."""
    lines = [line(f"job {number}") for number in range(5)]
    manifest = write(folder / "jobs.jsonl", lines)
    batch(manifest, "--out", "out")

    again = batch(manifest, "--out", "out")
    write(manifest, [line("new"), *lines[1:][::-1]])
    more = batch(manifest, "--out", "out")

    assert (again.code, again.out) == (ExitCode.DONE, "")
    assert "5 of 5 jobs done" in again.err
    assert more.out == "out/new-1.png\n"
    assert service.counters.accepted == 6


def test_folder_of_pictures(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """A pattern makes a job per picture, each with the same options."""
    done = batch(
        "--images", "in/*.png", "--model", MODEL, "--prompt", "ink", "-n", "2",
        "--lora", "add_detail_44319:0.5", "--out", "out", "--response-image-type", "png",
    )  # fmt: skip

    assert done.code == ExitCode.DONE
    assert len(done.out.splitlines()) == 6
    assert {task.request["prompt"] for task in service.tasks.values()} == {"ink"}
    again = batch(
        "--images", "in/*.png", "--model", MODEL, "--prompt", "ink", "-n", "2",
        "--lora", "add_detail_44319:0.5", "--out", "out", "--response-image-type", "png",
    )  # fmt: skip
    assert again.out == ""
    assert service.counters.accepted == 3


def test_json_has_a_line_per_job(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """With --json a job is a document: its state, its pictures, and why it is not done."""
    lines = [
        line("good"),
        line("bad", prompt="simulate-illegal"),
        line("sad", prompt="simulate-failure"),
    ]
    manifest = write(folder / "jobs.jsonl", lines)

    done = batch(manifest, "--out", "out", "--json")

    jobs = {job["key"]: job for job in map(json.loads, done.out.splitlines())}
    assert done.code == ExitCode.SOME_FAILED
    assert (jobs["good"]["state"], jobs["good"]["images"]) == ("done", ["out/good-1.png"])
    assert jobs["bad"]["error"]["type"] == "ContentRejectedError"
    assert jobs["bad"]["error"]["billed"] == "no"
    assert jobs["sad"]["error"]["billed"] == "unknown"
    assert jobs["sad"]["task_id"] in service.tasks


def test_check_looks_and_pays_nothing(
    batch: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--check` needs neither key nor service, writes nothing, and estimates the time."""
    monkeypatch.setenv("PPINFRA_BASE_URL", "http://127.0.0.1:9")
    manifest = write(folder / "jobs.jsonl", [line(f"{n}", image_num=8) for n in range(30)])

    auto = batch(manifest, "--out", "out", "--check")
    known = batch(manifest, "--out", "out", "--check", "--images-per-minute", "60")

    assert (auto.code, auto.out) == (ExitCode.DONE, "")
    assert "30 jobs, all good: 30 to send, 240 images." in auto.err
    assert "about 24 min" in auto.err
    assert "At 60 images per minute that takes about 4 min." in known.err
    assert not (folder / "out").exists()


# --- bad input ---


def test_every_bad_line_is_named_and_nothing_is_paid(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """Each bad line has its number and its reason, in one run; nothing is sent, nothing is written."""
    (folder / "in" / "folder.png").mkdir()
    (folder / "in" / "text.png").write_text("no picture")
    manifest = folder / "jobs.jsonl"
    write(
        manifest,
        [
            line("good"),
            '{"broken": ',
            line("good"),
            line("../../etc/x"),
            line("gone", image="in/gone.png"),
            line("folder", image="in/folder.png"),
            line("outside", image="../outside.png"),
            line("typed", steps="many", image_num=True),
            line("text", image="in/text.png"),
            "",
            "[1]",
        ],
    )
    with manifest.open("ab") as file:
        file.write(b"\xef\xbb\xbf" + json.dumps(line("bom")).encode() + b"\n")
        file.write(json.dumps(line("crlf")).encode() + b"\r\n")

    done = batch(manifest, "--out", "out")

    assert (done.code, done.out) == (ExitCode.USAGE, "")
    expected = {
        2: "is not JSON",
        3: "'good' stands on line 1 already",
        4: "must not lead out of the output folder",
        5: "No such file",
        6: "it is a folder",
        7: "must be inside",
        8: "steps: must be a whole number",
        9: "must be a picture",
        11: "is not a JSON object",
        12: "byte-order mark",
        13: "CR LF",
    }
    told = {
        int(text.partition("jobs.jsonl:")[2].partition(":")[0]): text
        for text in done.err.splitlines()
        if "jobs.jsonl:" in text
    }
    assert told.keys() == expected.keys()
    assert all(reason in told[number] for number, reason in expected.items())
    assert "image_num" in told[8]
    assert "11 bad lines in" in done.err
    assert "Nothing was sent or paid." in done.err
    assert service.counters.submit_starts == 0
    results = folder / "out" / "results.jsonl"
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give either a manifest"),
        (["jobs.jsonl", "--images", "in/*.png"], "Give either a manifest"),
        (["gone.jsonl"], "The manifest gone.jsonl is not there"),
        (["in"], "The manifest in is a folder"),
        (
            ["jobs.jsonl", "--model", "x", "--steps", "3"],
            ": with a manifest each line says what it asks",
        ),
        (["--images", "in/*.png", "--prompt", "x"], "--images needs --model"),
        (["--images", "in/*.gif", "--prompt", "x", "--model", "x"], "No picture matches"),
        (["--images", "out/*.png", "--prompt", "x", "--model", "x"], "inside the output folder"),
        (["--images", "in/*.png", "--prompt", "x", "--model", "x", "--steps", "0"], "--steps must"),
        (["jobs.jsonl", "--max-images", "0"], "--max-images must be 1 or more"),
        (["jobs.jsonl", "--max-in-flight", "0"], "--max-in-flight must be 1 or more"),
        (["jobs.jsonl", "--patience", "-1"], "--patience must be 0"),
        (["jobs.jsonl", "--images-per-minute", "many"], "--images-per-minute must be"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    batch: Call, service: SimulatorThread, folder: Path, arguments: list[str], told: str
) -> None:
    """Bad options are named, nothing is sent, and there is no traceback."""
    write(folder / "jobs.jsonl", [line()])
    (folder / "out").mkdir()
    (folder / "out" / "x-1.png").write_bytes(draw_picture(64, 48, "PNG"))

    done = batch(*arguments, "--out", "out")

    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert told in done.err
    assert "Traceback" not in done.err
    assert service.counters.submit_starts == 0


def test_changed_request_is_named_before_anything_is_sent(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """A known key with another request stops the run; --redo-changed makes it anew."""
    manifest = write(folder / "jobs.jsonl", [line("a"), line("b")])
    batch(manifest, "--out", "out")
    write(manifest, [line("a"), line("b", prompt="a dog"), line("c")])

    refused = batch(manifest, "--out", "out")
    after_refusal = service.counters.accepted
    redone = batch(manifest, "--out", "out", "--redo-changed")

    assert refused.code == ExitCode.USAGE
    assert f"{manifest}:2: key: 'b' is known" in refused.err
    assert after_refusal == 2
    assert sorted(redone.out.splitlines()) == ["out/b-1-2.png", "out/c-1.png"]
    assert service.counters.accepted == 4


# --- how it ends ---


def test_in_doubt_is_listed_and_only_a_person_sends_it_again(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """What may be paid is named with what to do, and left alone until that is asked for."""
    manifest = write(folder / "jobs.jsonl", [line("only")])
    service.faults.order("submit", Fault.cut_after_read())

    first = batch(manifest, "--out", "out")
    again = batch(manifest, "--out", "out")
    resent = batch(manifest, "--out", "out", "--resubmit-unknown")

    assert first.code == again.code == ExitCode.PAID_NOT_HERE
    assert "In doubt, so not sent again: only." in again.err
    assert "Images: 0 paid, 1 in doubt" in again.err
    assert resent.out == "out/only-1.png\n"
    assert service.counters.accepted == 2


def test_failed_is_retried_when_asked(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """A job that failed stays so until --retry-failed."""
    manifest = write(folder / "jobs.jsonl", [line("only")])
    service.faults.order("submit", Fault.status(400, "ILLEGAL_PROMPT"))

    first = batch(manifest, "--out", "out")
    again = batch(manifest, "--out", "out")
    retried = batch(manifest, "--out", "out", "--retry-failed")

    assert first.code == again.code == ExitCode.SOME_FAILED
    assert again.out == ""
    assert (retried.code, retried.out) == (ExitCode.DONE, "out/only-1.png\n")


def test_empty_balance_stops_and_the_same_command_goes_on(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """What stops everything is said once; nothing that was not sent is lost."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}") for n in range(10)])
    service.faults.order("submit", Fault.status(400, "BILLING_BALANCE_NOT_ENOUGH"), times=None)

    stopped = batch(manifest, "--out", "out", "--max-in-flight", "2")
    service.faults.clear()
    done = batch(manifest, "--out", "out")

    assert stopped.code == ExitCode.ACCOUNT
    assert stopped.err.count("BILLING_BALANCE_NOT_ENOUGH") == 1
    assert "10 left" in stopped.err
    assert done.code == ExitCode.DONE
    assert service.counters.accepted == 10


def test_cap_keeps_the_rest_from_being_sent(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """--max-images counts over all runs, and reaching it is no failure."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}", image_num=2) for n in range(6)])

    first = batch(manifest, "--out", "out", "--max-images", "5")
    again = batch(manifest, "--out", "out", "--max-images", "7")

    assert first.code == again.code == ExitCode.DONE
    assert "--max-images keeps the rest" in first.err
    assert len(first.out.splitlines()) == 4
    assert len(again.out.splitlines()) == 2
    assert service.counters.images == 6


def test_second_process_is_refused(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """While one runs in a folder another one says so and does nothing."""
    manifest = write(folder / "jobs.jsonl", [line("only")])
    service.faults.order("submit", Fault.delay(600))
    first = start("batch", manifest, "--out", "out", cwd=folder)
    try:
        while service.counters.submits == 0:
            assert first.poll() is None
        second = batch(manifest, "--out", "out")
    finally:
        first.kill()
        finish(first)

    assert second.code == ExitCode.USAGE
    assert "in use by another process" in second.err


def test_interrupt_waits_for_what_is_paid_and_says_how_to_go_on(
    batch: Call, service: SimulatorThread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C sends nothing more; the paid pictures arrive; the next run does the rest."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}") for n in range(40)])
    with interrupting(lambda: service.counters.accepted >= 3):
        stopped = batch(manifest, "--out", "out", "--max-in-flight", "2")
    paid = service.counters.accepted
    done = batch(manifest, "--out", "out")

    assert stopped.code == ExitCode.INTERRUPTED
    assert len(stopped.out.splitlines()) == paid < 40
    assert "Run the same command again" in stopped.err
    assert done.code == ExitCode.DONE
    assert service.counters.accepted == 40


def test_second_interrupt_leaves_at_once_and_loses_nothing(
    service: SimulatorThread, folder: Path, batch: Call
) -> None:
    """A person without patience leaves; what is paid is in the journal for the next run."""
    manifest = write(folder / "jobs.jsonl", [line("only")])
    service.faults.order("poll", Fault.delay(600), times=None)
    process = start("batch", manifest, "--out", "out", cwd=folder)
    try:
        while service.counters.polls == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        for text in process.stderr:
            if text.startswith("Stopping"):
                break
        process.send_signal(signal.SIGINT)
        left = finish(process)
    finally:
        process.kill()
    service.faults.clear()
    done = batch(manifest, "--out", "out")

    assert left.code == ExitCode.INTERRUPTED
    assert "run the same" in left.err
    assert done.out == "out/only-1.png\n"
    assert service.counters.accepted == 1


def test_interrupt_while_the_lines_are_read_pays_nothing(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """A long manifest is left at its next line, and nothing of it is kept."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}") for n in range(30_000)])

    with interrupting((folder / "out" / "journal.sqlite3").exists):
        stopped = batch(manifest, "--out", "out")

    assert stopped.code == ExitCode.INTERRUPTED
    assert "Stopped while the jobs were looked at. Nothing was sent or paid." in stopped.err
    assert "bug" not in stopped.err
    assert service.counters.submit_starts == 0


def test_live_display_names_the_quota_that_was_found_out(
    batch: Call, folder: Path, service: SimulatorThread
) -> None:
    """Without a given quota, too; it is drawn in a thread, where no event loop runs."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}") for n in range(20)])
    service.faults.order("poll", Fault.delay(0.3), times=10)
    with terminal() as shown, redirect_stderr(shown.stream):
        done = batch(manifest, "--out", "out", "--max-in-flight", "4")
        text = shown.shown()

    assert done.code == ExitCode.DONE, text
    assert "images in the last minute" in text
    assert "20 of 20 jobs done" in text, text


def test_live_display_counts(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """On a terminal the numbers are redrawn: done, under way, pace."""
    manifest = write(folder / "jobs.jsonl", [line(f"{n}") for n in range(20)])
    service.faults.order("poll", Fault.delay(0.3), times=10)
    with terminal() as shown, redirect_stderr(shown.stream):
        batch(manifest, "--out", "out", "--images-per-minute", "600", "--max-in-flight", "4")
        text = shown.shown()

    assert "under way" in text
    assert "images in the last minute, quota 600" in text
    assert "20 of 20 jobs done" in text, text


def test_check_tells_what_a_run_would_leave_alone(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """Jobs in doubt and failed ones are counted, with what lets them be sent again."""
    manifest = write(folder / "jobs.jsonl", [line("doubt"), line("bad", prompt="simulate-illegal")])
    service.faults.order("submit", Fault.cut_after_read())
    batch(manifest, "--out", "out", "--max-in-flight", "1")

    checked = batch(manifest, "--out", "out", "--check")

    assert "1 job in doubt, which may be paid" in checked.err
    assert "1 job failed before" in checked.err


def test_empty_manifest_says_so(batch: Call, service: SimulatorThread, folder: Path) -> None:
    """A file without a job is no success to be proud of."""
    done = batch(write(folder / "jobs.jsonl", [""]), "--out", "out")

    assert "jobs.jsonl has no jobs." in done.err


def test_page_of_somebody_else_is_not_replaced(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """An index.html that was there before any batch is left as it is, and nothing is sent."""
    (folder / "out").mkdir()
    (folder / "out" / "index.html").write_text("mine")

    done = batch(write(folder / "jobs.jsonl", [line("a")]), "--out", "out")

    assert done.code == ExitCode.USAGE
    assert "index.html that is not ours" in done.err
    assert (folder / "out" / "index.html").read_text() == "mine"
    assert service.counters.submit_starts == 0


def test_check_tells_of_requests_that_are_repeated(batch: Call, folder: Path) -> None:
    """Who pastes a line twice pays for two pictures, and may not mean it."""
    without_key = [{name: value for name, value in line("x").items() if name != "key"}] * 3
    manifest = write(folder / "jobs.jsonl", without_key)

    checked = batch(manifest, "--out", "out", "--check")

    assert "3 jobs, all good: 3 to send" in checked.err
    assert "2 jobs with exactly the request of another: each is paid." in checked.err


def test_changed_request_tells_whether_it_is_paid_anew(
    batch: Call, service: SimulatorThread, folder: Path
) -> None:
    """What was never paid costs nothing twice."""
    manifest = write(folder / "jobs.jsonl", [line("paid"), line("not", prompt="simulate-illegal")])
    batch(manifest, "--out", "out")
    write(manifest, [line("paid", prompt="a dog"), line("not", prompt="a dog")])

    refused = batch(manifest, "--out", "out").err.splitlines()

    assert refused[0].endswith("--redo-changed to have what it asks now, which is paid anew")
    assert refused[1].endswith("--redo-changed to have what it asks now")

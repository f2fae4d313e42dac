"""``ppinfra img2img`` against the simulator."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ppinfra_async._cli._img2img import img2img
from ppinfra_async._cli._messages import ExitCode
from ppinfra_async._cli._options import Ask, Printing
from ppinfra_async.testing import Fault, SimulatorThread, simulator_thread
from tests._cli.commands import MODEL, Call, Finished, QuickService, finish, start
from tests._cli.terminals import interrupting
from tests.pictures import draw_picture

Capture = pytest.CaptureFixture[str]


def ran(
    capsys: Capture, images: list[Path], out: Path, *, as_json: bool = False, **fields: object
) -> Finished:
    """Run the command with quick polling."""
    ask = Ask(**{"model": MODEL, "prompt": "a cat", **fields})  # type: ignore[arg-type]  # fields of it
    code = img2img(
        images,
        ask,
        QuickService(),
        Printing(json=as_json),
        out=out,
        images_per_minute="auto",
    )
    return Finished(code, *capsys.readouterr())


# --- when all is well -----------------------------------------------------------------------


def test_pictures_are_saved_and_their_paths_printed(
    service: SimulatorThread, picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """One path per picture on stdout; progress and the summary, which counts the money, on stderr."""
    out = tmp_path / "out"
    ended = ran(capsys, [picture_file], out, image_num=2)
    assert ended.code == 0
    paths = ended.out.splitlines()
    assert sorted(paths) == [str(out / "cat-1.png"), str(out / "cat-2.png")]
    assert sorted(out.iterdir()) == [out / "cat-1.png", out / "cat-2.png"]
    assert Path(paths[0]).read_bytes().startswith(b"\x89PNG")
    (task_id,) = service.tasks
    lines = ended.err.splitlines()
    assert lines[0] == f"{picture_file}: sent, task {task_id}"
    assert lines[-1].startswith("1 of 1 job done in ")
    assert lines[-1].endswith(" s: 2 pictures saved. Paid: 2 images.")


def test_every_input_is_one_line_of_json(
    service: SimulatorThread, picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Good and failed alike, with what a script wants to know."""
    dog = tmp_path / "dog.png"
    dog.write_bytes(picture_file.read_bytes())
    service.faults.order("submit", Fault.outcome(reason="out of memory"))
    ended = ran(capsys, [picture_file, dog], tmp_path / "out", as_json=True, seed=7)
    trees = {tree["source"]: tree for tree in map(json.loads, ended.out.splitlines())}
    assert set(trees) == {str(picture_file), str(dog)}
    (good,) = (tree for tree in trees.values() if tree["error"] is None)
    (bad,) = (tree for tree in trees.values() if tree["error"] is not None)
    assert ended.code == 1
    assert good["seed"] == 7
    assert [Path(path).parent for path in good["images"]] == [tmp_path / "out"]
    assert bad["error"]["type"] == "TaskFailedError"
    assert bad["error"]["billed"] == "unknown"
    assert bad["error"]["task_id"] == bad["task_id"]
    assert {good["task_id"], bad["task_id"]} == set(service.tasks)


def test_nothing_collides_and_nothing_is_replaced(
    service: SimulatorThread, picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Two sources of one name, and a second run, each keep their pictures."""
    del service
    twin = tmp_path / "other" / "cat.png"
    twin.parent.mkdir()
    twin.write_bytes(picture_file.read_bytes())
    out = tmp_path / "out"
    for _ in range(2):
        assert ran(capsys, [picture_file, twin], out).code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "cat-1-2.png",
        "cat-1.png",
        "cat-2-1-2.png",
        "cat-2-1.png",
    ]


def test_a_large_picture_is_scaled_down_on_request(
    service: SimulatorThread, tmp_path: Path, capsys: Capture
) -> None:
    """With --fit it is sent, and the person is told in what size."""
    big = tmp_path / "big.jpg"
    big.write_bytes(draw_picture(2400, 1200, "JPEG"))
    ended = ran(capsys, [big], tmp_path / "out", fit=512)
    assert ended.code == 0
    assert f"{big}: sent as 512 × 256 (fit)" in ended.err.splitlines()
    (task,) = service.tasks.values()
    assert (task.request["width"], task.request["height"]) == (512, 256)


def test_what_is_typed_is_what_is_asked(
    service: SimulatorThread, picture_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The options arrive at the service under its own names."""
    ended = ran(
        capsys,
        [picture_file],
        tmp_path / "out",
        strength=0.6,
        sampler_name="DDIM",
        lora=("add_detail_44319:0.5",),
        response_image_type="webp",
    )
    assert ended.code == 0
    (task,) = service.tasks.values()
    assert (task.request["strength"], task.request["sampler_name"]) == (0.6, "DDIM")
    assert task.request["loras"] == [{"model_name": "add_detail_44319", "strength": 0.5}]
    assert ended.out.strip().endswith("cat-1.webp")


# --- bad input: one sentence, nothing sent --------------------------------------------------


@pytest.fixture
def asked(call: Call, tmp_path: Path) -> Call:
    """Run ``ppinfra img2img`` with what is always needed, and more."""

    def run(*arguments: str | Path) -> Finished:
        usual = ("--model", MODEL, "--prompt", "a cat", "--out", tmp_path / "out")
        given = set(arguments)
        pairs = zip(usual[::2], usual[1::2], strict=True)
        missing = [word for pair in pairs if pair[0] not in given for word in pair]
        return call("img2img", *arguments, *missing)

    return run


def sent_nothing(service: SimulatorThread) -> bool:
    return service.counters.submit_starts == 0


def test_a_missing_file(service: SimulatorThread, asked: Call, tmp_path: Path) -> None:
    """It is named, with what the system says."""
    path = tmp_path / "missing.png"
    assert asked(path) == Finished(
        2,
        "",
        f"ppinfra: {path}: must be a readable file (No such file or directory). "
        "Nothing was sent or paid.\n",
    )
    assert sent_nothing(service)


def test_a_text_file(service: SimulatorThread, asked: Call, tmp_path: Path) -> None:
    """What it is instead of a picture is said."""
    path = tmp_path / "notes.png"
    path.write_text("Dear diary,")
    assert asked(path) == Finished(
        2,
        "",
        f"ppinfra: {path}: must be a picture, but it is text. Nothing was sent or paid.\n",
    )
    assert sent_nothing(service)


def test_a_picture_of_4000_pixels(service: SimulatorThread, asked: Call, tmp_path: Path) -> None:
    """The option that helps is named."""
    path = tmp_path / "big.png"
    path.write_bytes(draw_picture(4000, 30, "PNG"))
    assert asked(path) == Finished(
        2,
        "",
        f"ppinfra: {path}: each side must be at most 2048 pixels, but it has 4000 × 30: add --fit "
        "2048 to scale it down. Nothing was sent or paid.\n",
    )
    assert sent_nothing(service)


def test_every_bad_picture_is_reported(
    service: SimulatorThread, asked: Call, picture_file: Path, tmp_path: Path
) -> None:
    """One run shows all of them; the good one is not sent, and its line of JSON says so."""
    folder = tmp_path / "folder.png"
    folder.mkdir()
    missing, unpaid = tmp_path / "missing.png", "Nothing was sent or paid."
    ended = asked(picture_file, missing, folder, "--json")
    assert ended.code == 2
    assert ended.err.splitlines() == [
        f"ppinfra: {missing}: must be a readable file (No such file or directory). {unpaid}",
        f"ppinfra: {folder}: must be a picture file, but it is a folder. {unpaid}",
    ]
    errors = [json.loads(line)["error"]["type"] for line in ended.out.splitlines()]
    assert errors == ["NotSentError", "InvalidRequestError", "InvalidRequestError"]
    assert sent_nothing(service)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--width", "100"], "--width must be a whole number in 128…2048, got 100."),
        (
            ["--prompt", "x" * 2000],
            "--prompt must be text of 1…1024 characters, got 2000 characters.",
        ),
        (
            ["--steps", "0", "--seed", "-2"],
            (
                "--steps must be a whole number in 1…100, got 0; "
                "--seed must be a whole number ≥ -1, got -2."
            ),
        ),
        (["--fit", "9999"], "--fit must be a whole number of pixels in 1…2048, got 9999."),
        (["--lora", "x:2"], "--lora must be NAME or NAME:STRENGTH, the strength 0…1, got 'x:2'."),
        (
            ["--response-image-type", "gif"],
            "--response-image-type must be png, webp or jpeg, got 'gif'.",
        ),
        (
            ["--image-num", "8", "--images-per-minute", "5"],
            "--image-num 8 can never fit --images-per-minute 5.",
        ),
        (["--base-url", "ftp://x"], "The base URL must begin with https://, got 'ftp://x'."),
    ],
)
def test_a_bad_option(
    options: list[str], words: str, service: SimulatorThread, asked: Call, picture_file: Path
) -> None:
    """One sentence names the option as it was typed, what is allowed and what was given."""
    ended = asked(picture_file, *options)
    assert ended == Finished(2, "", f"ppinfra: {words} Nothing was sent or paid.\n")
    assert sent_nothing(service)


@pytest.mark.parametrize("address", ["https://example.com/a/cat.png", "http://example.com"])
def test_an_address_instead_of_a_file(address: str, service: SimulatorThread, asked: Call) -> None:
    """Nothing is fetched; the person is told to do it."""
    ended = asked(address)
    assert ended == Finished(
        2,
        "",
        f"ppinfra: {address} is an address, and this command takes files: download it first. "
        "Nothing was sent or paid.\n",
    )
    assert sent_nothing(service)


def test_no_picture_at_all(service: SimulatorThread, asked: Call) -> None:
    """The sentence shows how the command is meant."""
    ended = asked()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ppinfra: Which picture? Give at least one file: ppinfra img2img")
    assert sent_nothing(service)


def test_a_folder_that_cannot_be_written(
    service: SimulatorThread, asked: Call, picture_file: Path
) -> None:
    """It is found out before anything is paid."""
    ended = asked(picture_file, "--out", picture_file)
    assert ended == Finished(
        2,
        "",
        f"ppinfra: The folder {picture_file} cannot be written (File exists): choose another with "
        "--out. Nothing was sent or paid.\n",
    )
    assert sent_nothing(service)


def test_no_key(asked: Call, picture_file: Path, tmp_path: Path) -> None:
    """One clear sentence says where to put it, and nothing was made."""
    ended = asked(picture_file)
    assert ended.code == 3
    assert ended.err == (
        "ppinfra: There is no API key: put yours into the environment variable PPINFRA_API_KEY "
        "(export PPINFRA_API_KEY=sk_…); `ppinfra demo` needs none. Nothing was sent or paid.\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_wrong_key(
    service: SimulatorThread, asked: Call, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables to look at are named, also for two pictures only once."""
    monkeypatch.setenv("PPINFRA_API_KEY", "sk_wrong")
    ended = asked(picture_file, picture_file)
    assert ended.code == 3
    (first, last) = ended.err.splitlines()
    assert first.startswith(
        "ppinfra: The service answered 403 INVALID_API_KEY: API key is invalid. Check the API key "
        "(PPINFRA_API_KEY or PPIO_API_KEY). Nothing was paid for it."
    )
    assert last.endswith("0 pictures saved. Nothing was paid.")
    assert "sk_wrong" not in ended.err
    assert service.counters.accepted == 0


def test_an_empty_balance(asked: Call, picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do about it is said."""
    with simulator_thread(balance=0, tiny_images=True) as poor:
        monkeypatch.setenv("PPINFRA_API_KEY", poor.api_key)
        ended = asked(picture_file, "--base-url", poor.url)
    assert ended.code == 3
    (line,) = ended.err.splitlines()
    assert "BILLING_BALANCE_NOT_ENOUGH" in line
    assert "Top up the account's balance. Nothing was paid for it." in line


def test_an_unknown_model(service: SimulatorThread, asked: Call, picture_file: Path) -> None:
    """The command that lists the models is named."""
    ended = asked(picture_file, "--model", "mona_lisa.safetensors")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "checkpoint model mona_lisa.safetensors not allowed." in line
    assert "`ppinfra models` lists what there is. Nothing was paid for it." in line
    assert service.counters.accepted == 0


# --- money and interruptions ----------------------------------------------------------------


def test_a_task_that_takes_too_long_can_be_fetched_later(
    picture_file: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid, so its id and the command to come back to it are printed."""
    with simulator_thread(queue=60, tiny_images=True) as slow:
        monkeypatch.setenv("PPINFRA_API_KEY", slow.api_key)
        ended = call(
            "img2img", picture_file, "--model", MODEL, "--prompt", "x", "--out", tmp_path / "a b",
            "--timeout", "0.05", "--base-url", slow.url,
        )  # fmt: skip
        (task_id,) = slow.tasks
    assert ended.code == ExitCode.PAID_NOT_HERE
    assert f"The task {task_id} goes on at the service and is paid." in ended.err
    assert ended.err.splitlines()[-2:] == [
        "Fetch what is paid and not here yet with",
        f"  ppinfra task {task_id} --out '{tmp_path / 'a b'}' --base-url {slow.url}",
    ]


def test_a_submit_without_answer_is_in_doubt(
    service: SimulatorThread, asked: Call, picture_file: Path
) -> None:
    """It is not sent again, and the person is told to look before doing so."""
    service.faults.order("submit", Fault.cut_after_read())
    ended = asked(picture_file)
    assert ended.code == ExitCode.PAID_NOT_HERE
    assert "may have been paid, but its task id is not known" in ended.err
    assert service.counters.submits == 1


def test_an_interrupted_command_prints_what_is_paid(picture_file: Path, tmp_path: Path) -> None:
    """Ctrl-C ends a real process in order: every id is there, with the command to come back."""
    with simulator_thread(queue=60, tiny_images=True) as slow:
        process = start(
            "img2img", picture_file, picture_file, "--model", MODEL, "--prompt", "x",
            "--out", tmp_path / "out", "--json",
            environment={"PPINFRA_API_KEY": slow.api_key, "PPINFRA_BASE_URL": slow.url},
        )  # fmt: skip
        assert process.stderr is not None
        seen = [process.stderr.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        ended = finish(process)
        ids = set(slow.tasks)
    assert all(": sent, task " in line for line in seen)
    assert ended.code == 130
    trees = [json.loads(line) for line in ended.out.splitlines()]
    assert {tree["task_id"] for tree in trees} == ids
    assert {tree["error"]["billed"] for tree in trees} == {"yes"}
    assert "Traceback" not in ended.err
    command = ended.err.splitlines()[-1].split()
    assert command[:2] == ["ppinfra", "task"]
    assert set(command[2:4]) == ids
    assert command[4:] == ["--out", str(tmp_path / "out")]


def test_a_terminated_command_waits_for_the_id(
    asked: Call, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM between the last byte and the answer: the id still arrives, and is printed."""
    with simulator_thread(queue=60, tiny_images=True) as slow:
        monkeypatch.setenv("PPINFRA_API_KEY", slow.api_key)
        slow.faults.order("submit", Fault.delay(0.2))
        with interrupting(lambda: slow.counters.accepted == 1, signal.SIGTERM):
            ended = asked(picture_file, "--base-url", slow.url)
        (task_id,) = slow.tasks
    assert ended.code == 143
    assert ended.err.startswith("Stopping: nothing more is sent.")
    assert f"  ppinfra task {task_id} --out " in ended.err
    assert "Paid: 1 image." in ended.err


def test_a_reader_who_leaves_does_not_stop_paid_work(
    service: SimulatorThread, picture_file: Path, tmp_path: Path
) -> None:
    """With `| head -1` all pictures are saved all the same, in silence."""
    del service
    process = start(
        "img2img", *[picture_file] * 3, "--model", MODEL, "--prompt", "x", "--out", tmp_path / "o"
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert len(list((tmp_path / "o").iterdir())) == 3
    assert "Broken" not in err
    assert "3 of 3 jobs done" in err


def test_the_server_is_down(
    asked: Call, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries one sentence says that nothing was paid."""
    monkeypatch.setenv("PPINFRA_API_KEY", "sk_x")
    ended = asked(picture_file, "--base-url", "http://127.0.0.1:9", "--attempts", "2")
    assert ended.code == 5
    waiting, final = ended.err.splitlines()
    assert waiting.startswith("ppinfra: Trying again in ")
    assert "The request was not sent: no connection to 127.0.0.1:9 (" in waiting
    assert final == (
        "ppinfra: The request was not sent: no connection to 127.0.0.1:9 (Connection refused). "
        "Nothing was paid; try again."
    )

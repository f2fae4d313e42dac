"""``ppinfra simulate``, mostly as a process of its own."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from ppinfra_async.testing import SimulatorThread
from tests._cli.commands import Call, Finished, finish, start
from tests._cli.terminals import interrupting


def test_it_serves_until_it_is_stopped() -> None:
    """The address comes first, then key and a command to copy; the end is a success with counters."""
    process = start("simulate", "--queue", "0", "--tiny-images")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    request = urllib.request.Request(  # noqa: S310  # our own simulator
        f"{url}/v3/model", headers={"Authorization": "Bearer sk_simulator"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  # see above
        assert json.load(reply)["models"]
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 0
    lines = ended.err.splitlines()
    assert lines[0] == f"The simulator runs at {url} with the key sk_simulator."
    command = shlex.split(lines[2])
    assert command[:4] == [
        "PPINFRA_API_KEY=sk_simulator", f"PPINFRA_BASE_URL={url}", "ppinfra", "img2img"
    ]  # fmt: skip
    assert lines[-1] == (
        "Tasks accepted: 0 (0 images), refused: 0 (0 of them with 429), status calls: 0, "
        "downloads: 0."
    )


def test_json_tells_a_script_how_to_use_it(call: Call) -> None:
    """The first document has address and environment, the last one the counters; SIGTERM is fine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with interrupting(is_up, signal.SIGTERM):
        ended = call("simulate", "--json", "--port", port)
    first, last = map(json.loads, ended.out.splitlines())
    url = f"http://127.0.0.1:{port}"
    assert ended.code == 0
    assert first == {
        "url": url,
        "api_key": "sk_simulator",
        "environment": {"PPINFRA_API_KEY": "sk_simulator", "PPINFRA_BASE_URL": url},
    }
    assert last["counters"]["accepted"] == 0


def test_tasks_are_kept_from_one_run_to_the_next(call: Call, tmp_path: Path) -> None:
    """A state file that is not there yet is made."""
    state = tmp_path / "state"
    with interrupting(lambda: state.exists() and state.stat().st_size > 0):
        assert call("simulate", "--state", state).code == 0
    assert state.read_text().startswith('{"state_of":"ppinfra_async.testing.Simulator"')


def test_a_port_that_is_taken(service: SimulatorThread, call: Call) -> None:
    """One sentence, not a traceback of the event loop."""
    port = service.url.rpartition(":")[2]
    ended = call("simulate", "--port", port)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ppinfra: The simulator cannot start (")
    assert "in use" in ended.err


@pytest.mark.parametrize(
    "content",
    [
        "Dear diary",
        '{"some": "json"}\n{broken\n',
        '{"precious": true}',
        '{\n "name": "x"\n}',
        '{"task": 1}\n',
    ],
)
def test_a_state_file_that_is_none_is_left_alone(content: str, call: Call, tmp_path: Path) -> None:
    """A file of somebody else's is refused before it is repaired."""
    path = tmp_path / "diary.txt"
    path.write_text(content)
    assert call("simulate", "--state", path) == Finished(
        2, "", f"ppinfra: {path} is not a state file of the simulator; it was left as it is.\n"
    )
    assert path.read_text() == content

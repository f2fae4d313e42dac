"""Starting, stopping, starting again: in this process, from a state file, in a child, in a thread."""

import ast
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import aiohttp
import anyio
import attrs
import pytest
from anyio import to_thread

import ppinfra_async.testing as public
from ppinfra_async.testing import (
    Fault,
    Options,
    Settings,
    Simulator,
    simulator_process,
    simulator_thread,
)
from ppinfra_async.testing.__main__ import FLAGS, SWITCHES, settings_from

if TYPE_CHECKING:
    from tests.testing.conftest import Bare

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0, "tiny_images": True}


async def test_a_stopped_simulator_goes_on_where_it_was(bare: "Connect") -> None:
    """Same ports, tasks, counters and URLs; a second start or stop does nothing."""
    simulator = Simulator(**FAST)
    async with simulator:
        client = bare(simulator)
        url, result_url = simulator.url, simulator.result_url
        image_url = await client.image_url()
        await simulator.start()
        await simulator.stop()
        await simulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.submit()
        await simulator.start()
        assert (simulator.url, simulator.result_url) == (url, result_url)
        (task_id,) = simulator.tasks
        assert (await client.poll(task_id)).tree["task"]["status"] == "TASK_STATUS_SUCCEED"
        assert (await client.download(image_url)).status == 200
        assert simulator.counters.accepted == 1


async def test_a_stop_cuts_like_a_kill(bare: "Connect") -> None:
    """A request in flight breaks at once."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", Fault.delay(30))

        async def broken() -> None:
            with pytest.raises(aiohttp.ClientConnectionError):
                await bare(simulator).post()

        async with anyio.create_task_group() as group:
            group.start_soon(broken)
            while simulator.counters.accepted == 0:  # noqa: ASYNC110  # nothing announces it
                await anyio.sleep(0.01)
            with anyio.fail_after(10):
                await simulator.stop()


async def test_reset_forgets_all_but_the_ports(bare: "Connect", tmp_path: Path) -> None:
    """Also what the state file knows and what the limit has seen."""
    state = tmp_path / "state"
    async with Simulator(**FAST, images_per_minute=1, state=state) as simulator:
        client = bare(simulator)
        await client.submit()
        simulator.faults.order("submit", Fault.html())
        await to_thread.run_sync(simulator.reset)
        assert not simulator.tasks
        assert simulator.counters.accepted == simulator.faults.waiting == 0
        await client.submit()
    async with Simulator(**FAST, state=state) as simulator:
        assert len(simulator.tasks) == 1


async def test_a_state_file_outlives_the_simulator(bare: "Connect", tmp_path: Path) -> None:
    """Tasks with their pictures, counters, limits and result port are taken up again."""
    options: dict[str, Any] = {"state": tmp_path / "state", "images_per_minute": 3, "queue": 0}
    async with Simulator(**options) as old:
        client = bare(old)
        task_id = await client.submit(image_num=2, seed=9)
        tree = await client.finished(task_id)
        url = tree["images"][1]["image_url"]
        picture = (await client.download(url)).body
        port = int(old.url.rpartition(":")[2])
    async with Simulator(**options, port=port) as new:
        client = bare(new)
        assert new.tasks[task_id].picture == old.tasks[task_id].picture is not None
        assert new.tasks[task_id].picture_sha256 == old.tasks[task_id].picture_sha256
        assert (await client.poll(task_id)).tree == tree
        assert (await client.download(url)).body == picture
        assert (new.counters.accepted, new.counters.images, new.counters.submits) == (1, 2, 1)
        assert (await client.post()).status == 200
        assert (await client.post()).status == 429


async def test_a_line_cut_by_a_kill_is_dropped(bare: "Connect", tmp_path: Path) -> None:
    """Nobody was answered about it; the file goes on whole."""
    state = tmp_path / "state"
    async with Simulator(**FAST, state=state) as simulator:
        await bare(simulator).submit()
    data = await anyio.Path(state).read_bytes()
    await anyio.Path(state).write_bytes(data + data[: data.index(b"\n") - 3])
    for expected in (1, 2):
        async with Simulator(**FAST, state=state) as simulator:
            assert len(simulator.tasks) == expected
            await bare(simulator).submit()


async def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    """Also when only the second port is taken."""
    async with Simulator() as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await Simulator(port=port).start()
        second = Simulator(result_port=port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        assert second.open_connections == 0
        await second.stop()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_other_addresses(bare: "Connect") -> None:
    """An IPv6 host is written in brackets."""
    async with Simulator(**FAST, host="::1") as simulator:
        assert simulator.url.startswith("http://[::1]:")
        await bare(simulator).submit()


def test_keywords_and_settings_are_the_same() -> None:
    """The typed keywords are exactly the settings; keywords win; the key is not shown."""
    names = {field.name for field in attrs.fields(Settings)}
    assert names == set(get_type_hints(Options))
    assert {field.name: field.type for field in attrs.fields(Settings)} == get_type_hints(Options)
    assert Simulator(Settings(queue=5, balance=1), queue=7).settings == Settings(queue=7, balance=1)
    assert "sk_simulator" not in repr(Settings())
    with pytest.raises(TypeError):
        Simulator(speed=5)  # type: ignore[call-arg]  # the point of the test


def test_flags_are_the_settings_that_fit_on_a_command_line() -> None:
    """What has no flag is a function, a collection or a catalogue."""
    names = {field.name for field in attrs.fields(Settings)}
    assert names - set(FLAGS) - set(SWITCHES) == {
        "clock", "failing_words", "illegal_words", "models", "end_cursor",
    }  # fmt: skip
    settings = settings_from(["--queue=uniform:1,2", "--tiny-images", "--no-check-models"])
    assert settings == Settings(queue="uniform:1,2", tiny_images=True, check_models=False)
    assert settings_from([]) == Settings()


# --- child processes ----------------------------------------------------------------------


class _At:
    """What the bare client wants to know of a simulator in another process."""

    def __init__(self, url: str) -> None:
        self.url, self.api_key = url, "sk_simulator"


async def test_a_killed_process_comes_back(bare: "Callable[[Any], Bare]", tmp_path: Path) -> None:
    """SIGKILL, same port, same state: nothing that was answered is lost."""
    options: dict[str, Any] = {**FAST, "state": tmp_path / "state"}
    async with simulator_process(**options) as process:
        client = bare(_At(process.url))
        url, pid = process.url, process.pid
        image_url = await client.image_url()
        await to_thread.run_sync(process.kill)
        assert process.pid is None
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.submit()
        await to_thread.run_sync(process.start)
        assert process.url == url
        assert process.pid != pid
        (task,) = await to_thread.run_sync(process.tasks)
        assert task["status"] == "TASK_STATUS_SUCCEED"
        assert (await client.poll(task["task_id"])).tree["images"][0]["image_url"] == image_url
        assert (await client.download(image_url)).status == 200
        await to_thread.run_sync(lambda: process.order("submit", "status", 503, times=2))
        assert [(await client.post()).status for _ in range(3)] == [503, 503, 200]
        counters = await to_thread.run_sync(process.counters)
        assert (counters.submits, counters.accepted, counters.faults) == (4, 2, 2)
        with pytest.raises(RuntimeError, match="404"):
            await to_thread.run_sync(process._ask, "GET", "other")


def test_a_process_in_plain_code() -> None:
    """As a plain context manager; a taken port is an error."""
    with simulator_process(tiny_images=True, check_models=False, balance=None) as process:
        assert process.api_key == "sk_simulator"
        assert process.counters().accepted == 0
        port = int(process.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="did not start"), simulator_process(port=port):
            pass


def test_the_command_is_silent_under_the_strictest_interpreter() -> None:
    """`python -X dev -W error -m ppinfra_async.testing` starts, prints its URL and ends."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "ppinfra_async.testing", "--control"],
        input=b"",
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.startswith(b"http://127.0.0.1:")
    assert done.stderr == b""


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    """Importing it imports neither aiohttp nor Pillow nor anything else of the package's."""
    code = (
        "import sys, ppinfra_async.testing.plugin as p; import ppinfra_async.testing as t; "
        "print([m for m in ('aiohttp', 'PIL', 'cattrs', 'attrs') if m in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", code], capture_output=True, check=True
    )
    assert done.stdout.strip() == b"[]"


def test_the_simulator_knows_nothing_of_the_client() -> None:
    """Its modules import the package only below `ppinfra_async.testing`."""
    folder = Path(public.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("ppinfra_async") or name.startswith(public.__name__)


def test_all_public_names_are_there() -> None:
    """The lazy table, the list of names and the modules agree."""
    assert sorted(public._HOMES) == sorted(public.__all__)
    for name in public.__all__:
        assert getattr(public, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        public.nonsense  # noqa: B018  # the access is the point


async def test_a_parent_may_look_in_when_told(bare: "Connect") -> None:
    """Counters, tasks and faults over HTTP; none of it counts."""
    async with Simulator(**FAST, control=True) as simulator:
        client = bare(simulator)
        order = {"where": "submit", "fault": "html", "args": [503], "kwargs": {"paid": True}}
        reply = await client.send("POST", "/_simulator/faults", json=order)
        assert reply.tree == {"waiting": 1}
        assert (await client.post()).status == 503
        order = {"where": "download", "fault": "unknown_status"}
        reply = await client.send("POST", "/_simulator/faults", json=order)
        assert (reply.status, reply.tree) == (
            400, {"message": "edit fits poll, not 'download'."}
        )  # fmt: skip
        (task,) = (await client.send("GET", "/_simulator/tasks")).tree
        assert (task["request"]["steps"], task["images"]) == (20, 1)
        counters = (await client.send("GET", "/_simulator/counters")).tree
        assert (counters["accepted"], counters["polls"]) == (1, 0)
        assert (await client.send("GET", "/_simulator/else")).status == 404


# --- a thread, and the plugin -------------------------------------------------------------


def test_a_simulator_in_a_thread_serves_plain_code() -> None:
    """All of its handle works from outside its loop."""
    with simulator_thread(**FAST) as simulator:
        assert simulator.settings.tiny_images

        async def use() -> None:
            async with aiohttp.ClientSession(headers={"Authorization": "Bearer sk_simulator"}) as s:
                simulator.faults.order("account", Fault.status(500))
                for expected in (500, 200):
                    async with s.get(f"{simulator.url}/v3/user") as reply:
                        assert reply.status == expected

        anyio.run(use)
        assert simulator.counters.users == 2
        url = simulator.url
        simulator.stop()
        simulator.start()
        assert (simulator.url, simulator.open_connections) == (url, 0)
        assert simulator.result_url != url
        simulator.reset()
        assert (simulator.counters.users, len(simulator.tasks)) == (0, 0)
        assert simulator.now() > 1_700_000_000


async def test_the_fixture_in_an_async_test(
    ppinfra_simulator: public.SimulatorThread, bare: "Callable[[Any], Bare]"
) -> None:
    """The installed plugin offers it without any import."""
    await bare(ppinfra_simulator).submit()
    assert ppinfra_simulator.counters.accepted == 1
    (record,) = ppinfra_simulator.tasks.values()
    assert record.prompt == "a cat, oil painting"


PLUGIN_TESTS = """
import aiohttp, pytest, pytest_asyncio

@pytest.fixture
def ppinfra_simulator_options():
    return {"balance": 7}

async def use(simulator):
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{simulator.url}/v3/user") as reply:
            assert (await reply.json())["credit_balance"] == 140

def test_plain(ppinfra_simulator):
    assert ppinfra_simulator.settings.balance == 7

@pytest.mark.asyncio
async def test_pytest_asyncio(ppinfra_simulator):
    await use(ppinfra_simulator)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_anyio(ppinfra_simulator, anyio_backend):
    await use(ppinfra_simulator)
"""


def test_the_fixture_under_each_plugin(tmp_path: Path) -> None:
    """Plain, pytest-asyncio and anyio tests get it alike, with options of their own."""
    file = tmp_path / "test_it.py"
    file.write_text(PLUGIN_TESTS)
    done = subprocess.run(  # noqa: S603  # our own tests
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", tmp_path),
            *("-o", "asyncio_default_fixture_loop_scope=function", file),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr

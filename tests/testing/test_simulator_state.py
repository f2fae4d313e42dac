"""The state file: what is written where, and whose files are left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from ppinfra_async.testing import Simulator

if TYPE_CHECKING:
    from tests.testing.conftest import Bare

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0, "tiny_images": True}

FOREIGN = [
    b"buy milk",
    b'{\n "name": "x",\n "version": 1\n}',
    b'{"precious": true}',
    b'{"task": {}}\n{"counters": {}}\n',
    b"{",
    b"\n",
]


async def start(state: Path) -> None:
    async with Simulator(**FAST, state=state):
        pass


@pytest.mark.parametrize("content", FOREIGN)
async def test_another_ones_file_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    """Whatever it holds, and however often it is tried: neither start nor reset touch it."""
    file = anyio.Path(tmp_path / "precious.json")
    await file.write_bytes(content)
    simulator = Simulator(**FAST, state=Path(file))
    for _ in range(2):
        with pytest.raises(ValueError, match="not a state file of the simulator"):
            await simulator.start()
    with pytest.raises(ValueError, match="not a state file of the simulator"):
        await to_thread.run_sync(simulator.reset)
    await simulator.stop()
    assert await file.read_bytes() == content


@pytest.mark.parametrize("content", [None, b""])
async def test_a_file_that_is_not_there_or_empty_becomes_a_state(
    content: bytes | None, tmp_path: Path
) -> None:
    """Its first line says whose it is."""
    file = anyio.Path(tmp_path / "state")
    if content is not None:
        await file.write_bytes(content)
    await start(Path(file))
    first = (await file.read_text()).splitlines()[0]
    assert first == '{"state_of":"ppinfra_async.testing.Simulator","version":1}'
    await start(Path(file))


@pytest.mark.parametrize("line", [b"{broken", b"[]", b"5", b'{"task": 1}', b'{"task": {"a": 1}}'])
async def test_a_damaged_state_is_left_as_it_is(
    line: bytes, bare: "Connect", tmp_path: Path
) -> None:
    """Also its torn last line: nothing is repaired where something else is wrong."""
    file = anyio.Path(tmp_path / "state")
    async with Simulator(**FAST, state=Path(file)) as simulator:
        await bare(simulator).submit()
    whole = await file.read_bytes()
    content = whole + line + b'\n{"torn": '
    await file.write_bytes(content)
    simulator = Simulator(**FAST, state=Path(file))
    with pytest.raises(ValueError, match="damaged"):
        await simulator.start()
    assert not simulator.tasks
    assert await file.read_bytes() == content
    # Mended by hand, it is taken up whole.
    await file.write_bytes(whole)
    async with simulator:
        assert len(simulator.tasks) == 1


async def test_old_urls_work_after_a_reset_and_a_restart(bare: "Connect", tmp_path: Path) -> None:
    """The state file goes on knowing the port of the results."""
    state = tmp_path / "state"
    async with Simulator(**FAST, state=state) as simulator:
        await to_thread.run_sync(simulator.reset)
        url = await bare(simulator).image_url()
    async with Simulator(**FAST, state=state) as simulator:
        assert url.startswith(simulator.result_url)
        assert (await bare(simulator).download(url)).status == 200


async def test_a_file_that_was_removed_meanwhile_is_begun_anew(
    bare: "Connect", tmp_path: Path
) -> None:
    """What is written after that can be taken up."""
    state = anyio.Path(tmp_path / "state")
    async with Simulator(**FAST, state=Path(state)) as simulator:
        await state.unlink()
        await bare(simulator).submit()
    async with Simulator(**FAST, state=Path(state)) as simulator:
        assert len(simulator.tasks) == 1

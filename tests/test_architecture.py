"""The rooms of the package and who may look at whom, read from the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import ppinfra_async
from ppinfra_async import errors
from tests.measuring import unmeasured

PACKAGE = Path(ppinfra_async.__file__).parent

# A module imports only from lower rooms; inside a folder, modules may use each other.
ROOMS = {
    "_showing": -1,
    "errors": 0,
    "inputs": 1,
    "options": 1,
    "requests": 1.1,
    "results": 1.2,
    "events": 1.3,
    "_sansio": 2,
    "_threads": 2.1,
    "_transport": 3,
    "_pixels": 3,
    "_files": 3,
    "_uploads": 4,
    "_images": 4,
    "_background": 4,
    "_until": 4,
    "_quota_queue": 4,
    "quota": 4.1,
    "_origin": 4,
    "_submission": 4.9,
    "_submitter": 5,
    "_poller": 5,
    "_models": 5,
    "_delivery": 5.1,
    "_bulk": 5.1,
    "_task": 5.2,
    "_unclaimed": 5.3,
    "_job_tools": 5.3,
    "_map": 5.4,
    "_client": 6,
    "_journal_file": 3,
    "_journal_jobs": 3.1,
    "journal": 3.1,
    "batch": 7,
    "testing": 8,
    "_cli": 9,
    "__init__": 10,
}

PURE = {
    "anyio", "asyncio", "aiohttp", "logging", "os", "random", "select", "selectors", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "threading", "time", "urllib",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_id(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that *path* imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    used = set()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "ppinfra_async":
            used.add(parts[1] if parts[1] in ROOMS else "__init__")
    return used - {room_of(path)}


@pytest.mark.parametrize("path", modules(), ids=module_id)
def test_module_imports_only_from_lower_rooms(path: Path) -> None:
    """An import that points up, or sideways, is refused."""
    room = room_of(path)
    if room == "__init__":
        return
    # The two public front ends stand on the package's front door.
    front_ends = {"_cli", "testing"}
    for used in rooms_used(path):
        if used == "__init__" and room in front_ends:
            continue
        assert ROOMS[used] < ROOMS[room], f"{module_id(path)} imports {used}"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("_sansio/*.py")), ids=module_id)
def test_what_decides_cannot_touch_the_world(path: Path) -> None:
    """No I/O, no clock, no random numbers and nothing asynchronous in `_sansio`."""
    assert not {name.split(".")[0] for name in imports_of(path)} & PURE
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not any(isinstance(node, asynchronous) for node in ast.walk(tree))


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("cattrs", {"_sansio/codec.py"}),
        ("orjson", {"_sansio/codec.py"}),
        ("PIL", {"_pixels.py", "inputs.py", "results.py", "_images.py"}),
    ],
)
def test_library_has_one_home(library: str, homes: set[str]) -> None:
    """One room per library, so that it can be exchanged; the front ends are free in their choice."""
    users = {
        module_id(path)
        for path in modules()
        if room_of(path) not in {"testing", "_cli"}
        and any(name.split(".")[0] == library for name in imports_of(path))
    }

    assert homes == users


def test_aiohttp_is_used_by_the_transport_only() -> None:
    """Nobody above the transport sees aiohttp, and its errors are named in one file."""
    ours = [path for path in modules() if room_of(path) not in {"testing", "_cli"}]
    users = {
        room_of(path) for path in ours if "aiohttp" in {n.split(".")[0] for n in imports_of(path)}
    }
    naming = [path.name for path in ours if "aiohttp.ServerDisconnectedError" in path.read_text()]

    assert {"_transport"} == users
    assert naming == ["failures.py"]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("testing/*.py")), ids=module_id)
def test_simulator_shares_nothing_with_the_client(path: Path) -> None:
    """Written from the service's documentation alone, so the two cannot agree on a mistake."""
    assert not rooms_used(path)


@pytest.mark.parametrize("path", modules(), ids=module_id)
def test_module_says_what_it_does_and_stays_readable(path: Path) -> None:
    """A docstring first, and at most 400 lines."""
    text = path.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 400


def test_only_one_place_makes_tasks() -> None:
    """Every background task belongs to a block, but the one that holds the block."""
    assert [
        path.name for path in modules()
        if room_of(path) not in {"testing", "_cli"} and "create_task(" in path.read_text()
    ] == ["_background.py"]  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(ppinfra_async.__all__)))
def test_every_public_name_can_be_had(name: str) -> None:
    """The table of lazy names leads to each of them."""
    assert getattr(ppinfra_async, name).__name__ == name


def test_lazy_names_are_the_typed_names() -> None:
    """What type checkers see is what there is."""
    text = (PACKAGE / "__init__.py").read_text()
    typed = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppinfra_async.")
        for alias in node.names
    }

    assert set(ppinfra_async.__all__) == typed
    assert sorted(ppinfra_async.__all__) == sorted(set(ppinfra_async.__all__))


def test_unknown_name_is_an_attribute_error() -> None:
    """A typing mistake is told as one."""
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = ppinfra_async.Clint


def test_version_and_names_can_be_listed() -> None:
    """`dir` shows the lazy names, and the version is the installed one."""
    assert set(ppinfra_async.__all__) <= set(dir(ppinfra_async))
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", str(ppinfra_async.__version__))


@pytest.mark.parametrize("module", ["errors", "events", "testing", "requests"])
def test_all_is_complete(module: str) -> None:
    """`__all__` of a public module leaves out no public name defined for it."""
    loaded = import_module(f"ppinfra_async.{module}")
    names = getattr(loaded, "__all__", None)
    if names is None:
        return
    assert all(hasattr(loaded, name) for name in names)


def test_package_imports_without_heavy_parts() -> None:
    """`import ppinfra_async` and its client load neither Pillow, SQLite nor aiohttp's server."""
    code = (
        "import sys; from ppinfra_async import Client, Img2Img; "
        "print(*{'PIL', 'sqlite3', 'aiohttp.web', 'rich', 'cyclopts'} & set(sys.modules))"
    )
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured(),
    )

    assert done.stdout.strip() == ""


def test_pytest_plugin_imports_nothing_of_ours() -> None:
    """Pytest loads the plugin before coverage starts: it must not take modules with it."""
    code = (
        "import sys, ppinfra_async.testing.plugin; "
        "print(*sorted(m for m in sys.modules if m.startswith(('ppinfra_async', 'aiohttp'))))"
    )
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [
        "ppinfra_async",
        "ppinfra_async.testing",
        "ppinfra_async.testing.plugin",
    ]


def test_error_tree_has_one_root() -> None:
    """`except PPInfraError` catches everything of ours."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    ours = [cls for cls in classes if issubclass(cls, BaseException)]

    assert all(issubclass(cls, errors.PPInfraError) for cls in ours)

"""Runs a simulator as a child process that can be killed and started again; no test needs two."""

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import anyio
import orjson
from anyio import to_thread

from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._settings import Options, Settings

_PATIENCE = 10.0


class SimulatorProcess:
    """A simulator in a child process; ``with`` and ``async with`` start and end it.

    All methods block; call them with `anyio.to_thread.run_sync` from async code. After `kill`,
    `start` gives a new process on the same port; only a state file gives it the old tasks.

    Raises:
        ValueError: an option makes no sense.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        self._options: dict[str, Any] = {**options, "control": True}
        # The child would say so only on its standard error.
        Settings(**options)
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return str(self._options.get("api_key", "sk_simulator"))

    @property
    def pid(self) -> int | None:
        """The child's process id; None when it does not run."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child and wait until it listens; nothing happens where one runs.

        Raises:
            RuntimeError: it ended at once, for example because its port is taken.
        """
        self._start(threading.Event())

    def _start(self, given_up: threading.Event) -> None:
        if self._child is not None:
            return
        command = [sys.executable, "-m", "ppinfra_async.testing", *self._flags()]
        try:
            child = self._child = subprocess.Popen(  # noqa: S603  # our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            # Who gives up sets the flag and then looks for a child; here it is the other way round,
            # so that one of the two always sees it.
            line = b"" if given_up.is_set() else self._pipe(child.stdout).readline()
            if not line:
                raise RuntimeError(f"the simulator did not start: {' '.join(command)}")
        except BaseException:
            self.kill()
            raise
        self.url = line.decode().strip()
        self._options["port"] = urlsplit(self.url).port

    def kill(self) -> None:
        """End the child with SIGKILL (where there is one)."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            self._reap(child)

    def close(self) -> None:
        """End the child in order."""
        child, self._child = self._child, None
        if child is not None:
            # The child ends with its standard input.
            self._pipe(child.stdin).close()
            self._reap(child)

    def counters(self) -> Counters:
        """Ask the child for its counters."""
        return Counters(**self._ask("GET", "counters"))

    def tasks(self) -> list[dict[str, Any]]:
        """Ask the child for its tasks, in order, each as `TaskRecord`'s fields plus ``status``."""
        tasks: list[dict[str, Any]] = self._ask("GET", "tasks")
        return tasks

    def order(
        self, where: str, fault: str, *args: Any, times: int | None = 1, **kwargs: Any
    ) -> None:
        """Order a fault by the name of its `Fault` class method, with JSON arguments."""
        tree = {"where": where, "fault": fault, "args": args, "kwargs": kwargs, "times": times}
        self._ask("POST", "faults", orjson.dumps(tree))

    def _ask(self, method: str, what: str, body: bytes | None = None) -> Any:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, _PATIENCE)
        try:
            connection.request(method, f"/_simulator/{what}", body)
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status != http.client.OK:
            raise RuntimeError(f"the simulator answered {reply.status}: {text[:200]!r}")
        return orjson.loads(text)

    def _flags(self) -> list[str]:
        flags: list[str] = []
        for name, value in self._options.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            elif value is not None:
                flags.append(f"--{flag}={value}")
        return flags

    @staticmethod
    def _pipe(pipe: Any) -> Any:
        if pipe is None:  # pragma: no cover  # both are asked for
            raise RuntimeError("no pipe")
        return pipe

    def _reap(self, child: "subprocess.Popen[bytes]") -> None:
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            self._pipe(pipe).close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        given_up = threading.Event()
        try:
            await to_thread.run_sync(self._start, given_up)
        except BaseException:
            given_up.set()
            await _in_any_case(self.kill)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await _in_any_case(self.close)


async def _in_any_case(end: Callable[[], None]) -> None:
    """Let *end* run to its end in a thread, however often the caller is cancelled."""
    thread = threading.Thread(target=end, name="ppinfra-simulator-end")
    thread.start()
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(thread.join)


def simulator_process(**options: Unpack[Options]) -> SimulatorProcess:
    """Prepare a child process with these options (those that can be written as a flag)."""
    return SimulatorProcess(**options)

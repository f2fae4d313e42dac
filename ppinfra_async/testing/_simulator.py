"""Starts and stops the look-alike service, in this process, on two ports; its rules are elsewhere."""

import hashlib
import time
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Self, Unpack

import anyio
from anyio import to_thread
from attrs import evolve

from ppinfra_async.testing._api import Api
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._faults import Faults
from ppinfra_async.testing._gallery import Gallery
from ppinfra_async.testing._origin import Origin
from ppinfra_async.testing._results import ResultPage
from ppinfra_async.testing._service import Service
from ppinfra_async.testing._settings import Options, Settings
from ppinfra_async.testing._store import Store
from ppinfra_async.testing._tasks import TaskRecord
from ppinfra_async.testing._urls import Signer
from ppinfra_async.testing._workshop import Workshop


def _clock() -> float:
    return _EPOCH + time.perf_counter()


# Seconds since the epoch that never go back, from any thread and for any event loop.
_EPOCH = datetime.now(UTC).timestamp() - time.perf_counter()


class Simulator:
    """A look-alike of PPInfra's asynchronous image API on real sockets.

    Written from the service's documentation and published samples, not from this package's client.
    Give it `Settings`, or the same names as keywords, or both (keywords win)::

        async with Simulator(queue=0, processing="lognormal:3.8,0.3", images_per_minute=10) as s:
            ...  # s.url, s.api_key

    `start` and `stop` may be called again and again; tasks, counters, limits and ports stay. `stop`
    cuts all connections at once, as a kill would. Needs an asyncio event loop.

    Attributes:
        settings: what was chosen.
        counters: what has happened so far; live numbers.
        faults: where to order what shall go wrong.
    """

    def __init__(self, settings: Settings | None = None, /, **options: Unpack[Options]) -> None:
        self.settings = evolve(settings or Settings(), **options)
        self.counters = Counters()
        self.faults = Faults()
        self._store = None if self.settings.state is None else Store(self.settings.state)
        self._loaded = self._store is None
        self._running = False
        # Two starts at once would each open a pair of sockets.
        self._lock = anyio.Lock()
        # URLs signed before a restart must stay good after it.
        secret = hashlib.sha256(f"{self.settings.seed}{self.settings.api_key}".encode()).digest()
        signer = Signer(secret)
        self._page = ResultPage(self.settings, signer)
        self._service = Service(
            settings=self.settings,
            clock=self.settings.clock or _clock,
            counters=self.counters,
            page=self._page,
        )
        self._workshop = Workshop()
        self._api = self._origin_for_api()
        self._results = self._origin_for_results(signer)

    def _origin_for_api(self) -> Origin:
        api = Api(self.settings, self._service, self.faults, self.counters, self._store)
        return Origin(
            api.handle, on_connect=self._count_connection, keepalive=self.settings.keepalive
        )

    def _origin_for_results(self, signer: Signer) -> Origin:
        gallery = Gallery(
            settings=self.settings,
            service=self._service,
            faults=self.faults,
            counters=self.counters,
            signer=signer,
            workshop=self._workshop,
        )
        return Origin(
            gallery.handle, on_connect=self._count_download, keepalive=self.settings.keepalive
        )

    def _count_connection(self) -> None:
        self.counters.connections += 1

    def _count_download(self) -> None:
        self.counters.result_connections += 1

    # --- what a test looks at -------------------------------------------------------------

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self._url(self._api.port)

    @property
    def result_url(self) -> str:
        """The origin that serves results."""
        return self._url(self._results.port)

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return self.settings.api_key

    @property
    def tasks(self) -> MappingProxyType[str, TaskRecord]:
        """All accepted tasks by id, in the order of their acceptance; a live view.

        Forgotten ones leave it with the next submit, status call or download.
        """
        return MappingProxyType(self._service.book)

    @property
    def open_connections(self) -> int:
        """How many connections are open on both origins now."""
        return self._api.open_connections + self._results.open_connections

    def now(self) -> float:
        """Seconds since the epoch, on the clock of `TaskRecord`'s times."""
        return self._service.clock()

    def reset(self) -> None:
        """Forget tasks, counters, faults and what the limits have seen; keep ports and connections.

        With a state file this empties the file, which blocks for a moment.

        Raises:
            OSError: the state file cannot be written.
            ValueError: the state file is another's; nothing was forgotten.
        """
        if self._store is not None:
            # URLs of the time before must stay URLs of this origin.
            self._store.clear({"result_port": self._results.port})
        self._service.reset()
        self.counters.clear()
        self.faults.clear()

    # --- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; a second start takes the ports of the first.

        Raises:
            OSError: a port is taken, or the state file cannot be read or written.
            ValueError: the state file is another's, or damaged; it is left as it is.
        """
        async with self._lock:
            if self._api.listening and self._results.listening:
                return
            # A stop that was interrupted may have left something.
            await self._close()
            try:
                await self._listen()
            except BaseException:
                await self._close()
                raise
            self._running = True

    async def _listen(self) -> None:
        settings = self.settings
        await self._restore()
        await self._api.start(settings.host, settings.port, settings.receive_buffer)
        await self._results.start(settings.host, settings.result_port, settings.receive_buffer)
        self._page.origin = self.result_url
        if self._store is not None:
            await to_thread.run_sync(self._store.append, {"result_port": self._results.port})

    async def stop(self) -> None:
        """Cut all connections at once and stop listening; tasks live on for the next `start`.

        A cancellation does not stop it half way; it may be called again and again.
        """
        # Nothing is served from here on, whatever may interrupt the rest.
        self._cut()
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if not self._running:
                    return
                await self._close()
                if self._store is not None:
                    await to_thread.run_sync(self._store.append, {"counters": self.counters.tree()})
                self._running = False

    def _cut(self) -> None:
        self._api.cut()
        self._results.cut()
        self._workshop.cut()

    async def _close(self) -> None:
        self._cut()
        with anyio.CancelScope(shield=True):
            await self._api.stop()
            await self._results.stop()
            await self._workshop.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _restore(self) -> None:
        if self._loaded or self._store is None:
            return
        lines = await to_thread.run_sync(self._store.load)
        try:
            records = [self._service.read_record(line["task"]) for line in lines if "task" in line]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{self.settings.state} holds a damaged task; it was left as it is."
            ) from None
        await to_thread.run_sync(self._store.mend)
        self._loaded = True
        for record in records:
            self._service.restore(record)
        for line in lines:
            # URLs handed out by the process before point there.
            self._results.port = line.get("result_port", self._results.port)
            self.counters.raise_to(line.get("counters", {}))
        # A kill may have come between the counting and the writing of a task.
        self.counters.accepted = len(records)
        self.counters.images = sum(record.images for record in records)

    def _url(self, port: int) -> str:
        host = self.settings.host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

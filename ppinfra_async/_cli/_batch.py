"""``ppinfra batch``: a manifest or a folder of pictures, resumable; refuses to pay when a line is bad."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
from attrs import asdict, define, field

from ppinfra_async._cli._batch_options import Known, Pace
from ppinfra_async._cli._batch_report import BatchReporter, exit_of, exit_of_stop
from ppinfra_async._cli._batch_source import Source, source_of
from ppinfra_async._cli._batch_view import BatchView, status_line
from ppinfra_async._cli._clients import make_client
from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._options import FolderAsk, Printing, Service, limits
from ppinfra_async._cli._report import code_with_output
from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen, is_live
from ppinfra_async._client import Client
from ppinfra_async.batch import (
    Batch,
    BatchStoppedError,
    BatchSummary,
    Choices,
    JournalError,
    ManifestError,
    OutputError,
    StoppedError,
)
from ppinfra_async.requests import Img2Img

_TELL_EVERY = 15.0


def batch(
    manifest: Path | None,
    ask: FolderAsk,
    known: Known,
    pace: Pace,
    service: Service,
    printing: Printing,
    *,
    out: Path,
    images: str | None,
    allow_dir: tuple[Path, ...],
    check: bool,
) -> ExitCode:
    """Run the command.

    Raises:
        CommandError: something cannot be used; nothing was sent.
        InvalidRequestError: likewise.
    """
    source = source_of(manifest, images, ask, allow_dir, out)
    screen = printing.screen()
    reporter = BatchReporter(screen, source, out, as_json=printing.json)
    quota = limits(pace.images_per_minute)
    if check:
        # No key is needed to look, and none is sent anywhere.
        client = Client("not-a-key", base_url="http://127.0.0.1:9")
    else:
        client = make_client(service, limits=quota, on_event=reporter.on_event)
    job = Batch(
        client=client,
        manifest=source.manifest,
        folder=out,
        choices=Choices(**asdict(known)),
        max_in_flight=pace.max_in_flight,
        max_images=pace.max_images,
        patience=pace.patience,
        listeners=reporter.listeners,
        on_bad_line=reporter.bad_line,
        on_lines=reporter.lines,
    )
    reporter.progress = job.progress
    work = _Work(job, screen, reporter, source, quota.images_per_minute, check=check)
    return work.until_done()


@define(eq=False)
class _Work:
    """One run of the command."""

    batch: Batch
    screen: Screen
    reporter: BatchReporter
    source: Source
    quota: int | str
    check: bool = field(kw_only=True)
    _summary: BatchSummary | None = field(default=None, init=False)
    _code: ExitCode = field(default=ExitCode.DONE, init=False)

    def _quota_now(self) -> int | str:
        """Return the quota that was given or has been found out, or ``auto``."""
        if self.quota != "auto":
            return self.quota
        return self.batch.client.quota.state(Img2Img).limit or "auto"

    def until_done(self) -> ExitCode:
        began = time.perf_counter()
        view = BatchView(self.batch.progress, self._quota_now, lambda: self.reporter.notice)
        ending = run(self._work, self.screen, stop=self._stop, view=view)
        if self._summary is not None:
            self.reporter.summarize(self._summary, seconds=time.perf_counter() - began)
        elif ending.code is not ExitCode.DONE and ending.error is None and self.batch.plan:
            self.reporter.left_at_once()
        self.screen.drain()
        return code_with_output(ending.code or self._code, self.screen)

    async def _work(self) -> None:
        try:
            async with self.batch.client, anyio.create_task_group() as group:
                if not self.check:
                    group.start_soon(self._tell_now_and_then)
                await self._do()
                group.cancel_scope.cancel()
        except* StoppedError:
            self.screen.say("Stopped while the jobs were looked at. Nothing was sent or paid.")
        except* BatchStoppedError as stopped:
            self._note_stop(stopped)
        except* (ManifestError, JournalError, OutputError) as group_of_one:
            self._refuse(group_of_one)

    async def _do(self) -> None:
        if self.check:
            self.reporter.estimate(await self.batch.check(), self.quota)
            return
        self._summary = await self.batch.run()
        self._code = exit_of(self._summary)

    def _note_stop(self, stopped: BaseExceptionGroup[BatchStoppedError]) -> None:
        error = stopped.exceptions[0]
        assert isinstance(error, BatchStoppedError)  # noqa: S101  # nothing nests in there
        self._summary = error.summary
        self._code = exit_of_stop(error)
        self.reporter.stopped(error)

    def _refuse(self, group: BaseExceptionGroup[Exception]) -> None:
        error = group.exceptions[0]
        if isinstance(error, ManifestError) and error.count:
            count = f"{error.count} bad {'line' if error.count == 1 else 'lines'}"
            raise CommandError(f"{count} in {self.source.manifest.name}. Nothing was sent or paid.")
        raise CommandError(str(error)) from None

    async def _stop(self) -> None:
        self.screen.say(
            f"Stopping: nothing more is sent. Waiting up to {self.batch.patience:g} s for what is paid; "
            "Ctrl-C again leaves now, and nothing is lost."
        )
        self.batch.stop()

    async def _tell_now_and_then(self) -> None:
        if is_live():
            return
        while True:
            await anyio.sleep(_TELL_EVERY)
            now = anyio.current_time()
            self.screen.step(f"ppinfra: {status_line(self.batch.progress, self._quota_now(), now)}")

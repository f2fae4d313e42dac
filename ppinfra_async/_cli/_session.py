"""Carries a command's jobs out, from the key to the summary; refuses to know what they ask."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ppinfra_async._cli._clients import make_client, open_folder
from ppinfra_async._cli._jobs import Job, Runner
from ppinfra_async._cli._messages import ExitCode
from ppinfra_async._cli._options import Printing, Service
from ppinfra_async._cli._progress import JobsView
from ppinfra_async._cli._report import Reporter
from ppinfra_async._cli._running import run
from ppinfra_async.events import Event
from ppinfra_async.options import Limits


def carry_out(
    jobs: Sequence[Job],
    service: Service,
    printing: Printing,
    *,
    out: Path,
    limits: Limits | None = None,
) -> ExitCode:
    """Run *jobs* against the service, save their pictures in *out*, report everything.

    Raises:
        CommandError: something cannot be used; nothing was sent.
    """

    def heard(event: Event) -> None:
        runner.note(event)
        reporter.on_event(event)

    screen = printing.screen()
    reporter = Reporter(screen, jobs, as_json=printing.json)
    client = make_client(service, limits=limits, on_event=heard)
    runner = Runner(client, open_folder(out))
    reporter.follow(runner)
    is_new = any(job.request is not None for job in jobs)

    async def work() -> None:
        async with client:
            if not is_new or await runner.check(jobs):
                await runner.run(jobs)

    async def stop() -> None:
        screen.say(
            "Stopping: nothing more is sent. Ctrl-C again does not wait for what may be paid."
        )
        await runner.stop()

    began = time.perf_counter()
    view = JobsView(jobs, lambda: reporter.notice)
    ending = run(work, screen, stop=stop, view=view)
    runner.give_up(jobs)
    # A name to be replaced, but one that works as it stands.
    resume = ["--out", "elsewhere" if runner.is_unwritable else str(out)]
    if service.base_url is not None:
        resume += ["--base-url", service.base_url]
    code = reporter.summarize(
        ending,
        seconds=time.perf_counter() - began,
        others=[task.id for task in client.unfinished],
        resume=resume,
    )
    screen.drain()
    return code

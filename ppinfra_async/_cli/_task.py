"""``ppinfra task``: waits for tasks known by their id, or says how they stand; refuses to submit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from attrs import define

from ppinfra_async import errors
from ppinfra_async._cli._clients import make_client
from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._messages import CommandError, ExitCode, exit_code_of_all, one_line
from ppinfra_async._cli._options import Printing, Service
from ppinfra_async._cli._report import code_with_output, line_of_json
from ppinfra_async._cli._running import report, run
from ppinfra_async._cli._session import carry_out
from ppinfra_async._client import Client
from ppinfra_async._sansio.names import safe_stem
from ppinfra_async.events import Event, PollFailed
from ppinfra_async.options import Polling
from ppinfra_async.results import TaskUpdate


def task(
    task_ids: Sequence[str], service: Service, printing: Printing, *, out: Path, wait: bool
) -> ExitCode:
    """Run the command.

    Raises:
        CommandError: something cannot be used.
    """
    ids = list(dict.fromkeys(task_id.strip() for task_id in task_ids))
    if not ids or not all(ids):
        raise CommandError("Which task? Give its id: ppinfra task ID --out DIR.")
    if not wait:
        return _show(ids, service, printing)
    jobs = [Job(label=task_id, stem=safe_stem(task_id), task_id=task_id) for task_id in ids]
    return carry_out(jobs, service, printing, out=out)


def _show(ids: Sequence[str], service: Service, printing: Printing) -> ExitCode:
    """Say how tasks stand, without waiting for them."""
    screen = printing.screen()
    looks = [_Look(task_id) for task_id in ids]

    def heard(event: Event) -> None:
        if isinstance(event, PollFailed):
            next(look for look in looks if look.task_id == event.task_id).failed(event.error)

    # Nothing is known of how long these tasks take, and the person wants to know now.
    client = make_client(service, polling=Polling(max_interval=0.25), on_event=heard)

    failed: list[BaseException] = []

    async def work() -> None:
        async with client:
            for look in looks:
                try:
                    update = await look.by(client)
                except (errors.PPInfraError, CommandError) as error:
                    failed.append(error)
                    report(error, screen, about=look.task_id if len(looks) > 1 else "ppinfra")
                else:
                    screen.result(line_of_json(_tree(update)) if printing.json else _line(update))

    ending = run(work, screen)
    code = ending.code or exit_code_of_all(failed, done=len(looks) - len(failed))
    code = code_with_output(code, screen)
    screen.drain()
    return code


@define(eq=False)
class _Look:
    """One look at a task: the first answer counts, also when the service does not know the task."""

    task_id: str
    patience: float = 15.0
    trouble: errors.PPInfraError | None = None
    scope: anyio.CancelScope | None = None

    async def by(self, client: Client) -> TaskUpdate:
        """Return the service's first word about the task.

        Raises:
            CommandError: there was none.
            PPInfraError: the service knows no such task, or refuses to tell.
        """
        with anyio.move_on_after(self.patience) as self.scope:
            return await anext(client.attach(self.task_id).updates())
        if isinstance(self.trouble, errors.TaskNotFoundError):
            raise self.trouble
        words = "The service said nothing about the task."
        raise CommandError(self.trouble.message if self.trouble else words, ExitCode.SERVICE)

    def failed(self, error: errors.PPInfraError) -> None:
        """Take up why a status call brought nothing."""
        self.trouble = error
        if isinstance(error, errors.TaskNotFoundError) and self.scope is not None:
            # A client waits a little, for a task that was sent just now.
            self.scope.cancel()


def _tree(update: TaskUpdate) -> dict[str, Any]:
    return {
        "task_id": update.task_id,
        "status": update.status_text or update.status.value,
        "progress_percent": update.progress_percent,
        "eta": update.eta,
        "reason": update.reason,
        "seed": update.seed,
        "images": len(update.links),
    }


def _line(update: TaskUpdate) -> str:
    parts = [update.task_id, update.status_text or update.status.value]
    if update.progress_percent and not update.status.is_final:
        parts.append(f"{update.progress_percent:.0f} %")
    if update.reason:
        parts.append(update.reason)
    return one_line("  ".join(parts))

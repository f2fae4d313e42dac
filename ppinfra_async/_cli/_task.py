"""``ppinfra task``: waits for tasks known by their id, or says how they stand; refuses to submit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from ppinfra_async import errors
from ppinfra_async._cli._clients import make_client
from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._messages import CommandError, ExitCode, one_line
from ppinfra_async._cli._names import safe_stem
from ppinfra_async._cli._options import Printing, Service
from ppinfra_async._cli._report import line_of_json
from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen
from ppinfra_async._cli._session import carry_out
from ppinfra_async._client import Client
from ppinfra_async.events import Event, PollFailed
from ppinfra_async.results import TaskUpdate

_PATIENCE = 15.0


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
    trouble: dict[str, errors.PPInfraError] = {}

    def heard(event: Event) -> None:
        if isinstance(event, PollFailed):
            trouble[event.task_id] = event.error

    client = make_client(service, on_event=heard)

    async def work() -> None:
        async with client:
            for task_id in ids:
                await _show_one(client, task_id, screen, trouble, as_json=printing.json)

    return run(work, screen).code


async def _show_one(
    client: Client,
    task_id: str,
    screen: Screen,
    trouble: dict[str, errors.PPInfraError],
    *,
    as_json: bool,
) -> None:
    with anyio.move_on_after(_PATIENCE):
        update = await anext(client.attach(task_id).updates())
        screen.result(line_of_json(_tree(update)) if as_json else _line(update))
        return
    why = trouble.get(task_id) or errors.ServiceError("The service said nothing about the task.")
    raise CommandError(why.message, ExitCode.SERVICE)


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

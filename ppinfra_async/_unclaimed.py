"""Remembers the tasks that are paid and that nobody has received; refuses to wait for them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ppinfra_async._task import Task

_log = logging.getLogger("ppinfra_async")


class Unclaimed:
    """Known tasks whose end nobody has received, by their id."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All of them, the oldest first."""
        return tuple(self._tasks.values())

    def get(self, task_id: str) -> Task | None:
        """Return the handle of *task_id*, if it is one of them."""
        return self._tasks.get(task_id)

    def keep(self, task: Task) -> None:
        """Remember *task*, unless it is remembered already."""
        self._tasks.setdefault(task.id, task)

    def claim(self, task_id: str) -> None:
        """Forget a task: somebody has it."""
        self._tasks.pop(task_id, None)

    def set_aside(self, task: Task) -> Callable[[], None]:
        """Keep a task whose end waits to be taken; return what to call when it is.

        One that was kept before stays so: it goes on whoever has heard of it.
        """
        if task.id in self._tasks:
            return _nothing
        self._tasks[task.id] = task
        return lambda: self.claim(task.id)

    def log_left(self) -> None:
        """Log what is left when the client is closed, so that the ids are somewhere."""
        if self._tasks:
            _log.warning(
                "The client was closed with tasks that nobody has received (%d); paid, or may be: %s",
                len(self._tasks),
                ", ".join([task.id for task in self.tasks[:10]]),
            )


def _nothing() -> None:
    """Stand for a claim where there is nothing to claim."""

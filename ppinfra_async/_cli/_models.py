"""``ppinfra models``: lists what can be asked for; refuses to read further than it was told to."""

from __future__ import annotations

import sys
from typing import Any

from ppinfra_async._cli._clients import make_client
from ppinfra_async._cli._messages import CommandError, ExitCode, one_line
from ppinfra_async._cli._options import Printing, Service
from ppinfra_async._cli._report import code_with_output, line_of_json
from ppinfra_async._cli._running import run
from ppinfra_async._cli._screen import Screen
from ppinfra_async._client import Client
from ppinfra_async.results import Model


def models(
    service: Service, printing: Printing, *, kind: str | None, query: str | None, limit: int
) -> ExitCode:
    """Run the command.

    Raises:
        CommandError: something cannot be used.
    """
    if limit < 1:
        raise CommandError(f"--limit must be a whole number from 1, got {limit}.")
    screen = printing.screen()
    client = make_client(service)
    as_table = not printing.json and sys.stdout is not None and sys.stdout.isatty()
    found: list[Model] = []
    listing = _Listing(screen, printing, found, as_table=as_table)

    async def work() -> None:
        async with client:
            await listing.read(client, kind, query, limit)

    ending = run(work, screen)
    if as_table and found:
        _show_table(found)
    if ending.code is ExitCode.DONE:
        listing.conclude(limit)
    screen.drain()
    code = code_with_output(ending.code, screen)
    screen.drain()
    return code


class _Listing:
    """What was found so far, shown at once where it is not a table."""

    def __init__(
        self, screen: Screen, printing: Printing, found: list[Model], *, as_table: bool
    ) -> None:
        self._screen = screen
        self._printing = printing
        self._found = found
        self._as_table = as_table
        self._has_more = False

    async def read(self, client: Client, kind: str | None, query: str | None, limit: int) -> None:
        """Read until *limit* models fit, the end, or nobody reads on."""
        # Its own search is not documented, so it gets one word and we look for the others.
        word = max((query or "").split(), key=len, default=None)
        async for model in client.models(types=kind, query=word):
            if not fits(model, query):
                continue
            if len(self._found) == limit:
                self._has_more = True
                return
            self._found.append(model)
            if not self._as_table:
                self._screen.result(_line(model, as_json=self._printing.json))
                await self._screen.flush()
                if not self._screen.has_reader:
                    return

    def conclude(self, limit: int) -> None:
        """Say what the list itself does not."""
        if self._has_more:
            self._screen.say(f"There are more than {limit}: ask for them with --limit.")
        elif not self._found:
            self._screen.say("No model fits.")


def fits(model: Model, query: str | None) -> bool:
    """Tell whether every word of *query* is in what is known of the model."""
    text = " ".join((model.model_name, model.name, model.base_model, *model.tags)).casefold()
    return all(word in text for word in (query or "").casefold().split())


def columns(model: Model) -> tuple[str, str, str, str]:
    """Return what the list shows of a model."""
    kind = model.type if model.usable else f"{model.type} (not usable now)"
    return model.model_name, kind, model.base_model, model.name


def _line(model: Model, *, as_json: bool) -> str:
    if as_json:
        return line_of_json(tree(model))
    return "\t".join(one_line(column) for column in columns(model))


def tree(model: Model) -> dict[str, Any]:
    """Return a model as JSON."""
    return {
        "model_name": model.model_name,
        "type": model.type,
        "base_model": model.base_model,
        "name": model.name,
        "usable": model.usable,
        "is_sdxl": model.is_sdxl,
        "tags": list(model.tags),
    }


_ROOM_FOR_NAME = 24
_GAP = 2


def _show_table(found: list[Model]) -> None:
    """Draw the list; a model's name is never broken, because it is there to be copied."""
    from rich.console import Console  # noqa: PLC0415  # not needed when nobody looks
    from rich.table import Table  # noqa: PLC0415  # see above
    from rich.text import Text  # noqa: PLC0415  # see above

    headings = ["model_name", "type", "base model", "name"]
    rows = [list(map(one_line, columns(model))) for model in found]
    widths = [max(len(row[place]) for row in [headings, *rows]) + _GAP for place in range(3)]
    room = Console().width
    if room < sum(widths) + _ROOM_FOR_NAME:
        headings.pop()
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for heading in headings:
        style = "bold" if heading == "model_name" else None
        table.add_column(heading, no_wrap=True, overflow="ellipsis", style=style)
    for row in rows:
        table.add_row(*map(Text, row[: len(headings)]))
    # Rather wider than a narrow terminal than with names cut short.
    Console(width=max(room, sum(widths))).print(table)

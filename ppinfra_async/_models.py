"""Lists the service's models page by page; refuses to hold more than one page or to go in circles."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

import anyio

from ppinfra_async._background import Background
from ppinfra_async._sansio import wire
from ppinfra_async._sansio.retry import delay
from ppinfra_async._sansio.wire import HttpCall, TransportFailure
from ppinfra_async._transport import Transport
from ppinfra_async.errors import (
    InvalidRequestError,
    PPInfraError,
    ProtocolError,
    ServiceError,
    Violation,
)
from ppinfra_async.options import Retries
from ppinfra_async.results import Model

_log = logging.getLogger("ppinfra_async")

_FIRST = "c_0"
"""The documented cursor of the first page; leaving it out is the same."""


class ModelIterator:
    """Models, one by one. See ``Client.models``."""

    def __init__(
        self,
        transport: Transport,
        background: Background,
        retries: Retries,
        filters: Mapping[str, Any],
        *,
        page_size: int,
    ) -> None:
        if not 1 <= page_size <= 100:
            violation = Violation("page_size", page_size, "must be 1…100")
            raise InvalidRequestError.of("models", [violation])
        self._transport = transport
        self._background = background
        self._retries = retries
        self._filters = filters
        self._page_size = page_size
        self._page: list[Model] = []
        self._cursor: str | None = ""
        self._seen: set[str] = set()

    def __aiter__(self) -> ModelIterator:
        return self

    async def __anext__(self) -> Model:
        while not self._page:
            if self._cursor is None:
                raise StopAsyncIteration
            self._page, self._cursor = await self._next_page(self._cursor)
        return self._page.pop(0)

    async def _next_page(self, cursor: str) -> tuple[list[Model], str | None]:
        call = wire.models_call(self._filters, limit=self._page_size, cursor=cursor)
        page = wire.read_models(await self._reply_to(call))
        models, following = page.models, page.next_cursor
        if page.unreadable:
            _log.warning(
                "Entries of the list of models are left out, because they cannot be read (%d): %s",
                len(page.unreadable),
                page.unreadable[0],
            )
        if following in {"", cursor, _FIRST}:
            # The end is an absent, an empty or the same cursor; the first page follows no other.
            return models, None
        if following in self._seen:
            raise ProtocolError(f"The list of models goes in circles at cursor {following!r}.")
        self._seen.add(following)
        return models, following

    async def _reply_to(self, call: HttpCall) -> wire.HttpReply:
        attempt = 0
        while True:
            attempt += 1
            self._background.check()
            reply, error = await self._try(call)
            if reply is not None and reply.status != 429 and reply.status < 500:
                return reply
            wait = delay(
                self._retries,
                attempt=attempt,
                draw=random.random(),  # noqa: S311  # spreads retries, guards nothing
                retry_after=reply.retry_after if reply else None,
            )
            if wait is None:
                raise error or wire.error_of(reply or wire.HttpReply(status=0))
            await anyio.sleep(wait)

    async def _try(self, call: HttpCall) -> tuple[wire.HttpReply | None, PPInfraError | None]:
        try:
            return await self._transport.send(call), None
        except TransportFailure as failure:
            error = ServiceError(f"The models could not be listed: {failure.what}.", retryable=True)
            error.__cause__ = failure
            return None, error

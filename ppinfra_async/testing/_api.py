"""Serves the API's origin: reads requests, asks the rules, lets faults happen; decides nothing."""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import orjson
from aiohttp import web
from anyio import to_thread
from attrs import define, evolve, field

from ppinfra_async.testing._acts import perform, perform_early, respond
from ppinfra_async.testing._answers import Answer, RefusedError, error
from ppinfra_async.testing._bodies import read_body
from ppinfra_async.testing._control import Control
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._faults import Call, Fault, Faults
from ppinfra_async.testing._pictures import Examined, examine
from ppinfra_async.testing._ranges import Endpoint, Findings
from ppinfra_async.testing._service import Service
from ppinfra_async.testing._settings import Settings
from ppinfra_async.testing._store import Store
from ppinfra_async.testing._tasks import TaskRecord

# Bodies above this are parsed in a thread, bytes.
_SMALL = 256 * 1024


@define(eq=False)
class Api:
    """The routes of the API."""

    settings: Settings
    service: Service
    faults: Faults
    counters: Counters
    store: Store | None
    # Pictures are judged apart from the threads of the application under test.
    _judges: anyio.CapacityLimiter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._judges = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any kind."""
        path = request.path
        if request.method == "POST" and (endpoint := self.service.endpoints.get(path)) is not None:
            return await self._submit(request, endpoint)
        if request.method == "GET" and (route := _GETS.get(path)) is not None:
            return await route(self, request)
        if self.settings.control and path.startswith("/_simulator/"):
            control = Control(self.service, self.faults, self.counters)
            return respond(control.answer(request.method, path, await request.read()))
        return respond(error("API_NOT_FOUND", f"{request.method} {path}: not found"))

    def take(self, call: Call) -> Fault | None:
        """Take the ordered fault for a call, if any, and count it."""
        fault = self.faults.take(call)
        if fault is not None:
            self.counters.faults += 1
        return fault

    # --- submit ---------------------------------------------------------------------------

    async def _submit(self, request: web.BaseRequest, endpoint: Endpoint) -> web.StreamResponse:
        self.counters.submit_starts += 1
        try:
            self._check_key(request)
        except RefusedError as refusal:
            self.counters.refused += 1
            return respond(refusal.answer)
        call = Call("submit", self.counters.submit_starts, request.headers)
        fault = self.take(call)
        if fault is not None and fault.early and fault.kind != "slow_read":
            return await perform_early(fault, request)
        answer = Answer()
        try:
            raw = await read_body(
                request,
                self.settings.max_body_bytes,
                fault.amount if fault is not None and fault.kind == "slow_read" else None,
            )
            self.counters.submits += 1
            self.counters.body_bytes += len(raw)
            body = await _parse(request, raw)
            if fault is None and isinstance(body, dict):
                fault = self.take(evolve(call, body=body))
            if fault is None or fault.paid:
                answer = await self._accept(endpoint, body, fault.changes if fault else {})
        except RefusedError as refusal:
            self.counters.refused += 1
            answer = refusal.answer
        return await _finish(fault, request, answer)

    async def _accept(self, endpoint: Endpoint, body: Any, changes: Mapping[str, Any]) -> Answer:
        findings = self.service.check_body(endpoint, body)
        source = None
        if findings.pictures and not self.settings.tiny_images:
            source = await to_thread.run_sync(
                self._examine, endpoint, body["request"], findings, limiter=self._judges
            )
        record = self.service.accept(endpoint, body, source, changes)
        if self.store is not None:
            # Its record must be there before anybody can know of the task.
            await to_thread.run_sync(self._keep, self.store, record)
        return self.service.submitted(record)

    def _examine(
        self, endpoint: Endpoint, request: Mapping[str, Any], findings: Findings
    ) -> Examined | None:
        main = f"request.{endpoint.source}"
        source = None
        for path, text in findings.pictures.items():
            examined = examine(
                text,
                path,
                max_side=self.settings.max_image_side,
                max_bytes=self.settings.max_image_bytes,
                scale_to=(request["width"], request["height"]) if path == main else None,
            )
            source = examined if path == main else source
        return source

    def _keep(self, store: Store, record: TaskRecord) -> None:
        store.append({"task": record.tree(with_picture=True), "counters": self.counters.tree()})

    # --- the rest -------------------------------------------------------------------------

    async def poll(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``GET /v3/async/task-result``."""
        self.counters.polls += 1
        task_id = request.query.get("task_id")
        call = Call(
            "poll",
            self.counters.polls,
            request.headers,
            task=self.service.find(task_id or ""),
        )
        return await self._get(call, request, lambda: self.service.result(task_id))

    async def models(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``GET /v3/model``."""
        self.counters.models += 1
        call = Call("models", self.counters.models, request.headers)
        return await self._get(call, request, lambda: self.service.models(request.query))

    async def user(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``GET /v3/user``."""
        self.counters.users += 1
        call = Call("account", self.counters.users, request.headers)
        return await self._get(call, request, self.service.user)

    async def _get(
        self, call: Call, request: web.BaseRequest, truth: Callable[[], Answer]
    ) -> web.StreamResponse:
        try:
            self._check_key(request)
        except RefusedError as refusal:
            return respond(refusal.answer)
        fault = self.take(call)
        try:
            answer = truth()
        except RefusedError as refusal:
            answer = refusal.answer
        return await _finish(fault, request, answer)

    def _check_key(self, request: web.BaseRequest) -> None:
        self.service.check_key(request.headers.get("Authorization"))


Get = Callable[[Api, web.BaseRequest], Awaitable[web.StreamResponse]]
_GETS: Mapping[str, Get] = {
    "/v3/async/task-result": Api.poll,
    "/v3/model": Api.models,
    "/v3/user": Api.user,
}


async def _finish(
    fault: Fault | None, request: web.BaseRequest, answer: Answer
) -> web.StreamResponse:
    return respond(answer) if fault is None else await perform(fault, request, answer)


async def _parse(request: web.BaseRequest, raw: bytes | bytearray) -> Any:
    if request.content_type != "application/json":
        message = f"unregister Content-Type: {request.headers.get('Content-Type', '')}"
        raise RefusedError(error("INVALID_REQUEST_BODY", message))
    try:
        if len(raw) < _SMALL:
            return orjson.loads(raw)
        return await to_thread.run_sync(orjson.loads, raw)
    except orjson.JSONDecodeError as problem:
        raise RefusedError(
            error("INVALID_REQUEST_BODY", f"proto: syntax error: {problem}")
        ) from None

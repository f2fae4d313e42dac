"""Serves the results' origin like a storage service: signed URLs only, and never with a key."""

from collections import OrderedDict

from aiohttp import web
from anyio import to_thread
from attrs import define, field

from ppinfra_async.testing._acts import perform, respond
from ppinfra_async.testing._answers import Answer
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._faults import Call, Faults
from ppinfra_async.testing._painter import Commission, paint
from ppinfra_async.testing._results import parse_result_path, result_path
from ppinfra_async.testing._service import Service
from ppinfra_async.testing._settings import Settings
from ppinfra_async.testing._tasks import TaskRecord
from ppinfra_async.testing._tiny import tiny_image
from ppinfra_async.testing._urls import Signer

# Repeated downloads are common, large memories are not.
_KEPT = 16
_DEFAULT_STRENGTH = 0.5


@define(eq=False)
class Gallery:
    """Paints results when they are first asked for."""

    settings: Settings
    service: Service
    faults: Faults
    counters: Counters
    signer: Signer
    _painted: OrderedDict[str, bytes] = field(factory=OrderedDict, init=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one download."""
        self.counters.downloads += 1
        task_id, index = parse_result_path(request.path) or ("", -1)
        record = self.service.book.get(task_id)
        call = Call("download", self.counters.downloads, request.headers, task=record, index=index)
        fault = self.faults.take(call)
        answer = await self._answer(request, record, index)
        if fault is None:
            return respond(answer)
        self.counters.faults += 1
        return await perform(fault, request, answer)

    async def _answer(
        self, request: web.BaseRequest, record: TaskRecord | None, index: int
    ) -> Answer:
        if request.method != "GET":
            return Answer.xml(405, "MethodNotAllowed", "The specified method is not allowed.")
        refusal = self.signer.refuse(
            request.raw_path, self.service.clock(), authorized="Authorization" in request.headers
        )
        if refusal is not None:
            return refusal
        if (
            record is None
            or not 0 <= index < record.produced
            or request.path != result_path(record, index)
        ):
            return Answer.xml(404, "NoSuchKey", "The specified key does not exist.")
        record.downloads += 1
        body = await self._picture(record, index)
        return Answer(200, body, f"image/{record.image_type}")

    async def _picture(self, record: TaskRecord, index: int) -> bytes:
        if self.settings.tiny_images:
            return tiny_image(record.image_type, f"{record.task_id}:{index}")
        key = f"{record.task_id}:{index}"
        if key not in self._painted:
            # Nobody waits for a painting when the simulator stops.
            painted = await to_thread.run_sync(
                paint, _commission(record, index), abandon_on_cancel=True
            )
            self._painted[key] = painted
            if len(self._painted) > _KEPT:
                self._painted.popitem(last=False)
            return painted
        self._painted.move_to_end(key)
        return self._painted[key]


def _commission(record: TaskRecord, index: int) -> Commission:
    width, height = record.size
    strength = record.request.get("strength")
    return Commission(
        picture=record.picture,
        width=width,
        height=height,
        prompt=record.prompt,
        strength=_DEFAULT_STRENGTH if strength is None else strength,
        seed=record.seed + index,
        image_type=record.image_type,
    )

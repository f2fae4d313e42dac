"""Serves the results' origin like a storage service: signed URLs only, and never with a key."""

from aiohttp import web
from attrs import define

from ppinfra_async.testing._acts import perform, respond
from ppinfra_async.testing._answers import Answer
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._easel import Commission
from ppinfra_async.testing._faults import Call, Fault, Faults
from ppinfra_async.testing._results import parse_result_path, result_path
from ppinfra_async.testing._service import Service
from ppinfra_async.testing._settings import Settings
from ppinfra_async.testing._tasks import TaskRecord
from ppinfra_async.testing._tiny import tiny_image
from ppinfra_async.testing._urls import Signer
from ppinfra_async.testing._workshop import Workshop

_DEFAULT_STRENGTH = 0.5


@define(eq=False)
class Gallery:
    """Shows results; they are painted when they are first asked for."""

    settings: Settings
    service: Service
    faults: Faults
    counters: Counters
    signer: Signer
    workshop: Workshop

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one download."""
        self.counters.downloads += 1
        task_id, index = parse_result_path(request.path) or ("", -1)
        record = self.service.find(task_id)
        call = Call("download", self.counters.downloads, request.headers, task=record, index=index)
        fault = self.faults.take(call)
        self.counters.faults += fault is not None
        answer = self._refuse(request)
        if answer is None:
            answer = await self._show(request.path, record, index, fault)
        return respond(answer) if fault is None else await perform(fault, request, answer)

    def _refuse(self, request: web.BaseRequest) -> Answer | None:
        if request.method != "GET":
            return Answer.xml(405, "MethodNotAllowed", "The specified method is not allowed.")
        return self.signer.refuse(
            request.raw_path, self.service.clock(), authorized="Authorization" in request.headers
        )

    async def _show(
        self, path: str, record: TaskRecord | None, index: int, fault: Fault | None
    ) -> Answer:
        if record is None or not 0 <= index < record.produced or path != result_path(record, index):
            return Answer.xml(404, "NoSuchKey", "The specified key does not exist.")
        record.downloads += 1
        if fault is not None and not fault.needs_answer:
            return Answer()
        body = await self._picture(record, index)
        return Answer(200, body, f"image/{record.image_type}")

    async def _picture(self, record: TaskRecord, index: int) -> bytes:
        key = f"{record.task_id}:{index}"
        if self.settings.tiny_images:
            return tiny_image(record.image_type, key)
        return await self.workshop.picture(key, _commission(record, index))


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

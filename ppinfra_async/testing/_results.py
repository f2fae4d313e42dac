"""Words the answer about a task; decides neither its state nor whether it may be seen.

Fields and their loose types are those of
https://ppinfra.com/docs/models/reference-get-async-task-result and of published samples.
"""

import hashlib
import re
from typing import Any

import orjson
from attrs import define

from ppinfra_async.testing._settings import Honesty, Settings
from ppinfra_async.testing._tasks import TaskRecord
from ppinfra_async.testing._urls import Signer


@define
class ResultPage:
    """Shows tasks as task-result does; `origin` is where results are served."""

    settings: Settings
    signer: Signer
    origin: str = ""

    def tree(self, record: TaskRecord, now: float) -> dict[str, Any]:
        """Show *record* at a time."""
        status: str = record.status_at(now)
        if now < record.submitted_at + self.settings.unknown_for:
            status = "TASK_STATUS_UNKNOWN"
        done = status == "TASK_STATUS_SUCCEED"
        return {
            "extra": self._extra(record) if done else {},
            "task": {
                "task_id": record.task_id,
                "task_type": record.task_type,
                "status": status,
                "reason": record.reason if status == "TASK_STATUS_FAILED" else "",
                "eta": _shown(
                    self.settings.eta, round(max(0.0, record.finished_at - now), 3), done=done
                ),
                "progress_percent": _shown(
                    self.settings.progress, record.progress_at(now), done=done
                ),
            },
            "images": self._images(record, now) if done else [],
            "videos": [],
            "audios": [],
        }

    def _extra(self, record: TaskRecord) -> dict[str, Any]:
        # The seed is documented as text.
        extra: dict[str, Any] = {"seed": str(record.seed)}
        if record.extra.get("enable_nsfw_detection") is not None:
            extra["enable_nsfw_detection"] = record.extra["enable_nsfw_detection"]
        times = (record.submitted_at, record.started_at, record.finished_at)
        shown = [str(int(at * 1000)) if self.settings.debug_times else "" for at in times]
        extra["debug_info"] = {
            "request_info": _request_info(record) if self.settings.debug_times else "",
            "submit_time_ms": shown[0],
            "execute_time_ms": shown[1],
            "complete_time_ms": shown[2],
        }
        return extra

    def _images(self, record: TaskRecord, now: float) -> list[dict[str, Any]]:
        signed_at = now if self.settings.resign else record.finished_at
        ttl: int | str = int(self.settings.result_ttl)
        if self.settings.ttl_style != "int":
            ttl = "0" if self.settings.ttl_style == "zero" else str(ttl)
        images = []
        for index in range(record.produced):
            path = result_path(record, index)
            target = self.signer.sign(path, signed_at, self.settings.result_ttl)
            image: dict[str, Any] = {
                "image_url": f"{self.origin}{target}",
                "image_url_ttl": ttl,
                "image_type": record.image_type,
            }
            if record.extra.get("enable_nsfw_detection"):
                image["nsfw_detection_result"] = {"valid": True, "confidence": 97.5}
            images.append(image)
        return images


def result_path(record: TaskRecord, index: int) -> str:
    """Name one result on the result origin."""
    digest = hashlib.md5(f"{record.task_id}{index}".encode(), usedforsecurity=False).hexdigest()
    return f"/prod/{record.task_id}/{index}-{digest}.{record.image_type}"


def parse_result_path(path: str) -> tuple[str, int] | None:
    """Read task id and index out of such a name."""
    match path.split("/"):
        case ["", "prod", task_id, name] if index := re.match("[0-9]{1,3}(?=-)", name):
            return task_id, int(index[0])
        case _:
            return None


def _shown(honesty: Honesty, value: float, *, done: bool) -> float:
    return 0 if honesty == "zero" or (honesty == "zero_at_success" and done) else value


def _request_info(record: TaskRecord) -> str:
    request = record.request
    return orjson.dumps(
        {
            "model": request.get("model_name"),
            "prompts": [record.prompt],
            "negative_prompts": [request.get("negative_prompt") or ""],
            "seeds": [record.seed + index for index in range(record.produced)],
            "height": request.get("height"),
            "width": request.get("width"),
            "guidance_scale": request.get("guidance_scale"),
            "num_images_per_prompt": record.images,
            "num_inference_steps": request.get("steps"),
            "sampler_name": request.get("sampler_name"),
            "clip_skip": request.get("clip_skip"),
        }
    ).decode()

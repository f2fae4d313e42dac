"""How the public names are typed; read by type checkers, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from PIL.Image import Image

from ppinfra_async import (
    Client,
    Extra,
    GeneratedImage,
    ImageInput,
    Img2Img,
    Job,
    Lora,
    Model,
    Outcome,
    PPInfraError,
    Task,
    TaskResult,
    TaskStatus,
    TaskUpdate,
)
from ppinfra_async.batch import BatchSummary, run_batch
from ppinfra_async.requests import Request


def build(path: Path) -> Img2Img:
    return Img2Img(
        model_name="m.safetensors",
        image=path,
        prompt="a cat",
        sampler_name="Euler",
        loras=(Lora("a"),),
        extra=Extra(response_image_type="webp"),
    ).with_controlnet("c", b"picture bytes", preprocessor="canny")


async def use(client: Client, request: Img2Img) -> None:
    assert_type(request.with_lora("a", 0.7), Img2Img)
    assert_type(request.replace(steps=30), Img2Img)
    assert_type(ImageInput.from_path("a.png", fit=2048), ImageInput)
    assert_type(await client.check(request), Request)

    task = await client.submit(request)
    assert_type(task, Task)
    assert_type(task.id, str)
    assert_type(await task, TaskResult)
    assert_type(await task.result(timeout=3, decode=False), TaskResult)
    assert_type(client.attach("id"), Task)
    assert_type(client.unfinished, tuple[Task, ...])
    async for image in task.images():
        assert_type(image, GeneratedImage)
        assert_type(image.pil, Image)
        assert_type(await image.save("x"), Path)
        assert_type(await image.decode(), Image)
    async for update in task.updates():
        assert_type(update, TaskUpdate)
        assert_type(update.status, TaskStatus)

    result = await client.generate(request, timeout=60, decode=True)
    assert_type(result.images, tuple[GeneratedImage, ...])
    assert_type(result.seed, int | None)
    outcomes = await client.generate_many([request, Job(request, key="a")])
    assert_type(outcomes, list[Outcome])
    assert_type(outcomes[0].error, PPInfraError | None)
    assert_type(outcomes[0].result, TaskResult)
    async with client.map([request], max_in_flight=3, ordered=True, decode=False) as stream:
        async for outcome in stream:
            assert_type(outcome, Outcome)
            assert_type(outcome.task_id, str | None)
    summary = await run_batch(client, "jobs.jsonl", Path("out"), max_images=10)
    assert_type(summary, BatchSummary)
    async for model in client.models(types="lora"):
        assert_type(model, Model)


def handle(error: PPInfraError) -> None:
    assert_type(error.task_id, str | None)
    assert_type(error.retryable, bool)

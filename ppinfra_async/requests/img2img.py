"""``POST /v3/async/img2img``: a picture and a prompt become other pictures; refuses all I/O.

Fields and ranges: https://ppinfra.com/docs/models/reference-image-to-image
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from attrs import frozen

from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests._base import Request
from ppinfra_async.requests._checks import (
    as_member,
    as_picture,
    as_tuple,
    further_keys,
    integer,
    number,
    one_of,
    part,
    parts,
    picture,
    ruled,
    text,
)
from ppinfra_async.requests.parts import ControlNetUnit, Embedding, Extra, IPAdapter, Lora
from ppinfra_async.requests.values import Sampler


@frozen(kw_only=True)
class Img2Img(Request):
    """Generate pictures from a picture and a prompt.

    Building it reads no file. All broken rules are reported at once.

    Attributes:
        model_name: A checkpoint with its extension, as ``client.models(types="checkpoint")`` lists.
        image: The source; a path, bytes, a Pillow image or an ``ImageInput``. Each side at most
            2048 pixels, the file at most 30 MB; ``ImageInput.from_path(p, fit=2048)`` scales down.
        prompt: 1…1024 characters.
        width: 128…2048 pixels. None is the upright source's, scaled into the range and rounded to
            a multiple of 8.
        height: Like ``width``. With one of both given, the other keeps the source's proportions.
        image_num: 1…8 pictures; each counts against the quota and is paid.
        steps: 1…100.
        guidance_scale: 1…30.
        sampler_name: A ``Sampler`` or its name.
        negative_prompt: At most 1024 characters. None is not sent.
        strength: Above 0, at most 1; larger is further from the source. None leaves it to the service.
        seed: −1 (random) or more. None leaves it to the service, which picks one.
        clip_skip: 1…12. None is not sent.
        sd_vae: A VAE with its extension. None is not sent.
        loras: At most 5.
        embeddings: At most 5.
        controlnet: ControlNet units.
        ip_adapters: At most 1.
        extra: The ``extra`` object beside ``request``. None is not sent.
        more: Further keys for ``request``, sent as they are, for what we do not know yet.

    Raises:
        InvalidRequestError: with every violation as (path, value, rule).
    """

    path: ClassVar[str] = "/v3/async/img2img"

    model_name: str = ruled(text(1))
    image: ImageInput = ruled(picture(), converter=as_picture, wire="image_base64")
    prompt: str = ruled(text(1, 1024))
    width: int | None = ruled(integer(128, 2048), default=None)
    height: int | None = ruled(integer(128, 2048), default=None)
    image_num: int = ruled(integer(1, 8), default=1)
    steps: int = ruled(integer(1, 100), default=20)
    guidance_scale: float = ruled(number(1, 30), default=7.5)
    sampler_name: Sampler = ruled(
        one_of(Sampler), default=Sampler.EULER_A, converter=as_member(Sampler)
    )
    negative_prompt: str | None = ruled(text(0, 1024), default=None)
    strength: float | None = ruled(number(0, 1, above_low=True), default=None)
    seed: int | None = ruled(integer(-1), default=None)
    clip_skip: int | None = ruled(integer(1, 12), default=None)
    sd_vae: str | None = ruled(text(1), default=None)
    loras: tuple[Lora, ...] = ruled(parts(Lora, 5), default=(), converter=as_tuple)
    embeddings: tuple[Embedding, ...] = ruled(parts(Embedding, 5), default=(), converter=as_tuple)
    controlnet: tuple[ControlNetUnit, ...] = ruled(
        parts(ControlNetUnit), default=(), converter=as_tuple
    )
    ip_adapters: tuple[IPAdapter, ...] = ruled(parts(IPAdapter, 1), default=(), converter=as_tuple)
    extra: Extra | None = ruled(part(Extra), default=None)
    more: Mapping[str, Any] = further_keys()

    def with_lora(self, model_name: str, strength: float = 1.0) -> Self:
        """Return a copy with one more LoRA (a name without extension, strength 0…1)."""
        return self.replace(loras=(*self.loras, Lora(model_name, strength)))

    def with_embedding(self, model_name: str) -> Self:
        """Return a copy with one more textual inversion."""
        return self.replace(embeddings=(*self.embeddings, Embedding(model_name)))

    def with_controlnet(self, model_name: str, image: Any, **settings: Any) -> Self:
        """Return a copy with one more ControlNet unit; *settings* as in ``ControlNetUnit``."""
        unit = ControlNetUnit(model_name, image, **settings)
        return self.replace(controlnet=(*self.controlnet, unit))

    def with_ip_adapter(self, model_name: str, image: Any, strength: float = 1.0) -> Self:
        """Return a copy with one more IP-Adapter; the service takes one."""
        adapter = IPAdapter(model_name, image, strength)
        return self.replace(ip_adapters=(*self.ip_adapters, adapter))

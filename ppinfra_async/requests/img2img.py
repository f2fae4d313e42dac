"""``POST /v3/async/img2img``: a picture and a prompt become other pictures; refuses all I/O.

Fields and ranges: https://ppinfra.com/docs/models/reference-image-to-image
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from attrs import field, frozen

from ppinfra_async.inputs import ImageInput, ImageSource
from ppinfra_async.requests._base import Request
from ppinfra_async.requests._checks import (
    as_dict,
    as_member,
    as_picture,
    as_tuple,
    integer,
    json_object,
    number,
    one_of,
    part,
    parts,
    picture,
    rule,
    text,
)
from ppinfra_async.requests.parts import ControlNetUnit, Embedding, Extra, IPAdapter, Lora
from ppinfra_async.requests.values import Sampler


def _as_sampler(value: Sampler | str) -> Sampler:
    return cast(Sampler, as_member(Sampler, value))


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

    model_name: str = field(metadata=rule(text(1)))
    image: ImageInput = field(converter=as_picture, metadata=rule(picture(), wire="image_base64"))
    prompt: str = field(metadata=rule(text(1, 1024)))
    width: int | None = field(default=None, metadata=rule(integer(128, 2048)))
    height: int | None = field(default=None, metadata=rule(integer(128, 2048)))
    image_num: int = field(default=1, metadata=rule(integer(1, 8)))
    steps: int = field(default=20, metadata=rule(integer(1, 100)))
    guidance_scale: float = field(default=7.5, metadata=rule(number(1, 30)))
    sampler_name: Sampler = field(
        default=Sampler.EULER_A, converter=_as_sampler, metadata=rule(one_of(Sampler))
    )
    negative_prompt: str | None = field(default=None, metadata=rule(text(0, 1024)))
    strength: float | None = field(default=None, metadata=rule(number(0, 1, above_low=True)))
    seed: int | None = field(default=None, metadata=rule(integer(-1)))
    clip_skip: int | None = field(default=None, metadata=rule(integer(1, 12)))
    sd_vae: str | None = field(default=None, metadata=rule(text(1)))
    loras: tuple[Lora, ...] = field(default=(), converter=as_tuple, metadata=rule(parts(Lora, 5)))
    embeddings: tuple[Embedding, ...] = field(
        default=(), converter=as_tuple, metadata=rule(parts(Embedding, 5))
    )
    controlnet: tuple[ControlNetUnit, ...] = field(
        default=(), converter=as_tuple, metadata=rule(parts(ControlNetUnit))
    )
    ip_adapters: tuple[IPAdapter, ...] = field(
        default=(), converter=as_tuple, metadata=rule(parts(IPAdapter, 1))
    )
    extra: Extra | None = field(default=None, metadata=rule(part(Extra)))
    more: Mapping[str, Any] = field(
        factory=dict, converter=as_dict, hash=False, metadata=rule(json_object())
    )

    def with_lora(self, model_name: str, strength: float = 1.0) -> Self:
        """Return a copy with one more LoRA (a name without extension, strength 0…1)."""
        return self.replace(loras=(*self.loras, Lora(model_name, strength)))

    def with_embedding(self, model_name: str) -> Self:
        """Return a copy with one more textual inversion."""
        return self.replace(embeddings=(*self.embeddings, Embedding(model_name)))

    def with_controlnet(self, model_name: str, image: ImageSource, **settings: Any) -> Self:
        """Return a copy with one more ControlNet unit; *settings* as in ``ControlNetUnit``."""
        unit = ControlNetUnit(model_name, image, **settings)
        return self.replace(controlnet=(*self.controlnet, unit))

    def with_ip_adapter(self, model_name: str, image: ImageSource, strength: float = 1.0) -> Self:
        """Return a copy with one more IP-Adapter; the service takes one."""
        adapter = IPAdapter(model_name, image, strength)
        return self.replace(ip_adapters=(*self.ip_adapters, adapter))

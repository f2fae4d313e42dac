"""Values that hypothesis draws: texts that hurt, JSON of any shape, requests, replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from hypothesis import strategies as st

from ppinfra_async import (
    ControlNetUnit,
    Embedding,
    Extra,
    ImageInput,
    ImageType,
    Img2Img,
    IPAdapter,
    Lora,
    Sampler,
)
from ppinfra_async._sansio.wire import HttpReply
from ppinfra_async.requests import Webhook, WebhookTestMode

# What breaks naive JSON building, each by itself.
_HOSTILE = (
    "\0", '"', '"\0"', "\\", "\\u0000", "\\0", "}", '"}', '{"', "\n", "\x7f", "\ufeff", "\u2028",
    "é", "猫", "🐱", "👩‍🚀", "\U0010ffff", "data:image/png;base64,",
)  # fmt: skip

draws = st.floats(0, 1, exclude_max=True)
"""Random numbers as the library's callers bring them."""


def texts(least: int = 0, most: int = 4) -> st.SearchStrategy[str]:
    """Text of *least*…*most* pieces, rich in what hurts."""
    piece = st.sampled_from(_HOSTILE) | st.characters(exclude_categories=["Cs"])
    return st.lists(piece, min_size=least, max_size=most).map("".join)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts(0, 3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(texts(0, 2), children, max_size=3)
    ),
    max_leaves=4,
)
"""Any JSON that both sides can carry."""

json_objects = st.dictionaries(texts(1, 3), json_values, max_size=3)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


_shares = st.floats(0, 1)
_webhooks = st.builds(
    Webhook,
    url=texts(1),
    test_mode=optional(
        st.builds(WebhookTestMode, enabled=st.booleans(), return_task_status=texts(1))
    ),
)

# No field of ours begins with an "x".
_more = st.dictionaries(texts(1, 3).map("x{}".format), json_values, max_size=2)

extras = st.builds(
    Extra,
    response_image_type=optional(st.sampled_from(ImageType)),
    enable_nsfw_detection=optional(st.booleans()),
    nsfw_detection_level=optional(st.integers(0, 2)),
    webhook=optional(_webhooks),
    custom_storage=optional(json_objects),
    enterprise_plan=optional(json_objects),
    more=_more,
)


# One request may hold the same picture, as the same object, in several places.
_stock = st.lists(st.binary(max_size=20).map(ImageInput.from_bytes), min_size=1, max_size=3)
_pictures = st.shared(_stock, key="pictures").flatmap(st.sampled_from)
_loras = st.builds(Lora, model_name=texts(1), strength=_shares)
_embeddings = st.builds(Embedding, model_name=texts(1))
_adapters = st.builds(IPAdapter, model_name=texts(1), image=_pictures, strength=_shares)
_units = st.builds(
    ControlNetUnit,
    model_name=texts(1),
    image=_pictures,
    strength=_shares,
    preprocessor=optional(texts(1)),
    guidance_start=optional(_shares),
    guidance_end=optional(_shares),
)


def _img2img(fields: Mapping[str, Any]) -> Img2Img:
    return Img2Img(**fields)


img2imgs = st.fixed_dictionaries(
    {"model_name": texts(1), "image": _pictures, "prompt": texts(1, 12)},
    optional={
        "width": optional(st.integers(128, 2048)),
        "height": optional(st.integers(128, 2048)),
        "image_num": st.integers(1, 8),
        "steps": st.integers(1, 100),
        "guidance_scale": st.floats(1, 30) | st.integers(1, 30),
        "sampler_name": st.sampled_from(Sampler),
        "negative_prompt": optional(texts()),
        "strength": optional(st.floats(0, 1, exclude_min=True)),
        "seed": optional(st.integers(-1, 2**63 - 1)),
        "clip_skip": optional(st.integers(1, 12)),
        "sd_vae": optional(texts(1)),
        "loras": st.lists(_loras, max_size=2),
        "embeddings": st.lists(_embeddings, max_size=2),
        "controlnet": st.lists(_units, max_size=2),
        "ip_adapters": st.lists(_adapters, max_size=1),
        "extra": optional(extras),
        "more": _more,
    },
).map(_img2img)
"""Requests with some fields left alone."""


def changes(*trees: Any) -> st.SearchStrategy[Any]:
    """Copies of one of *trees* in which some part is something else."""
    return st.builds(_with_change, st.sampled_from(trees), st.randoms(), json_values)


def _with_change(tree: Any, random: Random, value: Any) -> Any:
    copied = json.loads(json.dumps(tree))
    place = copied
    while True:
        key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
            place = place[key]
            continue
        place[key] = value
        return copied


def replies(*trees: Any) -> st.SearchStrategy[HttpReply]:
    """Replies of any status and body: noise, any JSON, and *trees* with a part exchanged."""
    bodies = st.binary(max_size=40) | (json_values | changes(*trees)).map(_dumped)
    headers = st.dictionaries(
        st.sampled_from(["retry-after", "date", "x-trace-id", "x-request-id", "location"]),
        texts(0, 3) | st.sampled_from(["5", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"]),
        max_size=2,
    )
    statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 408, 429, 500])
    return st.builds(
        HttpReply, status=statuses | st.integers(100, 599), headers=headers, body=bodies
    )


def _dumped(tree: Any) -> bytes:
    return json.dumps(tree).encode()

"""The quotas of an account as a program sees and shares them."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from attrs import frozen

from ppinfra_async import AccountQuota, Client, Img2Img, Limits
from ppinfra_async.errors import RateLimitedError
from ppinfra_async.requests import Request
from ppinfra_async.testing import Simulator
from tests.pictures import draw_picture

KEY = "sk_simulator"
PICTURE = draw_picture(16, 16, "PNG")


@frozen(kw_only=True)
class Elsewhere(Request):
    """A request for another endpoint."""

    path: ClassVar[str] = "/v3/async/elsewhere"


def asking(images: int) -> Img2Img:
    return Img2Img(
        model_name="dreamshaper_8_93211.safetensors",
        image=PICTURE,
        prompt="a cat",
        image_num=images,
    )


async def test_pinned_quota_shows_what_is_used_and_free() -> None:
    """From the first call on, for each endpoint on its own."""
    quota = AccountQuota(Limits(images_per_minute=10))
    state = quota.state(Img2Img)

    assert (state.limit, state.is_pinned, state.used, state.free) == (10, True, 0, 10)
    assert quota.estimate(Img2Img, 10) == 0
    assert 60 <= quota.estimate(Img2Img, 11) <= 61
    assert quota.waiting(Img2Img) == 0


async def test_unknown_quota_promises_nothing() -> None:
    """Neither a limit nor a wait."""
    state = AccountQuota().state(Img2Img)

    assert (state.limit, state.free, state.is_pinned) == (None, None, False)
    assert AccountQuota().estimate(Img2Img, 1000) == 0


async def test_endpoints_have_their_own() -> None:
    """The service meters each of them."""
    quota = AccountQuota(Limits(images_per_minute=10))
    quota.queue(Img2Img.path).accepted(await quota.queue(Img2Img.path).enter(0, 4, None))

    assert quota.state(Img2Img).used == 4
    assert quota.state(Elsewhere).used == 0


async def test_clients_share_a_quota(simulator: Simulator) -> None:
    """What one of them submits counts for the other."""
    pinned = Limits(images_per_minute=4)
    async with (
        Client(KEY, base_url=simulator.url, limits=pinned) as first,
        Client(KEY, base_url=simulator.url, quota=first.quota) as second,
    ):
        await first.submit(asking(3))

        assert second.quota.state(Img2Img).used == 3
        assert second.quota.state(asking(1)).free == 1
        assert 55 < second.quota.estimate(Img2Img, 2) <= 61


async def test_learned_limit_is_shown() -> None:
    """After the first refusal there is one; what was accepted is counted."""
    async with (
        Simulator(images_per_minute=12, tiny_images=True) as small,
        Client(KEY, base_url=small.url, limits=Limits(max_wait=5)) as client,
    ):
        for images in (8, 3, 1):
            await client.submit(asking(images))
        with pytest.raises(RateLimitedError, match="turn"):
            await client.submit(asking(1))
        state = client.quota.state(Img2Img)

    assert (state.limit, state.accepted) == (12, 3)
    assert state.refused >= 1
    assert not state.is_pinned


async def test_state_can_be_read_from_any_thread() -> None:
    """A display draws in a thread of its own, where no event loop runs."""
    quota = AccountQuota(Limits(images_per_minute=10))
    queue = quota.queue(Img2Img.path)
    queue.accepted(await queue.enter(queue.ticket(), 4, None))

    state = await asyncio.to_thread(quota.state, Img2Img)

    assert (state.used, state.free) == (4, 6)
    assert 55 < await asyncio.to_thread(quota.estimate, Img2Img, 7) < 61


def test_contradicting_limits_are_refused() -> None:
    """A quota that is shared has one limit."""
    quota = AccountQuota(Limits(images_per_minute=10))

    with pytest.raises(ValueError, match="is 20, but the quota that is shared has 10"):
        Client(KEY, limits=Limits(images_per_minute=20), quota=quota)
    assert Client(KEY, limits=Limits(images_per_minute=10), quota=quota).quota is quota
    assert Client(KEY, limits=Limits(max_wait=1), quota=quota).quota is quota


async def test_repr_names_limits_and_endpoints() -> None:
    """For logs."""
    quota = AccountQuota()
    quota.queue("/v3/async/img2img")

    assert "/v3/async/img2img" in repr(quota)
    assert "auto" in repr(quota)

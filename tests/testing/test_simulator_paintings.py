"""Who paints results, how often and until when; and how different the images of a batch look."""

import asyncio
import io
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from PIL import Image, ImageChops, ImageStat

from ppinfra_async.testing import Fault, Simulator
from ppinfra_async.testing._easel import Commission, StoppedError
from ppinfra_async.testing._painter import paint
from ppinfra_async.testing._styles import STYLES
from ppinfra_async.testing._workshop import Workshop
from tests.pictures import draw_picture
from tests.waiting import until

if TYPE_CHECKING:
    from tests.testing.conftest import Bare

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0}


def commission(style: str = "neon", seed: int = 1, side: int = 128) -> Commission:
    return Commission(
        picture=None,
        width=side,
        height=side,
        prompt=style,
        strength=0.5,
        seed=seed,
        image_type="png",
    )


async def test_all_who_ask_for_a_picture_share_one_painting() -> None:
    """They get the very same file, and so does who comes later."""
    workshop = Workshop()
    files: list[bytes] = []

    async def ask() -> None:
        files.append(await workshop.picture("a", commission()))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    await ask()
    assert len(files) == 9
    assert all(file is files[0] for file in files)


async def test_one_who_no_longer_waits_does_not_spoil_it_for_the_others() -> None:
    """Not even if it was the first to ask."""
    workshop = Workshop()
    first, second = (
        asyncio.ensure_future(workshop.picture("a", commission(seed=seed))) for seed in (1, 2)
    )
    await asyncio.sleep(0)
    first.cancel()
    file = await second
    assert first.cancelled()
    # It is the painting that was begun for the first.
    assert file == await to_thread.run_sync(paint, commission(seed=1))


async def test_a_painting_that_fails_is_tried_again() -> None:
    """The next who asks is not told of the failure before."""
    workshop = Workshop()
    broken = Commission(
        picture=b"none", width=8, height=8, prompt="", strength=1, seed=1, image_type="png"
    )
    with pytest.raises(OSError, match="cannot identify"):
        await workshop.picture("a", broken)
    assert await workshop.picture("a", commission())


async def test_a_painting_given_up_before_it_began_can_be_asked_for_again() -> None:
    """A stop may come in the same turn of the loop as the first who asks."""
    workshop = Workshop()
    early = asyncio.ensure_future(workshop.picture("a", commission()))
    await asyncio.sleep(0)
    await workshop.stop()
    with pytest.raises(asyncio.CancelledError):
        await early
    assert await workshop.picture("a", commission())


async def test_painters_leave_the_threads_of_the_application_alone() -> None:
    """However many pictures are asked for, anyio's own limit is untouched."""
    workshop = Workshop()
    tasks = [
        asyncio.ensure_future(workshop.picture(str(number), commission())) for number in range(50)
    ]
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert not all(task.done() for task in tasks)
    assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
    await workshop.stop()


async def test_finished_pictures_are_kept_within_a_bound() -> None:
    """Oldest first out; the last one stays, however large."""
    workshop = Workshop(kept_bytes=1)
    first = await workshop.picture("a", commission())
    assert await workshop.picture("a", commission()) is first
    await workshop.picture("b", commission())
    assert await workshop.picture("a", commission()) is not first


@pytest.mark.parametrize("style", list(STYLES))
def test_a_painter_stops_between_its_steps(style: str) -> None:
    """As soon as the flag is seen, and it is looked at several times."""
    looks = 0

    def stopped() -> bool:
        nonlocal looks
        looks += 1
        return looks == wanted

    for wanted in range(1, 5):
        looks = 0
        with pytest.raises(StoppedError):
            paint(commission(style), stopped)
        assert looks == wanted


async def test_a_stop_waits_for_no_painting(bare: "Connect") -> None:
    """All that are begun are given up, and another life paints again."""
    simulator = Simulator(**FAST)
    async with simulator:
        client = bare(simulator)
        task_id = await client.submit(width=2048, height=2048, prompt="oil", image_num=8)
        urls = [image["image_url"] for image in (await client.finished(task_id))["images"]]
        workshop = simulator._workshop
        flag = workshop._stopped
        downloads = [asyncio.ensure_future(client.download(url)) for url in urls]
        with anyio.fail_after(5):
            while not workshop._in_work:  # noqa: ASYNC110  # nothing announces it
                await anyio.sleep(0.001)
    ends = await asyncio.gather(*downloads, return_exceptions=True)
    assert any(isinstance(end, aiohttp.ClientError) for end in ends)
    assert (flag.is_set(), workshop._in_work) == (True, {})
    async with simulator:
        url = await client.image_url()
        assert (await client.download(url)).status == 200


@pytest.mark.parametrize(
    ("fault", "painted"),
    [
        (Fault.status(403), False),
        (Fault.html(200), False),
        (Fault.not_an_image(), False),
        (Fault.cut_after_read(), False),
        (Fault.endless(b"GIF89a"), False),
        (Fault.cut_in_reply(5), True),
        (Fault.endless(), True),
    ],
)
async def test_nothing_is_painted_for_a_fault_that_shows_nothing(
    fault: Fault,
    painted: bool,  # noqa: FBT001  # one column of the table
    bare: "Connect",
) -> None:
    """The download counts all the same."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        simulator.faults.order("download", fault, times=None)
        download = asyncio.create_task(client.download(url))
        if painted:
            await until(lambda: bool(simulator._workshop._done))
        else:
            await asyncio.wait([download], timeout=0.3)
        download.cancel()
        await asyncio.gather(download, return_exceptions=True)
        (record,) = simulator.tasks.values()
        assert record.downloads > 0
        assert bool(simulator._workshop._done) is painted


@pytest.mark.parametrize("style", ["oil", "watercolor", "sketch", "poster", "neon", "glass"])
def test_the_images_of_a_batch_look_different(style: str) -> None:
    """Neighbouring seeds differ by more than a few levels in the mean."""
    source = draw_picture(200, 160, "PNG")

    def painted(seed: int) -> Image.Image:
        data = paint(
            Commission(
                picture=source,
                width=200,
                height=160,
                prompt=style,
                strength=0.5,
                seed=seed,
                image_type="png",
            )
        )
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")

    images = [painted(seed) for seed in range(100, 104)]
    for one, other in itertools.combinations(images, 2):
        means = ImageStat.Stat(ImageChops.difference(one, other)).mean
        assert sum(means) / len(means) > 4.5

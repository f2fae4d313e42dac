"""Input pictures: looked at before anything is sent, and sent as they are wherever possible."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from attrs import frozen
from PIL import Image

from ppinfra_async import Client, ControlNetUnit, ImageInput, IPAdapter
from ppinfra_async._threads import WorkerThreads
from ppinfra_async._uploads import Prepared, prepare
from ppinfra_async.errors import InvalidRequestError
from ppinfra_async.events import Event, InputReencoded
from ppinfra_async.requests import Request
from ppinfra_async.testing import Simulator
from tests.conftest import FAST_POLLING
from tests.pictures import draw_picture
from tests.requesting import img2img

CONTROLNET = "control_v11p_sd15_canny"


async def looked_at(image: Any, **fields: Any) -> Prepared:
    return await prepare(img2img(image=image, **fields), WorkerThreads(1))


async def refusal(image: Any) -> str:
    """Return what is said about *image*, without the frame around it."""
    with pytest.raises(InvalidRequestError) as caught:
        await looked_at(image)
    (violation,) = caught.value.violations
    assert violation.path == "image"
    return str(violation)


def sent_bytes(prepared: Prepared) -> bytes:
    (upload,) = prepared.uploads.values()
    assert upload.data is not None
    assert upload.size == len(upload.data)
    return upload.data


def as_file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


# --- what is sent -----------------------------------------------------------------------------------


@pytest.fixture
async def strict_simulator() -> AsyncIterator[Simulator]:
    """A simulator that looks into the pictures it gets."""
    async with Simulator() as running:
        yield running


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_upright_file_is_sent_byte_for_byte(
    strict_simulator: Simulator, tmp_path: Path, kind: str
) -> None:
    """What lies on disk is what the service gets, and no event says otherwise."""
    data = draw_picture(200, 160, kind)
    path = tmp_path / "cat.anything"
    path.write_bytes(data)
    events: list[Event] = []
    async with Client(
        strict_simulator.api_key, base_url=strict_simulator.url, on_event=events.append
    ) as client:
        task = await client.submit(img2img(image=path))

    record = strict_simulator.tasks[task.id]
    assert record.picture_sha256 == hashlib.sha256(data).hexdigest()
    assert not [event for event in events if isinstance(event, InputReencoded)]


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
async def test_other_format_is_sent_as_png_and_an_event_says_so(
    strict_simulator: Simulator, tmp_path: Path, kind: str
) -> None:
    """The service documents no format; what it writes itself it certainly reads."""
    path = tmp_path / f"cat.{kind.lower()}"
    path.write_bytes(draw_picture(200, 160, kind))
    events: list[Event] = []
    async with Client(
        strict_simulator.api_key, base_url=strict_simulator.url, on_event=events.append
    ) as client:
        await client.submit(img2img(image=path))

    assert events[0] == InputReencoded(
        path="image", name=str(path), why=f"{kind} format", size=(200, 160)
    )


async def test_turned_file_is_sent_upright_and_an_event_says_so(
    strict_simulator: Simulator, tmp_path: Path
) -> None:
    """A picture lying on its side would be a wasted payment."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(draw_picture(200, 160, "JPEG", orientation=6))
    events: list[Event] = []
    async with Client(
        strict_simulator.api_key, base_url=strict_simulator.url, on_event=events.append
    ) as client:
        task = await client.submit(img2img(image=path))

    record = strict_simulator.tasks[task.id]
    assert record.picture_sha256 != hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.request["width"], record.request["height"]) == (160, 200)
    assert events[0] == InputReencoded(
        path="image", name=str(path), why="EXIF orientation", size=(160, 200)
    )


@pytest.mark.parametrize("orientation", range(2, 9))
async def test_every_orientation_is_made_upright(orientation: int) -> None:
    """Red grows to the right and green to the bottom, however the camera was held."""
    upright = Image.open(io.BytesIO(draw_picture(200, 160, "PNG")))
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    prepared = await looked_at(as_file(upright.transpose(stored), exif=exif))

    sent = Image.open(io.BytesIO(sent_bytes(prepared)))
    assert sent.tobytes() == upright.tobytes()
    assert [event.why for event in prepared.reencoded] == ["EXIF orientation"]


async def test_fit_scales_down_and_keeps_the_proportions() -> None:
    """The longest side becomes `fit`, and an event names the size that is sent."""
    prepared = await looked_at(ImageInput.from_bytes(draw_picture(2100, 1050, "JPEG"), fit=2048))

    sent = Image.open(io.BytesIO(sent_bytes(prepared)))
    assert (sent.format, sent.size) == ("JPEG", (2048, 1024))
    assert prepared.reencoded == (
        InputReencoded(path="image", name="image bytes", why="fit", size=(2048, 1024)),
    )


async def test_fit_leaves_a_smaller_picture_alone() -> None:
    """Scaling up, or encoding again for nothing, would only lose."""
    data = draw_picture(200, 160, "JPEG")
    prepared = await looked_at(ImageInput.from_bytes(data, fit=2048))

    assert sent_bytes(prepared) == data
    assert prepared.reencoded == ()


async def test_fit_and_orientation_are_one_reencoding() -> None:
    """Both reasons stand in one event, and the size is that of the upright picture."""
    data = draw_picture(400, 300, "JPEG", orientation=8)
    prepared = await looked_at(ImageInput.from_bytes(data, fit=200))

    assert Image.open(io.BytesIO(sent_bytes(prepared))).size == (150, 200)
    assert [event.why for event in prepared.reencoded] == ["fit and EXIF orientation"]


async def test_fit_makes_a_file_shorter_that_is_only_too_long() -> None:
    """A file above the limit whose sides are small enough is encoded again when `fit` allows it."""
    data = draw_picture(200, 160, "PNG") + bytes(31 * 1024 * 1024)
    prepared = await looked_at(ImageInput.from_bytes(data, fit=2048))

    assert len(sent_bytes(prepared)) < 1024 * 1024
    assert [event.why for event in prepared.reencoded] == ["fit"]


async def test_small_file_is_read_when_it_is_looked_at(tmp_path: Path) -> None:
    """What was looked at is what is sent, whatever becomes of the file meanwhile."""
    data = draw_picture(200, 160, "PNG")
    path = tmp_path / "cat.png"
    path.write_bytes(data)

    prepared = await looked_at(path)
    path.write_bytes(b"something else")

    (upload,) = prepared.uploads.values()
    assert (upload.path, upload.data, upload.size, upload.name) == (
        None,
        data,
        len(data),
        str(path),
    )


async def test_bytes_and_files_are_not_held_twice(tmp_path: Path) -> None:
    """A file is read while it is sent; here only its size and age are noted."""
    data = draw_picture(200, 160, "PNG") + bytes(64 * 1024)
    path = tmp_path / "cat.png"
    path.write_bytes(data)

    (upload,) = (await looked_at(path)).uploads.values()
    assert (upload.path, upload.data, upload.size) == (path, None, len(data))
    assert upload.modified_ns == path.stat().st_mtime_ns
    (upload,) = (await looked_at(data)).uploads.values()
    assert upload.data is data


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "PA"])
async def test_pillow_images_of_all_modes_are_sent_as_png(
    strict_simulator: Simulator, mode: str
) -> None:
    """A `PIL.Image.Image` needs no file, and the service can read what it gets."""
    async with Client(strict_simulator.api_key, base_url=strict_simulator.url) as client:
        task = await client.submit(img2img(image=Image.new(mode, (200, 160))))

    assert strict_simulator.tasks[task.id].picture_sha256


async def test_pillow_image_right_from_a_file_is_sent_upright(tmp_path: Path) -> None:
    """`Image.open(photo)` and the photograph itself are the same picture."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(draw_picture(200, 160, "JPEG", orientation=6))
    with Image.open(path) as picture:
        prepared = await looked_at(picture)

    assert Image.open(io.BytesIO(sent_bytes(prepared))).size == (160, 200)
    assert (prepared.request.width, prepared.request.height) == (160, 200)  # type: ignore[attr-defined]  # of Img2Img


async def test_same_picture_in_two_places_is_looked_at_in_both() -> None:
    """One `ImageInput` may guide and be the source."""
    picture = ImageInput.from_bytes(draw_picture(200, 160, "PNG"))
    unit = ControlNetUnit(CONTROLNET, picture)
    prepared = await looked_at(picture, controlnet=[unit])

    assert list(prepared.uploads) == [id(picture)]


@frozen(kw_only=True)
class Plain(Request):
    """A request without a picture and without a size."""

    path: ClassVar[str] = "/v3/async/plain"


async def test_plain_bytes_wait_for_no_thread(tmp_path: Path) -> None:
    """Their header says all there is to know; a file, and what is unusual, is for a thread."""
    data = draw_picture(200, 160, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    threads = WorkerThreads(1)
    threads.limiter.acquire_on_behalf_of_nowait("somebody else")

    with anyio.fail_after(10):
        prepared = await prepare(img2img(image=data), threads)
    assert sent_bytes(prepared) == data
    assert prepared.request == img2img(image=data, width=200, height=160)
    for image in (tmp_path / "a.png", draw_picture(200, 160, "JPEG", orientation=6)):
        with anyio.move_on_after(0.02) as waiting:
            await prepare(img2img(image=image), threads)
        assert waiting.cancelled_caught


async def test_plain_bytes_break_the_same_rules() -> None:
    """What is too large is told like anything else."""
    assert "each side must be at most 2048 pixels" in await refusal(draw_picture(2049, 8, "PNG"))
    long = draw_picture(8, 8, "PNG") + bytes(31 * 2**20)
    assert "must be at most 30 MB" in await refusal(long)


async def test_request_without_pictures_is_ready_as_it_is() -> None:
    """There is nothing to look at and nothing to fill in."""
    request = Plain()
    prepared = await prepare(request, WorkerThreads(1))

    assert prepared.request is request
    assert (prepared.uploads, prepared.reencoded) == ({}, ())


# --- the output size --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "given", "asked"),
    [
        ((512, 512), {}, (512, 512)),
        ((515, 509), {}, (512, 512)),
        ((2048, 1000), {}, (2048, 1000)),
        ((64, 48), {}, (168, 128)),
        ((2000, 20), {}, (2048, 128)),
        ((800, 600), {"width": 400}, (400, 304)),
        ((800, 600), {"height": 300}, (400, 300)),
        ((800, 600), {"width": 555, "height": 777}, (555, 777)),
    ],
)
async def test_output_size_follows_the_source(
    source: tuple[int, int], given: dict[str, int], asked: tuple[int, int]
) -> None:
    """What a person typed is not touched; the rest is the source's size in the allowed range."""
    prepared = await looked_at(draw_picture(*source, "JPEG"), **given)
    request: Any = prepared.request

    assert (request.width, request.height) == asked


async def test_output_size_is_that_of_the_scaled_source() -> None:
    """With `fit`, the result is as large as what is sent."""
    picture = ImageInput.from_bytes(draw_picture(1200, 600, "JPEG"), fit=1024)
    request: Any = (await looked_at(picture)).request

    assert (request.width, request.height) == (1024, 512)


# --- what is refused --------------------------------------------------------------------------------


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat.png", draw_picture(8, 8, "PNG"))


@pytest.mark.parametrize(
    ("name", "make", "rule"),
    [
        ("missing.png", lambda _: None, "must be a readable file (No such file or directory)"),
        ("folder", Path.mkdir, "must be a picture file, but it is a folder"),
        ("pipe", os.mkfifo, "must be a picture file, but it is not a regular file"),
        ("empty.png", Path.touch, "must be a picture, but it is empty"),
        (
            "notes.txt",
            lambda path: path.write_text("buy milk"),
            "must be a picture, but it is text",
        ),
        (
            "page.png",
            lambda path: path.write_text("<html><body>404</body></html>"),
            "must be a picture, but it is an HTML page",
        ),
        (
            "cat.zip",
            make_zip,
            "must be a picture, but it is something that is not PNG, JPEG or WebP",
        ),
        (
            "half.png",
            lambda path: path.write_bytes(draw_picture(64, 48, "PNG")[:-20]),
            "must be a picture, but it is cut short",
        ),
        (
            "half.jpg",
            lambda path: path.write_bytes(draw_picture(64, 48, "JPEG")[:-20]),
            "must be a picture, but it is cut short",
        ),
        (
            "half.webp",
            lambda path: path.write_bytes(draw_picture(64, 48, "WEBP")[:-20]),
            "must be a picture, but it is a damaged webp",
        ),
        (
            "wide.png",
            lambda path: path.write_bytes(draw_picture(2049, 64, "PNG")),
            "each side must be at most 2048 pixels, but it has 2049 × 64: ask for scaling with fit=2048",
        ),
    ],
)
async def test_bad_file_is_told_in_one_sentence(
    tmp_path: Path, name: str, make: Callable[[Path], object], rule: str
) -> None:
    """What is wrong with a file and which file it is; nothing else, and no traceback of Pillow's."""
    path = tmp_path / "a folder with a very long name, as people have them on their disks" / name
    path.parent.mkdir()
    make(path)

    with pytest.raises(InvalidRequestError) as caught:
        await looked_at(path)

    assert str(caught.value) == f"Img2Img is not valid: image: {rule}, got '{path}'. [billed: no]"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that other users may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("closed", ["file", "folder"])
async def test_file_without_permission_is_told(own_folder: Path, closed: str) -> None:
    """The system's own words, for the file that it is about."""
    path = own_folder / "folder" / "secret.png"
    path.parent.mkdir()
    path.write_bytes(draw_picture(64, 48, "PNG"))
    (path if closed == "file" else path.parent).chmod(0)
    user = os.geteuid()
    if user == 0:
        # Root may read everything.
        os.seteuid(65534)
    try:
        said = await refusal(path)
    finally:
        os.seteuid(user)
        path.parent.chmod(0o755)

    assert said == f"image: must be a readable file (Permission denied), got '{path}'"


async def test_path_that_cannot_be_one_is_told() -> None:
    """A name with a zero byte in it is no name."""
    assert await refusal(Path("cat\0.png")) == (
        "image: must be a readable file (not a usable path), got 'cat\\x00.png'"
    )


async def test_file_that_is_too_long_is_told_with_the_remedy(tmp_path: Path) -> None:
    """The limit is 30 MB of file, whatever the picture's sides."""
    path = tmp_path / "huge.png"
    path.write_bytes(draw_picture(64, 48, "PNG"))
    os.truncate(path, 32 * 1024 * 1024)

    assert await refusal(path) == (
        "image: must be at most 30 MB, but it has 32.0 MB: ask for scaling with fit=2048, "
        f"got '{path}'"
    )


async def test_file_of_exactly_the_limit_is_sent(tmp_path: Path) -> None:
    """30 MB are allowed, one byte more is not."""
    path = tmp_path / "large.png"
    path.write_bytes(draw_picture(64, 48, "PNG"))
    os.truncate(path, 30 * 1024 * 1024)
    assert (await looked_at(path)).uploads

    os.truncate(path, 30 * 1024 * 1024 + 1)
    assert "must be at most 30 MB, but it has 30.0 MB" in await refusal(path)


@pytest.mark.parametrize("data", [b"", b"buy milk"])
async def test_bad_bytes_are_told_without_being_shown(data: bytes) -> None:
    """Bytes have no name, and their content is nobody's business."""
    assert (await refusal(data)).endswith(f", got <{len(data)} bytes>")


async def test_closed_pillow_image_is_told() -> None:
    """An image whose file was closed has no pixels any more."""
    picture = Image.open(io.BytesIO(draw_picture(64, 48, "PNG")))
    picture.close()

    said = await refusal(picture)
    assert said.startswith("image: must be a picture, but it cannot be encoded (")
    assert said.endswith("), got 'Pillow image'")


async def test_all_bad_pictures_are_told_at_once(simulator: Simulator, tmp_path: Path) -> None:
    """Each with its place in the request, and nothing is submitted."""
    request = img2img(
        image=tmp_path / "one.png",
        controlnet=[
            ControlNetUnit(CONTROLNET, tmp_path / "two.png"),
            ControlNetUnit(CONTROLNET, draw_picture(64, 48, "PNG")),
            ControlNetUnit(CONTROLNET, b"no picture"),
        ],
        ip_adapters=[IPAdapter("ip-adapter_sd15.bin", tmp_path)],
    )
    async with Client(simulator.api_key, base_url=simulator.url, polling=FAST_POLLING) as client:
        for use in (client.check, client.submit, client.generate):
            with pytest.raises(InvalidRequestError) as caught:
                await use(request)
            assert [violation.path for violation in caught.value.violations] == [
                "image",
                "controlnet[0].image",
                "controlnet[2].image",
                "ip_adapters[0].image",
            ]
        assert not client.unfinished

    assert simulator.counters.connections == 0

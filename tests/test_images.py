"""Result pictures: fetched, verified, decoded, saved. A wrong picture is never handed over."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import anyio
import anyio.lowlevel
import anyio.to_thread
import pybase64
import pytest
from attrs import define, field
from PIL import Image

from ppinfra_async import GeneratedImage, ImageType, Retries, TaskResult, TaskStatus
from ppinfra_async._images import MOST_BYTES, Images
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport import Fetched
from ppinfra_async.errors import BadImageError, DownloadError, ImageError, ResultExpiredError
from ppinfra_async.results import ImageLink, Nsfw
from ppinfra_async.testing import bomb_png
from tests.exchanges import Page
from tests.loops import run_in_virtual_time
from tests.pictures import draw_picture
from tests.scripted import ScriptedTransport
from tests.service import scripted_service, served

URL = "https://images.example/0.png?signature=secret"
PNG = draw_picture(64, 48, "PNG")

Answer = Page | TransportFailure


def images(*answers: Answer, attempts: int = 3) -> tuple[Images, ScriptedTransport]:
    """Return what gets pictures from a host that gives *answers*, the last one again and again."""
    left = list(answers)

    async def open_next() -> Page:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, TransportFailure):
            raise answer
        return answer

    service = scripted_service(pages={URL: open_next})
    return Images(service, Retries(attempts=attempts, max_wait=0), lambda: 0.5), service


async def got(*answers: Answer, decode: bool = True) -> GeneratedImage:
    source, _ = images(*answers)
    return await source.get(ImageLink(url=URL), 3, decode=decode)


async def refused(*answers: Answer, decode: bool = True) -> tuple[ImageError, int]:
    """Return the error of a picture that cannot be had, and how often it was asked for."""
    source, service = images(*answers)
    with pytest.raises(ImageError) as caught:
        await source.get(ImageLink(url=URL), 3, decode=decode)
    error = caught.value
    assert (error.index, error.billed) == (3, "yes")
    assert "secret" not in str(error)
    return error, len(service.fetched)


# --- what arrives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_picture_is_handed_over_with_what_its_bytes_say(kind: str) -> None:
    """Format and size are read from the bytes, whatever the host calls them; the bytes are untouched."""
    data = draw_picture(64, 48, kind)
    image = await got(served(data, content_type="text/plain"))

    assert (image.index, image.data, image.url) == (3, data, URL)
    assert image.format is ImageType(kind.lower())
    assert (image.width, image.height) == (64, 48)
    assert image.pil.tobytes() == Image.open(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
async def test_mode_and_alpha_are_kept(mode: str) -> None:
    """Nothing is converted behind the caller's back."""
    buffer = io.BytesIO()
    Image.new(mode, (16, 12), 77 if mode in {"L", "P"} else None).save(buffer, "PNG")

    assert (await got(served(buffer.getvalue()))).pil.mode == mode


async def test_body_may_come_in_any_pieces() -> None:
    """One byte at a time is as good as all at once, with or without a declared length."""
    pieces = [bytes([byte]) for byte in PNG]
    assert (await got(served(*pieces))).data == PNG
    assert (await got(served(*pieces, length="none"))).data == PNG


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{pybase64.b64encode(data).decode()}"


async def test_inline_picture_needs_no_download() -> None:
    """Some endpoints answer with the picture itself; it is verified all the same."""
    source, service = images(served(PNG))
    image = await source.get(ImageLink(inline=data_url(PNG), nsfw=Nsfw(valid=True)), 0, decode=True)

    assert (image.data, image.url, image.nsfw) == (PNG, None, Nsfw(valid=True))
    assert service.fetched == []
    for text, words in (
        (data_url(b"no picture"), "is text"),
        *(
            (data_url(draw_picture(8, 8, kind)), "not PNG, JPEG or WebP")
            for kind in ("BMP", "TIFF")
        ),
        (data_url(draw_picture(8, 8, "GIF")), "Image 0 is "),
        (data_url(PNG[:-30]), "is cut short"),
        ("data:,a", "is not base64"),
    ):
        with pytest.raises(BadImageError, match=words):
            await source.get(ImageLink(inline=text), 0, decode=False)


async def test_link_without_an_address_is_told() -> None:
    """A listed image that is nowhere cannot be had."""
    source, _ = images(served(PNG))
    with pytest.raises(BadImageError, match="without an address"):
        await source.get(ImageLink(), 0, decode=True)


# --- what does not ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_address_that_is_no_longer_served_is_not_asked_again(status: int) -> None:
    """An expired signature stays expired; a fresh address is somebody else's business."""
    error, asked = await refused(served(b"<Error/>", status=status))

    assert isinstance(error, ResultExpiredError)
    assert error.message == (
        f"Image 3 is no longer served (status {status}); addresses are valid for about an hour."
    )
    assert asked == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_passing_trouble_of_the_host_is_tried_again(status: int) -> None:
    """A download costs nothing, so it is tried as often as `Retries` says."""
    image = await got(served(b"", status=status), served(b"", status=status), served(PNG))
    assert image.data == PNG

    error, asked = await refused(served(b"", status=status))
    assert isinstance(error, DownloadError)
    assert (asked, error.retryable) == (3, True)
    assert error.message == (
        "Image 3 could not be downloaded from https://images.example/0.png?…: "
        f"the image host answered {status}."
    )


@pytest.mark.parametrize("status", [204, 206, 301, 400, 401, 405])
async def test_answer_that_will_not_change_is_told_at_once(status: int) -> None:
    """Only 200 is a picture, and a clear refusal is not asked again."""
    error, asked = await refused(served(PNG, status=status))

    assert isinstance(error, DownloadError)
    assert (asked, error.retryable) == (1, False)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (TransportFailure("the connection broke"), "the connection broke"),
        (served(PNG[:-30], length=len(PNG)), "the connection broke"),
        (served(PNG, length=len(PNG) - 30), "the picture is cut short"),
        (served(PNG[:-30], length="none"), "the picture is cut short"),
        (served(PNG[:-30]), "the picture is cut short"),
    ],
    ids=["no connection", "shorter than declared", "longer than declared", "cut", "cut, declared"],
)
async def test_incomplete_bytes_are_fetched_again(answer: Answer, what: str) -> None:
    """Half a picture is never handed over, and the next try may bring all of it."""
    assert (await got(answer, answer, served(PNG))).data == PNG

    error, asked = await refused(answer, decode=False)
    assert isinstance(error, DownloadError)
    assert what in error.message
    assert asked == 3
    if isinstance(answer, TransportFailure):
        assert error.__cause__ is answer


@define(slots=False)
class Miscounting(ScriptedTransport):
    """Breaks the promise that no picture ends before or after its declared length."""

    declared: list[int] = field(factory=list)

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Fetched]:
        async with super().fetch(url) as fetched:
            if self.declared:
                fetched.length = self.declared.pop()
            yield fetched


@pytest.mark.parametrize(
    ("data", "declared"),
    [(PNG[:-30], len(PNG)), (PNG, len(PNG) - 30)],
    ids=["shorter than declared", "longer than declared"],
)
async def test_bytes_are_counted_whatever_the_transport_promises(
    data: bytes, declared: int
) -> None:
    """Another number than was declared is no picture, and the next try may bring all of it."""
    service = Miscounting(pages={URL: served(data)}, declared=[declared] * 3)
    source = Images(service, Retries(attempts=3, max_wait=0), lambda: 0.5)
    with pytest.raises(DownloadError, match=f": {len(data)} of {declared} bytes arrived"):
        await source.get(ImageLink(url=URL), 3, decode=False)
    assert len(service.fetched) == 3

    service = Miscounting(pages={URL: served(PNG)}, declared=[declared + 1] * 2)
    source = Images(service, Retries(attempts=3, max_wait=0), lambda: 0.5)
    assert (await source.get(ImageLink(url=URL), 3, decode=False)).data == PNG


async def test_connection_that_breaks_in_the_middle_is_made_again() -> None:
    """A failure while reading is as passing as one before."""
    broken = TransportFailure("the image host sent nothing for 30 s")
    answer = served(PNG[:40], length=len(PNG), then=broken)
    assert (await got(answer, served(PNG))).data == PNG

    error, _ = await refused(answer)
    assert "sent nothing for 30 s" in error.message


@pytest.mark.parametrize(
    ("body", "content_type", "what"),
    [
        (b"<!DOCTYPE html><html>Sorry</html>", "text/html", "an HTML page (text/html)"),
        (b"<html>Sorry</html>", "image/png", "an HTML page (image/png)"),
        (b'{"code": 500}', "application/json", "JSON (application/json)"),
        (b"<?xml version='1.0'?><Error/>", "application/xml", "an XML document (application/xml)"),
        (b"try again later", "text/plain", "text (text/plain)"),
        (b"", "image/png", "nothing (image/png)"),
        (
            draw_picture(16, 12, "GIF"),
            "image/gif",
            "something that is not PNG, JPEG or WebP (image/gif)",
        ),
    ],
    ids=["page", "page called picture", "JSON", "XML", "text", "empty", "GIF"],
)
async def test_what_is_no_picture_is_named_and_not_asked_again(
    body: bytes, content_type: str, what: str
) -> None:
    """A page that says 200 is not an image."""
    error, asked = await refused(served(body, content_type=content_type), decode=False)

    assert isinstance(error, BadImageError)
    assert error.message == f"Image 3 is not a picture: the image host sent {what}."
    assert asked == 1


async def test_page_is_refused_by_its_beginning() -> None:
    """What is no picture is not read to its end."""
    endless = served(b"<html>" + b" " * 20, *[b"x"] * 1000, length="none")
    service = scripted_service(pages={URL: endless})
    with pytest.raises(BadImageError):
        await Images(service, Retries(), lambda: 0.5).get(ImageLink(url=URL), 0, decode=True)

    assert service.pieces_read == 1


async def test_declared_length_above_the_ceiling_is_not_read() -> None:
    """A length that no picture of the service has is refused before the first byte."""
    error, asked = await refused(served(PNG, length=MOST_BYTES + 1))

    assert isinstance(error, BadImageError)
    assert error.message == "Image 3 is longer than 134,217,728 bytes."
    assert asked == 1


async def test_endless_body_is_ended_at_the_ceiling() -> None:
    """Without a declared length the bytes themselves are counted."""
    # Zeros that are never written to take no memory.
    endless = served(PNG, bytes(MOST_BYTES), b"more", b"and more", length="none")
    service = scripted_service(pages={URL: endless})
    with pytest.raises(BadImageError) as caught:
        await Images(service, Retries(), lambda: 0.5).get(ImageLink(url=URL), 3, decode=True)

    assert caught.value.message == "Image 3 is longer than 134,217,728 bytes."
    assert (service.pieces_read, len(service.fetched)) == (2, 1)


def test_drip_that_would_never_end_is_given_up() -> None:
    """A byte now and then is progress to every single wait; a minute of it is enough."""
    dripping = Page(pieces=(PNG[:20], *[b"x"] * 1000), pause=5, length="none")
    service = scripted_service(pages={URL: dripping})
    source = Images(service, Retries(attempts=2, max_wait=0), lambda: 0.5)

    async def main() -> None:
        with pytest.raises(DownloadError, match="only 32 bytes in 65 s"):
            await source.get(ImageLink(url=URL), 3, decode=True)
        assert anyio.current_time() == 130

    run_in_virtual_time(main)


async def test_bomb_is_never_unpacked() -> None:
    """A small file that promises 900 million pixels is refused by its header, decoded or not."""
    for decode in (True, False):
        error, _ = await refused(served(bomb_png(30_000)), decode=decode)
        assert isinstance(error, BadImageError)
        assert "30000 × 30000 pixels" in error.message


async def test_damaged_pixels_are_found_by_decoding() -> None:
    """A file that is whole from outside may be damaged inside."""
    data = bytearray(draw_picture(200, 160, "PNG"))
    middle = data.index(b"IDAT") + 30
    data[middle : middle + 40] = bytes(40)

    error, _ = await refused(served(bytes(data)))
    assert error.message == "Image 3 is a damaged png."

    image = await got(served(bytes(data)), decode=False)
    with pytest.raises(BadImageError, match="is a damaged png"):
        await image.decode()


# --- pixels -----------------------------------------------------------------------------------------


async def test_pixels_never_come_by_themselves() -> None:
    """Without decoding, `pil` raises and names what to call; decoding is done once."""
    image = await got(served(PNG), decode=False)
    with pytest.raises(RuntimeError, match=r"await image\.decode\(\)"):
        _ = image.pil

    pixels = await image.decode()
    assert image.pil is pixels
    assert await image.decode() is pixels


async def test_heavy_work_waits_for_a_core() -> None:
    """Verifying, decoding and saving go through worker threads, one per core, and never the loop."""
    source, service = images(served(PNG))
    assert source.threads.limiter.total_tokens == os.cpu_count()
    cores = [object() for _ in range(os.cpu_count() or 1)]
    for core in cores:
        source.threads.limiter.acquire_on_behalf_of_nowait(core)
    done: list[GeneratedImage] = []

    async def get() -> None:
        done.append(await source.get(ImageLink(url=URL), 0, decode=True))

    async with anyio.create_task_group() as group:
        group.start_soon(get)
        await anyio.sleep(0.02)
        assert (len(service.fetched), len(done)) == (1, 0)
        source.threads.limiter.release_on_behalf_of(cores[0])

    assert done[0].pil.size == (64, 48)


async def test_plain_picture_that_is_not_decoded_waits_for_no_core() -> None:
    """Its header is verified in a few steps; anything else, and all decoding, is for a thread."""
    source, _ = images(served(PNG))
    for _ in range(os.cpu_count() or 1):
        source.threads.limiter.acquire_on_behalf_of_nowait(object())

    with anyio.fail_after(10):
        image = await source.get(ImageLink(url=URL), 0, decode=False)
    assert (image.format, image.width, image.height) == (ImageType.PNG, 64, 48)
    webp, _ = images(served(draw_picture(64, 48, "WEBP")))
    webp.threads = source.threads
    with anyio.move_on_after(0.02) as waiting:
        await webp.get(ImageLink(url=URL), 0, decode=False)
    assert waiting.cancelled_caught


async def test_few_downloads_run_at_once() -> None:
    """A batch with hundreds of pictures opens sixteen connections, not hundreds."""
    most = 0
    open_now = 0
    go_on = anyio.Event()

    async def open_it() -> Page:
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        if open_now == 16:
            go_on.set()
        await go_on.wait()
        await anyio.lowlevel.checkpoint()
        open_now -= 1
        return served(PNG)

    service = scripted_service(pages={URL: open_it})
    source = Images(service, Retries(), lambda: 0.5)
    async with anyio.create_task_group() as group:
        for index in range(50):
            group.start_soon(lambda at: source.get(ImageLink(url=URL), at, decode=False), index)

    assert (most, len(service.fetched)) == (16, 50)


# --- saving -----------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def picture(mode: str = "RGB", kind: str = "PNG") -> GeneratedImage:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(PNG)).convert(mode).save(buffer, kind)
    return await got(served(buffer.getvalue()))


@pytest.mark.parametrize(
    ("kind", "name", "saved_as"),
    [
        ("PNG", "cat.png", "cat.png"),
        ("PNG", "cat.PNG", "cat.PNG"),
        ("PNG", "cat", "cat.png"),
        ("JPEG", "cat", "cat.jpg"),
        ("WEBP", "cat", "cat.webp"),
        ("JPEG", "cat.jpeg", "cat.jpeg"),
        ("JPEG", "cat.JPG", "cat.JPG"),
        ("PNG", "cat.v1.5", "cat.v1.5.png"),
        ("PNG", "cat.h5", "cat.h5.png"),
        ("PNG", ".cat", ".cat.png"),
    ],
)
async def test_true_suffix_keeps_the_bytes(
    tmp_path: Path, kind: str, name: str, saved_as: str
) -> None:
    """Under its own suffix a picture is written as it came; a missing or unknown one is added."""
    image = await picture(kind=kind)
    path = await image.save(tmp_path / name)

    assert path == tmp_path / saved_as
    assert path.read_bytes() == image.data
    assert names(tmp_path) == [saved_as]


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("cat.jpg", "JPEG"), ("cat.webp", "WEBP"), ("cat.gif", "GIF"), ("cat.TIFF", "TIFF")],
)
async def test_other_suffix_converts(tmp_path: Path, name: str, format_name: str) -> None:
    """The file is what its name says."""
    path = await (await picture("RGBA")).save(tmp_path / name)

    with Image.open(path) as saved:
        assert (saved.format, saved.size) == (format_name, (64, 48))
    assert names(tmp_path) == [name]


async def test_jpeg_of_a_transparent_picture_is_laid_on_white(tmp_path: Path) -> None:
    """Transparency would be black otherwise."""
    buffer = io.BytesIO()
    Image.new("RGBA", (16, 12), (255, 0, 0, 0)).save(buffer, "PNG")
    path = await (await got(served(buffer.getvalue()))).save(tmp_path / "cat.jpg")

    with Image.open(path) as saved:
        assert saved.getpixel((3, 3)) == (255, 255, 255)


async def test_text_is_a_path_too(tmp_path: Path) -> None:
    """`save` takes what `open` takes."""
    assert await (await picture()).save(str(tmp_path / "cat")) == tmp_path / "cat.png"


async def test_saving_replaces_what_is_there(tmp_path: Path) -> None:
    """A second run overwrites the first."""
    path = tmp_path / "cat.png"
    path.write_bytes(b"an older picture")
    image = await picture()
    await image.save(path)

    assert path.read_bytes() == image.data
    assert names(tmp_path) == ["cat.png"]


async def test_reader_never_sees_half_a_picture(tmp_path: Path) -> None:
    """Whoever opens the file while it is replaced reads the old or the new one, whole."""
    path = tmp_path / "cat.png"
    first, second = await picture("RGB"), await picture("L")
    await first.save(path)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, read)
        for _ in range(6):
            await second.save(path)
            await first.save(path)
        stop.set()

    assert seen <= {first.data, second.data}


def test_picture_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """A machine that loses power leaves the older file or the new one, and never an empty one."""
    calls: list[str] = []

    def note(_: FrameType, event: str, function: object) -> None:
        # Only what the operating system is asked for: text can be replaced too.
        if event == "c_call" and getattr(function, "__module__", None) == os.name:
            calls.append(getattr(function, "__name__", ""))

    async def save() -> None:
        await (await picture()).save(tmp_path / "cat.png")

    # Threads look at it when they begin, and those of a new loop are new.
    before = threading.getprofile()
    threading.setprofile(note)
    try:
        asyncio.run(save())
    finally:
        threading.setprofile(before)

    assert [name for name in calls if name in {"fsync", "replace"}] == ["fsync", "replace"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("missing/cat.png", FileNotFoundError), ("file/cat.png", NotADirectoryError)],
)
async def test_folder_that_is_not_there_is_an_os_error(
    tmp_path: Path, name: str, kind: type[OSError]
) -> None:
    """Folders are not made on the side, and the system's error comes as it is."""
    (tmp_path / "file").touch()
    image = await picture()

    with pytest.raises(kind):
        await image.save(tmp_path / name)
    assert names(tmp_path) == ["file"]


async def test_failed_save_leaves_nothing(tmp_path: Path) -> None:
    """When the name is taken by a folder, the passing file is gone and the folder is there."""
    (tmp_path / "cat.png").mkdir()
    image = await picture()

    with pytest.raises(IsADirectoryError):
        await image.save(tmp_path / "cat.png")
    assert names(tmp_path) == ["cat.png"]


async def test_damaged_picture_is_not_converted(tmp_path: Path) -> None:
    """When the pixels cannot be had, nothing is written."""
    data = bytearray(draw_picture(200, 160, "PNG"))
    middle = data.index(b"IDAT") + 30
    data[middle : middle + 40] = bytes(40)
    image = await got(served(bytes(data)), decode=False)

    with pytest.raises(BadImageError) as caught:
        await image.save(tmp_path / "cat.jpg")
    assert caught.value.index == 3
    assert names(tmp_path) == []


async def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    """A saved picture is as readable as any other new file."""
    image = await picture()
    before = os.umask(0o027)
    try:
        path = await image.save(tmp_path / "cat.png")
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o640


# --- travelling -------------------------------------------------------------------------------------


async def test_picture_can_be_pickled() -> None:
    """It travels to another process with bytes and pixels, and leaves the client behind."""
    image = await picture("RGBA")
    there: GeneratedImage = pickle.loads(pickle.dumps(image))  # noqa: S301  # our own

    assert (there.index, there.data, there.format) == (image.index, image.data, ImageType.PNG)
    assert (there.width, there.height, there.url) == (64, 48, URL)
    assert there.pil.tobytes() == image.pil.tobytes()
    with pytest.raises(RuntimeError, match="made without a client"):
        await there.save("cat.png")


async def test_result_can_be_pickled() -> None:
    """A whole result travels, its errors included."""
    failed = ResultExpiredError("gone", task_id="t", index=1)
    result = TaskResult(
        task_id="t",
        status=TaskStatus.SUCCEED,
        seed=7,
        images=(await picture(),),
        failed=(failed,),
        raw={"task": {}},
    )
    there: TaskResult = pickle.loads(pickle.dumps(result))  # noqa: S301  # our own

    assert (there.task_id, there.status, there.seed) == ("t", TaskStatus.SUCCEED, 7)
    assert there.images[0].data == result.images[0].data
    assert isinstance(there.failed[0], ResultExpiredError)
    assert (there.failed[0].task_id, there.failed[0].index) == ("t", 1)

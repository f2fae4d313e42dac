"""``ppinfra demo``: four variations by a simulator in this process; refuses the network and the key."""

from __future__ import annotations

import shlex
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from attrs import define, field, frozen

from ppinfra_async import _pixels
from ppinfra_async._cli._drawing import draw_landscape
from ppinfra_async._cli._jobs import Job, Runner
from ppinfra_async._cli._messages import CommandError, ExitCode, command_name, one_line
from ppinfra_async._cli._options import Printing
from ppinfra_async._cli._page import Card, page
from ppinfra_async._cli._progress import JobsView
from ppinfra_async._cli._report import Reporter, code_with_output, line_of_json
from ppinfra_async._cli._running import run
from ppinfra_async._cli._saving import Folder
from ppinfra_async._cli._screen import Screen
from ppinfra_async._cli._simulate import MODEL
from ppinfra_async._client import Client
from ppinfra_async._sansio.names import numbered
from ppinfra_async._sansio.sizes import fitted_size
from ppinfra_async.errors import NotSentError, TaskTimeoutError
from ppinfra_async.events import Event
from ppinfra_async.inputs import ImageInput
from ppinfra_async.options import Network, Polling
from ppinfra_async.requests import Extra, ImageType, Img2Img
from ppinfra_async.testing import Settings, Simulator

_LONGEST_SIDE = 960
_DRAWN = "a drawn landscape"
# Long enough to see that something happens, short enough to wait for.
_SETTINGS = Settings(queue="uniform:0.3,0.9", processing="lognormal:1.5,0.3", seed=2)
_POLLING = Polling(max_interval=0.5)
_NOTE = (
    "These pictures come from a simulator on your machine, not from the service: no model was at "
    "work, only filters that depend on prompt, strength and seed. Nothing was sent and nothing was "
    "paid."
)


@frozen
class _Variation:
    name: str
    prompt: str
    strength: float
    seed: int


_VARIATIONS = (
    _Variation("oil", "an oil painting with thick strokes, warm evening light", 0.75, 7),
    _Variation("watercolour", "a watercolour on rough paper, light washes", 0.8, 4),
    _Variation("glass", "a stained glass window with leaded panes", 0.9, 5),
    _Variation("neon", "neon contours glowing in the night", 0.95, 3),
)


@frozen
class _Source:
    """The picture before.

    Attributes:
        name: What a person calls it.
        path: How to name it in a command.
        data: A JPEG that is upright and not too large.
    """

    name: str
    path: str
    data: bytes


@define(eq=False)
class _DemoReporter(Reporter):
    """Reports a demo's jobs; no money is in it, so nothing is said of money."""

    def end(self, job: Job) -> None:
        if job.error is None or not isinstance(job.error, TaskTimeoutError | NotSentError):
            super().end(job)


@define(eq=False)
class _Demo:
    """A simulator and a client of it on one event loop, and the jobs between them."""

    jobs: Sequence[Job]
    folder: Folder
    reporter: Reporter
    settings: Settings
    polling: Polling
    runner: Runner | None = field(default=None, init=False)

    async def work(self) -> None:
        simulator = Simulator(self.settings)
        try:
            await simulator.start()
        except OSError as error:
            raise CommandError(f"The simulator cannot start ({error.strerror}).") from None
        try:
            await self._ask(simulator)
        finally:
            with anyio.CancelScope(shield=True):
                await simulator.stop()

    async def _ask(self, simulator: Simulator) -> None:
        # No proxy: everything stays on this machine.
        async with Client(
            simulator.api_key,
            base_url=simulator.url,
            polling=self.polling,
            network=Network(proxy_from_env=False),
            on_event=self._heard,
        ) as client:
            self.runner = Runner(client, self.folder)
            self.runner.on_change, self.runner.on_end = self.reporter.step, self.reporter.end
            await self.runner.run(self.jobs)

    def _heard(self, event: Event) -> None:
        if self.runner is not None:
            self.runner.note(event)

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.stop()


def demo(
    image: Path | None,
    printing: Printing,
    *,
    out: Path,
    open_page: bool,
    settings: Settings = _SETTINGS,
    polling: Polling = _POLLING,
) -> ExitCode:
    """Run the command.

    Args:
        image: A picture file, or None to draw one.
        printing: What is shown.
        out: Name of a folder to make.
        open_page: Show the page in the browser.
        settings: How the simulator behaves.
        polling: How often it is asked.

    Raises:
        CommandError: the picture cannot be used, or nothing can be written.
    """
    screen = printing.screen()
    source = _Source(_DRAWN, "cat.png", draw_landscape()) if image is None else _read(image)
    folder = _new_folder(out)
    jobs = [_job(variation, source) for variation in _VARIATIONS]
    show = _Demo(jobs, folder, _DemoReporter(screen, jobs, as_json=False), settings, polling)
    if not printing.quiet:
        screen.say("A simulator on this machine makes four variations. Nothing is sent or paid.")
        screen.drain()
    began = time.perf_counter()
    ending = run(show.work, screen, stop=show.stop, view=JobsView(jobs, lambda: ""))
    done = [job for job in jobs if job.ended and job.error is None]
    if ending.code is not ExitCode.DONE or not done:
        return _without_page(ending.code, folder, screen)
    path = _write_page(folder, source, done)
    _conclude(screen, printing, path, source, done, seconds=time.perf_counter() - began)
    if open_page:
        webbrowser.open(path.resolve().as_uri())
    code = ExitCode.DONE if len(done) == len(jobs) else ExitCode.SOME_FAILED
    return _drained(code_with_output(code, screen), screen)


# --- before -------------------------------------------------------------------------------


def _read(image: Path) -> _Source:
    try:
        header = _pixels.read_header(image)
        size = fitted_size(header.upright_size, _LONGEST_SIDE)
        upright = _pixels.decode(_pixels.reencode(image, size))
        return _Source(image.name, str(image), _pixels.encode(upright, ImageType.JPEG))
    except _pixels.NotAPictureError as error:
        raise CommandError(f"{image}: it must be a picture, but it {error}.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CommandError(f"{image}: it cannot be read ({why}).") from None


def _new_folder(out: Path) -> Folder:
    try:
        return Folder.new(out)
    except OSError as error:
        raise CommandError(
            f"The folder {out} cannot be made ({error.strerror}): choose another with --out."
        ) from None


def _job(variation: _Variation, source: _Source) -> Job:
    request = Img2Img(
        model_name=MODEL,
        image=ImageInput.from_bytes(source.data),
        prompt=variation.prompt,
        strength=variation.strength,
        seed=variation.seed,
        extra=Extra(response_image_type=ImageType.JPEG),
    )
    return Job(label=variation.name, stem=variation.name, request=request)


# --- after --------------------------------------------------------------------------------


def _drained(code: ExitCode, screen: Screen) -> ExitCode:
    screen.drain()
    return code


def _without_page(code: ExitCode, folder: Folder, screen: Screen) -> ExitCode:
    """End without a page; a folder with nothing in it is not left behind."""
    with suppress(OSError):
        folder.path.rmdir()
    screen.say("There is no page, because the demo did not come to its end. Nothing was paid.")
    screen.drain()
    return code or ExitCode.SOME_FAILED


def _write_page(folder: Folder, source: _Source, done: Sequence[Job]) -> Path:
    try:
        folder.place(source.data, numbered("before", ".jpg"))
        text = page(
            source=one_line(source.name),
            before=source.data,
            before_type="image/jpeg",
            cards=[_card(job) for job in done],
            note=_NOTE,
            commands="\n".join(_commands(source)),
            generator=f"ppinfra-async {version('ppinfra-async')}",
        )
        return folder.place(text.encode(), numbered("index", ".html"))
    except OSError as error:
        raise CommandError(f"The page cannot be written ({error.strerror}).") from None


def _card(job: Job) -> Card:
    request = job.request
    assert isinstance(request, Img2Img)  # noqa: S101  # made above
    data = job.saved[0].read_bytes()
    size = _pixels.read_header(data).size
    return Card(
        prompt=request.prompt,
        picture=data,
        media_type="image/jpeg",
        size=size,
        facts=(
            ("strength", f"{request.strength:g}"),
            ("seed", str(job.seed)),
            ("steps", str(request.steps)),
            ("size", f"{size[0]} × {size[1]}"),
            ("time", f"{job.took or 0:.1f} s"),
        ),
    )


def _commands(source: _Source) -> list[str]:
    ppinfra, picture = command_name(), shlex.quote(one_line(source.path))
    return [
        "export PPINFRA_API_KEY=sk_…",
        f"{ppinfra} models --type checkpoint",
        f"{ppinfra} img2img {picture} --model MODEL --prompt 'an oil painting' --out pictures",
    ]


def _conclude(
    screen: Screen,
    printing: Printing,
    path: Path,
    source: _Source,
    done: Sequence[Job],
    *,
    seconds: float,
) -> None:
    pictures = [_tree(job) for job in done]
    tree = {"page": str(path), "before": str(path.with_name("before.jpg")), "images": pictures}
    screen.result(line_of_json({**tree, "simulated": True}) if printing.json else str(path))
    screen.say(
        f"{len(done)} variations of {source.name} in {seconds:.1f} s, made by a simulator on this "
        "machine, not by the service. Nothing was sent or paid."
    )
    screen.say(f"See before and after in a browser: {path.resolve().as_uri()}")
    screen.say("With a key, this is the real service, and costs money:")
    for command in _commands(source):
        screen.say(f"  {command}")
    screen.drain()


def _tree(job: Job) -> dict[str, Any]:
    request = job.request
    assert isinstance(request, Img2Img)  # noqa: S101  # made above
    return {
        "path": str(job.saved[0]),
        "prompt": request.prompt,
        "strength": request.strength,
        "seed": job.seed,
        "task_id": job.task_id,
    }

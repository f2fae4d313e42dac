"""Groups of options that several commands share, and what is made of them; refuses to act on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from attrs import asdict, frozen
from cyclopts import Group, Parameter

from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._screen import Screen
from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.inputs import BadInputError, ImageInput
from ppinfra_async.options import KEY_VARIABLES, Limits, Polling, Retries
from ppinfra_async.requests import Embedding, Extra, ImageType, Img2Img, Lora

_DEBUG_VARIABLE = "PPINFRA_DEBUG"

ASKED = Group("What is asked", sort_key=1)
SERVICE = Group("Service", sort_key=2)
OUTPUT = Group("Output", sort_key=3)

# A text that begins with a dash is a text, not an option.
_ANY_TEXT = Parameter(allow_leading_hyphen=True)
_REPEATED = Parameter(allow_leading_hyphen=True, negative="", show_default=False)
_SWITCH = Parameter(negative="", show_default=False)


@Parameter(name="*", group=ASKED)
@frozen(kw_only=True)
class Ask:
    """What every picture is asked for.

    Attributes:
        model: A checkpoint with its extension, as `ppinfra models` lists them.
        prompt: What the pictures should become, 1 to 1024 characters.
        negative_prompt: What they should not become.
        strength: Above 0, at most 1; larger is further from the source.
        image_num: Pictures per IMAGE, 1 to 8; each is paid.
        seed: -1 is random. With a seed the service draws the same pictures again.
        width: 128 to 2048 pixels. If not given, the source's, scaled into that range.
        height: Likewise.
        fit: Scale a source with a longer side than this down before it is sent; 2048 is the most
            that the service takes.
        steps: 1 to 100.
        guidance_scale: 1 to 30; larger follows the prompt more closely.
        sampler_name: Such as "Euler a" or "DPM++ 2M Karras".
        clip_skip: 1 to 12.
        sd_vae: A VAE with its extension.
        lora: NAME or NAME:STRENGTH, without extension; up to 5 times.
        embedding: A textual inversion; up to 5 times.
        response_image_type: png, webp or jpeg.
    """

    model: Annotated[str, Parameter(alias="--model-name")]
    prompt: Annotated[str, Parameter(alias="-p", allow_leading_hyphen=True)]
    negative_prompt: Annotated[str | None, _ANY_TEXT] = None
    strength: float | None = None
    image_num: Annotated[int, Parameter(alias="-n")] = 1
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    fit: int | None = None
    steps: int = 20
    guidance_scale: float = 7.5
    sampler_name: str = "Euler a"
    clip_skip: int | None = None
    sd_vae: str | None = None
    lora: Annotated[tuple[str, ...], _REPEATED] = ()
    embedding: Annotated[tuple[str, ...], _REPEATED] = ()
    response_image_type: str | None = None

    def request(self, picture: Path) -> Img2Img:
        """Return what is asked for one source picture.

        Raises:
            InvalidRequestError: with everything that is wrong.
        """
        broken: list[Violation] = []
        given = asdict(self)
        fields = {name: given[name] for name in _SAME_IN_IMG2IMG}
        fields["loras"] = tuple(_lora(text, broken) for text in self.lora)
        fields["embeddings"] = tuple(map(Embedding, self.embedding))
        fields["image"] = _picture(picture, self.fit, broken)
        try:
            if self.response_image_type is not None:
                fields["extra"] = Extra(response_image_type=ImageType(self.response_image_type))
        except ValueError:
            rule = "must be png, webp or jpeg"
            broken.append(Violation("response_image_type", self.response_image_type, rule))
        try:
            request = Img2Img(model_name=self.model, **fields)
        except InvalidRequestError as error:
            broken += error.violations
        if broken:
            raise InvalidRequestError.of("What was asked", broken)
        return request


@Parameter(name="*", group=ASKED)
@frozen(kw_only=True)
class FolderAsk(Ask):
    """What every picture is asked for, with --images.

    Attributes:
        model: A checkpoint with its extension, as `ppinfra models` lists them.
        prompt: What the pictures should become, 1 to 1024 characters.
    """

    model: Annotated[str | None, Parameter(alias="--model-name")] = None  # type: ignore[assignment]  # optional here
    prompt: Annotated[str | None, Parameter(alias="-p", allow_leading_hyphen=True)] = None  # type: ignore[assignment]  # see above


_SAME_IN_IMG2IMG = (
    "prompt", "negative_prompt", "strength", "image_num", "seed", "width", "height", "steps",
    "guidance_scale", "sampler_name", "clip_skip", "sd_vae",
)  # fmt: skip


def _picture(path: Path, fit: int | None, broken: list[Violation]) -> ImageInput:
    try:
        return ImageInput.from_path(path, fit=fit)
    except BadInputError as error:
        broken.append(Violation("fit", fit, str(error).removeprefix("fit ")))
        return ImageInput.from_path(path)


def _lora(text: str, broken: list[Violation]) -> Lora:
    name, colon, strength = text.rpartition(":")
    try:
        return Lora(name, float(strength)) if colon else Lora(text)
    except (ValueError, InvalidRequestError):
        rule = "must be NAME or NAME:STRENGTH, the strength 0…1"
        broken.append(Violation("lora", text, rule))
        return Lora("unusable")


@Parameter(name="*", group=SERVICE)
@frozen(kw_only=True)
class Service:
    """Which service.

    Attributes:
        base_url: Instead of https://api.ppinfra.com; the same as PPINFRA_BASE_URL.
        attempts: Tries before giving up on a service that cannot be reached.
    """

    base_url: str | None = None
    attempts: int = 5

    def retries(self) -> Retries:
        """Return how often to try.

        Raises:
            CommandError: when that is no number of tries.
        """
        try:
            return Retries(attempts=self.attempts)
        except ValueError:
            raise CommandError(f"--attempts must be 1 or more, got {self.attempts}.") from None

    def polling(self) -> Polling:
        """Return how to ask about tasks."""
        return Polling()


@Parameter(name="*", group=SERVICE)
@frozen(kw_only=True)
class TaskService(Service):
    """Which service, and how long to wait for its tasks.

    Attributes:
        timeout: Seconds to wait for one task; a longer one goes on, for `ppinfra task` to fetch.
    """

    timeout: float = 1800

    def polling(self) -> Polling:
        """Return how to ask about tasks, and how long.

        Raises:
            CommandError: when that is no time.
        """
        try:
            return Polling(total_deadline=self.timeout, processing_deadline=self.timeout)
        except ValueError:
            raise CommandError(
                f"--timeout must be above 0 seconds, got {self.timeout:g}."
            ) from None


@Parameter(name="*", group=OUTPUT)
@frozen(kw_only=True)
class Printing:
    """What is shown.

    Attributes:
        json: Put JSON on stdout, one document per line.
        quiet: Show no progress; errors and the summary stay.
        debug: Show tracebacks and log lines. PPINFRA_DEBUG=1 does the same.
    """

    json: Annotated[bool, _SWITCH] = False
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False
    debug: Annotated[bool, _SWITCH] = False

    def screen(self) -> Screen:
        """Return where the command writes."""
        return Screen(quiet=self.quiet, debug=self.debug or is_debugging())


def is_debugging() -> bool:
    """Tell whether the environment asks for tracebacks."""
    return os.environ.get(_DEBUG_VARIABLE, "") not in {"", "0"}


def limits(images_per_minute: str) -> Limits:
    """Read ``--images-per-minute``.

    Raises:
        CommandError: when it is neither ``auto`` nor a number.
    """
    try:
        return Limits() if images_per_minute == "auto" else Limits(
            images_per_minute=int(images_per_minute)
        )  # fmt: skip
    except ValueError:
        raise CommandError(
            f"--images-per-minute must be a whole number from 1 or 'auto', "
            f"got {images_per_minute!r}."
        ) from None


def require_key() -> None:
    """See whether there is a key to send.

    Raises:
        CommandError: saying where to put it.
    """
    if any(os.environ.get(name, "").strip() for name in KEY_VARIABLES):
        return
    raise CommandError(
        "There is no API key: put yours into the environment variable PPINFRA_API_KEY "
        "(export PPINFRA_API_KEY=sk_…); `ppinfra demo` needs none. Nothing was sent or paid.",
        ExitCode.ACCOUNT,
    )

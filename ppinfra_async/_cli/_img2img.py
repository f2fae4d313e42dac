"""``ppinfra img2img``: pictures and a prompt become other pictures; refuses to pay when one is bad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._messages import CommandError, ExitCode
from ppinfra_async._cli._options import Ask, Printing, Service, limits
from ppinfra_async._cli._session import carry_out
from ppinfra_async._sansio.names import stems_of


def img2img(
    images: Sequence[Path],
    ask: Ask,
    service: Service,
    printing: Printing,
    *,
    out: Path,
    images_per_minute: str,
) -> ExitCode:
    """Run the command.

    Raises:
        CommandError: something cannot be used; nothing was sent.
        InvalidRequestError: likewise.
    """
    jobs = jobs_of(images, ask)
    quota = limits(images_per_minute)
    if quota.images_per_minute != "auto" and ask.image_num > quota.images_per_minute:
        raise CommandError(
            f"--image-num {ask.image_num} can never fit --images-per-minute {images_per_minute}. "
            "Nothing was sent or paid."
        )
    return carry_out(jobs, service, printing, out=out, limits=quota)


def jobs_of(images: Sequence[Path], ask: Ask) -> list[Job]:
    """Return one job per picture.

    Raises:
        CommandError: there is no picture, or an address instead of one.
        InvalidRequestError: what is asked breaks a rule.
    """
    if not images:
        raise CommandError(
            "Which picture? Give at least one file: ppinfra img2img IMAGE... --model NAME "
            "--prompt TEXT --out DIR."
        )
    for image in images:
        _refuse_address(image)
    return [
        Job(label=str(image), stem=stem, request=ask.request(image))
        for image, stem in zip(images, stems_of(images), strict=True)
    ]


def _refuse_address(image: Path) -> None:
    # A path has lost one of the two slashes.
    if image.parts and image.parts[0] in {"http:", "https:"}:
        raise CommandError(
            f"{'//'.join((image.parts[0], '/'.join(image.parts[1:])))} is an address, and this "
            "command takes files: download it first. Nothing was sent or paid."
        )

"""Makes the manifest of ``ppinfra batch`` from a file or a folder; refuses to run it."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, field, fields, frozen

from ppinfra_async._cli._messages import CommandError
from ppinfra_async._cli._options import FolderAsk
from ppinfra_async.batch import Manifest


@frozen(kw_only=True)
class Source:
    """Where the jobs come from.

    Attributes:
        manifest: As the batch reads it.
        names: What messages call each line, from the first; empty for lines of a file.
    """

    manifest: Manifest
    names: Sequence[str] = field(factory=tuple)

    def name_of(self, number: int) -> str:
        """Return what messages call a line."""
        return self.names[number - 1] if self.names else f"{self.manifest.name}:{number}"


def source_of(
    manifest: Path | None, images: str | None, ask: FolderAsk, allow_dirs: Iterable[Path], out: Path
) -> Source:
    """Return where the jobs come from.

    Raises:
        CommandError: neither or both of manifest and images, or what makes no sense with them.
        InvalidRequestError: what is asked breaks a rule.
    """
    if (manifest is None) == (images is None):
        raise CommandError(
            "Give either a manifest (ppinfra batch jobs.jsonl --out DIR) or pictures (ppinfra batch "
            "--images 'in/*.png' --model NAME --prompt TEXT --out DIR), not both; a pattern stands in "
            "quotes. Nothing was sent or paid."
        )
    if images is not None:
        return _of_pictures(images, ask, list(allow_dirs), out)
    assert manifest is not None  # noqa: S101  # one of both
    _refuse_ask(ask)
    if not manifest.is_file():
        what = "is a folder" if manifest.is_dir() else "is not there"
        raise CommandError(f"The manifest {manifest} {what}. Nothing was sent or paid.")
    return Source(manifest=Manifest.from_file(manifest, allow_dirs=allow_dirs, fit=ask.fit))


def _refuse_ask(ask: FolderAsk) -> None:
    given = [
        one.name
        for one in fields(FolderAsk)
        if one.name != "fit" and getattr(ask, one.name) != one.default
    ]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise CommandError(
            f"{flags}: with a manifest each line says what it asks. These belong to --images. Nothing "
            "was sent or paid."
        )


def _of_pictures(pattern: str, ask: FolderAsk, allow_dirs: list[Path], out: Path) -> Source:
    for name in ("model", "prompt"):
        if getattr(ask, name) is None:
            raise CommandError(f"--images needs --{name}. Nothing was sent or paid.")
    folder = _fixed_part(pattern)
    found = sorted(
        path for path in glob.iglob(pattern, recursive=True) if not Path(path).is_dir()  # noqa: PTH207  # patterns may be absolute
    )  # fmt: skip
    if not found:
        raise CommandError(f"No picture matches --images {pattern}. Nothing was sent or paid.")
    _refuse_own_output(found, out)
    # Everything that all of them share is checked once, with the first picture.
    ask.request(Path(found[0]))
    tree = _tree(ask)
    objects = [{**tree, "image": _relative(path, folder)} for path in found]
    manifest = Manifest.from_objects(
        objects, folder, allow_dirs=allow_dirs, fit=ask.fit, name=f"--images {pattern}"
    )
    return Source(manifest=manifest, names=found)


def _fixed_part(pattern: str) -> Path:
    """Return the folder before the first wildcard."""
    parts = Path(pattern).parts
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _relative(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def _refuse_own_output(found: Iterable[str], out: Path) -> None:
    """Refuse sources in the output folder: the next run would take results for sources and pay."""
    real = out.resolve()
    inside = next((path for path in found if Path(path).resolve().is_relative_to(real)), None)
    if inside is not None:
        raise CommandError(
            f"{inside} is inside the output folder {out}: the next run would take its results for "
            "sources. Choose another --out. Nothing was sent or paid."
        )


def _tree(ask: FolderAsk) -> dict[str, Any]:
    """Return what every line says, as it would stand in a manifest."""
    request = ask.request(Path("picture"))
    return {name: value for name, value in _fields(request) if value not in (None, [], ())}


def _fields(request: Any) -> Iterator[tuple[str, Any]]:
    same = (
        "model_name", "prompt", "negative_prompt", "strength", "image_num", "seed", "width", "height",
        "steps", "guidance_scale", "clip_skip", "sd_vae",
    )  # fmt: skip
    yield from ((name, getattr(request, name)) for name in same)
    yield "sampler_name", str(request.sampler_name)
    yield "loras", [asdict(lora) for lora in request.loras]
    yield "embeddings", [asdict(embedding) for embedding in request.embeddings]
    if request.extra is not None:
        yield "extra", {"response_image_type": str(request.extra.response_image_type)}

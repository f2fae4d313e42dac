"""Turns a manifest's line into a request, or into sentences on what is wrong; refuses to open files.

A line is a JSON object: ``type`` (default ``img2img``), an optional ``key``, and the fields of that
request under the names of its class. Parts are objects, pictures are paths as text. Whether a path
may be used is decided by the caller.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import PurePath
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from ppinfra_async._sansio import codec
from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests import TYPES, Request
from ppinfra_async.requests._checks import Checked, is_unicode

LONGEST_LINE = 1024 * 1024
"""Bytes of one line; a request without pictures has a few hundred."""

LONGEST_KEY = 200
"""Characters."""

PictureOf = Callable[[str, str], "ImageInput | Violation"]
"""Makes a picture of a field's path and the text in it, or says why not."""


class BadLineError(Exception):
    """A line cannot be used; the message says why, without the line's number."""


@frozen(kw_only=True)
class ManifestJob:
    """A line that can be used.

    Attributes:
        key: A person's name for the job, or None.
        request: What to ask.
        tree: The line, without what it does not need.
    """

    key: str | None
    request: Request
    tree: dict[str, Any]

    @property
    def source(self) -> str | None:
        """The path of its source picture, as it stands there; None where there is none."""
        source = self.tree.get("image")
        return source if isinstance(source, str) else None

    @property
    def name(self) -> str:
        """What its files are called after: its key, else its source picture."""
        return self.key or PurePath(self.source or "job").stem


@frozen(kw_only=True)
class PictureFacts:
    """How a picture file is known again: what a digest has of it instead of its bytes.

    Attributes:
        path: Relative to the manifest's folder.
        size: Bytes.
        modified_ns: Its modification time.
        fit: As in ``ImageInput``.
    """

    path: str
    size: int
    modified_ns: int
    fit: int | None = None


def read_line(raw: bytes) -> dict[str, Any]:
    """Return the object on a line, given without its line end.

    Raises:
        BadLineError: when it is none.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BadLineError("begins with a byte-order mark: save the file as UTF-8 without one")
    if raw.endswith(b"\r"):
        raise BadLineError(
            "ends in CR LF, as Windows writes: save the file with LF line ends (dos2unix)"
        )
    try:
        tree = json.loads(
            raw.decode(), object_pairs_hook=_object_of_pairs, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise BadLineError("is not UTF-8") from None
    except RecursionError:
        raise BadLineError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadLineError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except ValueError:
        # Python refuses to read whole numbers of thousands of digits.
        raise BadLineError("is not JSON: a number has too many digits") from None
    if not isinstance(tree, dict):
        raise BadLineError("is not a JSON object: write {…} with the fields of a request")
    return tree


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise BadLineError(f"has {twice!r} twice")
    return tree


def _refuse_constant(name: str) -> NoReturn:
    raise BadLineError(f"is not JSON: {name} is no number there")


def read_job(tree: Mapping[str, Any], picture_of: PictureOf) -> ManifestJob:
    """Return the job of a line.

    Raises:
        BadLineError: with everything that is wrong with it.
    """
    fields = dict(tree)
    kind = _kind(fields.pop("type", "img2img"))
    key = _key(fields.pop("key", None))
    reader = _Reader(picture_of, [])
    request = reader.part(kind, fields, "")
    if reader.broken:
        raise BadLineError("; ".join(map(str, reader.broken)))
    return ManifestJob(key=key, request=request, tree=dict(tree))


def _kind(name: object) -> type[Request]:
    if not isinstance(name, str) or name not in TYPES:
        raise BadLineError(f"type: must be one of {', '.join(TYPES)}, got {name!r}")
    return TYPES[name]


def _key(key: object) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key.strip():
        raise BadLineError(f"key: must be text, not empty, got {key!r}")
    if len(key) > LONGEST_KEY:
        raise BadLineError(f"key: must be at most {LONGEST_KEY} characters, got {len(key)}")
    if not is_unicode(key):
        raise BadLineError("key: must be valid Unicode (no lone surrogates)")
    parts = key.replace("\\", "/").split("/")
    if ".." in parts or (len(parts) > 1 and parts[0] == ""):
        raise BadLineError(f"key: must not lead out of the output folder, got {key!r}")
    return key


class _Reader:
    """Reads the fields of a class from JSON, noting what is broken."""

    def __init__(self, picture_of: PictureOf, broken: list[Violation]) -> None:
        self.picture_of = picture_of
        self.broken = broken

    def fields(self, kind: type[Checked], tree: Mapping[str, Any], path: str) -> dict[str, Any]:
        types = _types_of(kind)
        given = {}
        for name, value in tree.items():
            below = _below(path, _in_message(name))
            if name not in types:
                self.broken.append(Violation(below, value, _no_such_field(name, types, kind)))
            elif (read := self.value(types[name], value, below)) is not _BROKEN:
                given[name] = read
        return given

    def value(self, kind: Any, value: Any, path: str) -> Any:
        if kind is ImageInput:
            return self.picture(value, path)
        if value is None:
            # Not sent; where that cannot be, the class says so.
            return None
        if isinstance(kind, type) and issubclass(kind, Checked):
            return self.part(kind, value, path)
        if get_origin(kind) is tuple and isinstance(value, list):
            (item_kind, *_) = get_args(kind)
            items = [self.value(item_kind, item, f"{path}[{at}]") for at, item in enumerate(value)]
            return _BROKEN if _BROKEN in items else tuple(items)
        return value

    def picture(self, value: Any, path: str) -> Any:
        if not isinstance(value, str) or not value:
            self.broken.append(Violation(path, value, "must be the path of a picture, as text"))
            return _BROKEN
        if not is_unicode(value):
            rule = "must be valid Unicode (no lone surrogates)"
            self.broken.append(Violation(path, value, rule))
            return _BROKEN
        made = self.picture_of(path, value)
        if isinstance(made, Violation):
            self.broken.append(made)
            return _BROKEN
        return made

    def part(self, kind: type[Checked], value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            self.broken.append(Violation(path, value, f"must be an object: a {kind.__name__}"))
            return _BROKEN
        before = len(self.broken)
        given = self.fields(kind, value, path)
        missing = [name for name in _required(kind) if name not in value]
        self.broken.extend([Violation(_below(path, name), None, "is required") for name in missing])
        # Built even when something is broken already, so that everything is reported at once.
        stand_ins = {name: _stand_in(kind, name) for name in _required(kind) if name not in given}
        known = {one.path for one in self.broken[before:]}
        try:
            made = kind(**given, **stand_ins)
        except InvalidRequestError as error:
            found = [
                Violation(_below(path, one.path), one.value, one.rule) for one in error.violations
            ]
            self.broken.extend([one for one in found if one.path not in known])
        return _BROKEN if len(self.broken) > before else made


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _in_message(name: object) -> str:
    """Return a field's name so that any terminal and file takes it; a Python object may have any."""
    return str(name).encode(errors="backslashreplace").decode()


def _required(kind: type[Checked]) -> list[str]:
    return [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING]


def _stand_in(kind: type[Checked], name: str) -> object:
    """Return something valid for a required field that is missing or broken."""
    return ImageInput.from_bytes(b"x") if _types_of(kind)[name] is ImageInput else "x"


_BROKEN: Any = object()


def _types_of(kind: type[Checked]) -> dict[str, Any]:
    """Return the type of each field, without its ``None``."""
    if kind not in _TYPES:
        hints = get_type_hints(kind)
        names = [field.name for field in attrs.fields(kind)]
        _TYPES[kind] = {name: _without_none(hints[name]) for name in names}
    return _TYPES[kind]


_TYPES: dict[type, dict[str, Any]] = {}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in {Union, UnionType}:
        kinds = [one for one in get_args(kind) if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _no_such_field(name: object, types: Mapping[str, Any], kind: type) -> str:
    close = get_close_matches(str(name), types, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"is no field of {kind.__name__}{hint}"


def digest(request: Request, facts: Mapping[int, PictureFacts]) -> bytes:
    """Return what *request* is known by: its path and body, each picture by *facts* of its ``id``."""
    pieces, pictures = codec.encode(request)
    sha256 = hashlib.sha256(f"{request.path}\n".encode())
    for piece, picture in zip(pieces, [*pictures, None], strict=True):
        sha256.update(piece)
        if picture is not None:
            sha256.update(json.dumps(attrs.astuple(facts[id(picture)])).encode())
    return sha256.digest()

"""Turns requests into JSON and JSON into what the service meant; refuses to know about HTTP.

The only user of cattrs and of the JSON library. Three rules, each for a reason:

- *Unset is left out.* ``None`` and an empty list mean "not sent"; every other value is always sent,
  also when it equals the service's default, so that a changed default cannot change a request.
- *Primitives are strict.* cattrs would make the task id ``'None'`` out of ``null``.
- *What a result depends on is strict, what only informs is not*: a paid picture must not be lost
  because ``eta`` was a word. Whatever could not be read is still in ``raw``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NewType, TypeVar

import attrs
import cattrs
import orjson
from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from ppinfra_async._sansio.answers import ErrorBody, ModelPage, UnreadableError
from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests import Request
from ppinfra_async.requests._checks import Checked, wire_name
from ppinfra_async.results import ImageLink, Model, Nsfw, TaskStatus, TaskUpdate, Timing

T = TypeVar("T")


# --- requests -> JSON -----------------------------------------------------------------------------

# A raw NUL cannot occur in JSON text (in strings it is written as \u0000), so it marks the places
# where a picture's base64 goes, whatever the request's strings contain.
_SLOT = b"\0"
_SLOT_FRAGMENT = orjson.Fragment(b'"' + _SLOT + b'"')


def encode(request: Request) -> tuple[list[bytes], list[ImageInput]]:
    """Return the body of *request* as JSON pieces, and the pictures that go between them, in order.

    There is one piece more than pictures. An empty picture list means one piece: the whole body.
    """
    pictures: list[ImageInput] = []

    def written(value: object) -> object:
        if isinstance(value, ImageInput):
            pictures.append(value)
            return _SLOT_FRAGMENT
        if isinstance(value, float | tuple):  # of a class of its own, as numpy's or a named tuple
            return float(value) if isinstance(value, float) else list(value)
        raise TypeError(f"{type(value).__name__} is not JSON")

    body = orjson.dumps(_in_envelope(request), default=written)
    return body.split(_SLOT), pictures


def _in_envelope(request: Request) -> dict[str, Any]:
    tree: dict[str, Any] = _converter.unstructure(request)
    if request.envelope == "flat":
        return tree
    extra = tree.pop("extra", None)
    return {"request": tree} if extra is None else {"extra": extra, "request": tree}


def _checked_unstructurer(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    overrides = {
        field.name: override(rename=wire_name(field), omit_if_default=field.default in (None, ()))
        for field in attrs.fields(cls)
        if field.name != "more"
    }
    plain = make_dict_unstructure_fn(cls, _converter, **overrides)  # type: ignore[arg-type]  # keys are field names

    def unstructure(value: Any) -> dict[str, Any]:
        tree = plain(value)
        more = tree.pop("more", {})
        if "controlnet" in tree:
            tree["controlnet"] = {"units": tree["controlnet"]}
        return {**tree, **more}

    return unstructure


# --- JSON -> results ------------------------------------------------------------------------------
LenientInt = NewType("LenientInt", int)
LenientText = NewType("LenientText", str)
LenientDict = NewType("LenientDict", dict[str, Any])
JsonList = NewType("JsonList", list[Any])


@frozen
class _ModelPart:
    model_name: str | None = None
    sd_name: str | None = None
    sd_name_in_api: str | None = None
    name: LenientText = LenientText("")
    type: LenientDict | None = None
    id: LenientInt | None = None
    status: LenientInt | None = None
    base_model: LenientText = LenientText("")
    is_sdxl: Any = None
    is_nsfw: Any = None
    tags: Any = None
    cover_url: LenientText = LenientText("")


@frozen
class _Pagination:
    next_cursor: LenientText = LenientText("")


@frozen
class _ModelsAnswer:
    models: JsonList = JsonList([])
    pagination: _Pagination = field(factory=_Pagination)


def loads(body: bytes) -> Any:
    """Return the JSON tree in *body*.

    Raises:
        UnreadableError: when it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error.msg}") from None


def read_task_id(tree: Any) -> str | None:
    """Return the task id of a submit answer, flat or under ``data``; None when there is none."""
    for place in (tree, tree.get("data") if isinstance(tree, dict) else None):
        if isinstance(place, dict):
            task_id = place.get("task_id")
            if isinstance(task_id, str) and task_id.strip():
                return task_id.strip()
    return None


def read_update(tree: Any, task_id: str) -> TaskUpdate:
    """Return what a task-result answer says about *task_id*.

    Raises:
        UnreadableError: naming the path of what cannot be read.
    """
    answer: dict[str, Any] = _strict(tree, dict, "answer")
    task: dict[str, Any] = _strict(answer.get("task"), dict, "answer.task")
    status: str = _strict(task.get("status"), str, "answer.task.status")
    said_id: str = _strict_or_null(task.get("task_id"), str, "answer.task.task_id", "")
    if said_id not in {"", task_id}:
        raise UnreadableError(f"task.task_id: is {said_id!r}, asked for {task_id!r}")
    images: list[Any] = _strict_or_null(answer.get("images"), list, "answer.images", [])
    extra = _lenient_dict(answer.get("extra")) or {}
    return TaskUpdate(
        task_id=task_id,
        status=TaskStatus.read(status),
        status_text=status,
        reason=_optional_text(task.get("reason")),
        progress_percent=_lenient_float(task.get("progress_percent")),
        eta=_lenient_float(task.get("eta")),
        task_type=_optional_text(task.get("task_type")),
        seed=_lenient_int(extra.get("seed")),
        links=tuple(map(_link, images)),
        timing=_timing(extra.get("debug_info")),
        raw=tree,
    )


def _strict(value: Any, kind: type[T], path: str) -> T:
    """Return *value* if it is a *kind*. By hand: polls are many, and cattrs takes four times as long."""
    if type(value) is not kind:
        expected = "an object" if kind is dict else kind.__name__
        raise UnreadableError(f"expected {expected}, got {type(value).__name__} @ {path}")
    return value


def _strict_or_null(value: Any, kind: type[T], path: str, absent: T) -> T:
    return absent if value is None else _strict(value, kind, path)


def read_models(tree: Any) -> ModelPage:
    """Return one page of models.

    Raises:
        UnreadableError: naming the path of what cannot be read, when nothing can.
    """
    answer = _structure(tree, _ModelsAnswer)
    page = ModelPage(models=[], next_cursor=answer.pagination.next_cursor)
    for index, entry in enumerate(answer.models):
        path = f"answer.models[{index}]"
        try:
            page.models.append(_model(_structure(entry, _ModelPart, path), entry, path))
        except UnreadableError as error:
            page.unreadable.append(str(error))
    if page.unreadable and not page.models:
        raise UnreadableError(page.unreadable[0])
    return page


def read_error(body: bytes) -> ErrorBody | None:
    """Return the error in *body*, or None when it is not a JSON object with one.

    V2-era bodies say ``msg``, JieKou's put the validation text into ``metadata.details``, and
    gateways for language models say ``{"error": {…}}``.
    """
    try:
        tree = loads(body)
    except UnreadableError:
        return None
    if not isinstance(tree, dict):
        return None
    if isinstance(tree.get("error"), dict):
        tree = tree["error"]
    metadata = tree.get("metadata")
    error = ErrorBody(
        code=_lenient_int(tree.get("code")),
        reason=_lenient_text(tree.get("reason") or ""),
        message=_lenient_text(tree.get("message") or tree.get("msg") or ""),
        details=_lenient_text(metadata.get("details") or "") if isinstance(metadata, dict) else "",
    )
    return None if error == ErrorBody() else error


def _structure(tree: Any, cls: type[T], path: str = "answer") -> T:
    try:
        return _converter.structure(tree, cls)
    except Exception as error:  # cattrs raises groups of whatever a hook raised
        raise UnreadableError("; ".join(cattrs.transform_error(error, path=path))) from None


def _link(entry: Any) -> ImageLink:
    url = entry.get("image_url") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(url, str | None):
        # One odd entry must not hide the other pictures, which are paid.
        return ImageLink()
    # Kept as it is: megabytes of base64 are for a worker thread.
    inline = url if url and url.startswith("data:") else None
    return ImageLink(
        url=url if url and inline is None else None,
        # 0 stands for "not stated" in PPInfra's own sample, never for "expired".
        ttl=_lenient_int(entry.get("image_url_ttl")) or None,
        image_type=_optional_text(entry.get("image_type")) or None,
        nsfw=_nsfw(_lenient_dict(entry.get("nsfw_detection_result"))),
        inline=inline,
    )


def _nsfw(detected: dict[str, Any] | None) -> Nsfw | None:
    if not detected:
        return None
    valid = detected.get("valid")
    return Nsfw(
        valid=valid if isinstance(valid, bool) else None,
        confidence=_lenient_float(detected.get("confidence")),
    )


def _timing(debug_info: Any) -> Timing:
    if not isinstance(debug_info, dict):
        return Timing()
    return Timing(
        submit_time_ms=_lenient_int(debug_info.get("submit_time_ms")),
        execute_time_ms=_lenient_int(debug_info.get("execute_time_ms")),
        complete_time_ms=_lenient_int(debug_info.get("complete_time_ms")),
    )


def _model(part: _ModelPart, entry: dict[str, Any], path: str) -> Model:
    kind = _lenient_text(part.type.get("name") or "") if part.type else ""
    by_api_name = kind in {"lora", "locon", "textualinversion"}
    novita = (part.sd_name_in_api or part.sd_name) if by_api_name else part.sd_name
    name = part.model_name or novita or part.sd_name_in_api
    if not name:
        raise UnreadableError(f"{path}: has no model_name and no sd_name")
    return Model(
        model_name=name,
        name=part.name or name,
        type=kind,
        id=part.id,
        usable=part.status != 0,
        base_model=part.base_model,
        is_sdxl=part.is_sdxl if isinstance(part.is_sdxl, bool) else None,
        is_nsfw=part.is_nsfw if isinstance(part.is_nsfw, bool) else None,
        tags=tuple(map(_lenient_text, part.tags)) if isinstance(part.tags, list) else (),
        cover_url=part.cover_url,
        raw=entry,
    )


# --- the converter --------------------------------------------------------------------------------
def _only(*accepted: type[Any]) -> Callable[[Any, Any], Any]:
    def hook(value: Any, kind: Any) -> Any:
        if type(value) not in accepted:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return hook


# A tuple: `int | float | str` would be put together anew in each call.
_NUMBER_LIKE = (int, float, str)


def _lenient_int(value: Any) -> int | None:
    """Read an integer; the service writes 64-bit ones as text, and times it does not know as ``""``."""
    if isinstance(value, bool) or not isinstance(value, _NUMBER_LIKE):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return None if isinstance(value, float) and value != number else number


def _lenient_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, _NUMBER_LIKE):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _lenient_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        return ""


def _optional_text(value: Any) -> str:
    return "" if value is None else _lenient_text(value)


def _lenient_dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _null_means_absent(cls: type[T]) -> Callable[[Any, Any], T]:
    """Structure *cls* from an object, a key with ``null`` counting as a missing one."""
    plain = make_dict_structure_fn(cls, _converter)

    def hook(value: Any, kind: Any) -> T:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        return plain({key: item for key, item in value.items() if item is not None}, kind)

    return hook


def _make_converter() -> cattrs.Converter:
    converter = make_converter()
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _only(primitive))
    converter.register_structure_hook(float, _only(float, int))
    converter.register_structure_hook(JsonList, _only(list))
    converter.register_structure_hook(LenientInt, lambda value, _: _lenient_int(value))
    converter.register_structure_hook(LenientText, lambda value, _: _lenient_text(value))
    converter.register_structure_hook(LenientDict, lambda value, _: _lenient_dict(value))
    # By predicate: registering the class would resolve its annotations and import Pillow.
    converter.register_unstructure_hook_func(lambda cls: cls is ImageInput, lambda picture: picture)
    return converter


_converter = _make_converter()
# Base classes first: cattrs looks hooks up by predicate, the newest one wins.
_converter.register_unstructure_hook_factory(
    lambda cls: isinstance(cls, type) and issubclass(cls, Checked), _checked_unstructurer
)
for _part in (_ModelPart, _Pagination, _ModelsAnswer):
    _converter.register_structure_hook(_part, _null_means_absent(_part))

"""Checks a submitted body against the documented fields; reads no picture and knows no task.

Field names, types and ranges are those of
https://ppinfra.com/docs/models/reference-image-to-image; where that page collapses nested fields,
those of the same endpoint of Novita AI, the sibling brand.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from attrs import field, frozen

from ppinfra_async.testing._models import SAMPLERS, ListedType

Kind = Literal["string", "int32", "int64", "float", "bool", "object", "array"]

_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "string": (str,),
    "int32": (int,),
    "int64": (int,),
    "float": (int, float),
    "bool": (bool,),
    "object": (dict,),
    "array": (list,),
}


@frozen(kw_only=True)
class Field:
    """What one field may be.

    `low` and `high` bound a number, the length of a string or the number of items; `above` is a
    bound that is not allowed itself. `fields` are those of the object or of each item. `listed`
    names the list of the service's in which a name must be found.
    """

    kind: Kind
    required: bool = False
    low: float | None = None
    high: float | None = None
    above: float | None = None
    multiple_of: int = 1
    choices: tuple[Any, ...] = ()
    fields: Mapping[str, "Field"] = field(factory=dict)
    picture: bool = False
    listed: ListedType | None = None


@frozen
class Findings:
    """What a body holds: broken rules, pictures by path, and names to be found in lists by path."""

    problems: list[str]
    pictures: dict[str, str]
    names: list[tuple[str, ListedType, str]]

    @property
    def full(self) -> bool:
        """Whether enough is wrong to stop looking."""
        return len(self.problems) >= _ENOUGH


# More problems than this help nobody.
_ENOUGH = 20


def check(body: Mapping[str, Any], fields: Mapping[str, Field]) -> Findings:
    """Compare *body* with *fields*; unknown keys are ignored and null counts as unset.

    Stops at 20 problems, and does not look into a list that is too long.
    """
    findings = Findings([], {}, [])
    _check_object(body, fields, "", findings)
    return findings


def known_part(tree: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Copy what *fields* name, with the lengths of pictures in place of the pictures."""
    return {name: _known(tree[name], rule) for name, rule in fields.items() if name in tree}


def _known(value: Any, rule: Field) -> Any:
    if rule.picture and isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, dict):
        return known_part(value, rule.fields)
    if isinstance(value, list):
        return [known_part(item, rule.fields) for item in value]
    return value


def _check_object(
    tree: Mapping[str, Any], fields: Mapping[str, Field], path: str, findings: Findings
) -> None:
    for name, rule in fields.items():
        if findings.full:
            return
        here = f"{path}.{name}" if path else name
        value = tree.get(name)
        if value is None:
            if rule.required:
                findings.problems.append(f"{here}: value is required")
        elif type(value) not in _TYPES[rule.kind]:
            findings.problems.append(f"invalid value for {rule.kind} field {name}: {_short(value)}")
        else:
            _check_value(value, rule, here, findings)


def _check_value(value: Any, rule: Field, path: str, findings: Findings) -> None:
    problems = [f"{path}: {problem}" for problem in _broken(value, rule)]
    findings.problems.extend(problems)
    if rule.kind == "object":
        _check_object(value, rule.fields, path, findings)
    elif rule.kind == "array" and not problems:
        _check_items(value, rule, path, findings)
    elif rule.picture:
        findings.pictures[path] = value
    elif rule.listed is not None:
        findings.names.append((path, rule.listed, value))


def _check_items(items: Sequence[Any], rule: Field, path: str, findings: Findings) -> None:
    for index, item in enumerate(items):
        if findings.full:
            return
        here = f"{path}[{index}]"
        if isinstance(item, dict):
            _check_object(item, rule.fields, here, findings)
        else:
            findings.problems.append(f"invalid value for object field {here}: {_short(item)}")


def _broken(value: Any, rule: Field) -> Iterator[str]:
    size, what = (len(value), "length") if rule.kind in {"string", "array"} else (value, "value")
    if rule.choices and value not in rule.choices:
        yield f"value must be in list {list(rule.choices)}"
    if not _inside(size, rule):
        yield f"{what} must be inside range {_range(rule)}"
    if rule.multiple_of > 1 and value % rule.multiple_of:
        yield f"value must be a multiple of {rule.multiple_of}"


def _inside(size: Any, rule: Field) -> bool:
    # Comparisons are written so that NaN is outside.
    if rule.above is not None and not size > rule.above:
        return False
    if rule.low is not None and not size >= rule.low:
        return False
    return rule.high is None or size <= rule.high


def _range(rule: Field) -> str:
    start = f"({rule.above:g}" if rule.above is not None else f"[{_bound(rule.low, '-∞')}"
    return f"{start}, {_bound(rule.high, '∞')}]"


def _bound(value: float | None, unbounded: str) -> str:
    if value is None:
        return unbounded
    return str(value) if isinstance(value, int) else f"{value:g}"


def _short(value: Any) -> str:
    # Of a tree the service tells the first character.
    if isinstance(value, (dict, list)):
        return "{" if isinstance(value, dict) else "["
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


UNIT_FIELDS: Mapping[str, Field] = {
    "model_name": Field(kind="string", required=True, low=1, listed="controlnet"),
    "image_base64": Field(kind="string", required=True, low=1, picture=True),
    "strength": Field(kind="float", low=0, high=1),
    "preprocessor": Field(kind="string", listed="preprocessor"),
    "guidance_start": Field(kind="float", low=0, high=1),
    "guidance_end": Field(kind="float", low=0, high=1),
}

LORA_FIELDS: Mapping[str, Field] = {
    "model_name": Field(kind="string", required=True, low=1, listed="lora"),
    "strength": Field(kind="float", required=True, low=0, high=1),
}

EMBEDDING_FIELDS: Mapping[str, Field] = {
    "model_name": Field(kind="string", required=True, low=1, listed="textualinversion"),
}

IP_ADAPTER_FIELDS: Mapping[str, Field] = {
    "model_name": Field(kind="string", required=True, low=1, listed="ip_adapter"),
    "image_base64": Field(kind="string", required=True, low=1, picture=True),
    "strength": Field(kind="float", required=True, low=0, high=1),
}

TEST_MODE_FIELDS: Mapping[str, Field] = {
    "enabled": Field(kind="bool", required=True),
    "return_task_status": Field(
        kind="string", required=True, choices=("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED")
    ),
}

WEBHOOK_FIELDS: Mapping[str, Field] = {
    "url": Field(kind="string", required=True, low=1),
    "test_mode": Field(kind="object", fields=TEST_MODE_FIELDS),
}

AWS_S3_FIELDS: Mapping[str, Field] = {
    "region": Field(kind="string", required=True, low=1),
    "bucket": Field(kind="string", required=True, low=1),
    "path": Field(kind="string", required=True, low=1),
    "save_to_path_directly": Field(kind="bool"),
}

# Everything here but `response_image_type` is documented by Novita AI only.
EXTRA_FIELDS: Mapping[str, Field] = {
    "response_image_type": Field(kind="string", choices=("png", "webp", "jpeg")),
    "enable_nsfw_detection": Field(kind="bool"),
    "nsfw_detection_level": Field(kind="int32", low=0, high=2),
    "webhook": Field(kind="object", fields=WEBHOOK_FIELDS),
    # The public SDK sends both of these as empty objects.
    "custom_storage": Field(
        kind="object", fields={"aws_s3": Field(kind="object", fields=AWS_S3_FIELDS)}
    ),
    "enterprise_plan": Field(kind="object", fields={"enabled": Field(kind="bool")}),
}


def img2img_fields(multiple_of: int) -> Mapping[str, Field]:
    """List the fields of ``request`` of ``POST /v3/async/img2img``."""
    side = Field(kind="int32", required=True, low=128, high=2048, multiple_of=multiple_of)
    return {
        "model_name": Field(kind="string", required=True, low=1, listed="checkpoint"),
        "image_base64": Field(kind="string", required=True, low=1, picture=True),
        "prompt": Field(kind="string", required=True, low=1, high=1024),
        "width": side,
        "height": side,
        "image_num": Field(kind="int32", required=True, low=1, high=8),
        "steps": Field(kind="int32", required=True, low=1, high=100),
        "guidance_scale": Field(kind="float", required=True, low=1, high=30),
        "sampler_name": Field(kind="string", required=True, choices=SAMPLERS),
        "negative_prompt": Field(kind="string", low=0, high=1024),
        "sd_vae": Field(kind="string", listed="vae"),
        "controlnet": Field(
            kind="object",
            fields={"units": Field(kind="array", required=True, fields=UNIT_FIELDS)},
        ),
        # No maximum is documented; the service's integers have 64 bits at most.
        "seed": Field(kind="int64", low=-1, high=2**63 - 1),
        "loras": Field(kind="array", high=5, fields=LORA_FIELDS),
        "embeddings": Field(kind="array", high=5, fields=EMBEDDING_FIELDS),
        "clip_skip": Field(kind="int32", low=1, high=12),
        "strength": Field(kind="float", above=0, high=1),
        "ip_adapters": Field(kind="array", high=1, fields=IP_ADAPTER_FIELDS),
    }


@frozen(kw_only=True)
class Endpoint:
    """One task endpoint, as data: where it is, what it takes, how it is metered.

    `resource` is the id under which the service's rate-limit page lists it, `source` the field with
    the picture to transform, `count` the field with the number of images to pay.
    """

    name: str
    path: str
    resource: str
    task_type: str
    fields: Mapping[str, Field]
    source: str | None = None
    count: str | None = None


def endpoints(multiple_of: int) -> tuple[Endpoint, ...]:
    """List what the simulator can be asked to do; further endpoints are further records."""
    return (
        Endpoint(
            name="img2img",
            path="/v3/async/img2img",
            resource="img2img_v3",
            task_type="IMG_TO_IMG",
            fields={
                "extra": Field(kind="object", fields=EXTRA_FIELDS),
                "request": Field(kind="object", required=True, fields=img2img_fields(multiple_of)),
            },
            source="image_base64",
            count="image_num",
        ),
    )


def endpoint_names() -> frozenset[str]:
    """Name what `endpoints` lists."""
    return frozenset(each.name for each in endpoints(1))

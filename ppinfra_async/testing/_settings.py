"""Names every knob of the look-alike service; turns none of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from attrs import Attribute, field, frozen

from ppinfra_async.testing._checks import limit_per, number, one_of
from ppinfra_async.testing._latency import Latency, as_draw
from ppinfra_async.testing._limits import Window
from ppinfra_async.testing._models import CATALOGUE, Model, Naming
from ppinfra_async.testing._ranges import endpoint_names

Honesty = Literal["honest", "zero", "zero_at_success"]
RetryAfter = Literal["seconds", "date"]
Envelope = Literal["flat", "v2"]
TtlStyle = Literal["int", "string", "zero"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "window": get_args(Window),
    "retry_after": get_args(RetryAfter),
    "envelope": get_args(Envelope),
    "naming": get_args(Naming),
    "ttl_style": get_args(TtlStyle),
    "progress": get_args(Honesty),
    "eta": get_args(Honesty),
}
"""What settings with a closed set of values may be."""

_PORT = number(0, 2**16 - 1)


def _latency(_: Any, attribute: "Attribute[Any]", value: Any) -> None:
    try:
        as_draw(value)
    except ValueError as problem:
        raise ValueError(f"{attribute.name}: {problem}") from None


@frozen(kw_only=True)
class Settings:
    """Everything that can be chosen about a simulator.

    What makes no sense is a ValueError at once.

    Where it listens and who may use it:
        host: address of both origins.
        port: of the API; 0 takes a free one and keeps it over restarts.
        result_port: of the origin that serves results; 0 likewise.
        api_key: the one key that is accepted.
        keepalive: seconds an idle connection is kept.
        receive_buffer: SO_RCVBUF of the listening sockets in bytes; None leaves it to the system.
        state: file that keeps accepted tasks, so that a killed process can be started again. A file
            that is not a simulator's is refused and left as it is.
        control: answer ``/_simulator/…`` too, for a parent process.
        clock: seconds since the epoch; None takes the real time. A test may pass its own.
        seed: of everything random but the task ids.

    How long tasks take and how they end:
        queue, processing: seconds before and during the work (see `as_draw` for what is allowed).
        unknown_for: seconds after the submit in which the status is ``TASK_STATUS_UNKNOWN``.
        not_found_for: seconds after the submit in which the task is answered with 404.
        forget_after: seconds after the submit at which the task and its results are forgotten; None
            is never. Then memory grows by about a kilobyte per task and, without tiny images, by
            each distinct input picture at the asked size. The state file grows in any case, until
            a reset.
        failure_rate: share of tasks that fail, 0 to 1.
        failing_words: a task whose prompt has one of them fails.
        failure_reason: what a failed task says.
        illegal_words: a prompt with one of them is refused with ``ILLEGAL_PROMPT``.

    What it meters:
        images_per_minute: for all endpoints, or by endpoint name; None is no limit.
        window: "sliding", "fixed" (the first starts with the simulator) or "bucket".
        minute: seconds in its minute; tests shorten it.
        polls_per_second: for task-result; None is no limit.
        retry_after: form of the header on a 429; None leaves it out, as nothing documents it.
        balance: images that can be paid; None is no end.

    What it accepts:
        models: the catalogue; a name outside it is refused.
        check_models: whether it is, and so are unknown preprocessors and IP adapters.
        multiple_of: what width and height must be a multiple of. Nothing documents more than 1.
        max_image_side: pixels of each side of an input picture.
        max_image_bytes: of an input picture's file.
        max_body_bytes: of a submit's body, unpacked; a larger one is answered 413.

    What its answers look like:
        envelope: "flat" as documented, or "v2" with the task id under ``data``.
        naming: of model names in the listing.
        end_cursor: the last page's ``next_cursor``; None leaves it out.
        ttl_style: ``image_url_ttl`` as a number, as text or as the text "0".
        progress, eta: true numbers, always 0, or true until the success, which shows 0.
        debug_times: times in ``extra.debug_info``; False gives empty texts.
        result_ttl: seconds a result URL works, from its signing.
        resign: whether each poll signs anew; else the signature dates from the task's end.
        tiny_images: results of 8 × 8 pixels, and no look into input pictures; for load tests.
    """

    host: str = "127.0.0.1"
    port: int = field(default=0, validator=_PORT)
    result_port: int = field(default=0, validator=_PORT)
    api_key: str = field(default="sk_simulator", repr=False)
    keepalive: float = field(default=75.0, validator=number(0))
    receive_buffer: int | None = field(default=None, validator=number(1, optional=True))
    state: Path | None = None
    control: bool = False
    clock: Callable[[], float] | None = None
    seed: int = 0

    queue: Latency = field(default=0.05, validator=_latency)
    processing: Latency = field(default=0.2, validator=_latency)
    unknown_for: float = field(default=0.0, validator=number(0))
    not_found_for: float = field(default=0.0, validator=number(0))
    forget_after: float | None = field(default=None, validator=number(0, optional=True))
    failure_rate: float = field(default=0.0, validator=number(0, 1))
    failing_words: tuple[str, ...] = ("simulate-failure",)
    failure_reason: str = "simulated failure: the worker ran out of memory"
    illegal_words: tuple[str, ...] = ("simulate-illegal",)

    images_per_minute: int | Mapping[str, int] | None = field(
        default=None, validator=limit_per(endpoint_names)
    )
    window: Window = field(default="sliding", validator=one_of(*CHOICES["window"]))
    minute: float = field(default=60.0, validator=number(0, open_low=True))
    polls_per_second: int | None = field(default=None, validator=number(0, optional=True))
    retry_after: RetryAfter | None = field(
        default=None, validator=one_of(*CHOICES["retry_after"], None)
    )
    balance: int | None = field(default=None, validator=number(0, optional=True))

    models: tuple[Model, ...] = field(default=CATALOGUE, repr=False)
    check_models: bool = True
    multiple_of: int = field(default=1, validator=number(1))
    max_image_side: int = field(default=2048, validator=number(1))
    max_image_bytes: int = field(default=30 * 1024 * 1024, validator=number(1))
    max_body_bytes: int = field(default=128 * 1024 * 1024, validator=number(1))

    envelope: Envelope = field(default="flat", validator=one_of(*CHOICES["envelope"]))
    naming: Naming = field(default="ppinfra", validator=one_of(*CHOICES["naming"]))
    end_cursor: str | None = ""
    ttl_style: TtlStyle = field(default="int", validator=one_of(*CHOICES["ttl_style"]))
    progress: Honesty = field(default="honest", validator=one_of(*CHOICES["progress"]))
    eta: Honesty = field(default="honest", validator=one_of(*CHOICES["eta"]))
    debug_times: bool = True
    result_ttl: float = field(default=3600.0, validator=number(0))
    resign: bool = False
    tiny_images: bool = False


class Options(TypedDict, total=False):
    """The same knobs as keywords; `Settings` says what each does."""

    host: str
    port: int
    result_port: int
    api_key: str
    keepalive: float
    receive_buffer: int | None
    state: Path | None
    control: bool
    clock: Callable[[], float] | None
    seed: int
    queue: Latency
    processing: Latency
    unknown_for: float
    not_found_for: float
    forget_after: float | None
    failure_rate: float
    failing_words: tuple[str, ...]
    failure_reason: str
    illegal_words: tuple[str, ...]
    images_per_minute: int | Mapping[str, int] | None
    window: Window
    minute: float
    polls_per_second: int | None
    retry_after: RetryAfter | None
    balance: int | None
    models: tuple[Model, ...]
    check_models: bool
    multiple_of: int
    max_image_side: int
    max_image_bytes: int
    max_body_bytes: int
    envelope: Envelope
    naming: Naming
    end_cursor: str | None
    ttl_style: TtlStyle
    progress: Honesty
    eta: Honesty
    debug_times: bool
    result_ttl: float
    resign: bool
    tiny_images: bool

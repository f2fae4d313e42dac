"""Names every knob of the look-alike service; turns none of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypedDict

from attrs import field, frozen

from ppinfra_async.testing._latency import Latency
from ppinfra_async.testing._limits import Window
from ppinfra_async.testing._models import CATALOGUE, Model, Naming

Honesty = Literal["honest", "zero", "zero_at_success"]


@frozen(kw_only=True)
class Settings:
    """Everything that can be chosen about a simulator.

    Where it listens and who may use it:
        host: address of both origins.
        port: of the API; 0 takes a free one and keeps it over restarts.
        result_port: of the origin that serves results; 0 likewise.
        api_key: the one key that is accepted.
        keepalive: seconds an idle connection is kept.
        receive_buffer: SO_RCVBUF of the listening sockets in bytes; None leaves it to the system.
        state: file that keeps accepted tasks, so that a killed process can be started again.
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
    port: int = 0
    result_port: int = 0
    api_key: str = field(default="sk_simulator", repr=False)
    keepalive: float = 75.0
    receive_buffer: int | None = None
    state: Path | None = None
    control: bool = False
    clock: Callable[[], float] | None = None
    seed: int = 0

    queue: Latency = 0.05
    processing: Latency = 0.2
    unknown_for: float = 0.0
    not_found_for: float = 0.0
    forget_after: float | None = None
    failure_rate: float = 0.0
    failing_words: tuple[str, ...] = ("simulate-failure",)
    failure_reason: str = "simulated failure: the worker ran out of memory"
    illegal_words: tuple[str, ...] = ("simulate-illegal",)

    images_per_minute: int | Mapping[str, int] | None = None
    window: Window = "sliding"
    minute: float = 60.0
    polls_per_second: int | None = None
    retry_after: Literal["seconds", "date"] | None = None
    balance: int | None = None

    models: tuple[Model, ...] = field(default=CATALOGUE, repr=False)
    check_models: bool = True
    multiple_of: int = 1
    max_image_side: int = 2048
    max_image_bytes: int = 30 * 1024 * 1024
    max_body_bytes: int = 128 * 1024 * 1024

    envelope: Literal["flat", "v2"] = "flat"
    naming: Naming = "ppinfra"
    end_cursor: str | None = ""
    ttl_style: Literal["int", "string", "zero"] = "int"
    progress: Honesty = "honest"
    eta: Honesty = "honest"
    debug_times: bool = True
    result_ttl: float = 3600.0
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
    retry_after: Literal["seconds", "date"] | None
    balance: int | None
    models: tuple[Model, ...]
    check_models: bool
    multiple_of: int
    max_image_side: int
    max_image_bytes: int
    max_body_bytes: int
    envelope: Literal["flat", "v2"]
    naming: Naming
    end_cursor: str | None
    ttl_style: Literal["int", "string", "zero"]
    progress: Honesty
    eta: Honesty
    debug_times: bool
    result_ttl: float
    resign: bool
    tiny_images: bool

"""Says what shall go wrong, where and how often; breaks nothing itself."""

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.client import responses
from typing import Any, Literal, get_args

import orjson
from attrs import define, evolve, field, frozen

from ppinfra_async.testing._answers import Answer, error
from ppinfra_async.testing._checks import ensure_number
from ppinfra_async.testing._tasks import TaskRecord

Where = Literal["submit", "poll", "download", "models", "account"]
Kind = Literal[
    "answer", "edit", "outcome", "cut", "truncate", "misdeclare",
    "never_read", "never_answer", "slow", "slow_read", "delay", "endless",
]  # fmt: skip

_ANYWHERE: tuple[Where, ...] = get_args(Where)
_SUBMIT: tuple[Where, ...] = ("submit",)
_POLL: tuple[Where, ...] = ("poll",)
_JSON: tuple[Where, ...] = ("submit", "poll", "models", "account")
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


@frozen
class Call:
    """One request, as a predicate sees it.

    `number` counts the requests at this place from 1. `body` is known for submits whose fault comes
    after reading, `task` for polls and downloads, `index` of the image for downloads.
    """

    where: Where
    number: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)
    task: TaskRecord | None = None
    index: int | None = None


@frozen(kw_only=True)
class Fault:
    """One thing that goes wrong; made by its class methods.

    `kind` says what happens. `early` faults come before a submit's body is read to the end, the
    others after. `paid` tells whether a submit creates its task (and costs money) all the same.
    `places` are those where it can be ordered. What the rest means depends on the kind:

    `answer` is what is said instead of the truth, or how an endless body starts. `amount` is a
    number of bytes (cut, truncate, misdeclare), of seconds (never_read, delay) or of bytes per second
    (slow, slow_read). `reset` lets a cut send RST, else FIN. `edit` makes another JSON tree of the
    true one. `changes` are values of the `TaskRecord` by name.
    """

    kind: Kind
    early: bool = False
    paid: bool = True
    answer: Answer = field(factory=Answer, repr=False)
    amount: float = 0
    reset: bool = True
    edit: Callable[[Any], Any] | None = None
    changes: Mapping[str, Any] = field(factory=dict)
    places: tuple[Where, ...] = _ANYWHERE

    @property
    def needs_answer(self) -> bool:
        """Whether the true answer plays a part in it."""
        if self.kind == "endless":
            return not self.answer.body
        return self.kind not in {"answer", "cut", "never_read", "never_answer"}

    # --- another answer -------------------------------------------------------------------

    @classmethod
    def status(
        cls,
        code: int,
        reason: str | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        content_type: str = "application/json",
        paid: bool = False,
        early: bool = False,
    ) -> "Fault":
        """Answer with this status; without *body*, in the service's error shape.

        *early* answers a submit before its body is read.
        """
        more = tuple((headers or {}).items())
        if body is None:
            answer = error(reason or _REASONS.get(code, "UNKNOWN"), "simulated", status=code)
            answer = evolve(answer, headers=more)
        else:
            raw = body.encode() if isinstance(body, str) else body
            answer = Answer(code, raw, content_type, more)
        places = _SUBMIT if early else _ANYWHERE
        return cls(kind="answer", answer=answer, paid=paid, early=early, places=places)

    @classmethod
    def html(cls, code: int = 502, *, paid: bool = False) -> "Fault":
        """Answer with a gateway's HTML page, which names *code* and what it stands for."""
        page = _HTML.format(f"{code} {responses.get(code, 'Unknown')}").encode()
        return cls(kind="answer", answer=Answer(code, page, "text/html"), paid=paid)

    @classmethod
    def redirect(cls, status: int, location: str, *, paid: bool = False) -> "Fault":
        """Answer with a redirect to *location*."""
        answer = Answer(status, b"", "text/html", (("Location", location),))
        return cls(kind="answer", answer=answer, paid=paid)

    @classmethod
    def wrong_json(cls, tree: Any = None, *, paid: bool = True) -> "Fault":
        """Answer 200 with valid JSON of the wrong shape; ``{"task_id": null}`` by default."""
        tree = {"task_id": None} if tree is None else tree
        return cls(kind="answer", answer=Answer.json(tree), paid=paid)

    @classmethod
    def garbage(cls, body: bytes = b'{"task_id": "0f', *, paid: bool = True) -> "Fault":
        """Answer 200 with something that says it is JSON and is not."""
        return cls(kind="answer", answer=Answer(200, body), paid=paid)

    @classmethod
    def empty(cls, code: int = 200, *, paid: bool = True) -> "Fault":
        """Answer with an empty body."""
        return cls(kind="answer", answer=Answer(code), paid=paid)

    @classmethod
    def edited(cls, edit: Callable[[Any], Any]) -> "Fault":
        """Answer with what *edit* makes of the true JSON tree; errors stay as they are.

        Fits all but downloads.
        """
        return cls(kind="edit", edit=edit, places=_JSON)

    @classmethod
    def image_url(cls, url: str) -> "Fault":
        """Answer a poll with *url* in place of every image's URL."""
        return evolve(cls.edited(lambda tree: _with_image_url(tree, url)), places=_POLL)

    @classmethod
    def unknown_status(cls, status: str = "TASK_STATUS_UNKNOWN") -> "Fault":
        """Answer a poll with another status."""
        fault = cls.edited(lambda tree: {**tree, "task": {**tree["task"], "status": status}})
        return evolve(fault, places=_POLL)

    @classmethod
    def not_an_image(
        cls, body: bytes = b"this is no picture", content_type: str = "image/png"
    ) -> "Fault":
        """Answer a download with 200 and bytes that are no picture."""
        return cls(kind="answer", answer=Answer(200, body, content_type))

    @classmethod
    def bomb(cls, side: int = 30_000) -> "Fault":
        """Answer a download with a tiny PNG that unpacks to *side* × *side* pixels."""
        return cls.not_an_image(bomb_png(side))

    # --- another task ---------------------------------------------------------------------

    @classmethod
    def outcome(
        cls,
        *,
        produced: int | None = None,
        reason: str | None = None,
        queue: float | None = None,
        processing: float | None = None,
    ) -> "Fault":
        """Give the submitted task another fate.

        *produced* images instead of all, a failure for *reason*, other spans in seconds.
        """
        wanted = {
            "produced": produced,
            "reason": reason,
            "queue": queue,
            "processing": processing,
        }
        changes = {name: value for name, value in wanted.items() if value is not None}
        return cls(kind="outcome", changes=changes, places=_SUBMIT)

    # --- broken connections ---------------------------------------------------------------

    @classmethod
    def cut_before_read(cls, *, reset: bool = True) -> "Fault":
        """Cut after the headers, before the body; *reset* sends RST, else FIN."""
        return cls(kind="cut", early=True, paid=False, reset=reset, places=_SUBMIT)

    @classmethod
    def cut_at(cls, received: int, *, reset: bool = True) -> "Fault":
        """Cut when *received* bytes of the body were read; negative counts from its end."""
        return cls(kind="cut", early=True, paid=False, amount=received, reset=reset, places=_SUBMIT)

    @classmethod
    def cut_after_read(cls, *, paid: bool = True, reset: bool = True) -> "Fault":
        """Cut when the body was read and (if *paid*) the task exists, before any answer."""
        return cls(kind="cut", paid=paid, reset=reset)

    @classmethod
    def cut_in_reply(cls, sent: int, *, reset: bool = False) -> "Fault":
        """Cut after *sent* bytes of the answer's body, whose full length was announced."""
        return cls(kind="truncate", amount=sent, reset=reset)

    @classmethod
    def wrong_length(cls, difference: int) -> "Fault":
        """Announce the answer longer (or shorter, if negative) by *difference* bytes than it is."""
        return cls(kind="misdeclare", amount=difference)

    @classmethod
    def never_read(cls, seconds: float = 600) -> "Fault":
        """Accept the headers and never read the body, so that the sender's buffers fill.

        The connection is cut after *seconds*. A client that leaves with a full buffer cannot be
        noticed: its farewell stands behind the bytes nobody reads.

        Raises:
            ValueError: *seconds* is negative or not finite.
        """
        ensure_number("seconds", seconds, 0)
        return cls(kind="never_read", early=True, paid=False, amount=seconds, places=_SUBMIT)

    @classmethod
    def never_answer(cls, *, paid: bool = True) -> "Fault":
        """Read everything, create the task if *paid*, and stay silent."""
        return cls(kind="never_answer", paid=paid)

    # --- slowness -------------------------------------------------------------------------

    @classmethod
    def slow(cls, bytes_per_second: float) -> "Fault":
        """Trickle the answer's body.

        Raises:
            ValueError: *bytes_per_second* is not above 0.
        """
        ensure_number("bytes_per_second", bytes_per_second, 0, open_low=True)
        return cls(kind="slow", amount=bytes_per_second)

    @classmethod
    def slow_read(cls, bytes_per_second: float) -> "Fault":
        """Read a submit's body slowly, then go on as usual.

        Raises:
            ValueError: *bytes_per_second* is not above 0.
        """
        ensure_number("bytes_per_second", bytes_per_second, 0, open_low=True)
        return cls(kind="slow_read", early=True, amount=bytes_per_second, places=_SUBMIT)

    @classmethod
    def delay(cls, seconds: float) -> "Fault":
        """Answer truly, but later.

        Raises:
            ValueError: *seconds* is negative or not finite.
        """
        ensure_number("seconds", seconds, 0)
        return cls(kind="delay", amount=seconds)

    @classmethod
    def endless(cls, start: bytes | None = None) -> "Fault":
        """Answer with a body that never ends; it starts like a true one unless *start* is given."""
        return cls(kind="endless", answer=Answer(200, start or b""))


_REASONS = {
    400: "INVALID_REQUEST_BODY",
    401: "FAILED_TO_AUTH",
    403: "INVALID_API_KEY",
    404: "API_NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED",
    500: "CREATE_TASK_FAILED",
    503: "SERVICE_NOT_AVAILABLE",
}


def _with_image_url(tree: Any, url: str) -> Any:
    images = [{**image, "image_url": url} for image in tree.get("images") or []]
    return {**tree, "images": images}


def bomb_png(side: int) -> bytes:
    """Build a small PNG file whose header promises *side* × *side* grey pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    width = side.to_bytes(4, "big")
    header = width + width + b"\x01\x00\x00\x00\x00"
    rows = zlib.compress(bytes(64 * 1024), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def edited(answer: Answer, edit: Callable[[Any], Any]) -> Answer:
    """Apply *edit* to the JSON of an answer."""
    return evolve(answer, body=orjson.dumps(edit(orjson.loads(answer.body))))


@define
class _Order:
    fault: Fault
    left: int | None
    when: Callable[[Call], bool] | None


class Faults:
    """The faults that were ordered and not met yet; may be used from any thread."""

    def __init__(self) -> None:
        self._orders: dict[Where, list[_Order]] = {}
        self._lock = threading.Lock()

    def order(
        self,
        where: Where,
        fault: Fault,
        *,
        times: int | None = 1,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        """Order *fault* for the next *times* requests (None: all) at a place, first in, first out.

        *when* limits it to some requests; it runs in the simulator's loop. A refused key is refused
        before any fault is taken.

        Raises:
            ValueError: there is no such place, *fault* does not fit it, or *times* is below 1.
        """
        if where not in fault.places:
            raise ValueError(f"{fault.kind} fits {', '.join(fault.places)}, not {where!r}.")
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None for all, got {times}.")
        with self._lock:
            self._orders.setdefault(where, []).append(_Order(fault, times, when))

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    @property
    def waiting(self) -> int:
        """How many faults are still to come, counting one for those that never end."""
        with self._lock:
            return sum(order.left or 1 for orders in self._orders.values() for order in orders)

    def take(self, call: Call) -> Fault | None:
        """Take the first fault that fits *call*.

        For a submit this is asked twice: at the headers, and with the body for those orders whose
        predicate may want to see it.
        """
        with self._lock:
            orders = self._orders.get(call.where, [])
            for order in self._fitting(orders, call):
                if order.left is not None:
                    order.left -= 1
                    if order.left == 0:
                        orders.remove(order)
                return order.fault
        return None

    @staticmethod
    def _fitting(orders: list[_Order], call: Call) -> Iterator[_Order]:
        before_body = call.where == "submit" and call.body is None
        for order in orders:
            wants_body = order.when is not None and not order.fault.early
            if call.where == "submit" and wants_body == before_body:
                continue
            if order.when is None or order.when(call):
                yield order

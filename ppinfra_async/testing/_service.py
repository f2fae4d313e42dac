"""Holds the service's rules: who may submit, what is metered, what a task answers; opens no socket."""

import math
import random
import re
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from weakref import WeakValueDictionary

import orjson
from attrs import define, field

from ppinfra_async.testing import _models
from ppinfra_async.testing._answers import Answer, Headers, RefusedError, error
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._latency import Draw, as_draw
from ppinfra_async.testing._limits import Limiter, SlidingWindow, limiter
from ppinfra_async.testing._pictures import Examined
from ppinfra_async.testing._ranges import Endpoint, Findings, check, endpoints, known_part
from ppinfra_async.testing._results import ResultPage
from ppinfra_async.testing._settings import Settings
from ppinfra_async.testing._tasks import TaskRecord

# In which unit `credit_balance` counts is not documented; one image costs this much of it here.
CREDIT_PER_IMAGE = 20
_UNLIMITED_CREDIT = 10_000_000
# How many different requests are remembered for sharing.
_SHARED = 256


@define(kw_only=True)
class Service:
    """The task book and the rules around it."""

    settings: Settings
    clock: Callable[[], float]
    counters: Counters
    page: ResultPage
    endpoints: Mapping[str, Endpoint] = field(init=False)
    book: dict[str, TaskRecord] = field(factory=dict, init=False)
    # What is equal in many tasks is kept once, as long as one of them is.
    _sources: WeakValueDictionary[tuple[str, int, int], Examined] = field(
        factory=WeakValueDictionary, init=False
    )
    _requests: dict[bytes, Mapping[str, Any]] = field(factory=dict, init=False)
    _ageing: deque[TaskRecord] = field(factory=deque, init=False)
    _last_number: int = field(default=0, init=False)
    _limiters: dict[str, Limiter] = field(factory=dict, init=False)
    _poll_limiter: Limiter | None = field(default=None, init=False)
    _known: Mapping[str, frozenset[str]] = field(init=False)
    _queue: Draw = field(init=False)
    _processing: Draw = field(init=False)
    _started_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self.endpoints = {each.path: each for each in endpoints(settings.multiple_of)}
        self._queue, self._processing = as_draw(settings.queue), as_draw(settings.processing)
        known: dict[str, set[str]] = {
            "preprocessor": set(_models.PREPROCESSORS),
            "ip_adapter": set(_models.IP_ADAPTERS),
        }
        for model in settings.models:
            known.setdefault(model.type, set()).add(model.model_name)
        self._known = {kind: frozenset(names) for kind, names in known.items()}
        self._started_at = self.clock()
        self.reset()

    def reset(self) -> None:
        """Forget all tasks and fill all limits again."""
        settings = self.settings
        self.book.clear()
        self._ageing.clear()
        self._last_number = 0
        self._limiters.clear()
        self._started_at = self.clock()
        for endpoint in self.endpoints.values():
            limit = settings.images_per_minute
            if isinstance(limit, Mapping):
                limit = limit.get(endpoint.name)
            if limit is not None:
                self._limiters[endpoint.name] = limiter(
                    settings.window, limit, settings.minute, self._started_at
                )
        rate = settings.polls_per_second
        self._poll_limiter = None if rate is None else SlidingWindow(rate, 1.0)

    def read_record(self, tree: Mapping[str, Any]) -> TaskRecord:
        """Read a task of an earlier life, as the state file has it."""
        return TaskRecord.from_tree(tree, self.clock)

    def restore(self, record: TaskRecord) -> None:
        """Take up a task of an earlier life."""
        self._last_number = max(self._last_number, record.number)
        self._enter(record)
        limit = self._limiters.get(record.endpoint)
        if limit is not None:
            limit.take(record.images, record.submitted_at)

    # --- refusals -------------------------------------------------------------------------

    def check_key(self, authorization: str | None) -> None:
        """Refuse a request without the key or with another one."""
        if not authorization:
            raise RefusedError(error("MISSING_API_KEY", "API key is missing"))
        if authorization != f"Bearer {self.settings.api_key}":
            raise RefusedError(error("INVALID_API_KEY", "API key is invalid"))

    def check_body(self, endpoint: Endpoint, body: Any) -> Findings:
        """Refuse a body with a field outside its documented range, or with an unknown model."""
        if not isinstance(body, dict):
            raise _invalid("proto: syntax error: unexpected token, expected an object")
        findings = check(body, endpoint.fields)
        if findings.problems:
            raise _invalid(findings.problems[0], "; ".join(findings.problems))
        if self.settings.check_models:
            for path, kind, name in findings.names:
                if name not in self._known.get(kind, ()):
                    what = kind if kind == "preprocessor" else f"{kind} model"
                    raise _invalid(f"{path}: {what} {name} not allowed")
        prompt = str(body["request"].get("prompt") or "")
        if any(word in prompt for word in self.settings.illegal_words):
            raise RefusedError(error("ILLEGAL_PROMPT", "the prompt violates the content policy"))
        return findings

    def _pay(self, endpoint: Endpoint, images: int, now: float) -> None:
        balance = self.settings.balance
        if balance is not None and self.counters.images + images > balance:
            raise RefusedError(error("BILLING_BALANCE_NOT_ENOUGH", "balance is not enough"))
        limit = self._limiters.get(endpoint.name)
        wait = None if limit is None else limit.take(images, now)
        if wait is not None:
            self.counters.refused_429 += 1
            raise RefusedError(self._too_many(wait, f"{endpoint.resource}: IPM limit exceeded"))

    def _too_many(self, wait: float, message: str) -> Answer:
        headers: Headers = ()
        style = self.settings.retry_after
        if style is not None and math.isfinite(wait):
            # Both forms of the header know whole seconds only.
            seconds = max(1, math.ceil(wait))
            text = str(seconds)
            if style == "date":
                moment = datetime.fromtimestamp(math.ceil(self.clock()), UTC)
                text = format_datetime(moment + timedelta(seconds=seconds), usegmt=True)
            headers = (("Retry-After", text),)
        return error("RATE_LIMIT_EXCEEDED", message, headers=headers)

    # --- tasks ----------------------------------------------------------------------------

    def accept(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        source: Examined | None,
        changes: Mapping[str, Any],
    ) -> TaskRecord:
        """Create the task and count its images as paid; *changes* give it another fate.

        Raises:
            RefusedError: the balance or the limit does not allow it.
        """
        asked = known_part(body, endpoint.fields)
        request, extra = self._shared(asked["request"]), self._shared(asked.get("extra") or {})
        images = request[endpoint.count] if endpoint.count else 1
        now = self.clock()
        self._forget(now)
        self._pay(endpoint, images, now)
        self._last_number += 1
        source_of_chance = random.Random(f"{self.settings.seed}|{self._last_number}")  # noqa: S311
        seed = request.get("seed")
        record = TaskRecord(
            task_id=str(uuid.uuid4()),
            number=self._last_number,
            endpoint=endpoint.name,
            task_type=endpoint.task_type,
            request=request,
            extra=extra,
            images=images,
            produced=images,
            seed=source_of_chance.getrandbits(32) if seed is None or seed < 0 else seed,
            submitted_at=now,
            queue=self._queue(source_of_chance),
            processing=self._processing(source_of_chance),
            source=source,
            clock=self.clock,
        )
        if self._fails(record, source_of_chance):
            record.reason = self.settings.failure_reason
        for name, value in changes.items():
            setattr(record, name, value)
        self._enter(record)
        self.counters.accepted += 1
        self.counters.images += images
        return record

    def _enter(self, record: TaskRecord) -> None:
        source = record.source
        if source is not None:
            record.source = self._sources.setdefault((source.sha256, *record.size), source)
        self.book[record.task_id] = record
        if self.settings.forget_after is not None:
            self._ageing.append(record)

    def _shared(self, tree: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(self._requests) >= _SHARED:
            self._requests.clear()
        return self._requests.setdefault(orjson.dumps(tree), tree)

    def find(self, task_id: str) -> TaskRecord | None:
        """Look for a task that is not forgotten."""
        self._forget(self.clock())
        return self.book.get(task_id)

    def _forget(self, now: float) -> None:
        while self._ageing and not self._remembered(self._ageing[0], now):
            self.book.pop(self._ageing.popleft().task_id, None)

    def _remembered(self, record: TaskRecord, now: float) -> bool:
        last = self.settings.forget_after
        return last is None or now - record.submitted_at < last

    def _fails(self, record: TaskRecord, chance: random.Random) -> bool:
        by_word = any(word in record.prompt for word in self.settings.failing_words)
        return by_word or chance.random() < self.settings.failure_rate

    def submitted(self, record: TaskRecord) -> Answer:
        """Answer an accepted submit."""
        tree = {"task_id": record.task_id}
        if self.settings.envelope == "flat":
            return Answer.json(tree)
        return Answer.json({"code": 0, "msg": "", "data": tree})

    def result(self, task_id: str | None) -> Answer:
        """Answer ``GET /v3/async/task-result``.

        Raises:
            RefusedError: too many polls, no id, an unknown or forgotten one.
        """
        now = self.clock()
        wait = None if self._poll_limiter is None else self._poll_limiter.take(1, now)
        if wait is not None:
            self.counters.polls_429 += 1
            raise RefusedError(self._too_many(wait, "RPM limit exceeded"))
        if not task_id:
            raise _invalid("task_id: value is required")
        record = self.find(task_id)
        if record is None or now - record.submitted_at < self.settings.not_found_for:
            raise RefusedError(error("TASK_NOT_FOUND", "task not found"))
        record.polls += 1
        if not record.is_noticed and now >= record.finished_at:
            record.is_noticed = True
            self.counters.noticed += 1
            self.counters.notice_ms += round(1000 * (now - record.finished_at))
        return Answer.json(self.page.tree(record, now))

    # --- listings -------------------------------------------------------------------------

    def models(self, query: Mapping[str, str]) -> Answer:
        """Answer ``GET /v3/model``."""
        settings = self.settings
        try:
            tree = _models.page(settings.models, query, settings.naming, end=settings.end_cursor)
        except _models.BadQueryError as problem:
            raise _invalid(str(problem)) from None
        return Answer.json(tree)

    def user(self) -> Answer:
        """Answer ``GET /v3/user``; the only documented field is ``credit_balance``."""
        balance = self.settings.balance
        credit = _UNLIMITED_CREDIT
        if balance is not None:
            credit = (balance - self.counters.images) * CREDIT_PER_IMAGE
        return Answer.json({"credit_balance": credit})


def _invalid(message: str, details: str = "") -> RefusedError:
    # Values of the caller's may hold anything; a message is one line.
    line = re.sub(r"\s+", " ", message)
    metadata = {"details": details or line}
    return RefusedError(error("INVALID_REQUEST_BODY", line, metadata=metadata))

"""The client: puts the rooms together and owns their life; refuses to do any of their work.

See ``Client``.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import anyio

from ppinfra_async._background import Background
from ppinfra_async._delivery import Delivery
from ppinfra_async._images import Images
from ppinfra_async._job_tools import JobTools
from ppinfra_async._map import AT_ONCE, Items, OutcomeIterator, open_map, run_all
from ppinfra_async._models import ModelIterator
from ppinfra_async._origin import usable_base_url, usable_key
from ppinfra_async._poller import Poller
from ppinfra_async._submission import Ledger, Owner
from ppinfra_async._submitter import Submitter
from ppinfra_async._task import Task, TaskTools
from ppinfra_async._transport import AiohttpTransport, MaskedText, Transport
from ppinfra_async._unclaimed import Unclaimed
from ppinfra_async._until import until
from ppinfra_async._uploads import Prepared, prepare
from ppinfra_async.errors import InvalidRequestError, TaskTimeoutError, Violation
from ppinfra_async.events import Event
from ppinfra_async.options import Limits, Network, Polling, Retries, Timeouts
from ppinfra_async.quota import AccountQuota, usable_quota
from ppinfra_async.requests import Request
from ppinfra_async.results import Job, Outcome, TaskResult

_log = logging.getLogger("ppinfra_async")


class Client:
    """An asyncio client for PPInfra's asynchronous image API.

    Use it with ``async with``, or keep it and ``await client.close()`` at the end; opening and
    closing may happen in different tasks. It belongs to the event loop it is first used in.

    Args:
        api_key: None reads ``PPINFRA_API_KEY``, then ``PPIO_API_KEY``. Sent to the base URL only.
        base_url: None reads ``PPINFRA_BASE_URL``, else it is ``https://api.ppinfra.com``.
        limits: How fast images may be asked for.
        quota: Another client's ``quota``, to share it; None makes one from *limits*.
        polling: How tasks are asked about, and when waiting ends.
        retries: What is tried again.
        timeouts: How long each phase may make no progress.
        network: Proxies, certificates, tracing.
        on_event: Called on the event loop with each value of ``ppinfra_async.events``.

    Raises:
        InvalidKeyError: when there is no usable key.
        ValueError: when the base URL is not https (http only for this machine itself), or when
            *limits* and *quota* contradict each other.
        TypeError: when ``on_event`` is a coroutine function.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        limits: Limits | None = None,
        polling: Polling | None = None,
        retries: Retries | None = None,
        timeouts: Timeouts | None = None,
        network: Network | None = None,
        quota: AccountQuota | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if api_key is not None:
            # First of all, so that no frame of ours shows the key in a traceback with locals.
            api_key = MaskedText(api_key)
        if inspect.iscoroutinefunction(on_event):
            raise TypeError("on_event must be a plain function: nobody would await a coroutine.")
        key = usable_key(api_key)
        self.base_url = usable_base_url(base_url)
        self.limits = limits or Limits()
        self.polling = polling or Polling()
        self.retries = retries or Retries()
        self.timeouts = timeouts or Timeouts()
        self.network = network or Network()
        self.quota = usable_quota(quota, self.limits, self.retries)
        self._on_event = on_event
        self._closed = False
        self._unclaimed = Unclaimed()
        self._background = Background()
        self._connect(AiohttpTransport(self.base_url, key, self.timeouts, self.network))

    def _connect(self, transport: Transport) -> None:
        """Put the rooms together around *transport*."""
        draw = random.random
        self._transport = transport
        self._images = Images(transport, self.retries, draw)
        self._poller = Poller(
            transport, self._background, polling=self.polling, draw=draw, emit=self._emit
        )
        self._submitter = Submitter(
            transport,
            self._background,
            quota=self.quota,
            max_wait=self.limits.max_wait,
            retries=self.retries,
            timeouts=self.timeouts,
            record=self._record,
            draw=draw,
            emit=self._emit,
        )
        self._task_tools = TaskTools(
            background=self._background,
            poller=self._poller,
            delivery=Delivery(self._images, self._poller, self._background),
            emit=self._emit,
            claim=self._unclaimed.claim,
            keep=self._unclaimed.keep,
        )
        self._job_tools = JobTools(
            background=self._background,
            submit=self._submit,
            withdraw=self._submitter.withdraw,
            handle=self._handle,
            set_aside=self._unclaimed.set_aside,
            report_lost=self._submitter.report_lost,
            retries=self.retries,
        )

    def __repr__(self) -> str:
        # A traceback with locals may show a client that is only half made.
        made = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"Client({', '.join(f'{name}={value}' for name, value in made.items())})"

    async def __aenter__(self) -> Self:
        self._background.check()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except RuntimeError:
            # The body's own exception leaves as itself.
            if error is None:
                raise

    # --- one task ---

    async def check(self, request: Request) -> Request:
        """Look at the request's files, without any network.

        Returns:
            The request as it would be sent, with its output size filled in.

        Raises:
            InvalidRequestError: with everything that is wrong.
        """
        self._background.check()
        return (await self._prepared(request)).request

    async def submit(self, request: Request) -> Task:
        """Send a request; it is paid once this returns. Waits its turn when the quota is used up.

        Cancelling is safe: before the last byte is sent nothing is paid, afterwards the task is kept
        in ``unfinished``.

        Raises:
            InvalidRequestError: a rule is broken, or the service says so; nothing was paid.
            AccountError: key, balance or permission.
            ContentRejectedError: prompt or picture.
            RateLimitedError: no turn within ``Limits.max_wait``, or nothing but 429 for ten minutes.
            NotSentError: it did not reach the service in ``Retries.attempts`` tries.
            SubmitOutcomeUnknownError: it may be paid and has no known id; never sent again by us.
            ServiceError: the service could not create the task.
        """
        return await self._submit(request)

    async def generate(
        self, request: Request, *, timeout: float | None = None, decode: bool = True
    ) -> TaskResult:
        """Submit, wait, download, verify and decode.

        Args:
            request: What to ask.
            timeout: Seconds for all of it; None is up to the deadlines of ``Polling``. Prefer it to
                ``asyncio.timeout``: its error has the handle of the task, which goes on and is
                billed.
            decode: False leaves out decoding; ``image.data`` is verified all the same.

        Raises:
            TaskTimeoutError: see ``Task.result``; before the submit was sent, without a task.
            PPInfraError: see ``submit`` and ``Task.result``.
        """
        self._background.check()
        began = anyio.current_time()
        deadline = began + (float("inf") if timeout is None else timeout)
        task = await self._submit(request, deadline=deadline)
        left = None if timeout is None else max(0.0, deadline - anyio.current_time())
        # Not `result`: when the client is closed meanwhile, the error must carry the task.
        return await task._result_within(left, decode=decode)  # noqa: SLF001  # see above

    def attach(self, task_id: str) -> Task:
        """Return the handle of a task known by its id, from this client or any other. No I/O.

        Raises:
            InvalidRequestError: when it cannot be an id.
        """
        # Untyped code passes None for an id it never got; asking about a task "None" helps nobody.
        given: object = task_id
        if not isinstance(given, str) or not given.strip():
            violation = Violation("task_id", task_id, "must be the service's task id, as text")
            raise InvalidRequestError.of("attach", [violation])
        task_id = task_id.strip()
        return self._unclaimed.get(task_id) or Task(task_id, None, self._task_tools)

    @property
    def unfinished(self) -> tuple[Task, ...]:
        """Tasks this client knows whose end nobody has received; they are billed all the same.

        Submitted or waited for here, and not yet delivered as a result or a final error. An attached
        id is among them, too, though it may be a typing mistake. Still readable after ``close``, so
        that the ids can be kept.
        """
        return self._unclaimed.tasks

    # --- many ---

    async def generate_many(self, requests: Iterable[Request | Job]) -> list[Outcome]:
        """Generate a short list at the same time; return the outcomes in input order.

        One failure does not stop the others. A wrong key or an empty balance stops what was not yet
        submitted: its outcomes carry an error of the same class, with ``billed="no"``.

        Cancelling is safe: whatever was paid and is not in the caller's hands is in ``unfinished``.
        """
        self._background.check()
        jobs = [item if isinstance(item, Job) else Job(item) for item in requests]
        return await run_all(self.map(jobs), jobs)

    def map(
        self,
        requests: Items,
        *,
        max_in_flight: int = AT_ONCE,
        ordered: bool = False,
        decode: bool = True,
    ) -> OutcomeIterator:
        """Generate a stream of any length, with flat memory.

        ``async with client.map(requests) as outcomes:`` opens it, ``async for outcome in outcomes:``
        reads it. A failure is an outcome with an ``error``. A wrong key or an empty balance stops
        the stream: the outcomes of what was pulled are delivered, what is not paid is withdrawn, and
        then the iteration raises that error. ``NotAllowedError`` is about one endpoint and model:
        their other requests get such an error, unsent. An exception in *requests* itself leaves as
        itself, after the outcomes of what was pulled.

        Leaving the block early withdraws what is not paid; what is paid and was not taken is in
        ``unfinished``. Pictures that wait to be taken hold at most 256 MB with their pixels, and
        those of one job more.

        Args:
            requests: Requests or ``Job(request, key=…)``, from any iterable or async iterable,
                pulled one at a time when there is room. A plain one is pulled on the event loop, so
                it must not block.
            max_in_flight: Jobs pulled and not yet taken by you, at most: a slow reader stops new
                submits.
            ordered: Deliver in input order; a slow job then holds up what follows it.
            decode: False leaves out decoding; ``image.data`` is verified all the same.

        Raises:
            ValueError: when *max_in_flight* is not a whole number from 1.
            TypeError: when *requests* is a single request, or cannot be iterated over.
        """
        return open_map(
            self._job_tools, requests, max_in_flight=max_in_flight, ordered=ordered, decode=decode
        )

    def models(
        self,
        *,
        types: str | None = None,
        visibility: str | None = None,
        is_sdxl: bool | None = None,
        is_inpainting: bool | None = None,
        source: str | None = None,
        query: str | None = None,
        page_size: int = 100,
    ) -> ModelIterator:
        """Iterate over the models of the service, all pages, one page in memory at a time.

        https://ppinfra.com/docs/models/reference-get-model

        Args:
            types: ``checkpoint``, ``lora``, ``vae``, ``controlnet``, ``upscaler`` or
                ``textualinversion``.
            visibility: ``public`` or ``private``.
            is_sdxl: Only SDXL models, or only others.
            is_inpainting: Only inpainting models, or only others.
            source: ``civitai``, ``training`` or ``uploading``; documented by Novita only.
            query: Free text; documented by Novita only.
            page_size: 1…100.

        Raises (while iterating):
            PPInfraError: the service answered with an error.
            ProtocolError: it answered something unreadable, or its pages go in circles.
        """
        filters = {
            "visibility": visibility,
            "types": types,
            "is_sdxl": is_sdxl,
            "is_inpainting": is_inpainting,
            "source": source,
            "query": query,
        }
        return ModelIterator(
            self._transport, self._background, self.retries, filters, page_size=page_size
        )

    # --- life ---

    async def close(self) -> None:
        """Withdraw what is not paid, wait a moment for ids of what may be, and end everything.

        Raises:
            RuntimeError: when something had crashed in the background, with the crash as its cause.
        """
        if self._closed:
            return
        self._background.check_loop()
        self._background.closed = True
        await self._background.outlast(self._end)
        # Only now: one that was cut short is finished by the next.
        self._closed = True
        self._unclaimed.log_left()
        self._background.raise_crash()

    async def _end(self) -> None:
        await self._submitter.finish()
        self._poller.close()
        await self._background.stop()
        await self._transport.close()
        await self._images.threads.idle(self.timeouts.cancel_grace)

    async def _submit(
        self,
        request: Request,
        *,
        deadline: float = float("inf"),
        owner: Owner | None = None,
        ledger: Ledger | None = None,
    ) -> Task:
        self._background.check()
        with until(deadline) as looking:
            prepared = await self._prepared(request)
        if looking.cancelled_caught:
            raise TaskTimeoutError(
                "The timeout passed while the request's pictures were looked at. Nothing was sent "
                "or paid.",
                billed="no",
            )
        for event in prepared.reencoded:
            self._emit(event)
        try:
            task_id = await self._submitter.submit(prepared, deadline, owner=owner, ledger=ledger)
        except TaskTimeoutError as error:
            error.task = self._unclaimed.get(error.task_id) if error.task_id else None
            raise
        return self._handle(task_id, prepared.request)

    async def _prepared(self, request: object) -> Prepared:
        if not isinstance(request, Request):
            violation = Violation("request", request, "must be a request, such as Img2Img(…)")
            raise InvalidRequestError.of("The call", [violation])
        return await prepare(request, self._images.threads)

    def _record(self, task_id: str, prepared: Prepared) -> None:
        now = anyio.current_time()
        self._unclaimed.keep(Task(task_id, prepared.request, self._task_tools, now))

    def _handle(self, task_id: str, request: Request) -> Task:
        return self._unclaimed.get(task_id) or Task(task_id, request, self._task_tools)

    def _emit(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # a paid task must not die of a progress bar
            _log.exception("on_event raised for %s; the work goes on", type(event).__name__)

"""The account's quotas as a program sees and shares them; refuses to decide who goes when.

The service meters images per minute and endpoint. Clients of one process that use the same account
should share one ``AccountQuota``, or each of them takes the whole quota for its own.
"""

from __future__ import annotations

from ppinfra_async._quota_queue import QuotaQueue
from ppinfra_async._sansio.quota import Quota, QuotaState
from ppinfra_async.options import Limits, Retries
from ppinfra_async.requests import Request

__all__ = ["AccountQuota", "QuotaState"]


class AccountQuota:
    """The quotas of one account, one for each endpoint, made as they are needed.

    ``client.quota`` is one; pass it to the next client: ``Client(quota=first.quota)``. Clients of
    several event loops, each in its thread, may share one, too. Whether their keys are of one account
    is not checked.

    Args:
        limits: The quota, or how to find it out. ``max_wait`` is each client's own.
        longest_retry_after: Seconds; the ceiling for what a 429 asks for.
    """

    def __init__(self, limits: Limits | None = None, *, longest_retry_after: float = 60.0) -> None:
        self.limits = limits or Limits()
        self._longest_retry_after = longest_retry_after
        self._queues: dict[str, QuotaQueue] = {}

    def __repr__(self) -> str:
        return f"AccountQuota({self.limits!r}, known={sorted(self._queues)})"

    def queue(self, path: str) -> QuotaQueue:
        """Return the queue of the endpoint at *path*."""
        known = self._queues.get(path)
        if known is None:
            quota = Quota(self.limits, self._longest_retry_after)
            # Several threads may get here at once; all take the same.
            known = self._queues.setdefault(path, QuotaQueue(quota))
        return known

    def state(self, request: Request | type[Request]) -> QuotaState:
        """Return what is known of the quota that *request* counts against, now."""
        return self.queue(request.path).state()

    def estimate(self, request: Request | type[Request], images: int) -> float:
        """Return the seconds until *images* more images could all have been submitted.

        Those that wait already come first. 0 as long as no limit is known.

        Args:
            request: A request, or its class: each endpoint has its own quota.
            images: How many; a request counts with its ``image_num``.
        """
        return self.queue(request.path).estimate(images)

    def waiting(self, request: Request | type[Request]) -> int:
        """Return how many submits wait for their turn."""
        return len(self.queue(request.path))


def usable_quota(shared: AccountQuota | None, limits: Limits, retries: Retries) -> AccountQuota:
    """Return *shared*, or a new one.

    Raises:
        ValueError: when *limits* pins another quota than *shared* has.
    """
    if shared is None:
        return AccountQuota(limits, longest_retry_after=retries.max_wait)
    pinned, other = limits.images_per_minute, shared.limits.images_per_minute
    if pinned not in {"auto", other}:
        raise ValueError(
            f"Limits.images_per_minute is {pinned}, but the quota that is shared has {other}."
        )
    return shared

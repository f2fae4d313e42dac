"""Decides how long to pause before trying again; refuses to wait, draw or look at a clock itself."""

from __future__ import annotations

from ppinfra_async.options import Retries

_FIRST_WAIT = 0.5


def delay(
    retries: Retries, *, attempt: int, draw: float, retry_after: float | None = None
) -> float | None:
    """Return the seconds to wait after failed try number *attempt* (from 1), or None to give up.

    The pause doubles from half a second up to ``retries.max_wait``. *draw*, random in [0, 1),
    spreads it over its upper half, so that many callers that failed together do not return
    together. What the service asked for (*retry_after*) is waited in full, up to ``max_wait``.
    """
    if attempt >= retries.attempts:
        return None
    # The exponent is bounded so that no number of attempts overflows.
    backoff: float = (
        min(retries.max_wait, _FIRST_WAIT * 2.0 ** min(attempt - 1, 30)) * (1 + draw) / 2
    )
    return max(backoff, min(retry_after or 0.0, retries.max_wait))

"""How long somebody waits; refuses to know what for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import anyio


class _Unlimited:
    """Stands for a cancel scope that nothing ends."""

    cancelled_caught = False


_UNLIMITED = nullcontext(_Unlimited())


def until(deadline: float) -> AbstractContextManager[anyio.CancelScope | _Unlimited, bool | None]:
    """Return a cancel scope that ends at *deadline*, or what costs nothing when that is never."""
    return _UNLIMITED if deadline == float("inf") else anyio.CancelScope(deadline=deadline)

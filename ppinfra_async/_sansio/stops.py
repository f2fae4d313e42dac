"""Decides which requests are not sent any more after an error; refuses to withdraw them itself.

A wrong key and an empty balance doom every request. That something is not allowed dooms the same
endpoint with the same model: real-name verification is asked for per model.
"""

from __future__ import annotations

from attrs import define, field

from ppinfra_async.errors import (
    InsufficientBalanceError,
    InvalidKeyError,
    NotAllowedError,
    PPInfraError,
)

_Target = tuple[object, object]


def dooms_all(error: BaseException | None) -> bool:
    """Tell whether sending the next request after *error* would only get the same answer."""
    return isinstance(error, InvalidKeyError | InsufficientBalanceError)


def unsent_because_of(doom: PPInfraError) -> PPInfraError:
    """Return what is told about a request that was not sent because another one got *doom*.

    An error of its own: the other request may have a task id and be paid, this one has not.
    """
    error = type(doom)(f"It was not sent, because another request got: {doom.message}")
    error.__cause__ = doom
    return error


@define
class Stops:
    """What a stream of jobs has learned not to send.

    Attributes:
        doom: The error that every further request would get, or None.
    """

    doom: PPInfraError | None = None
    _refused: dict[_Target, NotAllowedError] = field(factory=dict, init=False)

    def note(self, error: PPInfraError, request: object) -> bool:
        """Take up the error of *request*; return whether other requests are concerned."""
        if dooms_all(error):
            self.doom = self.doom or error
            return True
        if isinstance(error, NotAllowedError):
            self._refused.setdefault(_target(request), error)
            return True
        return False

    def reason(self, request: object) -> PPInfraError | None:
        """Return why *request* is not to be sent, as its own error, or None."""
        cause = self.doom or self._refused.get(_target(request))
        return None if cause is None else unsent_because_of(cause)


def _target(request: object) -> _Target:
    # Whatever stands in for a request was refused before it was sent and meets nothing here.
    return getattr(request, "path", None), getattr(request, "model_name", None)

"""Remembers what is due when, for a million keys; knows no clock and does nothing that is due.

Keys that are due at the same time share one entry of the heap. Polls are planned for the beats of a
clock, so a million waiting tasks make a heap of a hundred times or so.
"""

from __future__ import annotations

import heapq
import math

from attrs import define, field

_MANY_STALE = 64


@define
class Timetable:
    """What is due when; setting a key again moves it. Moved and dropped keys rot where they were."""

    _due: dict[str, float] = field(factory=dict, init=False)
    _keys: dict[float, list[str]] = field(factory=dict, init=False)
    _times: list[float] = field(factory=list, init=False)
    _stale: int = field(default=0, init=False)

    @property
    def earliest(self) -> float:
        """A time before which nothing is due."""
        return self._times[0] if self._times else math.inf

    def __contains__(self, key: str) -> bool:
        return key in self._due

    def set(self, key: str, when: float) -> None:
        """Let *key* be due at *when*, and at no other time any more."""
        before = self._due.get(key)
        if before == when:
            return
        self._due[key] = when
        self._append(key, when)
        if before is not None:
            self._rot()

    def drop(self, key: str) -> None:
        """Let *key* never be due."""
        if self._due.pop(key, None) is not None:
            self._rot()

    def first(self) -> tuple[float, str] | None:
        """Return the earliest time and a key that is due then, or None while there is nothing."""
        while self._times:
            when = self._times[0]
            keys = self._keys[when]
            while keys:
                if self._due.get(keys[-1]) == when:
                    return when, keys[-1]
                keys.pop()
                self._stale -= 1
            heapq.heappop(self._times)
            del self._keys[when]
        return None

    def take(self, now: float) -> tuple[float, str] | None:
        """Drop and return the first, if it is due *now*."""
        if not self._times or self._times[0] > now:
            return None
        first = self.first()
        if first is None or first[0] > now:
            return None
        del self._due[self._keys[first[0]].pop()]
        return first

    def _append(self, key: str, when: float) -> None:
        keys = self._keys.get(when)
        if keys is None:
            self._keys[when] = [key]
            heapq.heappush(self._times, when)
        else:
            keys.append(key)

    def _rot(self) -> None:
        self._stale += 1
        if self._stale > _MANY_STALE + len(self._due):
            # Half of it is stale: rebuild, so that memory follows what is really waiting.
            due, self._keys, self._times, self._stale = self._due, {}, [], 0
            for key, when in due.items():
                self._append(key, when)

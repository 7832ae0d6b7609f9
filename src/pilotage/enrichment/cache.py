"""Values that a worker has drawn lately, for a bounded time and a bounded number of entities."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from pilotage.contracts.enriching import Key
from pilotage.enrichment.model import Entry

__all__ = ["MOST", "Cache"]

MOST = 10_000
"""Entities that one worker keeps of one declaration."""


class Cache:
    """Entries not older than `seconds`, in memory only; the one that was put first goes first. `clock` in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._seconds, self._clock, self._most = seconds, clock, most
        self._kept: OrderedDict[Key, tuple[float, Entry]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Entry | None:
        """The entry of a key, unless it was put too long ago."""
        found = self._kept.get(key)
        if found is None:
            return None
        if self._clock() - found[0] >= self._seconds:
            del self._kept[key]
            return None
        return found[1]

    def put(self, key: Key, entry: Entry) -> None:
        """Keep an entry, where entries are kept at all."""
        if self._seconds <= 0:
            return
        now = self._clock()
        self._kept.pop(key, None)
        self._kept[key] = now, entry
        # The oldest are in front: those whose time is over go, and what is too many.
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) <= self._most and now - self._kept[oldest][0] < self._seconds:
                return
            del self._kept[oldest]

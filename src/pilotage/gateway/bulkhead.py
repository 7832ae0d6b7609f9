"""A bulkhead: an upstream that is slow holds a bounded number of requests, and no more of a worker than that."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Bulkhead"]


class Bulkhead:
    """So many `places`; who comes when all are taken waits for one, first come first served. For one event loop."""

    __slots__ = ("_waiting", "in_use", "places")

    def __init__(self, places: int) -> None:
        self.places, self.in_use = places, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(not each.done() for each in self._waiting)

    async def enter(self, within_s: float) -> bool:
        """Take a place, waiting at most so long; whether one was got. Who got one must `leave`."""
        if self.in_use < self.places:
            self.in_use += 1
            return True
        if within_s <= 0:
            return False
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(within_s):
                await place
        except TimeoutError:
            return self._gave_up(place)
        except asyncio.CancelledError:
            if self._gave_up(place):
                self.leave()
            raise
        return True

    def _gave_up(self, place: asyncio.Future[None]) -> bool:
        """Whether the place was given in the very moment that its wait ended."""
        if place.done() and not place.cancelled():
            return True
        if place in self._waiting:
            self._waiting.remove(place)
        return False

    def leave(self) -> None:
        """Give a place back, to the one who waits longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_use -= 1

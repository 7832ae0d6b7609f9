"""How many requests one turn of the event loop may admit, so that none waits long for the processor; the rest is shed.

A turn reads what every connection sent, then works on it; whatever comes meanwhile waits in the kernel until the next.
So the delay of the queue is how long a turn works, and a turn is kept short by admitting only what fits into it. What
is counted is the processor's time of the loop's thread, so that neither a slow sync of the journal nor another process
looks like a queue; what waits for the journal is bounded by its number.

A short burst may fill a longer turn: only where every turn was too long for an interval is a queue standing. Turns
are then held to the delay itself, until there was no long turn for a while: a flood has gaps, and after each the next
burst would keep all others waiting. (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; in the
form for servers of Maurer, "Fail at Scale", ACM Queue 13(8), 2015.)
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Shedding"]

_BURST = 3
"""A burst may fill a turn of so many times the delay."""

_INTERVAL_S = 0.05
"""A queue that was never short for this long is a standing one."""

_CALM_S = 0.1
"""A standing queue is gone when it was short for this long."""

_KNOWN = 1_000
"""The cost of a request is the mean over the last one to two thousand."""

_PART_OF_A_REQUEST = 1 / 16
"""What it costs to shed a request, in requests: a guess, so that a flood does not look like slow requests."""


class Shedding:
    """The admission of one event loop. `delay_s` is how long a turn may work, 0 for any time.

    Whoever reads a connection calls `begin` when the last turn is `over`, has `end` called before the loop reads again,
    and takes one from `left` for each request while there is one; then each is shed, and `count` is told. `room` is
    how many further requests may be in flight; `tell` hears how many of an address were shed, once a turn; `cpu` is the
    processor's time of this thread, in seconds.
    """

    __slots__ = (
        "_allowed",
        "_cpu",
        "_delay",
        "_known",
        "_long_at",
        "_room",
        "_shed",
        "_short_at",
        "_spent",
        "_standing",
        "_tell",
        "_until",
        "at",
        "left",
        "over",
    )

    def __init__(
        self,
        delay_s: float,
        room: Callable[[], int],
        tell: Callable[[str, int], None],
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.at = -1.0
        self.over = True
        self.left = self._allowed = 0
        self._delay, self._room, self._tell, self._cpu = delay_s, room, tell, cpu
        self._shed: dict[str, int] = {}
        self._until = cpu()
        self._standing, self._short_at, self._long_at = False, -1.0, -1.0
        self._known, self._spent = 100.0, 100 * 100e-6

    def begin(self, at: float) -> None:
        """A turn begins at this time of the loop, in seconds: see what the last one cost, and what this may admit."""
        until = self._cpu()
        # What starting took is no turn.
        spent, self._until = until - self._until if self.at >= 0 else 0.0, until
        shed = max(0, -self.left)
        admitted = self._allowed - self.left - shed
        if shed and admitted and 0 < spent < self._delay / 2:
            # Held far too tightly: requests became cheaper than they were.
            self._known = self._spent = 0.0
        self._known += admitted + shed * _PART_OF_A_REQUEST
        self._spent += spent
        if self._known > 2 * _KNOWN:
            self._known, self._spent = self._known / 2, self._spent / 2
        if spent > self._delay or shed:
            self._long_at = at
        elif not self._standing or at - self._long_at > _CALM_S:
            self._short_at, self._standing = at, False
        self._standing = self._standing or at - self._short_at > _INTERVAL_S
        self.at, self.over = at, False
        self.left = self._allowed = max(0, min(self._room(), self._fitting()))

    def count(self, origin: str, number: int) -> None:
        """So many requests of an address were shed."""
        self.left -= number
        self._shed[origin] = self._shed.get(origin, 0) + number

    def end(self) -> None:
        """All that was to be read in this turn was read: tell what was shed of it."""
        self.over = True
        if self._shed:
            shed, self._shed = self._shed, {}
            for origin, number in shed.items():
                self._tell(origin, number)

    def _fitting(self) -> int:
        if not self._delay:
            return 1_000_000
        most = self._delay if self._standing else self._delay * _BURST
        return max(1, int(most * self._known / self._spent))

"""A circuit breaker: an upstream that keeps failing is left alone for a while, then tried by one call at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from pilotage.systems.serving import Breaker

__all__ = ["STATES", "CircuitBreaker", "State"]

State = Literal["closed", "half_open", "open"]
STATES: tuple[State, ...] = ("closed", "half_open", "open")
"""In the order of the metric `breaker_state`: 0, 1, 2."""

_PARTS = 10
"""The window moves on in tenths of its length."""


class CircuitBreaker:
    """Closed: all calls pass, and are counted over a moving window. Too many failures open it: no call passes.

    After a while it is half open: one call passes at a time; a success closes it, a failure opens it again. Each call
    that `allow` lets pass must end in `succeeded`, `failed`, or `abandoned` when nobody knows. `clock` is in seconds
    and never goes back.
    """

    __slots__ = ("_clock", "_counts", "_opened", "_rules", "_trying")

    def __init__(self, rules: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules, self._clock = rules, clock
        self._counts: deque[list[float]] = deque()  # [which tenth, calls, failures]
        self._opened: float | None = None
        self._trying = False

    @property
    def state(self) -> State:
        """The state at this moment."""
        if self._opened is None:
            return "closed"
        return "half_open" if self._clock() - self._opened >= self._rules.open else "open"

    @property
    def refuses(self) -> bool:
        """Whether `allow` would say no now."""
        state = self.state
        return state == "open" or (state == "half_open" and self._trying)

    def allow(self) -> bool:
        """Whether a call may pass."""
        if self.refuses:
            return False
        self._trying = self._opened is not None
        return True

    def succeeded(self) -> None:
        """The upstream answered."""
        if self._opened is not None and self._trying:
            self._opened, self._trying = None, False
            self._counts.clear()
        elif self._opened is None:
            self._count(0)

    def failed(self) -> None:
        """The upstream did not answer, or what it answered is no answer."""
        if self._opened is not None:
            # A call from before it opened says nothing new; only the one that tries it counts.
            if self._trying:
                self._opened, self._trying = self._clock(), False
            return
        self._count(1)
        calls = sum(each[1] for each in self._counts)
        failures = sum(each[2] for each in self._counts)
        if calls >= self._rules.calls and failures >= self._rules.failures * calls:
            self._opened, self._trying = self._clock(), False

    def abandoned(self) -> None:
        """The call ended and nobody knows how it would have ended; the next one may try."""
        self._trying = False

    def _count(self, failures: int) -> None:
        now = int(self._clock() / self._rules.window * _PARTS)
        while self._counts and self._counts[0][0] <= now - _PARTS:
            self._counts.popleft()
        if not self._counts or self._counts[-1][0] != now:
            self._counts.append([now, 0, 0])
        self._counts[-1][1] += 1
        self._counts[-1][2] += failures

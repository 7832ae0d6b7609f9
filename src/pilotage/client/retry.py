"""When to ask again, and after how long: exponential pauses with full jitter, within the time the call has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pilotage.client.errors import Busy, GatewayError

__all__ = ["Retry"]

_FINAL = frozenset({"system_stopped", "release_unavailable", "runtime_error", "not_finite"})
"""Refusals that are no better a moment later."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """At most `times` further attempts, `first_s` before the first of them at most, twice as much before each next.

    `random` gives numbers from 0 to 1.
    """

    times: int = 3
    first_s: float = 0.1
    longest_s: float = 5.0
    random: Callable[[], float]

    def pause(self, attempt: int, error: GatewayError, left_s: float) -> float | None:
        """The seconds to wait after a failed attempt (the first is 0), or None to give up.

        The gateway's `Retry-After` is waited at least; when that takes longer than `left_s`, there is no use.
        """
        if attempt >= self.times or not isinstance(error, Busy) or error.code in _FINAL:
            return None
        pause = self.random() * min(self.longest_s, self.first_s * 2.0**attempt)
        pause = max(pause, error.retry_after * (1.0 + 0.1 * self.random()))
        return pause if pause < left_s else None

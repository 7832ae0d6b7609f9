"""Trying again: how often, after what pause, and never so often that retries drown an upstream that is slow already."""

from __future__ import annotations

from collections.abc import Callable

from pilotage.systems.serving import Retry

__all__ = ["RESERVE", "RetryBudget", "pause_s"]

RESERVE = 10.0
"""Retries that may be made before any call has paid for them, and the most that are saved up."""


class RetryBudget:
    """Each call pays in a share of a retry; a retry takes a whole one. So retries are at most that share of calls."""

    __slots__ = ("_share", "_tokens")

    def __init__(self, share: float) -> None:
        self._share, self._tokens = share, RESERVE if share else 0.0

    def called(self) -> None:
        """A call is made that is no retry."""
        self._tokens = min(RESERVE, self._tokens + self._share)

    def take(self) -> bool:
        """Whether one retry may be made; it is taken."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def pause_s(rules: Retry, number: int, random: Callable[[], float]) -> float:
    """The seconds to wait before retry `number` (from 1): full jitter, a random part of a bound that doubles.

    `random` gives numbers from 0 to 1. All of the range is used, so that clients that failed together do not return
    together.
    """
    return random() * min(rules.most, rules.base * 2.0 ** min(number - 1, 60))

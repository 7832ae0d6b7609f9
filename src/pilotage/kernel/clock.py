"""Time is integer Unix microseconds, UTC; text is RFC 3339 with a Z."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from pilotage.errors import InputError

__all__ = ["Clock", "day", "now_us", "parse_time", "rfc3339"]

Clock = Callable[[], int]
"""A callable that returns Unix microseconds; tests pass their own."""


def now_us() -> int:
    """The system clock in Unix microseconds."""
    return time.time_ns() // 1_000


def rfc3339(us: int) -> str:
    """2026-03-01T10:00:00.000000Z for Unix microseconds."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{us % 1_000_000:06d}Z"


def day(us: int) -> str:
    """The UTC day, 2026-03-01, of Unix microseconds."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d")


def parse_time(text: str) -> int:
    """Unix microseconds of an ISO 8601 time; a time without a zone is UTC. Raises InputError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "not a time", got=text, expected="ISO 8601, such as 2026-03-01T10:00Z", mend="write it so"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)

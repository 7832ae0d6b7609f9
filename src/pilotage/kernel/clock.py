"""Time is integer Unix microseconds, UTC; text is RFC 3339 with a Z."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pilotage.errors import InputError

__all__ = ["Clock", "day", "now_us", "parse_duration", "parse_time", "rfc3339"]

_UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}

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


def parse_duration(text: str) -> int:
    """Microseconds of a length of time such as 30s, 15m, 24h or 7d. Raises InputError."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None:
        raise InputError(
            "not a length of time", got=text, expected="a whole number with s, m, h or d: 24h", mend="write it so"
        )
    return int(found[1]) * _UNITS[found[2]]


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

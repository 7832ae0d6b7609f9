"""UTC days as people write them."""

from __future__ import annotations

from datetime import date

from pilotage.errors import InputError

__all__ = ["utc_day"]


def utc_day(text: str) -> str:
    """The day as `2026-03-01`; empty text stays empty. Raises InputError."""
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise InputError(
            "the day cannot be read", got=text[:40], expected="a UTC day such as 2026-03-01", mend="write it so"
        ) from None

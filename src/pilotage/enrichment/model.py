"""What every feature source is asked and answers, and how its values become those of a contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol
from uuid import UUID

from pilotage.contracts.enriching import Key
from pilotage.contracts.model import ColumnType
from pilotage.errors import PilotageError, Unavailable
from pilotage.kernel.clock import parse_time
from pilotage.kernel.rows import Value

__all__ = ["LONGEST_TEXT", "UNFIT", "Entry", "FeatureSource", "Told", "failed", "moment", "value_of"]

LONGEST_TEXT = 10_000
"""Characters of a text value; a longer one is no value."""


class _Unfit:
    """Stands for what no contract could take: a list, bytes, a text too long."""


UNFIT = _Unfit()


class Entry(NamedTuple):
    """What a source says of one entity: values by the contract's names, and their own time in Unix microseconds.

    A name that is not there was not told; None is null.
    """

    values: Mapping[str, Value | _Unfit]
    at: int | None


class Told(NamedTuple):
    """One thing that looking at a source found: whether it is as it should be, and what to do if not."""

    fine: bool
    what: str
    mend: str = ""


class FeatureSource(Protocol):
    """Asked by one event loop. `look_up` may be cancelled at any moment and leaves nothing behind then."""

    async def start(self) -> None:
        """Make ready, as far as it can be now; raises nothing for a source that is away."""

    async def look_up(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """What is known of distinct entities, by key; those that are not known are left out. Raises Unavailable."""

    async def inspect(self) -> list[Told]:
        """Whether it can be reached and agrees with the declaration. Raises nothing."""

    async def close(self) -> None:
        """Close every connection; look-ups under way fail with Unavailable."""


def failed(what: str, got: object = None) -> Unavailable:
    """A source gave no answer that can be used. Nothing of its own words is in it: they may hold data of people."""
    return Unavailable(what, got=got, mend="look at the feature source", code="source_failed")


def value_of(raw: object, kind: ColumnType, *, loose_truth: bool = False) -> Value | _Unfit:
    """A source's value as a contract checks it: numbers as float64. `loose_truth`: 0 and 1 stand for a boolean."""
    if raw is None or isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float | Decimal):
        if kind == "boolean" and loose_truth and raw in (0, 1):
            return bool(raw)
        try:
            return float(raw)
        except OverflowError:
            return float("inf")
    if isinstance(raw, datetime | date):
        raw = raw.isoformat()
    elif isinstance(raw, UUID):
        raw = str(raw)
    return raw if isinstance(raw, str) and len(raw) <= LONGEST_TEXT and _is_text(raw) else UNFIT


def moment(raw: object) -> int | None:
    """A value's own time in Unix microseconds: a moment, ISO 8601 (UTC without a zone), or Unix seconds; else None."""
    try:
        if isinstance(raw, datetime):
            return round((raw if raw.tzinfo else raw.replace(tzinfo=UTC)).timestamp() * 1e6)
        if isinstance(raw, date):
            raw = raw.isoformat()
        if isinstance(raw, str):
            return parse_time(raw) if len(raw) <= 40 else None
        if isinstance(raw, int | float | Decimal) and not isinstance(raw, bool):
            seconds = float(raw)
            return round(seconds * 1e6) if 0 <= seconds < 1e11 else None
    except (PilotageError, ValueError, OverflowError):
        return None
    return None


def _is_text(value: str) -> bool:
    """Whether it can be recorded: JSON's escapes can spell half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

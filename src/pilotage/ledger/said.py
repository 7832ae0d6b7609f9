"""What SQL holds of an outcome or an override: pure functions of the event and its private part, to seal and to verify.

An outcome is the truth about a decision, told later; an override is a person's other answer. The newest of each counts,
the others stay on record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pilotage.ledger.record import Event
from pilotage.ledger.rows import about
from pilotage.ledger.said_tables import outcomes, overrides

__all__ = ["OUTCOME", "OVERRIDE", "SAID", "category", "said_row", "value_text"]

OUTCOME = "outcome.recorded"
"""The kind of event that tells the truth about a decision: private {value, at, source, by}."""

OVERRIDE = "decision.overridden"
"""The kind of event of a person's other answer: private {value, reason, person, name}."""

SAID = {OUTCOME: outcomes, OVERRIDE: overrides}
"""The table of each kind."""

_MOST = 400
_NUMBERS = "number"
_SMALL = 1_000


def said_row(
    leaf: int, event: Event, private: Mapping[str, Any] | None, reviewer_lookup: Callable[[str], str]
) -> dict[str, Any]:
    """The row of an event of a kind in SAID; `private` None when its payload was erased or was never kept."""
    known = private or {}
    row: dict[str, Any] = {"leaf": leaf, "decision": _clean(about(event))}
    value = value_text(known.get("value"))
    if event.kind == OVERRIDE:
        person = known.get("person")
        return row | {
            "reviewer": reviewer_lookup(person) if isinstance(person, str) and person else None,
            "value": value,
        }
    at = known.get("at")
    return row | {
        "system": _clean(event.system),
        "value": value,
        "number": _number(known.get("value")),
        "at": at if isinstance(at, int) and abs(at) < 2**62 else None,
    }


def value_text(value: object) -> str | None:
    """A label or number as the index has it: text as it is, numbers and booleans as in JSON; None for anything else."""
    if isinstance(value, str):
        return _clean(value[:_MOST])
    if isinstance(value, bool | int | float) and (not isinstance(value, float) or math.isfinite(value)):
        return msgspec.json.encode(value).decode()[:_MOST]
    return None


def category(value: str, number: float | None) -> str:
    """What an outcome is counted as: its text; `number` for numbers that are no small whole ones."""
    if number is not None and not (number.is_integer() and abs(number) < _SMALL):
        return _NUMBERS
    return str(int(number)) if number is not None else value[:80]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _clean(text: str) -> str:
    """PostgreSQL stores no NUL character, and no half of a surrogate pair."""
    return text.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()

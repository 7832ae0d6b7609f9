"""Query parameters that choose decisions, read into the ledger's filter; every fault is named at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pilotage.errors import InputError, NotFound
from pilotage.kernel.clock import parse_time
from pilotage.ledger.queries import DecisionFilter
from pilotage.systems.model import STAGES

__all__ = ["FILTERS", "OUTCOMES", "decision_filter", "page_of"]

OUTCOMES = ("answered", "rejected", "refused", "fallback", "abstained", "review", "interrupted")
"""How a sealed decision may have ended, the frequent first."""

FILTERS = ("system", "outcome", "stage", "fault", "subject", "release", "since", "until", "score_min", "score_max")
"""The parameters that the console offers, in its order; the API takes arm and mode too."""

_TEXTS = ("system", "arm", "mode", "fault", "subject")
_CHOICES = {"outcome": OUTCOMES, "stage": STAGES, "mode": ("live", "shadow", "drill")}
_WHOLE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST = 2**63 - 1


def decision_filter(query: Mapping[str, str], release_of: Callable[[str], str]) -> DecisionFilter:
    """The filter that parameters describe; empty ones mean any, unknown names are ignored.

    `release_of` turns a short digest or `system@version` into a digest, or raises NotFound. Raises InputError with
    every fault, each {path, code, message, got, expected}.
    """
    faults: list[dict[str, object]] = []
    values: dict[str, Any] = {}

    def read(name: str, convert: Callable[[str], Any], expected: str) -> None:
        text = query.get(name, "").strip()
        if not text:
            return
        try:
            values[name] = convert(text)
        except (InputError, NotFound, ValueError, OverflowError) as error:
            message = error.what if isinstance(error, NotFound) else "this cannot be read"
            faults.append(
                {"path": name, "code": "unreadable", "message": message, "got": text[:80], "expected": expected}
            )

    for name in _TEXTS:
        read(name, _plain_text, "text without control characters")
    for name, choices in _CHOICES.items():
        read(name, partial(_one_of, choices), "one of: " + ", ".join(choices))
    for name in ("since", "until"):
        read(name, parse_time, "a time such as 2026-03-01T10:00Z")
    for name in ("score_min", "score_max"):
        read(name, _finite, "a number such as 0.25")
    read("release", lambda text: _release(text, release_of), "a digest, its first digits, or system@version")
    if faults:
        raise InputError("the filter cannot be read", mend="mend the parameters named", faults=faults)
    return DecisionFilter(**values)


def page_of(query: Mapping[str, str], limit: int, most: int) -> tuple[int, int | None]:
    """(how many, before which leaf or None) of the parameters `limit` and `before`. Raises InputError."""
    faults: list[dict[str, object]] = []
    found: dict[str, int] = {}
    for name, least, top in (("limit", 1, most), ("before", 0, _MOST)):
        text = query.get(name, "")
        if re.fullmatch(r"[0-9]{1,19}", text) and least <= int(text) <= top:
            found[name] = int(text)
        elif text:
            expected = f"a whole number from {least} to {top}"
            faults.append(
                {
                    "path": name,
                    "code": "unreadable",
                    "message": "this cannot be read",
                    "got": text[:80],
                    "expected": expected,
                }
            )
    if faults:
        raise InputError("the page cannot be read", mend="mend the parameters named", faults=faults)
    return found.get("limit", limit), found.get("before")


def _plain_text(text: str) -> str:
    if len(text) > 400 or any(ord(character) < 32 for character in text):
        raise ValueError
    return text


def _one_of(choices: Sequence[str], text: str) -> str:
    return choices[choices.index(text)]


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _release(text: str, release_of: Callable[[str], str]) -> str:
    return text if _WHOLE_DIGEST.fullmatch(text) else release_of(_plain_text(text))

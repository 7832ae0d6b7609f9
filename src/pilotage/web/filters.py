"""How decisions are chosen: one vocabulary for command line, API and console; every fault is named at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pilotage.errors import InputError, NotFound
from pilotage.kernel.clock import parse_time
from pilotage.ledger.queries import DecisionFilter
from pilotage.systems.model import STAGES

__all__ = ["FIELDS", "FILTERS", "KINDS", "MODES", "OUTCOMES", "FilterField", "LookUps", "decision_filter", "page_of"]

OUTCOMES = ("answered", "rejected", "refused", "fallback", "abstained", "review", "interrupted", "past_retention")
"""How a sealed decision may have ended, the frequent first."""

MODES = ("live", "shadow", "drill")
KINDS = ("model", "tool", "retrieval", "human", "rules")


@dataclass(frozen=True, kw_only=True)
class FilterField:
    """One way to choose decisions. `name` is the API's parameter and, with hyphens, the command's option.

    `rare` ones are folded away in the console; `most` is the longest text that is taken.
    """

    name: str
    label: str
    help: str
    hint: str = ""
    choices: Sequence[str] = ()
    rare: bool = False
    mode: str = "text"
    most: int = 80


@dataclass(frozen=True, kw_only=True)
class LookUps:
    """What turns a short form into what is indexed; each raises NotFound.

    `release`: a short digest or `system@version` into a digest. `reviewer`: a person's name or id into the id.
    """

    release: Callable[[str], str]
    reviewer: Callable[[str], str]


FIELDS = (
    FilterField(name="system", label="System", help="The system's id."),
    FilterField(name="outcome", label="Outcome", help="How it ended.", choices=OUTCOMES),
    FilterField(name="stage", label="Stage", help="The stage it was answered at.", choices=STAGES),
    FilterField(
        name="fault", label="Fault", help="Part of a fault's code or path, such as missing or AGE.", hint="missing"
    ),
    FilterField(
        name="subject", label="Person (subject)", help="A person's reference, as the client sent it.", most=200
    ),
    FilterField(
        name="release",
        label="Release",
        help="A digest, a short digest, or system@version.",
        hint="digest or name@1",
    ),
    FilterField(name="since", label="Since", help="2026-03-01T10:00Z", hint="2026-03-01T10:00", most=40),
    FilterField(name="until", label="Until", help="2026-03-02; exclusive.", hint="2026-03-02", most=40),
    FilterField(name="score_min", label="Score from", help="The least score.", hint="0.0", mode="decimal", most=20),
    FilterField(name="score_max", label="Score to", help="The greatest score.", hint="1.0", mode="decimal", most=20),
    FilterField(name="label", label="Answer", help="The answer's label, such as adverse.", hint="adverse", rare=True),
    FilterField(name="arm", label="Arm", help="Champion, challenger, or another arm.", hint="champion", rare=True),
    FilterField(name="mode", label="Mode", help="Whether it counted.", choices=MODES, rare=True),
    FilterField(name="kind", label="Kind", help="Who answered.", choices=KINDS, rare=True),
    FilterField(
        name="reviewer", label="Reviewer", help="Who gave another answer: a person's name or id.", rare=True, most=200
    ),
    FilterField(name="request_id", label="Request", help="The id of the request it was part of.", rare=True),
    FilterField(name="trace", label="Trace", help="The W3C trace id it was part of.", rare=True),
)
"""Every field, in the order in which the console shows them."""

FILTERS = tuple(field.name for field in FIELDS)
"""The parameters' names."""

_WHOLE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST = 2**63 - 1


def decision_filter(query: Mapping[str, str], look_ups: LookUps) -> DecisionFilter:
    """The filter that parameters describe; empty ones mean any, unknown names are ignored.

    Raises InputError with every fault, each {path, code, message, got, expected}.
    """
    faults: list[dict[str, object]] = []
    values: dict[str, Any] = {}
    for field in FIELDS:
        text = query.get(field.name, "").strip()
        if not text:
            continue
        convert, expected = _reading(field, look_ups)
        try:
            values[field.name] = convert(text)
        except (InputError, NotFound, ValueError, OverflowError) as error:
            if isinstance(error, NotFound):
                faults.append(_unreadable(field.name, text, error.expected or expected, error.what))
            else:
                faults.append(_unreadable(field.name, text, expected))
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
            faults.append(_unreadable(name, text, f"a whole number from {least} to {top}"))
    if faults:
        raise InputError("the page cannot be read", mend="mend the parameters named", faults=faults)
    return found.get("limit", limit), found.get("before")


def _reading(field: FilterField, look_ups: LookUps) -> tuple[Callable[[str], Any], str]:
    """(how the field's text is read, what is expected of it)."""
    if field.choices:
        return partial(_one_of, field.choices), "one of: " + ", ".join(field.choices)
    if field.name in ("since", "until"):
        return parse_time, "a time such as 2026-03-01T10:00Z"
    if field.mode == "decimal":
        return _finite, "a number such as 0.25"
    if field.name == "release":
        return partial(_release, look_ups.release), "a digest, its first digits, or system@version"
    if field.name == "reviewer":
        return lambda text: look_ups.reviewer(_plain_text(text)), "a person's name or id"
    return _plain_text, "text without control characters"


def _unreadable(name: str, text: str, expected: object, message: str = "this cannot be read") -> dict[str, object]:
    return {"path": name, "code": "unreadable", "message": message, "got": text[:80], "expected": expected}


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


def _release(release_of: Callable[[str], str], text: str) -> str:
    return text if _WHOLE_DIGEST.fullmatch(text) else release_of(_plain_text(text))

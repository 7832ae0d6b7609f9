"""Readiness and interview by API: where a system stands, what people stated of it, and to state and confirm it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.access.model import Person
from pilotage.access.store import all_people
from pilotage.assess.interview import load_questions
from pilotage.assess.standing import AHEAD_DAYS
from pilotage.assess.statements import Statement, confirm, state, statements_of
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.web.bodies import read_body
from pilotage.wiring.installation import Installation
from pilotage.wiring.standing import days_of, kept_on, standing_of

__all__ = ["Answering", "Confirming", "answer_interview", "confirm_interview", "read_interview", "read_readiness"]


class Answering(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers by criterion and facts by name; each is checked where it is stated."""

    answers: dict[str, Any] = {}
    facts: dict[str, Any] = {}


class Confirming(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids of the evidence of statements."""

    evidence: list[str]


def read_readiness(installation: Installation, system: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The standing of a system now, or as it was kept on a `day`, with all days that were kept.

    Raises NotFound, InputError.
    """
    ahead = query.get("ahead", str(AHEAD_DAYS))
    if not (ahead.isascii() and ahead.isdecimal() and len(ahead) < 4 and int(ahead) <= 365):
        raise InputError("ahead is a number of days", got=ahead[:80], expected="0 to 365", mend="give one")
    on = query.get("day", "")
    found = kept_on(installation, system, on) if on else standing_of(installation, system, ahead_days=int(ahead))
    with reading(installation.control) as connection:
        days = days_of(connection, system)
    return {**found.as_dict(), "history": msgspec.to_builtins(days)}


def read_interview(installation: Installation, system: str) -> dict[str, Any]:
    """The questions, and every statement that was made, the newest first. Raises NotFound."""
    with reading(installation.control) as connection:
        find_system(connection, system)
        stated = statements_of(connection, system)
        names = {person.id: person.name for person in all_people(connection)}
    return {
        "questions": msgspec.to_builtins(load_questions()),
        "statements": [_named(each, names) for each in stated],
    }


def answer_interview(installation: Installation, person: Person, system: str, body: dict[str, Any]) -> dict[str, Any]:
    """State answers and facts as the person who asks. Raises as `state`."""
    ask = read_body(Answering, body)
    made = state(installation.control, person, system, ask.answers, ask.facts, at=now_us())
    return {"statements": [_named(each, {person.id: person.name}) for each in made]}


def confirm_interview(installation: Installation, person: Person, system: str, body: dict[str, Any]) -> dict[str, Any]:
    """Stand for statements of others. Raises as `confirm`."""
    ask = read_body(Confirming, body)
    made = confirm(installation.control, person, system, ask.evidence, at=now_us())
    with reading(installation.control) as connection:
        names = {each.id: each.name for each in all_people(connection)}
    return {"statements": [_named(each, names) for each in made]}


def _named(each: Statement, names: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(each)
    return told | {
        "by_name": names.get(each.by, ""),
        "confirmed_by_name": names.get(each.confirmed_by, ""),
        "open": each.open,
    }

"""Override a decision: a person's other answer, with the reason, kept beside the model's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from pilotage.access.model import Person, require
from pilotage.errors import Gone, InputError, Refused
from pilotage.ledger.about import emit_about
from pilotage.ledger.queries import Ledger
from pilotage.ledger.said import OVERRIDE
from pilotage.storage.database import writing
from pilotage.storage.outbox import OutboxEvent

__all__ = ["override", "said_about"]

_MOST_ANSWER, _MOST_REASON = 200, 2_000


def override(
    control: Engine, ledger: Ledger, steward_public: bytes, person: Person, *, decision: str, answer: str, reason: str
) -> OutboxEvent:
    """Record that a person answers a decision otherwise. Both answers stay; the newest override counts.

    Who and why are encrypted under the decision's key and die with it. Raises Forbidden, NotFound (nothing sealed has
    this id), InputError, Refused (the decision was erased, or a service account asks).
    """
    require(person, "decision.override")
    if person.kind != "human":
        raise Refused("only a person can override a decision", got=person.kind, mend="let a person do it")
    faults: list[dict[str, object]] = []
    for name, text, most in (("answer", answer, _MOST_ANSWER), ("reason", reason, _MOST_REASON)):
        if not text.strip() or len(text) > most or "\x00" in text:
            faults.append({"path": name, "message": f"an override needs its {name}, of at most {most} characters"})
    if faults:
        raise InputError("the override cannot be recorded", mend="give the answer and the reason", faults=faults)
    found = ledger.decision(decision)
    if found.unreadable == "erased":
        raise Refused("the decision was erased: nobody can judge it any more", got=decision, mend="nothing can be done")
    if found.past is not None:
        raise Gone("the decision is past retention", got=str(found.past), mend="nothing can be done")
    private = {"value": answer.strip(), "reason": reason.strip(), "person": person.id, "name": person.name}
    with writing(control) as connection:
        return emit_about(
            connection,
            steward_public,
            OVERRIDE,
            decision,
            system=found.row.system,
            release=found.row.release,
            private=private,
        )


def said_about(ledger: Ledger, decision: str, readable: bool) -> list[dict[str, Any]]:
    """What was said about a decision, the oldest first, as JSON values: outcomes, overrides, whatever else.

    Each {event, kind, at, private, unreadable}; `private` is None unless it can and may be read.
    """
    found = [ledger.event(row.id) for row in ledger.about(decision)]
    return [
        {
            "event": each.row.id,
            "kind": each.row.kind,
            "at": each.row.at,
            "private": each.private if readable else None,
            "unreadable": each.unreadable,
        }
        for each in found
    ]

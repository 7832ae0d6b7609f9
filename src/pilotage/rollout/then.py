"""The whole answer to an auditor: what was in production then, and how each piece of evidence stood at that moment.

Figures, producers and expiry lie in rows of the control plane. Each row is held to the digest that the ledger attests:
one that was changed or removed since is not shown, and said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Engine, RowMapping, Table, select

from pilotage.evidence.model import Evidence, state
from pilotage.evidence.stale import CHECK, stale_reason
from pilotage.evidence.store import content_digest, evidence_table
from pilotage.ledger.queries import EventRow, Ledger
from pilotage.rollout.past import InProduction, in_production
from pilotage.rollout.store import deployments
from pilotage.storage.database import reading
from pilotage.storage.witness import row_digest

__all__ = ["EvidenceThen", "Then", "evidence_states", "then"]

_MOST = 1_000_000
_CHANGED = "the row in the control plane was changed or removed; the ledger has its digest"


class EvidenceThen(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence that the gate stood on, as it was at the moment asked for.

    `state`: fresh, stale (with `why`), failed, or unknown where the row is not the attested one; `digest` is what gate
    and approvals bound, `event` the id under which the ledger proves that it was recorded. `newer` is the id of the
    newest evidence of this check by then, empty when this was it, and `newer_passed` what that said. `artefact` is the
    digest of the raw result. Times in Unix microseconds, `expires` 0 for as long as its release.
    """

    check: str
    digest: str
    state: str
    why: str = ""
    evidence: str = ""
    event: str = ""
    grade: str = ""
    method: str = ""
    producer: str = ""
    collected: int = 0
    expires: int = 0
    passed: bool = False
    figures: dict[str, Any] = {}
    artefact: str = ""
    newer: str = ""
    newer_passed: bool = False


class Then(msgspec.Struct, frozen=True, kw_only=True):
    """What was in production, with its evidence. `contract` and `rules` are the digests of the data contract and of the
    release's own policy (thresholds, fallback), from the attested act; empty where that row was changed since.
    """

    production: InProduction
    contract: str
    rules: str
    evidence: list[EvidenceThen]

    def as_dict(self) -> dict[str, Any]:
        """JSON values: those of `production`, and `contract`, `rules`, `evidence_then`."""
        made: dict[str, Any] = msgspec.to_builtins(self.production)
        told = msgspec.to_builtins(self.evidence)
        return made | {"contract": self.contract, "rules": self.rules, "evidence_then": told}


def then(ledger: Ledger, control: Engine, system: str, at: int, *, names: bool = False) -> Then | None:
    """What was in production for a system at a moment (Unix microseconds) and on what evidence; None when nothing was.

    Raises IntegrityError when a leaf is not the one indexed.
    """
    found = in_production(ledger, system, at, names=names)
    if found is None:
        return None
    attested = _attested([ledger.event(found.event).row], deployments)
    with reading(control) as connection:
        rows = connection.execute(select(deployments).where(deployments.c.id.in_(list(attested)))).mappings().all()
    act = next((row for row in rows if row_digest(dict(row)) == attested[row["id"]]), None)
    return Then(
        production=found,
        contract=act["contract"] if act is not None else "",
        rules=act["policy"] if act is not None else "",
        evidence=evidence_states(ledger, control, found, names=names),
    )


def evidence_states(ledger: Ledger, control: Engine, found: InProduction, *, names: bool) -> list[EvidenceThen]:
    """How each piece of evidence that the gate stood on was at the moment asked for, by check.

    Who produced it, which may be a person, only with `names`.
    """
    told = [
        row
        for row in ledger.events("evidence.recorded", "", _MOST)
        if row.at <= found.at and row.facts.get("subject") == found.release
    ]
    attested = _attested(told, evidence_table)
    with reading(control) as connection:
        query = select(evidence_table).where(evidence_table.c.subject == found.release)
        rows = [row for row in connection.execute(query).mappings() if row_digest(dict(row)) == attested.get(row["id"])]
    known = [_evidence(row) for row in rows]
    events = {key: row.id for row in told for key in _attested([row], evidence_table)}
    stood = [_stood(check, bound, known, events, told, found.at) for check, bound in sorted(found.evidence.items())]
    return stood if names else [msgspec.structs.replace(each, producer="") for each in stood]


def _stood(
    check: str, bound: str, known: list[Evidence], events: Mapping[str, str], told: list[EventRow], at: int
) -> EvidenceThen:
    fact = next((each for each in known if each.check == check and content_digest(each) == bound), None)
    if fact is None:
        return EvidenceThen(check=check, digest=bound, state="unknown", why=_CHANGED)
    marks = sorted((each for each in known if each.check == CHECK), key=lambda each: -each.collected)
    stood, why = state(fact, at), ""
    if stood == "stale":
        why = "it had expired"
    elif stood == "fresh" and (said := stale_reason(fact, marks)):
        stood, why = "stale", said
    # The events tell of newer evidence also where its row is gone.
    newest = max((row for row in told if row.facts.get("check") == check), key=lambda row: (row.at, row.leaf))
    later = newest.id != events.get(fact.id) and newest.at > fact.collected
    return EvidenceThen(
        check=check,
        digest=bound,
        state=stood,
        why=why,
        evidence=fact.id,
        event=events.get(fact.id, ""),
        grade=fact.grade,
        method=fact.method,
        producer=fact.producer,
        collected=fact.collected,
        expires=fact.expires,
        passed=fact.passed,
        figures=fact.figures,
        artefact=fact.artefact,
        newer=next(iter(_attested([newest], evidence_table)), "") if later else "",
        newer_passed=bool(newest.facts.get("passed")) if later else False,
    )


def _attested(rows: list[EventRow], table: Table) -> dict[str, str]:
    """The digest of each row of a table that these events attest, by key."""
    facts = [fact for row in rows for fact in row.facts.get("rows", ()) if isinstance(fact, dict)]
    return {str(fact["key"]): str(fact["digest"]) for fact in facts if fact.get("table") == table.name}


def _evidence(row: RowMapping) -> Evidence:
    return Evidence(**{name: row[name] for name in Evidence.__struct_fields__})

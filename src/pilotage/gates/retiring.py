"""Retention of evidence: what nothing refers to goes once its time is over, with an event that names each row.

Kept whatever its age: what an approval or a passed gate binds; the newest of a check about a subject, and every mark
that made evidence stale, while any other evidence of the subject is kept; all about what is live. So no verdict of a
gate changes because something was deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, select

from pilotage.evidence.stale import CHECK as STALE
from pilotage.evidence.store import evidence_table
from pilotage.gates.store import approvals, gate_passages
from pilotage.ledger.retiring import Policy
from pilotage.ledger.store import find_events
from pilotage.ledger.store_keeping import all_holds
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import Objects
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest_removal

__all__ = ["RETIRED_EVIDENCE", "StoredEvidence", "finish_evidence", "retire_evidence", "survey_evidence"]

RETIRED_EVIDENCE = "retention.evidence"
"""The kind of the event. `facts`: {"evidence": how much went, "artefacts": [digests of raw results], "rows": [...]}."""

_TOGETHER = 200
_MANY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class StoredEvidence:
    """A piece of evidence: `until` is when its time is over (0: never), `why` what refers to it, if anything does.

    `held` is the legal hold that forbids to delete it. Times are Unix microseconds.
    """

    id: str
    subject: str
    check: str
    collected: int
    artefact: str
    until: int
    why: str = ""
    held: str = ""

    def over(self, now: int) -> bool:
        """Whether its time is over."""
        return bool(self.until) and self.until <= now

    def due(self, now: int) -> bool:
        """Whether it goes now."""
        return self.over(now) and not (self.why or self.held)


def survey_evidence(connection: Connection, policy: Policy, living: Collection[str], now: int) -> list[StoredEvidence]:
    """All evidence, the oldest first; `living` are subjects that are in use now."""
    c = evidence_table.c
    query = select(c.id, c.subject, c.check, c.collected, c.artefact, c.digest)
    rows = connection.execute(query.order_by(c.collected, c.id)).all()
    bound, hold = _bound(connection), _hold(connection)
    over = {row.id: 0 < policy.until(row.collected) <= now for row in rows}
    newest = {(row.subject, row.check): row.id for row in rows}
    kept = {row.subject for row in rows if row.id in bound or not over[row.id]}
    found = []
    for row in rows:
        last = newest[row.subject, row.check] == row.id or row.check == STALE
        if row.id in bound:
            why = "an approval or a gate binds it"
        elif last and row.subject in living:
            why = "its subject is live"
        elif last and row.subject in kept:
            why = "the newest of its check"
        else:
            why = ""
        found.append(
            StoredEvidence(
                id=row.id,
                subject=row.subject,
                check=row.check,
                collected=row.collected,
                artefact=row.artefact,
                until=policy.until(row.collected),
                why=why,
                held=hold,
            )
        )
    return found


def retire_evidence(
    control: Engine, objects: Objects, policy: Policy, living: Collection[str], now: int, actor: str
) -> int:
    """Delete what is due, some at a time, each with its event in one transaction; how much it was."""
    gone = 0
    while True:
        with writing(control) as connection:
            due = [each for each in survey_evidence(connection, policy, living, now) if each.due(now)][:_TOGETHER]
            if not due:
                return gone
            _delete(connection, due, actor, now)
        with reading(control) as connection:
            _unlink(connection, objects, (each.artefact for each in due))
        gone += len(due)


def finish_evidence(control: Engine, ledger: Engine, objects: Objects) -> int:
    """Delete raw results that an event tells of and that a kill left behind; how many."""
    with reading(ledger) as connection:
        told = find_events(connection, RETIRED_EVIDENCE, "", _MANY)
    with reading(control) as connection:
        return _unlink(connection, objects, (str(one) for row in told for one in row.facts.get("artefacts", ())))


def _delete(connection: Connection, due: Sequence[StoredEvidence], actor: str, now: int) -> None:
    c = evidence_table.c
    connection.execute(delete(evidence_table).where(c.id.in_([each.id for each in due])))
    facts = {
        "evidence": len(due),
        "artefacts": sorted({each.artefact for each in due if each.artefact}),
        "rows": [fact for each in due for fact in attest_removal(evidence_table, {"id": each.id})],
    }
    emit(connection, RETIRED_EVIDENCE, facts=facts, private={"actor": actor}, at=now)


def _unlink(connection: Connection, objects: Objects, artefacts: Iterable[str]) -> int:
    """Delete raw results that no evidence names any more."""
    count = 0
    for name in filter(None, set(artefacts)):
        there = objects.path(name).exists()
        c = evidence_table.c
        if there and connection.execute(select(c.id).where(c.artefact == name).limit(1)).first() is None:
            objects.path(name).unlink(missing_ok=True)
            count += 1
    return count


def _bound(connection: Connection) -> set[str]:
    """The ids of evidence that an approval or a passed gate binds."""
    digests = {str(one) for (found,) in connection.execute(select(approvals.c.evidence)) for one in found.values()}
    ids: set[str] = set()
    for (verdict,) in connection.execute(select(gate_passages.c.verdict)):
        ids.update(str(check.get("evidence", "")) for check in verdict.get("checks", ()))
        digests.update(str(check.get("digest", "")) for check in verdict.get("checks", ()))
    c = evidence_table.c
    return ids | {row.id for row in connection.execute(select(c.id, c.digest)) if row.digest in digests}


def _hold(connection: Connection) -> str:
    """A legal hold on a system, or on all: evidence is kept whole under either."""
    return next((hold.id for hold in all_holds(connection) if not (hold.released or hold.lookup)), "")

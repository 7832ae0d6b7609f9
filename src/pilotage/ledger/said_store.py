"""The SQL of outcomes and overrides, each statement in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, or_, select

from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.store import listed
from pilotage.ledger.tables import decisions, events

__all__ = [
    "any_outcome",
    "count_rows",
    "find_outcomes",
    "outcomes_of",
    "overridden_by",
    "scored",
]


def any_outcome(connection: Connection) -> bool:
    """Whether any outcome is on record."""
    return connection.execute(select(outcomes.c.leaf).limit(1)).first() is not None


def outcomes_of(connection: Connection, decision_ids: Iterable[str]) -> Sequence[Row[Any]]:
    """The outcomes told of decisions, the oldest first."""
    query = select(outcomes).where(outcomes.c.decision.in_(listed(connection, decision_ids)))
    return connection.execute(query.order_by(outcomes.c.leaf)).all()


def overridden_by(lookup: str) -> ColumnElement[bool]:
    """The condition that the person of this keyed hash gave a decision another answer."""
    return decisions.c.id.in_(select(overrides.c.decision).where(overrides.c.reviewer == lookup))


def scored(connection: Connection, ids: Iterable[str]) -> Sequence[Any]:
    """id, system, release, arm, mode, at and score of decisions."""
    c = decisions.c
    query = select(c.id, c.system, c.release, c.arm, c.mode, c.at, c.score).where(c.id.in_(listed(connection, ids)))
    return connection.execute(query).all()


def find_outcomes(
    connection: Connection,
    *,
    system: str = "",
    release: str = "",
    state: str = "",
    before: int | None = None,
    limit: int = 100,
) -> Sequence[Row[Any]]:
    """Outcomes with their decision's index columns and how they count (`state`), the newest leaf first."""
    query = _with_state()
    if system:
        query = query.where(or_(outcomes.c.system == system, decisions.c.system == system))
    if release:
        query = query.where(decisions.c.release == release)
    if before is not None:
        query = query.where(outcomes.c.leaf < before)
    if state:
        query = query.where(_STATES[state])
    return connection.execute(query.order_by(outcomes.c.leaf.desc()).limit(limit)).all()


def count_rows(
    connection: Connection, *, system: str, release: str, arm: str = "", mode: str = "live", since: str, until: str
) -> Sequence[Row[Any]]:
    """Counts of outcomes of decisions whose UTC day is in [since, until]; empty bounds stand for any."""
    c = outcome_counts.c
    query = select(outcome_counts).where(c.system == system, c.release == release, c.mode == mode)
    if arm:
        query = query.where(c.arm == arm)
    if since:
        query = query.where(c.day >= since)
    if until:
        query = query.where(c.day <= until)
    return connection.execute(query.order_by(c.day, c.batch)).all()


def _later() -> ColumnElement[bool]:
    """Another outcome of the same decision that counts was sealed later."""
    later = outcomes.alias()
    fits = or_(later.c.system == "", later.c.system == decisions.c.system)
    return exists().where(later.c.decision == outcomes.c.decision, later.c.leaf > outcomes.c.leaf, fits)


_FITS = and_(decisions.c.id.is_not(None), or_(outcomes.c.system == "", outcomes.c.system == decisions.c.system))
_STATES: dict[str, ColumnElement[bool]] = {
    "current": and_(_FITS, outcomes.c.value.is_not(None), ~_later()),
    "superseded": and_(_FITS, outcomes.c.value.is_not(None), _later()),
    "erased": and_(_FITS, outcomes.c.value.is_(None)),
    "unmatched": decisions.c.id.is_(None),
    "other_system": and_(decisions.c.id.is_not(None), ~_FITS),
}
"""How an outcome counts: the newest of its decision; an older one; cleared; no such decision is sealed; told by one
who may not tell of that system."""


def _with_state() -> Select[Any]:
    c = decisions.c
    later = _later().label("later")
    return (
        select(
            outcomes,
            events.c.id.label("event"),
            events.c.at.label("told"),
            c.system.label("of_system"),
            c.release,
            c.arm,
            c.stage,
            c.at.label("decided"),
            c.leaf.label("decision_leaf"),
            c.label,
            c.score,
            later,
        )
        .join(events, events.c.leaf == outcomes.c.leaf)
        .outerjoin(decisions, c.id == outcomes.c.decision)
    )

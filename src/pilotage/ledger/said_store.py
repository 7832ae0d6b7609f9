"""The SQL of outcomes and overrides, each statement in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.store import listed
from pilotage.ledger.tables import decisions, events

__all__ = [
    "OUTBOX",
    "any_outcome",
    "count_overruled",
    "count_rows",
    "count_told",
    "find_outcomes",
    "outcomes_of",
    "overridden_by",
    "scored",
    "slice_events",
    "step_end",
    "told_between",
]

OUTBOX = "outbox"
"""The `node` of events that the control plane told, which no gateway can."""


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
    """What counting needs of decisions, and where their payloads lie."""
    c = decisions.c
    facts = (c.id, c.system, c.release, c.arm, c.mode, c.at, c.score, c.label)
    query = select(*facts, c.segment, c.offset, c.length, c.key_id).where(c.id.in_(listed(connection, ids)))
    return connection.execute(query).all()


def slice_events(connection: Connection, system: str, kinds: Iterable[str]) -> list[dict[str, Any]]:
    """leaf, kind and facts of a system's control events of some kinds, the oldest first."""
    c = events.c
    query = select(c.leaf, c.kind, c.facts).where(c.kind.in_(list(kinds)), c.system == system, c.node == OUTBOX)
    return [dict(row._mapping) for row in connection.execute(query.order_by(c.leaf))]


def told_between(connection: Connection, system: str, first: int, end: int) -> Sequence[str]:
    """The decisions of a system of which outcomes were told at leaves [first, end)."""
    c = outcomes.c
    query = select(c.decision).where(c.system.in_((system, "")), c.leaf >= first, c.leaf < end)
    return connection.execute(query).scalars().all()


def step_end(connection: Connection, system: str, first: int, end: int, most: int) -> tuple[int, int]:
    """(the leaf after the last of at most so many outcomes of a system in [first, end), how many they are)."""
    c = outcomes.c
    where = (c.system.in_((system, "")), c.leaf >= first, c.leaf < end)
    leaves = connection.execute(select(c.leaf).where(*where).order_by(c.leaf).limit(most)).scalars().all()
    return (leaves[-1] + 1 if len(leaves) == most else end), len(leaves)


def count_told(connection: Connection, system: str, first: int, end: int) -> int:
    """How many outcomes of a system were told at leaves [first, end)."""
    c = outcomes.c
    query = select(func.count()).where(c.system.in_((system, "")), c.leaf >= first, c.leaf < end)
    return int(connection.execute(query).scalar_one())


def count_overruled(connection: Connection, system: str, release: str, since: int) -> int:
    """How many live decisions of a release since a moment a person answered otherwise."""
    c = decisions.c
    where = (c.system == system, c.release == release, c.mode == "live", c.at >= since)
    # From the overrides, of which there are few, to their decisions.
    joined = overrides.join(decisions, c.id == overrides.c.decision)
    query = select(func.count(overrides.c.decision.distinct())).select_from(joined).where(*where)
    return int(connection.execute(query).scalar_one())


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
    connection: Connection,
    *,
    system: str,
    release: str,
    arm: str = "",
    mode: str = "live",
    since: str,
    until: str,
    slice_: str | None = "",
) -> Sequence[Row[Any]]:
    """Counts of outcomes of decisions whose UTC day is in [since, until]; empty bounds stand for any.

    Those by a slice; empty text for those by score alone, None for all.
    """
    c = outcome_counts.c
    query = select(outcome_counts).where(c.system == system, c.release == release, c.mode == mode)
    if slice_ is not None:
        query = query.where(c.slice == slice_)
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

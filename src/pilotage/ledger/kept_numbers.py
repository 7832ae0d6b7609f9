"""The SQL of how much is kept of what has no period of its own: how many there are, and since when."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pilotage.ledger.said_tables import outcome_counts
from pilotage.ledger.tables import day_keys, decision_sums, events, heads, profile_counts, subject_keys

__all__ = ["Number", "kept_numbers"]

_MINUTE_S = 60


class Number(NamedTuple):
    """How many there are, and the oldest one's time (Unix microseconds, 0 where it has none)."""

    number: int
    oldest: int = 0


def kept_numbers(connection: Connection) -> dict[str, Number]:
    """What there is, by class of data."""
    s, p, e = decision_sums.c, profile_counts.c, events.c
    sums = connection.execute(select(func.count(), func.min(s.at)).where(s.span == _MINUTE_S)).one()
    profiles = connection.execute(select(func.count(), func.min(p.from_at))).one()
    counted = connection.execute(select(func.count()).select_from(outcome_counts)).scalar_one()
    said = connection.execute(select(func.count(), func.min(e.at)).where(e.kind == "decision.explained")).one()
    control = connection.execute(select(func.count(), func.min(e.at)).where(e.about.is_(None), e.worker < 0)).one()
    tree = connection.execute(select(func.max(heads.c.size), func.min(heads.c.at))).one()
    keys = [
        connection.execute(select(func.count(), func.min(table.c.created))).one() for table in (subject_keys, day_keys)
    ]
    return {
        "explanations": _number(*said),
        "sums": _number(sums[0], (sums[1] or 0) * 1_000_000),
        "profiles": _number(*profiles),
        "outcome counts": Number(number=int(counted)),
        "control events": _number(*control),
        "tree": _number(*tree),
        "keys": _number(sum(row[0] for row in keys), min((row[1] for row in keys if row[1]), default=0)),
    }


def _number(number: int | None, oldest: int | None) -> Number:
    return Number(number=int(number or 0), oldest=int(oldest or 0))

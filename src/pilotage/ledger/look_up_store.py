"""The SQL of looking up one record: each is one statement, made once, for a client waits for nothing else."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, union_all

from pilotage.ledger.tables import day_keys, decisions, events, subject_keys

__all__ = ["KEY_COLUMNS", "decision_with_key", "leaf_of"]

KEY_COLUMNS = ("lookup", "wrapped", "created")
"""The columns of a key that `decision_with_key` adds, named `key_lookup` and so on."""

_subject, _day = subject_keys.c, day_keys.c
_decision = (
    select(
        decisions,
        *(func.coalesce(_subject[name], _day[name]).label(f"key_{name}") for name in KEY_COLUMNS),
    )
    .outerjoin(subject_keys, _subject.key_id == decisions.c.key_id)
    .outerjoin(day_keys, _day.key_id == decisions.c.key_id)
    .where(decisions.c.id == bindparam("id"))
)
_leaf = union_all(*(select(table.c.leaf).where(table.c.id == bindparam("id")) for table in (decisions, events)))


def decision_with_key(connection: Connection, id_: str) -> Row[Any] | None:
    """The index row of a decision with the columns of its data key, all None where that was destroyed."""
    return connection.execute(_decision, {"id": id_}).first()


def leaf_of(connection: Connection, id_: str) -> int | None:
    """The leaf of a decision or an event."""
    leaf = connection.execute(_leaf, {"id": id_}).scalars().first()
    return None if leaf is None else int(leaf)

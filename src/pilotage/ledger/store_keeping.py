"""The SQL of what is kept and what goes: wrapped keys, the erasure list, holds, retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from pilotage.ledger.said_tables import outcomes, overrides
from pilotage.ledger.store import keys_about
from pilotage.ledger.tables import (
    ERASED,
    day_keys,
    decisions,
    erased_keys,
    events,
    heads,
    legal_holds,
    scheduled_erasures,
    segments,
    subject_keys,
)

__all__ = [
    "SegmentRow",
    "active_holds",
    "all_holds",
    "clear_segments",
    "count_erased",
    "count_rows",
    "destroy_key",
    "drop_keys",
    "drop_scheduled",
    "due_erasures",
    "erased_ids",
    "erased_yet_there",
    "page_after",
    "release_hold_row",
    "replace_values",
    "scrub",
    "segments_of_control",
    "segments_of_key",
    "segments_with_heads",
    "systems_in",
]

_MANY = 500


def count_rows(connection: Connection, table: Table) -> int:
    """How many rows a table has."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def page_after(connection: Connection, table: Table, key: str, after: object, size: int) -> Sequence[Row[Any]]:
    """Up to `size` rows by their key, behind one of them (None: from the first on)."""
    query = select(table).order_by(table.c[key]).limit(size)
    return connection.execute(query if after is None else query.where(table.c[key] > after)).all()


def replace_values(
    connection: Connection, table: Table, key: str, column: str, changes: Sequence[tuple[Row[Any], bytes]]
) -> int:
    """Put a new value into `column` of each row that still holds what was read; how many did."""
    change = (
        update(table)
        .where(table.c[key] == bindparam("at"), table.c[column] == bindparam("was"))
        .values({column: bindparam("new")})
    )
    values = [{"at": getattr(row, key), "was": getattr(row, column), "new": new} for row, new in changes]
    return connection.execute(change, values).rowcount


def count_erased(connection: Connection) -> int:
    """How many keys were destroyed by erasures."""
    return count_rows(connection, erased_keys)


def erased_ids(connection: Connection) -> set[str]:
    """The ids of all keys that erasures destroyed."""
    return set(connection.execute(select(erased_keys.c.key_id)).scalars())


def erased_yet_there(connection: Connection) -> bool:
    """Whether a key is there that the erasure list names: only a restored table has one."""
    both = select(subject_keys.c.key_id).join(erased_keys, erased_keys.c.key_id == subject_keys.c.key_id)
    return connection.execute(both.limit(1)).first() is not None


def drop_keys(connection: Connection, key_ids: Sequence[str]) -> int:
    """Delete subjects' keys, and what the index holds of their payloads; how many were there."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    gone = 0
    for chunk in (list(key_ids)[at : at + _MANY] for at in range(0, len(key_ids), _MANY)):
        found = list(
            connection.execute(select(subject_keys.c.key_id).where(subject_keys.c.key_id.in_(chunk))).scalars()
        )
        connection.execute(delete(subject_keys).where(subject_keys.c.key_id.in_(found)))
        _clear_index(connection, decisions.c.key_id.in_(found), events.c.key_id.in_(found))
        gone += len(found)
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=FAST")
    return gone


def _clear_index(connection: Connection, of_decisions: ColumnElement[bool], of_events: ColumnElement[bool]) -> int:
    """Take out of index rows what came from their payloads; how many decisions it concerned."""
    said = select(events.c.leaf).where(of_events)
    gone = update(outcomes).where(outcomes.c.leaf.in_(said))
    connection.execute(gone.values(value=None, number=None, at=None))
    connection.execute(update(overrides).where(overrides.c.leaf.in_(said)).values(reviewer=None, value=None))
    connection.execute(update(events).where(of_events).values(key_id=ERASED))
    clear = update(decisions).where(of_decisions)
    return connection.execute(clear.values(subject=None, score=None, label=None, key_id=ERASED)).rowcount


def all_holds(connection: Connection) -> Sequence[Row[Any]]:
    """Every legal hold, the newest first."""
    return connection.execute(select(legal_holds).order_by(legal_holds.c.placed.desc())).all()


def destroy_key(connection: Connection, key_id: str, event: str, at: int) -> int:
    """Delete a subject's key and what the index holds of the person; the number of decisions it concerned.

    The keys of events about these decisions go too.
    """
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    keys = [key_id, *keys_about(connection, key_id)]
    connection.execute(delete(subject_keys).where(subject_keys.c.key_id.in_(keys)))
    connection.execute(insert(erased_keys), [{"key_id": gone, "event": event, "at": at} for gone in keys])
    changed = _clear_index(connection, decisions.c.key_id == key_id, events.c.key_id.in_(keys))
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=FAST")
    return changed


def scrub(engine: Engine) -> bool:
    """After a key was deleted: leave no copy of it in the database's own files. False when a reader was in the way.

    SQLite: deleted cells are zeroed by `secure_delete`, and the write-ahead log is emptied into the file here.
    PostgreSQL: the key table is rewritten; its write-ahead log ages out by itself.
    """
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"VACUUM (FULL) {subject_keys.name}")
        return True
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(busy, _, _)] = cursor.fetchall()
        cursor.close()
        return not busy
    finally:
        raw.close()


def due_erasures(connection: Connection, at: int) -> Sequence[Row[Any]]:
    """Erasures whose floor has passed."""
    query = select(scheduled_erasures).where(scheduled_erasures.c.due <= at).order_by(scheduled_erasures.c.due)
    return connection.execute(query).all()


def drop_scheduled(connection: Connection, lookup: str) -> None:
    """Forget a scheduled erasure."""
    connection.execute(delete(scheduled_erasures).where(scheduled_erasures.c.lookup == lookup))


def active_holds(connection: Connection, lookup: str, systems: list[str]) -> Sequence[Row[Any]]:
    """Legal holds that forbid to erase this subject, whose decisions are of these systems."""
    holds = legal_holds.c
    query = select(legal_holds).where(
        holds.released == 0,
        or_(holds.lookup == lookup, holds.lookup == ""),
        or_(holds.system == "", holds.system.in_(systems)),
    )
    return connection.execute(query.order_by(holds.placed)).all()


def release_hold_row(connection: Connection, id_: str, at: int) -> bool:
    """End a legal hold; False when there is no such active one."""
    active = (legal_holds.c.id == id_, legal_holds.c.released == 0)
    return connection.execute(update(legal_holds).where(*active).values(released=at)).rowcount == 1


class SegmentRow(NamedTuple):
    """A segment with the leaves `[first, size)` of its batch, sealed at `at`."""

    path: str
    digest: str
    records: int
    first: int
    size: int
    at: int


def segments_with_heads(connection: Connection) -> list[SegmentRow]:
    """Every segment that was ever committed, the oldest batch first."""
    c, h = segments.c, heads.c
    query = select(c.path, c.digest, c.records, h.first, h.size, h.at).join(heads, h.batch == c.batch)
    return [SegmentRow(*row) for row in connection.execute(query.order_by(h.size, c.path))]


def systems_in(connection: Connection, path: str, first: int, size: int) -> list[str]:
    """The systems of the payloads in a segment."""
    found: set[str] = set()
    for table in (decisions, events):
        c = table.c
        query = select(c.system).distinct().where(c.leaf >= first, c.leaf < size, c.segment == path)
        found.update(connection.execute(query).scalars())
    return sorted(found)


def segments_of_control(connection: Connection) -> set[str]:
    """The segments with private parts of control events: of events that are about no decision and from no journal."""
    query = select(events.c.segment).distinct().where(events.c.about.is_(None), events.c.worker < 0)
    return set(connection.execute(query).scalars())


def segments_of_key(connection: Connection, key_id: str) -> set[str]:
    """The segments with payloads under one key."""
    queries = (select(table.c.segment).distinct().where(table.c.key_id == key_id) for table in (decisions, events))
    return {path for query in queries for path in connection.execute(query).scalars()}


def clear_segments(connection: Connection, places: Sequence[tuple[str, int, int]]) -> int:
    """Take out of the index what came from these segments (path, first leaf, end), and delete the keys under which
    nothing is left; how many. The key of somebody whose erasure is scheduled stays until then.
    """
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    keys: set[str] = set()
    for path, first, size in places:
        within = [
            and_(table.c.leaf >= first, table.c.leaf < size, table.c.segment == path) for table in (decisions, events)
        ]
        for table, where in zip((decisions, events), within, strict=True):
            keys.update(connection.execute(select(table.c.key_id).distinct().where(where)).scalars())
        _clear_index(connection, *within)
    gone = _drop_unused(connection, sorted(keys))
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=FAST")
    return gone


def _drop_unused(connection: Connection, key_ids: Sequence[str]) -> int:
    waiting = select(scheduled_erasures.c.lookup)
    gone = 0
    for at in range(0, len(key_ids), _MANY):
        chunk = key_ids[at : at + _MANY]
        used: set[str] = set()
        for table in (decisions, events):
            used.update(
                connection.execute(select(table.c.key_id).distinct().where(table.c.key_id.in_(chunk))).scalars()
            )
        unused = sorted(set(chunk) - used)
        for table in (subject_keys, day_keys):
            where = (table.c.key_id.in_(unused), table.c.lookup.not_in(waiting))
            gone += connection.execute(delete(table).where(*where)).rowcount
    return gone

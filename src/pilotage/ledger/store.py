"""The SQL of the ledger: every statement on its tables, each in the caller's transaction."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError as NotUnique

from pilotage.ledger.tables import (
    consumed,
    day_keys,
    decisions,
    events,
    heads,
    held_frames,
    lease,
    profile_counts,
    segments,
    subject_keys,
)

__all__ = [
    "Rows",
    "add_rows",
    "add_values",
    "all_heads",
    "any_sealed",
    "count_conditions",
    "count_decisions",
    "decision_conditions",
    "decisions_of_key",
    "drop_held",
    "events_about",
    "events_about_key",
    "events_between",
    "find_counts",
    "find_decisions",
    "find_events",
    "find_key",
    "find_key_rows",
    "find_keys",
    "find_row",
    "find_trace",
    "forget_positions",
    "free_lease",
    "grant_lease",
    "head_of",
    "head_with",
    "heads_after",
    "heads_of",
    "held_of",
    "key_ids",
    "keys_about",
    "keys_of_decisions",
    "known_segments",
    "last_head",
    "listed",
    "open_streams",
    "peek_lease",
    "positions",
    "prepare_bulk",
    "renew_lease",
    "save_positions",
    "sealed_ids",
    "signing_rotations",
    "stream_rows",
]

Rows = list[dict[str, Any]]
_BULK_CACHE_KIB = 128 * 1024
_BINARY = {BigInteger: "int8", Text: "text", Float: "float8", LargeBinary: "bytea", Boolean: "bool"}
"""The types of columns as PostgreSQL names them."""

_BULK_CHECKPOINT_PAGES = 20_000
"""Of the log, from which on a commit moves it into the database itself: `WalBackfill` did not come to it."""


def _chunks(values: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    items = list(values)
    for start in range(0, len(items), size):
        yield items[start : start + size]


def add_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows, each with the same columns; none is fine."""
    if not rows:
        return
    names = tuple(rows[0])
    if any(isinstance(table.c[name].type, JSON) for name in names):
        connection.execute(insert(table), rows)
    else:
        add_values(connection, table, names, [tuple(map(row.__getitem__, names)) for row in rows])


def add_values(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows given by their values in the order of `names`, which no JSON column is among; none is fine.

    They go to the driver as they are: SQLAlchemy's handling of each value costs more than the insert; and to
    PostgreSQL in its binary form, which spares the server a quarter of its work.
    """
    if not rows:
        return
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        order = f"COPY {quote(table.name)} ({columns}) FROM STDIN (FORMAT BINARY)"
        failed = connection.dialect.loaded_dbapi.Error
        try:
            with driver.cursor() as cursor, cursor.copy(order) as copy:
                copy.set_types([_BINARY[type(table.c[name].type)] for name in names])
                for row in rows:
                    copy.write_row(row)
        except failed as error:  # as SQLAlchemy tells of all others
            raise DBAPIError.instance(order, None, error, failed, dialect=connection.dialect) from error
        return
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({marks})"  # noqa: S608 - names of our own tables
    connection.exec_driver_sql(statement, list(rows))


def prepare_bulk(connection: Connection) -> None:
    """Room for what a large batch changes: SQLite would write the pages of its random indexes several times over."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{_BULK_CACHE_KIB}")
        connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint={_BULK_CHECKPOINT_PAGES}")


# The lease.


def peek_lease(connection: Connection, name: str) -> Row[Any] | None:
    """The lease's row, not locked."""
    return connection.execute(select(lease).where(lease.c.name == name)).first()


def grant_lease(connection: Connection, name: str, holder: str, *, expires: int, previous: int | None) -> int | None:
    """Give the lease to a holder under the epoch after `previous` (None: the first); None when another was quicker."""
    if previous is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(lease).values(name=name, holder=holder, epoch=1, expires=expires))
        except NotUnique:
            return None
        return 1
    change = update(lease).where(lease.c.name == name, lease.c.epoch == previous)
    changed = connection.execute(change.values(holder=holder, epoch=previous + 1, expires=expires))
    return previous + 1 if changed.rowcount == 1 else None


def renew_lease(connection: Connection, name: str, holder: str, epoch: int, *, expires: int) -> bool:
    """Move the lease's end, always to another value, if this holder has it under this epoch."""
    mine = (lease.c.name == name, lease.c.holder == holder, lease.c.epoch == epoch)
    moved = case((lease.c.expires >= expires, lease.c.expires + 1), else_=expires)
    return connection.execute(update(lease).where(*mine).values(expires=moved)).rowcount == 1


def free_lease(connection: Connection, name: str, holder: str, epoch: int) -> None:
    """Give the lease back, if this holder has it under this epoch."""
    mine = (lease.c.name == name, lease.c.holder == holder, lease.c.epoch == epoch)
    connection.execute(update(lease).where(*mine).values(holder="", expires=0))


# Heads and what waits to be published.


def last_head(connection: Connection) -> Row[Any] | None:
    """The newest head."""
    return connection.execute(select(heads).order_by(heads.c.size.desc()).limit(1)).first()


def head_of(connection: Connection, size: int) -> Row[Any] | None:
    """The head of one size."""
    return connection.execute(select(heads).where(heads.c.size == size)).first()


def all_heads(connection: Connection) -> Sequence[Row[Any]]:
    """Every head, the oldest first."""
    return connection.execute(select(heads).order_by(heads.c.size)).all()


def heads_of(connection: Connection, batches: Sequence[str]) -> Sequence[Row[Any]]:
    """The heads of these batches, the oldest first."""
    query = select(heads).where(heads.c.batch.in_(listed(connection, batches))).order_by(heads.c.size)
    return connection.execute(query).all()


def heads_after(connection: Connection, size: int) -> Sequence[Row[Any]]:
    """The heads of trees larger than this, the oldest first."""
    return connection.execute(select(heads).where(heads.c.size > size).order_by(heads.c.size)).all()


def head_with(connection: Connection, leaf: int) -> Row[Any] | None:
    """The head of the batch that a leaf is of."""
    return connection.execute(select(heads).where(heads.c.size > leaf).order_by(heads.c.size).limit(1)).first()


def known_segments(connection: Connection, paths: list[str]) -> set[str]:
    """Which of these segments were committed."""
    return set(connection.execute(select(segments.c.path).where(segments.c.path.in_(paths))).scalars())


# The index.


def signing_rotations(connection: Connection, kind: str) -> list[Row[Any]]:
    """The events of a kind that tell of the signing key, the oldest first."""
    query = select(events).where(events.c.kind == kind).order_by(events.c.leaf)
    return [row for row in connection.execute(query) if row.facts.get("key") == "signing"]


def sealed_ids(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Which of these ids are leaves already."""
    wanted = listed(connection, ids)
    both = (select(table.c.id).where(table.c.id.in_(wanted)) for table in (decisions, events))
    return {id_ for query in both for id_ in connection.execute(query).scalars()}


def any_sealed(connection: Connection, ids: Sequence[str]) -> bool:
    """Whether one of these ids is a leaf already.

    Ids grow with time, and hardly any is as old as the newest leaf: only those are looked up. Of ids of another kind
    one may be missed, and is then refused by the index.
    """
    for table in (decisions, events):
        newest = connection.execute(select(func.max(table.c.id))).scalar()
        old = [id_ for id_ in ids if newest is not None and id_ <= newest]
        query = select(table.c.id).where(table.c.id.in_(listed(connection, old))).limit(1)
        if old and connection.execute(query).first() is not None:
            return True
    return False


def listed(connection: Connection, values: Iterable[str]) -> Select[Any]:
    """Thousands of values as a subquery of one parameter: an IN list of as many parameters is several times slower."""
    if connection.dialect.name == "sqlite":
        text_list = json.dumps(list(values))
        return select(func.json_each(text_list).table_valued("value").columns["value"])
    return select(func.unnest(cast(list(values), ARRAY(Text))))


def decision_conditions(
    *,
    fault: str = "",
    since: int | None = None,
    until: int | None = None,
    score_min: float | None = None,
    score_max: float | None = None,
    key_id: str | None = None,
    before: int | None = None,
    **equal: str,
) -> list[ColumnElement[bool]]:
    """Conditions on index rows; `equal` names columns, and empty text stands for any."""
    c = decisions.c
    where = [c[name] == value for name, value in equal.items() if value]
    if equal.get("outcome") not in (None, "", "answered"):
        where.append(c.outcome != "answered")  # So that the index of the rarer outcomes is used.
    if equal.get("trace"):
        where.append(c.trace != "")  # So that its index, of the rows that have one, is used.
    if fault:
        where += [c.faults > literal_column("0"), c.fault_text.contains(fault, autoescape=True)]
    bounds = [
        (c.key_id, operator.eq, key_id),
        (c.leaf, operator.lt, before),
        (c.at, operator.ge, since),
        (c.at, operator.lt, until),
        (c.score, operator.ge, score_min),
        (c.score, operator.le, score_max),
    ]
    return where + [compare(column, value) for column, compare, value in bounds if value is not None]


def count_conditions(*, since: int | None = None, until: int | None = None, **equal: str) -> list[ColumnElement[bool]]:
    """Conditions on profile counts whose span overlaps [since, until); empty text stands for any."""
    c = profile_counts.c
    where = [c[name] == value for name, value in equal.items() if value]
    if since is not None:
        where.append(c.to_at >= since)
    if until is not None:
        where.append(c.from_at < until)
    return where


def find_decisions(connection: Connection, where: list[ColumnElement[bool]], limit: int) -> Sequence[Row[Any]]:
    """Index rows, the newest leaf first."""
    query = select(decisions).where(*where).order_by(decisions.c.leaf.desc()).limit(limit)
    return connection.execute(query).all()


def count_decisions(connection: Connection, where: list[ColumnElement[bool]]) -> int:
    """How many index rows match."""
    return int(connection.execute(select(func.count()).select_from(decisions).where(*where)).scalar_one())


def find_row(connection: Connection, table: Table, id_: str) -> Row[Any] | None:
    """The index row of a decision or an event."""
    return connection.execute(select(table).where(table.c.id == id_)).first()


def events_between(connection: Connection, first: int, end: int, limit: int) -> Sequence[Row[Any]]:
    """Events of leaves [first, end), the oldest first."""
    c = events.c
    return connection.execute(select(events).where(c.leaf >= first, c.leaf < end).order_by(c.leaf).limit(limit)).all()


def find_trace(connection: Connection, ref: str, limit: int) -> Sequence[Row[Any]]:
    """The index rows of a trace, and of a request of that id, the oldest leaf first."""
    c = decisions.c
    found: dict[int, Row[Any]] = {}
    for where in ((c.trace == ref, c.trace != ""), (c.request_id == ref,)):
        query = select(decisions).where(*where).order_by(c.leaf).limit(limit)
        found |= {row.leaf: row for row in connection.execute(query)}
    return [found[leaf] for leaf in sorted(found)][:limit]


def find_events(connection: Connection, kind: str, system: str, limit: int) -> Sequence[Row[Any]]:
    """Events, the newest leaf first; empty kind or system stands for all."""
    query = select(events).order_by(events.c.leaf.desc()).limit(limit)
    if kind:
        query = query.where(events.c.kind == kind)
    if system:
        query = query.where(events.c.system == system)
    return connection.execute(query).all()


def events_about(connection: Connection, decision: str) -> Sequence[Row[Any]]:
    """The events about a decision, the oldest leaf first."""
    return connection.execute(select(events).where(events.c.about == decision).order_by(events.c.leaf)).all()


def find_counts(connection: Connection, where: list[ColumnElement[bool]]) -> Sequence[Row[Any]]:
    """Profile counts, the oldest first."""
    order = (profile_counts.c.from_at, profile_counts.c.batch)
    return connection.execute(select(profile_counts).where(*where).order_by(*order)).all()


def stream_rows(connection: Connection, query: Select[Any], size: int = 2_000) -> Iterator[Row[Any]]:
    """Rows of a large query in pieces, for verification."""
    yield from connection.execution_options(yield_per=size).execute(query)


# Journal positions and open streams.


def positions(connection: Connection) -> dict[str, Row[Any]]:
    """The position in every journal file that was begun, by name."""
    return {row.name: row for row in connection.execute(select(consumed))}


def save_positions(connection: Connection, rows: Rows) -> None:
    """Write positions anew."""
    for chunk in _chunks(row["name"] for row in rows):
        connection.execute(delete(consumed).where(consumed.c.name.in_(chunk)))
    add_rows(connection, consumed, rows)


def forget_positions(connection: Connection, names: list[str]) -> None:
    """Drop the positions of files that are gone and that no later header refers to."""
    for chunk in _chunks(names):
        connection.execute(delete(consumed).where(consumed.c.name.in_(chunk)))


def open_streams(connection: Connection) -> dict[str, str]:
    """The journal file in which each stream that is still open was opened, by the stream's id."""
    query = select(held_frames.c.id, held_frames.c.origin).where(held_frames.c.opened)
    return {row.id: row.origin for row in connection.execute(query)}


def held_of(connection: Connection, ids: Iterable[str]) -> list[Row[Any]]:
    """The held frames of streams, in the order they were written."""
    order = held_frames.c.position
    found: list[Row[Any]] = []
    for chunk in _chunks(ids):
        found += connection.execute(select(held_frames).where(held_frames.c.id.in_(chunk)).order_by(order))
    return found


def drop_held(connection: Connection, ids: Iterable[str]) -> None:
    """Forget the frames of streams that were sealed."""
    for chunk in _chunks(ids):
        connection.execute(delete(held_frames).where(held_frames.c.id.in_(chunk)))


# Keys and erasure.


def find_keys(connection: Connection, table: Table, lookups: Iterable[str]) -> dict[str, Row[Any]]:
    """Key rows of subjects or system-days by lookup."""
    query = select(table).where(table.c.lookup.in_(listed(connection, lookups)))
    return {row.lookup: row for row in connection.execute(query)}


def key_ids(connection: Connection, table: Table, lookups: Iterable[str]) -> dict[str, str]:
    """The key ids of subjects or system-days by lookup."""
    query = select(table.c.lookup, table.c.key_id).where(table.c.lookup.in_(listed(connection, lookups)))
    return {row.lookup: row.key_id for row in connection.execute(query)}


def find_key(connection: Connection, key_id: str) -> Row[Any] | None:
    """The key row of an id, of a subject or of a system-day."""
    for table in (subject_keys, day_keys):
        row = connection.execute(select(table).where(table.c.key_id == key_id)).first()
        if row is not None:
            return row
    return None


def keys_of_decisions(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The key id of each decision that is sealed, by the decision's id; `erased` where the key was destroyed."""
    query = select(decisions.c.id, decisions.c.key_id).where(decisions.c.id.in_(listed(connection, ids)))
    return {row.id: row.key_id for row in connection.execute(query)}


def events_about_key(connection: Connection, key_id: str) -> Sequence[Row[Any]]:
    """The events about decisions that are encrypted under one key, the oldest first."""
    query = select(events).join(decisions, decisions.c.id == events.c.about).where(decisions.c.key_id == key_id)
    return connection.execute(query.order_by(events.c.leaf)).all()


def keys_about(connection: Connection, key_id: str) -> list[str]:
    """The subjects' keys of events that came before the decision they are about, which is under `key_id`."""
    query = (
        select(events.c.key_id)
        .distinct()
        .join(decisions, decisions.c.id == events.c.about)
        .join(subject_keys, subject_keys.c.key_id == events.c.key_id)
        .where(decisions.c.key_id == key_id, events.c.key_id != key_id)
    )
    return list(connection.execute(query).scalars())


def find_key_rows(connection: Connection, table: Table, key_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The key rows of some ids, of subjects or of system-days."""
    query = select(table).where(table.c.key_id.in_(listed(connection, key_ids)))
    return {row.key_id: row for row in connection.execute(query)}


def decisions_of_key(connection: Connection, key_id: str) -> Sequence[Row[Any]]:
    """The index rows encrypted under one key, the oldest first."""
    query = select(decisions).where(decisions.c.key_id == key_id).order_by(decisions.c.leaf)
    return connection.execute(query).all()

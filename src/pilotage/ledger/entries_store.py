"""The SQL of entry retention: which bundles hold what, and index rows that become stubs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Table, and_, delete, func, literal, select
from sqlalchemy.sql.elements import ColumnElement

from pilotage.ledger import store
from pilotage.ledger.kept import PAST
from pilotage.ledger.said_tables import outcomes, overrides
from pilotage.ledger.tables import decisions, events

__all__ = ["Span", "placed", "put_stubs", "segments_of", "spans"]

_BITS = 8
_MANY = 400


class Span(NamedTuple):
    """Entries of one system in one bundle that can go: how many, the newest one's time, the oldest one's (Unix us)."""

    system: str
    entries: int
    newest: int
    oldest: int


def spans(connection: Connection, bundles: int) -> dict[int, list[Span]]:
    """What can go of the first `bundles` bundles, by number: entries of decisions, and of events about decisions.

    An event that names no system is of its decision's.
    """
    d, e = decisions.c, events.c
    system = func.coalesce(func.nullif(e.system, ""), d.system, "")
    about = events.outerjoin(decisions, d.id == e.about)
    queries = (
        _grouped(d.leaf, d.system, d.at, select(literal(1)).select_from(decisions), d.outcome != PAST, bundles),
        _grouped(e.leaf, system, e.at, select(literal(1)).select_from(about), e.about.is_not(None), bundles),
    )
    found: dict[int, list[Span]] = {}
    for query in queries:
        for number, of, entries, newest, oldest in connection.execute(query):
            found.setdefault(number, []).append(Span(system=of, entries=entries, newest=newest, oldest=oldest))
    return dict(sorted(found.items()))


def _grouped(leaf: Any, system: Any, at: Any, frame: Any, which: ColumnElement[bool], bundles: int) -> Any:
    number = leaf.op("/", return_type=BigInteger())(1 << _BITS)
    query = frame.with_only_columns(
        number.label("number"), system.label("of"), func.count(), func.max(at), func.min(at)
    )
    return query.where(which, leaf < bundles << _BITS).group_by("number", "of")


def segments_of(connection: Connection, numbers: Sequence[int]) -> dict[int, set[str]]:
    """The segments in which the payloads of these bundles' decisions, and of events about decisions, lay."""
    found: dict[int, set[str]] = {}
    for table, which in ((decisions, decisions.c.outcome != PAST), (events, events.c.about.is_not(None))):
        leaf = table.c.leaf
        number = leaf.op("/", return_type=BigInteger())(1 << _BITS)
        for at in range(0, len(numbers), _MANY):
            some = numbers[at : at + _MANY]
            within = and_(leaf >= min(some) << _BITS, leaf < (max(some) + 1) << _BITS, number.in_(some))
            for of, segment in connection.execute(select(number, table.c.segment).distinct().where(within, which)):
                found.setdefault(of, set()).add(segment)
    return found


def placed(connection: Connection, first: int, end: int) -> dict[int, str]:
    """The segment of each leaf in [first, end) whose entry can go."""
    found: dict[int, str] = {}
    for table, which in ((decisions, decisions.c.outcome != PAST), (events, events.c.about.is_not(None))):
        c = table.c
        query = select(c.leaf, c.segment).where(c.leaf >= first, c.leaf < end, which)
        found.update((row.leaf, row.segment) for row in connection.execute(query))
    return found


def put_stubs(connection: Connection, rows: Sequence[tuple[Table, dict[str, Any]]]) -> None:
    """Put stubs in the place of the index rows of some leaves; what was said about decisions goes."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    for table in (decisions, events):
        stubs = [row for of, row in rows if of is table]
        _drop(connection, table, [row["leaf"] for row in stubs])
        store.add_rows(connection, table, stubs)
        if table is events:
            for said in (outcomes, overrides):
                _drop(connection, said, [row["leaf"] for row in stubs])
    if sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=FAST")


def _drop(connection: Connection, table: Table, leaves: Sequence[int]) -> None:
    for at in range(0, len(leaves), _MANY):
        connection.execute(delete(table).where(table.c.leaf.in_(leaves[at : at + _MANY])))

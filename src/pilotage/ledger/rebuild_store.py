"""The SQL of a rebuild: rows from the scratch database into the ledger's, in the swap's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, select, update

from pilotage.ledger import store
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.said_tables import outcomes, overrides
from pilotage.ledger.tables import ERASED, consumed, decisions, erased_keys, events, profile_counts

__all__ = ["add_lost_positions", "apply_erasures", "counts_of", "erased_among", "replace_rows", "rows_of_segments"]

_PAGE = 2_000


def replace_rows(connection: Connection, scratch: Connection, table: Table) -> None:
    """Take the old rows of a table out and those of the scratch database in; a table that is gone is made."""
    table.create(connection, checkfirst=True)
    connection.execute(delete(table))
    page: list[dict[str, Any]] = []
    # Options set on the connection itself would outlive this query.
    for row in scratch.execute(select(table), execution_options={"yield_per": _PAGE}).mappings():
        page.append(dict(row))
        if len(page) == _PAGE:
            store.add_rows(connection, table, page)
            page = []
    store.add_rows(connection, table, page)


def rows_of_segments(connection: Connection, paths: list[str], first: int, end: int) -> dict[int, dict[str, Any]]:
    """The rows of decisions and events, by leaf in [first, end), whose payloads lay in some segments."""
    found: dict[int, dict[str, Any]] = {}
    for table in (decisions, events):
        c = table.c
        query = select(table).where(c.leaf >= first, c.leaf < end, c.segment.in_(paths))
        found |= {row["leaf"]: dict(row) for row in connection.execute(query).mappings()}
    return found


def apply_erasures(connection: Connection) -> None:
    """Clear what the index holds of people who were erased while it was being made."""
    gone = select(erased_keys.c.key_id)
    cleared = {"subject": None, "score": None, "label": None, "key_id": ERASED}
    connection.execute(update(decisions).where(decisions.c.key_id.in_(gone)).values(**cleared))
    said = select(events.c.leaf).where(events.c.key_id.in_(gone))
    told = update(outcomes).where(outcomes.c.leaf.in_(said))
    connection.execute(told.values(value=None, number=None, at=None))
    connection.execute(update(overrides).where(overrides.c.leaf.in_(said)).values(reviewer=None, value=None))
    connection.execute(update(events).where(events.c.key_id.in_(gone)).values(key_id=ERASED))


def add_lost_positions(connection: Connection, reached: Mapping[str, tuple[int, str]], journal: Path) -> int:
    """Put back the positions of journal files that are gone, of workers of which no position is known; how many.

    Files that are still there are read again from their beginning: what is sealed already is skipped.
    """
    known = {_worker(name) for name in store.positions(connection)}
    present = {file.name for file in journal_files(journal)}
    rows = [
        {"name": name, "offset": offset, "chain": chain, "identity": "", "state": "deleted"}
        for name, (offset, chain) in reached.items()
        if _worker(name) not in known and name not in present
    ]
    store.add_rows(connection, consumed, rows)
    return len(rows)


def erased_among(connection: Connection, key_ids: Iterable[str]) -> set[str]:
    """Which of these keys an erasure destroyed."""
    wanted = list(key_ids)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        query = select(erased_keys.c.key_id).where(erased_keys.c.key_id.in_(wanted[start : start + 500]))
        found |= set(connection.execute(query).scalars())
    return found


def counts_of(connection: Connection, batch: str, table: Table = profile_counts) -> list[dict[str, Any]]:
    """The counts of a batch in a table of them; none when the table is gone."""
    if not connection.dialect.has_table(connection, table.name):
        return []
    query = select(table).where(table.c.batch == batch)
    return [dict(row) for row in connection.execute(query).mappings()]


def _worker(name: str) -> str:
    return name.rpartition("-")[0]

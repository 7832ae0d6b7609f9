"""Rows of the control plane that the ledger attests: an edit in SQL, past the product, is found and named.

Whoever writes such a row puts `attest(table, row)` into the facts of the event of the same transaction. The event is
sealed, so the newest attestation of a row says what the row must be; `changed_rows` compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Row, Table, select

from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = ["Attesting", "ChangedRow", "attest", "attest_removal", "changed_rows", "row_digest"]

_EXACT = 2**53
"""From it on JSON numbers are floats (RFC 8785 section 3.2.2.3), and PostgreSQL returns large floats as integers."""


class Attesting(Protocol):
    """An event as the ledger and the outbox hold it: its time in Unix microseconds, and its facts."""

    @property
    def at(self) -> int: ...
    @property
    def facts(self) -> dict[str, Any]: ...


class ChangedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not what the ledger attests. `what`: changed, removed, or unknown (no event tells of it)."""

    table: str
    key: str
    what: str
    got: str
    expected: str


def row_digest(row: Mapping[str, Any]) -> str:
    """The digest of a row's canonical JSON; bytes count as their hexadecimal text."""
    return digest(canonical_json({name: _plain(value) for name, value in row.items()}))


def attest(table: Table, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The fact that a row has these values, for `facts["rows"]` of its event.

    The key of a table with `info={"personal": True}` is kept as a digest, since facts are kept for ever.
    """
    full = {column.name: row[column.name] for column in table.columns}
    return [{"table": table.name, "key": _key(table, full), "digest": row_digest(full)}]


def attest_removal(table: Table, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The fact that a row was deleted on purpose."""
    return [{"table": table.name, "key": _key(table, row), "digest": ""}]


def changed_rows(connection: Connection, tables: Iterable[Table], events: Iterable[Attesting]) -> Iterator[ChangedRow]:
    """Every row of the tables that differs from its newest attestation, is gone, or was never attested.

    `events` are those of the ledger and then those that wait in the outbox, oldest first.
    """
    expected: dict[tuple[str, str], tuple[int, str]] = {}
    for event in events:
        for place, value in _attested(event.facts):
            if place not in expected or expected[place][0] <= event.at:
                expected[place] = (event.at, value)
    for table in tables:
        here = {key: value for (name, key), (_, value) in expected.items() if name == table.name}
        yield from _compare(table, connection.execute(select(table)), here)


def _attested(facts: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """((table, key), digest) of each row that facts attest. What is none attests nothing: its row is then unknown."""
    rows = facts.get("rows") if isinstance(facts, dict) else None
    for fact in rows if isinstance(rows, list | tuple) else ():
        match fact:
            case {"table": str(table), "key": str(key), "digest": str(value)}:
                yield (table, key), value


def _compare(table: Table, rows: Iterable[Row[Any]], expected: dict[str, str]) -> Iterator[ChangedRow]:
    for row in rows:
        values = dict(row._mapping)
        key, got = _key(table, values), row_digest(values)
        want = expected.pop(key, "")
        if got != want:
            what = "changed" if want else "unknown"
            yield ChangedRow(table=table.name, key=key, what=what, got=got, expected=want or "no such row")
    for key, want in expected.items():
        if want:
            yield ChangedRow(table=table.name, key=key, what="removed", got="no such row", expected=want)


def _key(table: Table, row: Mapping[str, Any]) -> str:
    key = "/".join(str(row[column.name]) for column in table.primary_key)
    return digest(f"{table.name}/{key}".encode()) if table.info.get("personal") else key


def _plain(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case bytes() | memoryview():
            return bytes(value).hex()
        case int() if abs(value) >= _EXACT:
            return float(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value

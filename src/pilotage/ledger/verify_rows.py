"""The SQL of verification: one consistent view of `ledger.db`, read so that an edited row cannot stop the reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Engine, Select, Table, bindparam, func, or_, select
from sqlalchemy.exc import DatabaseError

from pilotage.ledger.faults import Faults
from pilotage.ledger.tables import heads

__all__ = ["Row", "Snapshot", "Values", "snapshot"]

Row = dict[str, Any]
Values = tuple[Any, ...]
_MANY = 500
_CHECK_KIB, _USUAL_KIB, _MAPPED_BYTES = 65_536, 2_000, 2**31 - 2**16
"""SQLite's page cache while it checks itself: it looks up every row in every index."""


@contextmanager
def snapshot(engine: Engine, faults: Faults) -> Iterator[Snapshot]:
    """A view of all tables at one moment, however long it is read."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield Snapshot(connection, faults)


class Snapshot:
    """Reads rows as plain mappings. A row whose values cannot be decoded is a fault, and is left out."""

    def __init__(self, connection: Connection, faults: Faults) -> None:
        self._connection, self._faults = connection, faults
        self._driver_error: type[Exception] = connection.dialect.loaded_dbapi.Error

    @property
    def engine(self) -> Engine:
        """The engine, for a view of a later moment."""
        return self._connection.engine

    def reporting(self, faults: Faults) -> Snapshot:
        """The same view; what cannot be read is told to somebody else."""
        return Snapshot(self._connection, faults)

    def begin(self, exported: str = "") -> None:
        """Take the view now, not at the first question; on PostgreSQL the one that `exported` names, if any."""
        if exported:
            self._connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{exported}'")
        self._connection.execute(select(heads.c.size).limit(1)).all()

    def exported(self) -> str:
        """The name under which other connections to PostgreSQL can take this view while it lasts."""
        return str(self._connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())

    def last_size(self) -> int:
        """The size of the newest head; 0 without any."""
        return int(self._connection.execute(select(func.max(heads.c.size))).scalar_one() or 0)

    def check_storage(self, *, mapped: bool = False) -> None:
        """SQLite's own check of its pages and indexes: a damaged index could hide rows.

        With `mapped` it takes a fifth less, and a file that is cut meanwhile ends the process.
        """
        if self.engine.dialect.name == "sqlite":
            self._connection.exec_driver_sql(f"PRAGMA cache_size = -{_CHECK_KIB}")
            if mapped:
                self._connection.exec_driver_sql(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
            for (said,) in self._connection.exec_driver_sql("PRAGMA integrity_check(20)"):
                if said != "ok":
                    self._faults.add("ledger.db", "the database file is damaged", said)
            self._connection.exec_driver_sql(f"PRAGMA cache_size = -{_USUAL_KIB}")

    def all(self, table: Table) -> list[Row]:
        """Every row of a table, by primary key."""
        return self._rows(table)

    def where(self, table: Table, condition: ColumnElement[bool]) -> list[Row]:
        """The rows that a condition holds for, by primary key."""
        return self._rows(table, condition)

    def between(self, table: Table, column: Column[Any], first: int, end: int) -> list[Row]:
        """The rows whose `column` is in [first, end), by primary key."""
        return self._rows(table, column >= first, column < end)

    def among(self, table: Table, column: Column[Any], values: Sequence[str]) -> list[Row]:
        """The rows whose `column` is one of the values."""
        found: list[Row] = []
        for start in range(0, len(values), _MANY):
            found += self._rows(table, column.in_(values[start : start + _MANY]))
        return found

    def values_between(self, names: Sequence[str], column: Column[Any], first: Any, end: Any) -> list[Values]:
        """Some columns of the rows whose `column` is in [first, end), in its order: half the price of mappings."""
        return self._values(_between(tuple(names), column), {"first": first, "end": end})

    def values_among(self, names: Sequence[str], column: Column[Any], values: Sequence[str]) -> list[Values]:
        """Some columns of the rows whose `column` is one of the values."""
        found: list[Values] = []
        for start in range(0, len(values), _MANY):
            some = {"some": values[start : start + _MANY]}
            found += self._values(_among(tuple(names), column), some)
        return found

    def outside(self, column: Column[Any], size: int) -> list[int]:
        """The leaf numbers in `column` that a tree of `size` leaves does not have, the first 100."""
        query = select(column).where(or_(column < 0, column >= size)).order_by(column).limit(100)
        return list(self._connection.execute(query).scalars())

    def values(self, column: Column[Any]) -> Iterator[Any]:
        """All values of one column, streamed."""
        yield from self._connection.execution_options(yield_per=2_000).execute(select(column)).scalars()

    def count(self, table: Table) -> int:
        """The number of rows."""
        return int(self._connection.execute(select(func.count()).select_from(table)).scalar_one())

    def _values(self, query: Select[Any], given: Row) -> list[Values]:
        """Rows as the driver gives them: of columns that need no conversion, texts, numbers and bytes."""
        result = self._connection.execute(query, given)
        try:
            return list(result.cursor.fetchall()) if result.cursor is not None else []
        except self._driver_error as error:
            raise DatabaseError(str(query), None, error) from error

    def _rows(self, table: Table, *where: ColumnElement[bool]) -> list[Row]:
        key = list(table.primary_key.columns)
        query = select(table).where(*where).order_by(*key)
        try:
            names = [column.name for column in table.columns]
            return [dict(zip(names, row, strict=True)) for row in self._connection.execute(query).all()]
        except (ValueError, TypeError, LookupError, AttributeError):
            return self._one_by_one(table, *where)

    def _one_by_one(self, table: Table, *where: ColumnElement[bool]) -> list[Row]:
        key = list(table.primary_key.columns)
        found: list[Row] = []
        for values in self._connection.execute(select(*key).where(*where).order_by(*key)).all():
            one = select(table).where(*(column == value for column, value in zip(key, values, strict=True)))
            try:
                found += [dict(row) for row in self._connection.execute(one).mappings()]
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                self._faults.add(f"{table.name} row {' '.join(map(str, values))}", f"it cannot be read: {error}")
        return found


@lru_cache
def _between(names: tuple[str, ...], column: Column[Any]) -> Select[Any]:
    """Made once: to make a statement of 29 columns takes longer than to read a hundred rows by it."""
    return _columns(names, column).where(column >= bindparam("first"), column < bindparam("end"))


@lru_cache
def _among(names: tuple[str, ...], column: Column[Any]) -> Select[Any]:
    return _columns(names, column).where(column.in_(bindparam("some", expanding=True)))


def _columns(names: tuple[str, ...], column: Column[Any]) -> Select[Any]:
    return select(*(column.table.c[name] for name in names)).order_by(column)

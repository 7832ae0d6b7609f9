"""A feature source in SQL: one table or view of SQLite or PostgreSQL, read only, every key a bound parameter.

The driver waits in a thread; when its caller gives up, the connection is broken under it, so that no thread outlives
its request for longer than a connection takes to be refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import sqlalchemy
from sqlalchemy import BigInteger, Connection, Engine, Select, String, Uuid, bindparam, create_engine, types
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from pilotage.contracts.enriching import Key
from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import ColumnType
from pilotage.enrichment.model import LONGEST_TEXT, UNFIT, Entry, Told, failed, moment, value_of
from pilotage.errors import MissingExtra, Unavailable
from pilotage.kernel.rows import Value

__all__ = ["SqlSource"]

KEYS_A_STATEMENT = 500
START_S = 2.0
_CELL_BYTES = 1_000_000
_WHOLE = re.compile(r"-?[0-9]{1,18}\Z")

_Kind = str
_KINDS: tuple[tuple[type[Any], _Kind], ...] = (
    (types.Boolean, "boolean"),
    (types.Integer, "integer"),
    (types.Numeric, "number"),
    (types.Float, "number"),
    (types.Uuid, "uuid"),
    (types.String, "string"),
    (types.DateTime, "time"),
    (types.Date, "time"),
)
"""What a column of a table is, by SQLAlchemy's type; the first that fits."""

_FITS: dict[ColumnType, tuple[_Kind, ...]] = {
    "number": ("integer", "number"),
    "integer": ("integer", "number"),
    "string": ("string", "uuid", "time"),
    "boolean": ("boolean",),
}
_PARAMETERS: dict[_Kind, types.TypeEngine[Any]] = {
    "integer": BigInteger(),
    "string": String(),
    "uuid": Uuid(as_uuid=False),
}


class _Prepared(NamedTuple):
    """The statement, made once from the table as it is, and the kinds of its key columns."""

    statement: Select[Any]
    keys: tuple[_Kind, ...]
    kinds: Mapping[str, _Kind]


class _Call:
    """One look-up in a thread; `cancel` ends it from the loop's thread, whatever it waits for."""

    def __init__(self) -> None:
        self._lock, self._raw, self.cancelled = Lock(), None, False

    @contextmanager
    def holding(self, raw: Any) -> Iterator[None]:
        with self._lock:
            if self.cancelled:
                raise failed("the look-up was given up")
            self._raw = raw
        try:
            yield
        finally:
            with self._lock:
                self._raw = None

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._raw is not None:
                _break(self._raw)


def _break(raw: Any) -> None:
    """Make a driver's connection fail, from another thread than the one that waits for it."""
    if isinstance(raw, sqlite3.Connection):
        raw.interrupt()
        return
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


class SqlSource:
    """A pool of `calls` connections and as many threads. The table is looked at before the first key is asked for."""

    def __init__(self, declared: Enrichment, kinds: Mapping[str, ColumnType], url: URL, *, calls: int = 4) -> None:
        self._declared, self._kinds = declared, kinds
        schema, _, table = declared.table.rpartition(".")
        self._table, self._schema = table, schema or None
        self._engine = _engine(url, calls, declared.timeout)
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._pool = ThreadPoolExecutor(calls, thread_name_prefix=f"source-{declared.source}")
        self._calls: set[_Call] = set()
        self._prepared: _Prepared | None = None
        self._closed = False

    async def start(self) -> None:
        """Look at the table, if the source is there; else the first key does."""
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(START_S):
                await self._run(lambda connection: None)

    async def look_up(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """As the port says."""
        found: dict[Key, Entry] = await self._run(lambda connection: self._found(connection, keys))
        return found

    async def _run(self, work: Any) -> Any:
        call = _Call()
        self._calls.add(call)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._connected, work, call)
        except RuntimeError as error:  # the pool was shut down
            raise failed("the feature source was closed") from error
        finally:
            self._calls.discard(call)
            call.cancel()

    def _connected(self, work: Any, call: _Call) -> Any:
        """In a thread. Raises Unavailable, which says no detail: a driver's error quotes parameters."""
        if call.cancelled:
            raise failed("the look-up was given up")
        try:
            with self._engine.connect() as connection:
                try:
                    with call.holding(connection.connection.dbapi_connection):
                        if self._prepared is None:
                            self._prepared = self._prepare(connection)
                        return work(connection)
                finally:
                    if call.cancelled or self._closed:
                        connection.invalidate()
        except NoSuchTableError:
            raise failed("the feature source has no such table") from None
        except (SQLAlchemyError, OSError) as error:
            known = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
            raise failed("the feature source cannot be asked", type(known).__name__) from None

    def _prepare(self, connection: Connection) -> _Prepared:
        seen = sqlalchemy.inspect(connection).get_columns(self._table, schema=self._schema)
        kinds = {column["name"]: _kind(column["type"]) for column in seen}
        declared = self._declared
        keys = tuple(kinds.get(name, "") for name in declared.key.values())
        absent = [name for name in (*declared.columns.values(), *_time(declared)) if name not in kinds]
        if absent or not all(kind in _PARAMETERS for kind in keys):
            raise failed("the feature source's table does not agree with the declaration")
        by_key = [
            sqlalchemy.column(name, _PARAMETERS[kind]) for name, kind in zip(declared.key.values(), keys, strict=True)
        ]
        brought = [self._column(theirs, kinds[theirs]) for theirs in declared.columns.values()]
        moments: list[Any] = [sqlalchemy.column(name) for name in _time(declared)]
        table = sqlalchemy.table(self._table, schema=self._schema)
        asked: Any = bindparam("keys", expanding=True)
        where = by_key[0].in_(asked) if len(by_key) == 1 else sqlalchemy.tuple_(*by_key).in_(asked)
        statement = sqlalchemy.select(*by_key, *brought, *moments).select_from(table).where(where)
        return _Prepared(statement.limit(bindparam("most", type_=BigInteger)), keys, kinds)

    def _column(self, name: str, kind: _Kind) -> sqlalchemy.ColumnElement[Any]:
        """A column; of a text one more character than it may have, so that a huge one never travels."""
        if kind == "string":
            return sqlalchemy.func.substr(sqlalchemy.column(name), 1, LONGEST_TEXT + 1)
        return sqlalchemy.column(name)

    def _found(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Entry]:
        prepared, found = self._prepared, dict[Key, Entry]()
        assert prepared is not None  # noqa: S101 - it was prepared with the connection
        asked: dict[tuple[int | str, ...], list[Key]] = {}
        for key in keys:
            if (bound := _bound(key, prepared.keys)) is not None:
                asked.setdefault(bound, []).append(key)
        each = list(asked)
        for start in range(0, len(each), KEYS_A_STATEMENT):
            part = each[start : start + KEYS_A_STATEMENT]
            given = [key[0] for key in part] if len(prepared.keys) == 1 else part
            # One more than there may be: a table with a key twice is told from one with it once.
            rows = connection.execute(prepared.statement, {"keys": given, "most": len(part) + 1}).fetchall()
            if len(rows) > len(part):
                raise failed("the feature source knows an entity twice")
            for row in rows:
                # Another collation may take another key for the same: that one is not asked for.
                for key in asked.get(tuple(row[: len(prepared.keys)]), ()):
                    if key in found:
                        raise failed("the feature source knows an entity twice")
                    found[key] = self._entry(row[len(prepared.keys) :])
        return found

    def _entry(self, row: Sequence[object]) -> Entry:
        values: dict[str, Value | Any] = {
            name: value_of(raw, self._kinds[name], loose_truth=self._sqlite)
            for name, raw in zip(self._declared.columns, row, strict=False)
        }
        return Entry(values, moment(row[-1]) if self._declared.time else None)

    async def inspect(self) -> list[Told]:
        """As the port says."""
        name = f"{self._declared.source}, table {self._declared.table}"
        try:
            async with asyncio.timeout(START_S):
                told: list[Told] = await self._run(self._look)
        except TimeoutError:
            return [Told(False, f"{name} gave no answer in {START_S:g} s", "look at the source")]
        except Unavailable as error:
            try:
                async with asyncio.timeout(START_S):
                    return await asyncio.get_running_loop().run_in_executor(self._pool, self._look_apart)
            except (TimeoutError, Unavailable, SQLAlchemyError, OSError):
                got = f" ({error.got})" if error.got else ""
                return [Told(False, f"{name}: {error.what}{got}", "see that it is there, and may be read")]
        return told

    def _look_apart(self) -> list[Told]:
        """What is wrong with a table that no statement can be made for."""
        with self._engine.connect() as connection:
            return self._look(connection)

    def _look(self, connection: Connection) -> list[Told]:
        seen, declared = sqlalchemy.inspect(connection), self._declared
        kinds = {c["name"]: _kind(c["type"]) for c in seen.get_columns(self._table, schema=self._schema)}
        name, told = f"{declared.source}, table {declared.table}", list[Told]()
        for mine, theirs in declared.columns.items():
            expected, got = _FITS[self._kinds[mine]], kinds.get(theirs)
            if self._sqlite and self._kinds[mine] == "boolean":
                expected = (*expected, "integer")
            if got is None or (got and got not in expected):
                what = f"{name}: {theirs} for {mine} is {got or 'not there'}, not {' or '.join(expected)}"
                told.append(Told(False, what, "correct the declaration or the table"))
        for theirs in declared.key.values():
            if kinds.get(theirs) not in _PARAMETERS:
                what = f"{name}: the key {theirs} is {kinds.get(theirs) or 'not there'}"
                told.append(Told(False, what, "a key is a column of integers, text or UUIDs"))
        for theirs in _time(declared):
            if theirs not in kinds:
                told.append(Told(False, f"{name}: {theirs}, the time, is not there", "correct the declaration"))
        if not told and not self._unique(seen):
            what = f"{name}: no unique index on {', '.join(declared.key.values())}"
            told.append(Told(False, what, "make one: else each look-up reads the table, and may find a key twice"))
        return told or [Told(True, f"{name} agrees, and its key is indexed")]

    def _unique(self, seen: Any) -> bool:
        wanted, at = set(self._declared.key.values()), {"schema": self._schema}
        if self._table in seen.get_view_names(**at) or (
            not self._sqlite and self._table in seen.get_materialized_view_names(**at)
        ):
            return True  # whose tables these are, a view does not tell
        primary = seen.get_pk_constraint(self._table, **at)["constrained_columns"]
        unique = [each["column_names"] for each in seen.get_unique_constraints(self._table, **at)]
        indexes = [each["column_names"] for each in seen.get_indexes(self._table, **at) if each["unique"]]
        return any(set(columns) == wanted for columns in (primary, *unique, *indexes))

    async def close(self) -> None:
        """As the port says."""
        self._closed = True
        for call in list(self._calls):
            call.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()


def _time(declared: Enrichment) -> list[str]:
    return [declared.time] if declared.time else []


def _kind(found: types.TypeEngine[Any]) -> _Kind:
    """What a column is; empty where a view of SQLite does not say; "other" for what no feature can be."""
    if isinstance(found, types.NullType):
        return ""
    return next((kind for type_, kind in _KINDS if isinstance(found, type_)), "other")


def _bound(key: Key, kinds: Sequence[_Kind]) -> tuple[int | str, ...] | None:
    """A key as the table has it; None where its column cannot hold such a one."""
    parts: list[int | str] = []
    for text, kind in zip(key, kinds, strict=True):
        if kind == "integer":
            if not _WHOLE.match(text) or str(int(text)) != text:
                return None
            parts.append(int(text))
        elif kind == "uuid":
            try:
                parts.append(str(UUID(text)))
            except ValueError:
                return None
        elif "\0" in text:
            return None
        else:
            parts.append(text)
    return tuple(parts)


def _engine(url: URL, calls: int, timeout_s: float) -> Engine:
    shared: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_size": calls,
        "max_overflow": 0,
        "pool_reset_on_return": None,
        "isolation_level": "AUTOCOMMIT",
        "hide_parameters": True,
    }
    if url.get_backend_name() == "sqlite":
        return create_engine("sqlite://", creator=lambda: _sqlite(str(url.database), timeout_s), **shared)
    patience = max(1, round(timeout_s * 1_000))
    options = f"-c default_transaction_read_only=on -c statement_timeout={patience}"
    own = url.query.get("options")
    arguments = {"options": f"{own} {options}" if isinstance(own, str) else options, "connect_timeout": 2}
    try:
        engine = create_engine(
            url.difference_update_query(["options"]),
            connect_args={**arguments, "application_name": "pilotage"},
            **shared,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra("psycopg", "postgres") from error
    sqlalchemy.event.listen(engine, "connect", _take_any_moment)
    return engine


def _take_any_moment(raw: Any, _record: object) -> None:
    """Let PostgreSQL's moments that Python has not (`infinity`, before Christ) be no value, of that one row."""
    from psycopg import DataError
    from psycopg.types import datetime as kinds

    def tolerant(known: Any) -> Any:
        class Tolerant(known):  # type: ignore[misc]  # a class of psycopg, chosen at run time
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return UNFIT

        return Tolerant

    for name, known in (
        ("timestamptz", kinds.TimestamptzLoader),
        ("timestamp", kinds.TimestampLoader),
        ("date", kinds.DateLoader),
    ):
        raw.adapters.register_loader(name, tolerant(known))


def _sqlite(path: str, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro", uri=True, timeout=timeout_s, check_same_thread=False, isolation_level=None
    )
    connection.execute("PRAGMA query_only=ON").close()
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL_BYTES)
    return connection

"""SQL engines: two SQLite files, or PostgreSQL by one URL. SQLAlchemy Core is the storage port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Connection, Engine, Integer, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from pilotage.errors import Unavailable
from pilotage.storage.home import Home

__all__ = ["BIG", "DOCUMENT", "Part", "control", "ledger", "looking_up", "open_engine", "reading", "url_of", "writing"]

Part = Literal["control", "ledger"]

control = MetaData()
"""Tables of the control plane: each concept's `store.py` adds its own. Gateways read only the serving plan of it."""

ledger = MetaData()
"""Tables that only the steward writes: index, heads, keys, counts."""

BIG = BigInteger().with_variant(Integer, "sqlite")
_BUSY_MS, _IDLE_MS = 10_000, 5_000
DOCUMENT = JSON().with_variant(JSONB, "postgresql")


def url_of(home: Home, part: Part, database_url: str | None = None) -> str:
    """The URL of one part: its SQLite file in the home, or the one PostgreSQL URL for both."""
    if database_url:
        return database_url
    path = home.control_database if part == "control" else home.ledger_database
    return f"sqlite:///{path}"


def open_engine(url: str) -> Engine:
    """An engine; SQLite in WAL mode with synchronous=FULL, foreign keys on, a busy wait of 10 s,
    and deleted cells overwritten where a page is written anyway (`secure_delete=FAST`). Its errors tell no values: they
    are logged, and scores, answers and pseudonyms are among them.

    Transactions on SQLite are explicit: `reading` opens one with BEGIN, `writing` with BEGIN IMMEDIATE.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": 10, "check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_MS}",
            "secure_delete=FAST",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def writing(engine: Engine, *, patience_s: float | None = None) -> Iterator[Connection]:
    """A transaction that will write: committed at the end, rolled back on any error.

    With `patience_s`, waits no longer than that for another's lock, then raises Unavailable(code="database_busy").
    On PostgreSQL, a process that was stopped in the middle of one loses it after 5 s, and its locks with it.
    """
    with (
        engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection,
        _patient(connection, patience_s),
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}")
            if patience_s is not None:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1_000 * patience_s)}")
        yield connection


@contextmanager
def _patient(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Say in our words that a lock was not to be had in time; on SQLite, wait no longer meanwhile."""
    if seconds is None:
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    sqlite = connection.dialect.name == "sqlite"
    try:
        if sqlite:
            raw.execute(f"PRAGMA busy_timeout={round(1_000 * seconds)}").close()
        yield
    except OperationalError as error:
        if not any(word in str(error.orig) for word in ("locked", "lock timeout")):
            raise
        raise Unavailable(
            "another process holds a lock of the database",
            code="database_busy",
            got=f"no lock after {seconds} s",
            mend="try again; if it lasts, look for a stopped process",
        ) from error
    finally:
        if sqlite:
            raw.execute(f"PRAGMA busy_timeout={_BUSY_MS}").close()


@contextmanager
def looking_up(engine: Engine) -> Iterator[Connection]:
    """A connection for one statement that reads: on PostgreSQL without a transaction, whose beginning and end are two
    more times to wait for the server.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one consistent view."""
    with engine.connect() as connection, connection.begin():
        yield connection

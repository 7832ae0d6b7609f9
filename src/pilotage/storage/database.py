"""SQL engines: two SQLite files, or PostgreSQL by one URL. SQLAlchemy Core is the storage port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Connection, Engine, Integer, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url

from pilotage.storage.home import Home

__all__ = ["BIG", "DOCUMENT", "Part", "control", "ledger", "open_engine", "reading", "url_of", "writing"]

Part = Literal["control", "ledger"]

control = MetaData()
"""Tables of the control plane: each concept's `store.py` adds its own. Gateways read only the serving plan of it."""

ledger = MetaData()
"""Tables that only the steward writes: index, heads, keys, counts."""

BIG = BigInteger().with_variant(Integer, "sqlite")
DOCUMENT = JSON().with_variant(JSONB, "postgresql")


def url_of(home: Home, part: Part, database_url: str | None = None) -> str:
    """The URL of one part: its SQLite file in the home, or the one PostgreSQL URL for both."""
    if database_url:
        return database_url
    path = home.control_database if part == "control" else home.ledger_database
    return f"sqlite:///{path}"


def open_engine(url: str) -> Engine:
    """An engine; SQLite in WAL mode with synchronous=FULL, foreign keys on, a busy wait of 10 s,
    and deleted cells overwritten where a page is written anyway (`secure_delete=FAST`).

    Transactions on SQLite are explicit: `reading` opens one with BEGIN, `writing` with BEGIN IMMEDIATE.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 10, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=10000",
            "secure_delete=FAST",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write: committed at the end, rolled back on any error."""
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one consistent view."""
    with engine.connect() as connection, connection.begin():
        yield connection

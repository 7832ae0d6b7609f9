"""The SQL of serving plans: rollout writes a version, gateways read the newest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from pilotage.gateway.leases import Ask, Grant, grant_of
from pilotage.gateway.plan import ServingPlan, encode_plan
from pilotage.storage.database import BIG, control, reading

__all__ = [
    "PlanPoll",
    "StoredPlan",
    "add_plan",
    "forget_holder",
    "lease",
    "limit_holders",
    "limit_pools",
    "newest_plan",
    "newest_version",
    "pool_states",
    "serving_plans",
]

_HOLDS_US = 15_000_000
"""A worker that has not asked for this long holds no share any more."""

_KEPT_US = 62 * 86_400_000_000
"""What was used in windows before stays readable this long."""

serving_plans = Table(
    "serving_plans",
    control,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Column("created", BIG, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class StoredPlan:
    """A plan as it is stored: `body` is the exact bytes whose digest decisions carry."""

    version: int
    digest: str
    body: bytes


def newest_version(connection: Connection) -> int:
    """The newest plan's version; 0 when there is none yet."""
    return connection.execute(select(func.max(serving_plans.c.version))).scalar() or 0


def newest_plan(connection: Connection) -> StoredPlan | None:
    """The newest plan, or None when there is none yet."""
    query = select(serving_plans.c.version, serving_plans.c.digest, serving_plans.c.body)
    row = connection.execute(query.order_by(serving_plans.c.version.desc()).limit(1)).first()
    return StoredPlan(version=row.version, digest=row.digest, body=row.body.encode()) if row else None


def add_plan(connection: Connection, plan: ServingPlan) -> StoredPlan:
    """Store a plan in the caller's transaction; its version is the primary key, so two writers cannot both win."""
    body, digest = encode_plan(plan)
    connection.execute(
        insert(serving_plans).values(version=plan.version, digest=digest, body=body.decode(), created=plan.created)
    )
    return StoredPlan(version=plan.version, digest=digest, body=body)


limit_pools = Table(
    "limit_pools",
    control,
    Column("limit", String(160), primary_key=True),
    Column("window", BIG, primary_key=True, autoincrement=False),
    Column("state", BIG, nullable=False),
)
"""What was given out of each limit: see `leases`."""

limit_holders = Table(
    "limit_holders", control, Column("worker", String(128), primary_key=True), Column("at", BIG, nullable=False)
)
"""The workers that ask for pieces of limits, and when each did last."""


def lease(connection: Connection, worker: str, asks: Sequence[Ask], at: int) -> list[Grant]:
    """What a worker is given for each ask, in the caller's writing transaction; `at` is Unix microseconds."""
    holders = _count_holders(connection, worker, at)
    grants = {}
    # Always in the same order: two workers must not hold a pool each while they wait for the other's.
    for ask in sorted(asks, key=lambda each: (each.limit.id, each.window)):
        state = _locked_state(connection, ask)
        grant, new = grant_of(ask, state, at, holders)
        if new != state:
            here = (limit_pools.c.limit == ask.limit.id) & (limit_pools.c.window == ask.window)
            connection.execute(update(limit_pools).where(here).values(state=new))
        grants[ask] = grant
    return [grants[ask] for ask in asks]


def forget_holder(connection: Connection, worker: str) -> None:
    """A worker asks no more."""
    connection.execute(delete(limit_holders).where(limit_holders.c.worker == worker))


def pool_states(connection: Connection) -> dict[tuple[str, int], int]:
    """{(limit, window): state} of every pool."""
    rows = connection.execute(select(limit_pools))
    return {(row.limit, row.window): row.state for row in rows}


def _count_holders(connection: Connection, worker: str, at: int) -> int:
    connection.execute(
        text(
            "INSERT INTO limit_holders (worker, at) VALUES (:worker, :at) "
            "ON CONFLICT (worker) DO UPDATE SET at = excluded.at"
        ),
        {"worker": worker, "at": at},
    )
    live = select(func.count()).select_from(limit_holders).where(limit_holders.c.at > at - _HOLDS_US)
    return max(1, connection.execute(live).scalar_one())


def _locked_state(connection: Connection, ask: Ask) -> int:
    here = (limit_pools.c.limit == ask.limit.id) & (limit_pools.c.window == ask.window)
    query = select(limit_pools.c.state).where(here).with_for_update()
    found = connection.execute(query).scalar()
    if found is None:
        older = (limit_pools.c.limit == ask.limit.id) & (limit_pools.c.window < ask.window - _KEPT_US)
        connection.execute(delete(limit_pools).where(older))
        new = 'INSERT INTO limit_pools ("limit", "window", state) VALUES (:limit, :window, 0) ON CONFLICT DO NOTHING'
        connection.execute(text(new), {"limit": ask.limit.id, "window": ask.window})
        found = connection.execute(query).scalar_one()
    return int(found)


class PlanPoll:
    """Looks for a new plan often and cheaply: on SQLite a pragma says whether anybody wrote since the last look.

    For one thread. Never creates a SQLite file that is not there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file = engine.url.database if engine.dialect.name == "sqlite" else None
        self._watching: Connection | None = None
        self._seen: tuple[int, int] | None = None

    def newer_than(self, version: int) -> StoredPlan | None:
        """The newest plan if it is later than `version`. Raises ConnectionError when the database cannot be read."""
        try:
            changed = self._changed()
            if changed is not None and (changed, version) == self._seen:
                return None
            with reading(self._engine) as connection:
                found = newest_plan(connection) if newest_version(connection) > version else None
        except (OSError, SQLAlchemyError) as error:
            self.close()
            raise ConnectionError(str(error).partition("\n")[0]) from error
        self._seen = (changed, version) if changed is not None and found is None else None
        return found

    def close(self) -> None:
        """Let go of the connection."""
        if self._watching is not None:
            with suppress(SQLAlchemyError):
                self._watching.close()
            self._watching = None
        self._seen = None

    def _changed(self) -> int | None:
        """A number that changes when the database does; None when there is none and one must look."""
        if self._file is None:
            return None
        inode = Path(self._file).stat().st_ino
        if self._watching is None:
            self._watching, self._inode = self._engine.connect(), inode
        if inode != self._inode:
            raise ConnectionError(f"{self._file} was replaced")
        connection = self._watching.connection.dbapi_connection
        if connection is None:
            raise ConnectionError(f"{self._file} is not open")
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])  # type: ignore[index]  # the pragma always has a row
        finally:
            cursor.close()

"""The SQL of serving plans: rollout writes a version, gateways read the newest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, String, Table, Text, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from pilotage.gateway.plan import ServingPlan, encode_plan
from pilotage.storage.database import BIG, control, reading

__all__ = ["PlanPoll", "StoredPlan", "add_plan", "newest_plan", "newest_version", "serving_plans"]

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

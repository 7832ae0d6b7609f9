"""The SQL of serving plans: rollout writes a version, gateways read the newest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, String, Table, Text, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from pilotage.gateway.plan import ServingPlan, encode_plan
from pilotage.storage.database import BIG, control, reading

__all__ = ["StoredPlan", "add_plan", "newest_plan", "newest_version", "plan_after", "serving_plans"]

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


def plan_after(engine: Engine, version: int) -> StoredPlan | None:
    """The newest plan if it is later than `version`. Raises ConnectionError when the database cannot be read.

    Never creates a SQLite file that is not there.
    """
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and not Path(path).exists():
        raise ConnectionError(f"there is no {path}")
    try:
        with reading(engine) as connection:
            return newest_plan(connection) if newest_version(connection) > version else None
    except SQLAlchemyError as error:
        raise ConnectionError(str(error).partition("\n")[0]) from error

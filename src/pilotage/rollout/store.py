"""The SQL of deployments: what went live, when, by whom. Rows are only ever added."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Index, Integer, String, Table, Text, insert, select

from pilotage.gateway.plan import Answering
from pilotage.rollout.model import Deployment
from pilotage.storage.database import BIG, control

__all__ = [
    "add_answering",
    "add_deployment",
    "deployed_systems",
    "deployment_answering",
    "deployments",
    "find_answering",
    "history",
    "lock_plans",
]

deployments = Table(
    "deployments",
    control,
    Column("id", String(36), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("release", String(80), nullable=False),
    Column("action", String(16), nullable=False),
    Column("contract", String(80), nullable=False),
    Column("policy", String(80), nullable=False),
    Column("passage", String(36), nullable=False),
    Column("by", String(36), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BIG, nullable=False),
    Column("plan", Integer, nullable=False, unique=True),
    Index("deployments_by_system", "system", "plan"),
)


deployment_answering = Table(
    "deployment_answering",
    control,
    Column("deployment", String(36), primary_key=True),
    Column("document", Text, nullable=False),
)


def add_deployment(connection: Connection, deployment: Deployment) -> dict[str, Any]:
    """Insert a deployment and return its row."""
    row: dict[str, Any] = msgspec.to_builtins(deployment)
    connection.execute(insert(deployments).values(row))
    return row


def add_answering(connection: Connection, deployment: str, answering: Answering) -> dict[str, str]:
    """Keep how a deployment answers, under its id; the row."""
    row = {"deployment": deployment, "document": msgspec.json.encode(answering).decode()}
    connection.execute(insert(deployment_answering).values(row))
    return row


def find_answering(connection: Connection, deployment: str) -> Answering:
    """How a deployment answers; for one from before there were such settings, the defaults."""
    query = select(deployment_answering.c.document).where(deployment_answering.c.deployment == deployment)
    found = connection.execute(query).scalar()
    return Answering() if found is None else msgspec.json.decode(found, type=Answering)


def history(connection: Connection, system: str, until: int | None = None) -> list[Deployment]:
    """A system's acts, oldest first; up to and with the moment `until` when given."""
    query = select(deployments).where(deployments.c.system == system).order_by(deployments.c.plan)
    if until is not None:
        query = query.where(deployments.c.at <= until)
    return [Deployment(**row) for row in connection.execute(query).mappings()]


def deployed_systems(connection: Connection) -> list[str]:
    """The systems that ever had a deployment, by id."""
    return [name for (name,) in connection.execute(select(deployments.c.system).distinct().order_by("system"))]


def lock_plans(connection: Connection) -> None:
    """One writer of plans at a time (a writing SQLite transaction is alone anyway)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE serving_plans IN EXCLUSIVE MODE")

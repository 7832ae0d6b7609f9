"""The SQL of approvals and of gates that were passed."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Index, RowMapping, String, Table, Text, insert, select, update

from pilotage.gates.model import Approval, Passage
from pilotage.storage.database import BIG, DOCUMENT, control

__all__ = [
    "add_approval",
    "add_passage",
    "approvals",
    "approvals_of",
    "find_approval",
    "find_passage",
    "gate_passages",
    "list_approvals",
    "withdraw_approval",
]

approvals = Table(
    "approvals",
    control,
    Column("id", String(36), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("release", String(80), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("person", String(36), nullable=False),
    Column("role", String(32), nullable=False),
    Column("policy", String(80), nullable=False),
    Column("evidence", DOCUMENT, nullable=False),
    Column("statement", Text, nullable=False),
    Column("granted", BIG, nullable=False),
    Column("expires", BIG, nullable=False),
    Column("withdrawn", BIG, nullable=False),
    Index("approvals_by_gate", "release", "stage", "granted"),
)

gate_passages = Table(
    "gate_passages",
    control,
    Column("id", String(36), primary_key=True),
    Column("system", String(64), nullable=False),
    Column("release", String(80), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("policy", String(80), nullable=False),
    Column("at", BIG, nullable=False),
    Column("verdict", DOCUMENT, nullable=False),
    Column("digest", String(80), nullable=False),
    Index("gate_passages_by_gate", "release", "stage", "at"),
)


def add_approval(connection: Connection, approval: Approval) -> dict[str, Any]:
    """Insert an approval and return its row."""
    row: dict[str, Any] = msgspec.to_builtins(approval)
    connection.execute(insert(approvals).values(row))
    return row


def withdraw_approval(connection: Connection, id: str, at: int) -> dict[str, Any]:
    """Mark an approval as withdrawn and return its row."""
    connection.execute(update(approvals).where(approvals.c.id == id).values(withdrawn=at))
    return dict(connection.execute(select(approvals).where(approvals.c.id == id)).mappings().one())


def find_approval(connection: Connection, id: str) -> Approval | None:
    """The approval with an id."""
    row = connection.execute(select(approvals).where(approvals.c.id == id)).mappings().first()
    return None if row is None else Approval(**row)


def approvals_of(connection: Connection, release: str, stage: str) -> list[Approval]:
    """Every approval of a release for a stage, newest first, whether it still counts or not."""
    query = select(approvals).where(approvals.c.release == release, approvals.c.stage == stage)
    rows = connection.execute(query.order_by(approvals.c.granted.desc(), approvals.c.id.desc())).mappings()
    return [Approval(**row) for row in rows]


def list_approvals(connection: Connection, system: str) -> list[Approval]:
    """Every approval of a system's releases, newest first."""
    query = select(approvals).where(approvals.c.system == system)
    rows = connection.execute(query.order_by(approvals.c.granted.desc(), approvals.c.id.desc())).mappings()
    return [Approval(**row) for row in rows]


def add_passage(connection: Connection, passage: Passage) -> dict[str, Any]:
    """Insert a passage and return its row."""
    row: dict[str, Any] = msgspec.to_builtins(passage)
    connection.execute(insert(gate_passages).values(row))
    return row


def find_passage(connection: Connection, release: str, stage: str) -> Passage | None:
    """The newest time that a release passed the gate to a stage."""
    query = select(gate_passages).where(gate_passages.c.release == release, gate_passages.c.stage == stage)
    row = connection.execute(query.order_by(gate_passages.c.at.desc()).limit(1)).mappings().first()
    return None if row is None else _passage(row)


def _passage(row: RowMapping) -> Passage:
    return msgspec.convert({str(name): value for name, value in row.items()}, Passage)

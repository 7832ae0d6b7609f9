"""Limits, and what of them was given out to which gateway workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0011"
down_revision = "0010"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables to the control plane's part."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "limits",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("scope", sa.String(length=80), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("per", sa.String(length=16), nullable=False),
        sa.Column("amount", BIG, nullable=False),
        sa.Column("burst", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "limit_pools",
        sa.Column("limit", sa.String(length=160), nullable=False),
        sa.Column("window", BIG, autoincrement=False, nullable=False),
        sa.Column("state", BIG, nullable=False),
        sa.PrimaryKeyConstraint("limit", "window"),
    )
    op.create_table(
        "limit_holders",
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("worker"),
    )

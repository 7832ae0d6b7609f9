"""Runs of pipelines with their steps, who holds a system's pipeline, and schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

__all__: list[str] = []

revision = "0016"
down_revision = "0015"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Add the tables to the control plane's part."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "pipeline_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("due", BIG, nullable=False),
        sa.Column("started", BIG, nullable=False),
        sa.Column("ended", BIG, nullable=False),
        sa.Column("plan", DOCUMENT, nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("pipeline_runs_by_system", "pipeline_runs", ["system", "started"])
    op.create_table(
        "pipeline_steps",
        sa.Column("run", sa.String(length=36), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("made", DOCUMENT, nullable=False),
        sa.Column("outputs", DOCUMENT, nullable=False),
        sa.Column("facts", DOCUMENT, nullable=False),
        sa.Column("log", sa.String(length=80), nullable=False),
        sa.Column("started", BIG, nullable=False),
        sa.Column("ended", BIG, nullable=False),
        sa.Column("error", sa.String(length=2000), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["pipeline_runs.id"]),
        sa.PrimaryKeyConstraint("run", "at"),
    )
    op.create_index("pipeline_steps_by_key", "pipeline_steps", ["key", "state"])
    op.create_table(
        "pipeline_leases",
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("run", sa.String(length=36), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("beat", BIG, nullable=False),
        sa.PrimaryKeyConstraint("system"),
    )
    op.create_table(
        "pipeline_schedules",
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("cron", sa.String(length=128), nullable=False),
        sa.Column("declaration", sa.String(length=4096), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("last", BIG, nullable=False),
        sa.Column("missed", BIG, nullable=False),
        sa.PrimaryKeyConstraint("system"),
    )

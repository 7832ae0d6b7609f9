"""Outcomes and overrides of decisions, and counts of outcomes by score."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

__all__: list[str] = []

revision = "0007"
down_revision = "0006"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Make the tables; no event sealed before is of these kinds."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    op.create_table(
        "outcomes",
        sa.Column("leaf", BIG, autoincrement=False, nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_index("outcomes_by_decision", "outcomes", ["decision", "leaf"], unique=False)
    op.create_index("outcomes_by_system", "outcomes", ["system", "leaf"], unique=False)
    op.create_table(
        "overrides",
        sa.Column("leaf", BIG, autoincrement=False, nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_index("overrides_by_decision", "overrides", ["decision", "leaf"], unique=False)
    op.create_index("overrides_by_reviewer", "overrides", ["reviewer", "leaf"], unique=False)
    op.create_table(
        "outcome_counts",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("counts", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch", "system", "release", "arm", "mode", "day"),
    )
    op.create_index("outcome_counts_by_release", "outcome_counts", ["system", "release", "day"], unique=False)

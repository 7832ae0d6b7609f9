"""Counts of outcomes by slice, beside those by score."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

__all__: list[str] = []

revision = "0010"
down_revision = "0009"

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
_KEY = ("batch", "system", "release", "arm", "mode", "day")


def upgrade() -> None:
    """Make the table anew, with `slice` in its key; what it holds are counts of no slice."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    op.drop_index("outcome_counts_by_release", "outcome_counts")
    op.rename_table("outcome_counts", "outcome_counts_before")
    op.create_table(
        "outcome_counts",
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        sa.Column("slice", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("counts", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, "slice"),
    )
    op.execute(
        "INSERT INTO outcome_counts (batch, system, release, arm, mode, day, counts)"
        " SELECT batch, system, release, arm, mode, day, counts FROM outcome_counts_before"
    )
    op.drop_table("outcome_counts_before")
    op.create_index("outcome_counts_by_release", "outcome_counts", ["system", "release", "slice", "day"], unique=False)

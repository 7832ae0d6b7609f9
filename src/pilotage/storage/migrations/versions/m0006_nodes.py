"""Gateway nodes: who they are, and how far their journals were pulled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, which belongs to the control plane."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "nodes",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("invited", BIG, nullable=False),
        sa.Column("retired", BIG, nullable=False),
        sa.Column("pulled", BIG, nullable=False),
        sa.Column("caught_up", BIG, nullable=False),
        sa.Column("lag_bytes", BIG, nullable=False),
        sa.Column("lagging", BIG, nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )

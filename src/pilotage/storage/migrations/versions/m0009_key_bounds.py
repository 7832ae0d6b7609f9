"""API keys with networks, and keys rotated from another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

__all__: list[str] = []

revision = "0009"
down_revision = "0008"

DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def upgrade() -> None:
    """Add the table to the control plane's part."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "api_key_bounds",
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("networks", DOCUMENT, nullable=False),
        sa.Column("replaces", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["api_keys.id"]),
        sa.PrimaryKeyConstraint("key"),
    )

"""The key that private parts of control events are sealed to while they wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add `outbox_key`. Empty until a process with the keyring opens the installation; until then nothing is sealed."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "outbox_key",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("public", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )

"""Index the events about a decision by that decision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add `events.about`. No event sealed before is about a decision."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    op.add_column("events", sa.Column("about", sa.Text(), nullable=True))
    known = sa.text("about IS NOT NULL")
    op.create_index(
        "events_by_about", "events", ["about", "leaf"], unique=False, sqlite_where=known, postgresql_where=known
    )

"""Decisions with faults, few among many, by an index of their own: a page of them need not read all the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the index to the ledger's part."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    faulty = sa.text("faults > 0")
    op.create_index(
        "decisions_by_fault", "decisions", ["leaf"], unique=False, sqlite_where=faulty, postgresql_where=faulty
    )

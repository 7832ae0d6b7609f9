"""Decisions by trace: which trace, after which other decision, in which turn; and by request.

Decisions sealed before this migration get no trace here, since their leaves lie outside of SQL: where requests carried
one, `pilotage ledger rebuild-index` fills it in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0003"
down_revision = "0002"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and indexes to the ledger's part."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    nothing = sa.text("''")
    op.add_column("decisions", sa.Column("trace", sa.Text(), nullable=False, server_default=nothing))
    op.add_column("decisions", sa.Column("parent", sa.Text(), nullable=False, server_default=nothing))
    op.add_column("decisions", sa.Column("turn", BIG, nullable=False, server_default=sa.text("0")))
    op.create_index("decisions_by_request", "decisions", ["request_id", "leaf"], unique=False)
    given = sa.text("trace <> ''")
    op.create_index(
        "decisions_by_trace",
        "decisions",
        ["trace", "leaf"],
        unique=False,
        sqlite_where=given,
        postgresql_where=given,
    )

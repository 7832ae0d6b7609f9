"""How a release answers once it is live: deadline, fallback chain, breaker; kept with the act that put it there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__: list[str] = []

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the table; what went live before answers with the defaults."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "control":
        return
    op.create_table(
        "deployment_answering",
        sa.Column("deployment", sa.String(36), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("deployment"),
    )

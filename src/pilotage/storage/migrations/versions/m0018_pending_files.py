"""Entries that wait to be published lie in files beside the segments: no table has them any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilotage.errors import Unavailable

__all__: list[str] = []

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Drop the table of the ledger's part. Raises Unavailable while entries wait in it: none may be lost."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    waiting = op.get_bind().execute(sa.text("SELECT count(*) FROM pending_entries")).scalar()
    if waiting:
        raise Unavailable(
            "sealed entries wait to be published by the version that sealed them",
            got=f"{waiting} entries",
            expected="none",
            mend="start the version before once, as `pilotage up`: it publishes them; then upgrade",
        )
    op.drop_table("pending_entries")

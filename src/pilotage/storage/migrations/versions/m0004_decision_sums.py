"""Sums of decisions by minute, hour and day, made for all that is sealed already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

__all__: list[str] = []

revision = "0004"
down_revision = "0003"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
KEY = ("span", "at", "system", "release", "arm", "mode", "outcome")


def upgrade() -> None:
    """Make the table in the ledger's part, and fill it."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    if config.attributes["part"] != "ledger":
        return
    table = op.create_table(
        "decision_sums",
        sa.Column("span", BIG, autoincrement=False, nullable=False),
        sa.Column("at", BIG, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEY[2:]),
        sa.Column("n", BIG, nullable=False),
        sa.Column("faults", BIG, nullable=False),
        sa.Column("times", DOCUMENT, nullable=False),
        sa.Column("seconds", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint(*KEY),
    )
    assert table is not None  # noqa: S101 - create_table gives it
    connection = op.get_bind()
    for span in (60, 3_600, 86_400):
        for rows in _sums(connection, span):
            connection.execute(sa.insert(table), rows)


def _sums(connection: sa.Connection, span: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of one span, those of each start together; read in the order of time, so that one start is held."""
    names = ("at", *KEY[2:], "faults", "answer_us")
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    query = sa.select(*columns).select_from(sa.table("decisions", *columns)).order_by(sa.column("at"))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    start = None
    # Options set on the connection itself would outlive this query.
    for at, *group, faults, answer_us in connection.execute(query, execution_options={"yield_per": 2_000}):
        second = at // 1_000_000
        if second // span * span != start:
            if found:
                yield list(found.values())
            found, start = {}, second // span * span
        key = (span, start, *group)
        empty = {"n": 0, "faults": 0, "times": {}, "seconds": {}}
        row = found.setdefault(key, {**dict(zip(KEY, key, strict=True)), **empty})
        row["n"] += 1
        row["faults"] += faults
        _count(row["times"], str(_bucket(answer_us)))
        if span == 60:
            _count(row["seconds"], str(second % 60))
    if found:
        yield list(found.values())


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _bucket(us: int) -> int:
    """As `pilotage.ledger.sums.bucket` was when this was written."""
    if us < 32:
        return max(us, 0)
    shift = us.bit_length() - 5
    return 16 * shift + (us >> shift)

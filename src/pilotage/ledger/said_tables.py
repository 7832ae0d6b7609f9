"""The tables of what was said about decisions: outcomes, overrides, and counts of outcomes by score.

All of it can be rebuilt from leaves and payloads; erasure clears what is personal.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Table, Text, text

from pilotage.storage.database import BIG, DOCUMENT, ledger

__all__ = ["outcome_counts", "outcomes", "overrides"]

outcomes = Table(
    "outcomes",
    ledger,
    Column("leaf", BIG, primary_key=True, autoincrement=False),
    Column("decision", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("value", Text),
    Column("number", Float),
    Column("at", BIG),
    Index("outcomes_by_decision", "decision", "leaf"),
    Index("outcomes_by_system", "system", "leaf"),
)
"""`leaf` is the event's; `system` who told named, empty for any; `value` the truth as text, and as `number` if it is
one; `at` when it became known. The three are None after erasure."""

overrides = Table(
    "overrides",
    ledger,
    Column("leaf", BIG, primary_key=True, autoincrement=False),
    Column("decision", Text, nullable=False),
    Column("reviewer", Text),
    Column("value", Text),
    Index("overrides_by_decision", "decision", "leaf"),
    Index("overrides_by_reviewer", "reviewer", "leaf"),
)
"""`reviewer` is the keyed hash of who decided otherwise, `value` the answer they gave; None after erasure."""

outcome_counts = Table(
    "outcome_counts",
    ledger,
    Column("batch", Text, primary_key=True),
    Column("system", Text, primary_key=True),
    Column("release", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("slice", Text, primary_key=True, server_default=text("''")),
    Column("counts", DOCUMENT, nullable=False),
    Index("outcome_counts_by_release", "system", "release", "slice", "day"),
)
"""`day` is the UTC day of the decisions; `counts` are {outcome: decisions per cell of the score's profile}. With a
`slice` (a column, or `*` for all decisions) they are by `[cell of the slice, answer, outcome]` (`slicing.cell_key`).
A batch in which an outcome was corrected has negative counts; the sum over batches is right."""

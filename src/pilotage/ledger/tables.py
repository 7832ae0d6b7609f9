"""The tables of the ledger: index of the leaves, heads, journal positions, keys, counts.

All but the keys and the heads can be rebuilt from entry bundles and payload segments. Only the steward writes
`ledger.db`; legal holds are control-plane rows.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, LargeBinary, Table, Text, text

from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.storage.database import BIG, DOCUMENT, control, ledger

__all__ = [
    "ERASED",
    "REBUILDABLE",
    "consumed",
    "day_keys",
    "decision_sums",
    "decisions",
    "erased_keys",
    "events",
    "heads",
    "held_frames",
    "lease",
    "legal_holds",
    "profile_counts",
    "scheduled_erasures",
    "segments",
    "subject_keys",
]

ERASED = "erased"
"""The `key_id` of an index row whose key was destroyed."""

decisions = Table(
    "decisions",
    ledger,
    Column("leaf", BIG, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BIG, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("contract", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("subject", Text),
    Column("score", Float),
    Column("label", Text),
    Column("faults", BIG, nullable=False),
    Column("fault_text", Text, nullable=False),
    Column("answer_us", BIG, nullable=False),
    Column("node", Text, nullable=False),
    Column("worker", BIG, nullable=False),
    Column("journal", BIG, nullable=False),
    Column("segment", Text, nullable=False),
    Column("offset", BIG, nullable=False),
    Column("length", BIG, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("trace", Text, nullable=False, server_default=text("''")),
    Column("parent", Text, nullable=False, server_default=text("''")),
    Column("turn", BIG, nullable=False, server_default=text("0")),
    Index("decisions_by_request", "request_id", "leaf"),
    Index(
        "decisions_by_trace",
        "trace",
        "leaf",
        sqlite_where=text("trace <> ''"),
        postgresql_where=text("trace <> ''"),
    ),
    Index("decisions_by_fault", "leaf", sqlite_where=text("faults > 0"), postgresql_where=text("faults > 0")),
    Index("decisions_by_system", "system", "leaf"),
    Index(
        "decisions_by_outcome",
        "system",
        "outcome",
        "leaf",
        sqlite_where=text("outcome <> 'answered'"),
        postgresql_where=text("outcome <> 'answered'"),
    ),
    Index("decisions_by_time", "system", "at"),
    Index("decisions_by_key", "key_id", "leaf"),
)

events = Table(
    "events",
    ledger,
    Column("leaf", BIG, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BIG, nullable=False),
    Column("kind", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("facts", DOCUMENT, nullable=False),
    Column("node", Text, nullable=False),
    Column("worker", BIG, nullable=False),
    Column("journal", BIG, nullable=False),
    Column("segment", Text, nullable=False),
    Column("offset", BIG, nullable=False),
    Column("length", BIG, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("about", Text),
    Index("events_by_kind", "kind", "leaf"),
    Index("events_by_system", "system", "leaf"),
    Index(
        "events_by_about",
        "about",
        "leaf",
        sqlite_where=text("about IS NOT NULL"),
        postgresql_where=text("about IS NOT NULL"),
    ),
)
"""`about` is the id of the decision that an event is about (an outcome, an override, an explanation), if any."""

heads = Table(
    "heads",
    ledger,
    Column("size", BIG, primary_key=True, autoincrement=False),
    Column("at", BIG, nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("batch", Text, nullable=False, unique=True),
    Column("first", BIG, nullable=False),
    Column("root", Text, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
)

consumed = Table(
    "consumed",
    ledger,
    Column("name", Text, primary_key=True),
    Column("offset", BIG, nullable=False),
    Column("chain", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("state", Text, nullable=False),
)
"""Positions in journal files. `state`: reading, whole (to its end), deleted, broken or lost (reported, given up)."""

held_frames = Table(
    "held_frames",
    ledger,
    Column("position", BIG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, index=True),
    Column("origin", Text, nullable=False),
    Column("opened", Boolean(create_constraint=True, name="held_frames_opened"), nullable=False),
    Column("plain", LargeBinary, nullable=False),
    Column("secret", LargeBinary, nullable=False),
)
"""Frames of streams that are still open; `secret` is encrypted under a key derived from the master."""

segments = Table(
    "segments",
    ledger,
    Column("path", Text, primary_key=True),
    Column("batch", Text, nullable=False, index=True),
    Column("digest", Text, nullable=False),
    Column("records", BIG, nullable=False),
)

decision_sums = Table(
    "decision_sums",
    ledger,
    Column("span", BIG, primary_key=True, autoincrement=False),
    Column("at", BIG, primary_key=True, autoincrement=False),
    Column("system", Text, primary_key=True),
    Column("release", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("n", BIG, nullable=False),
    Column("faults", BIG, nullable=False),
    Column("times", DOCUMENT, nullable=False),
    Column("seconds", DOCUMENT, nullable=False),
)
"""Decisions by minute, hour and day (`span` and `at` in seconds), so that figures of a window are a sum."""

profile_counts = Table(
    "profile_counts",
    ledger,
    Column("batch", Text, primary_key=True),
    Column("system", Text, primary_key=True),
    Column("release", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("from_at", BIG, nullable=False),
    Column("to_at", BIG, nullable=False),
    Column("rows", BIG, nullable=False),
    Column("counts", DOCUMENT, nullable=False),
    Index("profile_counts_by_release", "system", "release", "from_at"),
)

REBUILDABLE = (decisions, events, segments, profile_counts, decision_sums, outcomes, overrides, outcome_counts)
"""What entry bundles and payload segments give again; `ledger.rebuild` makes it."""

subject_keys = Table(
    "subject_keys",
    ledger,
    Column("key_id", Text, primary_key=True),
    Column("lookup", Text, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created", BIG, nullable=False),
)

day_keys = Table(
    "day_keys",
    ledger,
    Column("key_id", Text, primary_key=True),
    Column("lookup", Text, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created", BIG, nullable=False),
)

erased_keys = Table(
    "erased_keys",
    ledger,
    Column("key_id", Text, primary_key=True),
    Column("event", Text, nullable=False),
    Column("at", BIG, nullable=False),
)
"""The erasure list: a restored backup of the keys deletes these first."""

scheduled_erasures = Table(
    "scheduled_erasures",
    ledger,
    Column("lookup", Text, primary_key=True),
    Column("due", BIG, nullable=False),
    Column("reason", Text, nullable=False),
    Column("event", Text, nullable=False),
)

lease = Table(
    "lease",
    ledger,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BIG, nullable=False),
    Column("expires", BIG, nullable=False),
)

legal_holds = Table(
    "legal_holds",
    control,
    Column("id", Text, primary_key=True),
    Column("lookup", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed", BIG, nullable=False),
    Column("released", BIG, nullable=False),
)
"""`lookup` is the keyed hash of the subject, empty for all; `system` empty for all; `released` 0 while it holds."""

"""The first schema: control plane and ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

__all__: list[str] = []

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Make the tables of the part that is being upgraded."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 - Alembic always runs with one
    {"control": _control, "ledger": _ledger}[config.attributes["part"]]()


def _control() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", DOCUMENT, nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("revoked", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("policy", sa.String(length=80), nullable=False),
        sa.Column("evidence", DOCUMENT, nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("granted", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("withdrawn", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("approvals_by_gate", "approvals", ["release", "stage", "granted"], unique=False)
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("contract", sa.String(length=80), nullable=False),
        sa.Column("policy", sa.String(length=80), nullable=False),
        sa.Column("passage", sa.String(length=36), nullable=False),
        sa.Column("by", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("plan", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("plan"),
    )
    op.create_index("deployments_by_system", "deployments", ["system", "plan"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("check", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("grade", sa.String(length=2), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("producer", sa.String(length=128), nullable=False),
        sa.Column("collected", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("passed", sa.Boolean(create_constraint=True, name="evidence_passed"), nullable=False),
        sa.Column("figures", DOCUMENT, nullable=False),
        sa.Column("artefact", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evidence_by_subject", "evidence", ["subject", "check", "collected"], unique=False)
    op.create_table(
        "gate_passages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("policy", sa.String(length=80), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("verdict", DOCUMENT, nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gate_passages_by_gate", "gate_passages", ["release", "stage", "at"], unique=False)
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed", BIG, nullable=False),
        sa.Column("released", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("system", sa.String(length=128), nullable=False),
        sa.Column("release", sa.String(length=80), nullable=False),
        sa.Column("facts", DOCUMENT, nullable=False),
        sa.Column("private", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("roles", DOCUMENT, nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("left", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        info={"personal": True},
    )
    op.create_table(
        "releases",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("runtime", sa.String(length=16), nullable=False),
        sa.Column("contract", sa.String(length=80), nullable=False),
        sa.Column("policy", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("system", "version", name="releases_by_version"),
    )
    op.create_table(
        "serving_plans",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "systems",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("body", DOCUMENT, nullable=False),
        sa.Column("declared", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "console_sessions",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("ended", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_console_sessions_person"), "console_sessions", ["person"], unique=False)
    op.create_table(
        "signin_links",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("used", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_signin_links_person"), "signin_links", ["person"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.Column("revoked", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_tokens_person"), "tokens", ["person"], unique=False)


def _ledger() -> None:
    op.create_table(
        "consumed",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "day_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("lookup"),
    )
    op.create_table(
        "decisions",
        sa.Column("leaf", BIG, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("faults", BIG, nullable=False),
        sa.Column("fault_text", sa.Text(), nullable=False),
        sa.Column("answer_us", BIG, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("worker", BIG, nullable=False),
        sa.Column("journal", BIG, nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("length", BIG, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("decisions_by_key", "decisions", ["key_id", "leaf"], unique=False)
    op.create_index(
        "decisions_by_outcome",
        "decisions",
        ["system", "outcome", "leaf"],
        unique=False,
        sqlite_where=sa.text("outcome <> 'answered'"),
        postgresql_where=sa.text("outcome <> 'answered'"),
    )
    op.create_index("decisions_by_system", "decisions", ["system", "leaf"], unique=False)
    op.create_index("decisions_by_time", "decisions", ["system", "at"], unique=False)
    op.create_table(
        "erased_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "events",
        sa.Column("leaf", BIG, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("facts", DOCUMENT, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("worker", BIG, nullable=False),
        sa.Column("journal", BIG, nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("length", BIG, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("events_by_kind", "events", ["kind", "leaf"], unique=False)
    op.create_index("events_by_system", "events", ["system", "leaf"], unique=False)
    op.create_table(
        "heads",
        sa.Column("size", BIG, autoincrement=False, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("first", BIG, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
        sa.UniqueConstraint("batch"),
    )
    op.create_table(
        "held_frames",
        sa.Column("position", BIG, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("opened", sa.Boolean(create_constraint=True, name="held_frames_opened"), nullable=False),
        sa.Column("plain", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index(op.f("ix_held_frames_id"), "held_frames", ["id"], unique=False)
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("expires", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pending_entries",
        sa.Column("leaf", BIG, autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf"),
    )
    op.create_table(
        "profile_counts",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("from_at", BIG, nullable=False),
        sa.Column("to_at", BIG, nullable=False),
        sa.Column("rows", BIG, nullable=False),
        sa.Column("counts", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("batch", "system", "release", "arm", "mode"),
    )
    op.create_index("profile_counts_by_release", "profile_counts", ["system", "release", "from_at"], unique=False)
    op.create_table(
        "scheduled_erasures",
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("due", BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lookup"),
    )
    op.create_table(
        "segments",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("records", BIG, nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )
    op.create_index(op.f("ix_segments_batch"), "segments", ["batch"], unique=False)
    op.create_table(
        "subject_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("lookup"),
    )

"""Evidence at rest: rows that are only ever added, each with the digest of what it says."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, Index, RowMapping, String, Table, insert, select

from pilotage.errors import Conflict, InputError
from pilotage.evidence.model import Evidence
from pilotage.storage.database import BIG, DOCUMENT, control
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest, row_digest

__all__ = [
    "content_digest",
    "evidence_table",
    "find",
    "for_check",
    "for_subject",
    "latest",
    "record",
    "recorded_digest",
]

evidence_table = Table(
    "evidence",
    control,
    Column("id", String(36), primary_key=True),
    Column("check", String(64), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("grade", String(2), nullable=False),
    Column("method", String(16), nullable=False),
    Column("producer", String(128), nullable=False),
    Column("collected", BIG, nullable=False),
    Column("expires", BIG, nullable=False),
    # The constraint keeps 0 and 1 the only values in SQLite, where any other number would read as true.
    Column("passed", Boolean(create_constraint=True, name="evidence_passed"), nullable=False),
    Column("figures", DOCUMENT, nullable=False),
    Column("artefact", String(80), nullable=False),
    Column("digest", String(80), nullable=False),
    Index("evidence_by_subject", "subject", "check", "collected"),
)


def content_digest(evidence: Evidence) -> str:
    """The digest of all that a piece of evidence says. Approvals bind it. Raises InputError for figures beyond JSON."""
    try:
        return row_digest(msgspec.to_builtins(evidence))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the figures of evidence for {evidence.check} are no JSON",
            got=error,
            expected="text, finite numbers, booleans, lists and mappings",
            mend="leave out what is not finite, and convert numpy values to Python's",
        ) from error


def record(connection: Connection, evidence: Evidence, at: int | None = None) -> str:
    """Add a piece of evidence with its event `evidence.recorded`; return its digest. Raises Conflict, InputError.

    `at` is when it became known here, Unix microseconds, if that is not when it was collected.
    """
    if find(connection, evidence.id) is not None:
        raise Conflict("this evidence is recorded already", got=evidence.id, mend="give new evidence a new id")
    value = content_digest(evidence)
    values = msgspec.to_builtins(evidence) | {"digest": value}
    connection.execute(insert(evidence_table).values(values))
    facts = {"check": evidence.check, "subject": evidence.subject, "passed": evidence.passed, "grade": evidence.grade}
    emit(
        connection,
        "evidence.recorded",
        facts=facts | {"rows": attest(evidence_table, values)},
        private={"producer": evidence.producer},
        at=evidence.collected if at is None else at,
    )
    return value


def find(connection: Connection, id: str) -> Evidence | None:
    """The evidence with an id."""
    row = connection.execute(select(evidence_table).where(evidence_table.c.id == id)).mappings().first()
    return None if row is None else _evidence(row)


def latest(connection: Connection, subject: str, check: str) -> Evidence | None:
    """The newest evidence of a check about a subject; the newest counts, also when an older one passed."""
    newest = _newest_first().where(evidence_table.c.subject == subject, evidence_table.c.check == check).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else _evidence(row)


def for_subject(connection: Connection, subject: str) -> list[Evidence]:
    """All evidence about a subject, newest first."""
    rows = connection.execute(_newest_first().where(evidence_table.c.subject == subject)).mappings()
    return [_evidence(row) for row in rows]


def for_check(connection: Connection, check: str, limit: int) -> list[Evidence]:
    """The newest evidence of a check, about any subject."""
    rows = connection.execute(_newest_first().where(evidence_table.c.check == check).limit(limit)).mappings()
    return [_evidence(row) for row in rows]


def recorded_digest(connection: Connection, id: str) -> str:
    """The digest that was written when the evidence was recorded; another than `content_digest` means: edited."""
    return str(connection.execute(select(evidence_table.c.digest).where(evidence_table.c.id == id)).scalar_one())


def _newest_first() -> Any:
    return select(evidence_table).order_by(evidence_table.c.collected.desc(), evidence_table.c.id.desc())


def _evidence(row: RowMapping) -> Evidence:
    return Evidence(**{name: row[name] for name in Evidence.__struct_fields__})

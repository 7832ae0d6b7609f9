"""The SQL of drafts: what a person has begun to answer in the interview of a system, and not stated yet."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Column, Connection, String, Table, delete, insert, select

from pilotage.storage.database import BIG, DOCUMENT, control

__all__ = ["Draft", "drop_draft", "find_draft", "interview_drafts", "keep_draft"]

interview_drafts = Table(
    "interview_drafts",
    control,
    Column("system", String(64), primary_key=True),
    Column("person", String(36), primary_key=True),
    Column("fields", DOCUMENT, nullable=False),
    Column("at", BIG, nullable=False),
)


class Draft(NamedTuple):
    """The fields of the form by name, as they were typed, and when they were kept (Unix microseconds)."""

    fields: dict[str, str]
    at: int


def keep_draft(connection: Connection, system: str, person: str, fields: dict[str, str], at: int) -> None:
    """Keep a person's draft, in the place of the one before."""
    drop_draft(connection, system, person)
    connection.execute(insert(interview_drafts).values(system=system, person=person, fields=fields, at=at))


def find_draft(connection: Connection, system: str, person: str) -> Draft | None:
    """A person's draft; None where there is none."""
    c = interview_drafts.c
    row = connection.execute(select(c.fields, c.at).where(c.system == system, c.person == person)).first()
    return None if row is None else Draft(dict(row.fields), int(row.at))


def drop_draft(connection: Connection, system: str, person: str) -> None:
    """Delete a person's draft, if there is one."""
    c = interview_drafts.c
    connection.execute(delete(interview_drafts).where(c.system == system, c.person == person))

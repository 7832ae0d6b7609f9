"""The outbox: a control change writes its event in the same transaction; the steward seals it into the ledger.

A row is read by the steward, sealed under its `id` (at most once: the ledger's index is unique on it), then deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete, insert, select

from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import BIG, DOCUMENT, control

__all__ = ["OutboxEvent", "drop", "emit", "outbox", "waiting"]

outbox = Table(
    "outbox",
    control,
    Column("id", String(36), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("at", BIG, nullable=False),
    Column("system", String(128), nullable=False),
    Column("release", String(80), nullable=False),
    Column("facts", DOCUMENT, nullable=False),
    Column("private", LargeBinary, nullable=False),
)


class OutboxEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One control event on its way to the ledger.

    `facts` must hold no personal data: it becomes part of a leaf that is kept for ever. Who acted, and any free
    text, goes to `private`, which is encrypted when sealed.
    """

    id: str
    kind: str
    at: int
    system: str
    release: str
    facts: dict[str, Any]
    private: dict[str, Any]


def emit(
    connection: Connection,
    kind: str,
    *,
    system: str = "",
    release: str = "",
    facts: Mapping[str, Any] | None = None,
    private: Mapping[str, Any] | None = None,
    at: int | None = None,
    id_: str = "",
) -> OutboxEvent:
    """Write an event in the caller's transaction. `kind` is `noun.past-participle`, such as `approval.granted`.

    `id_` is for one who needed the id before: a fresh UUIDv7.
    """
    event = OutboxEvent(
        id=id_ or uuid7(),
        kind=kind,
        at=now_us() if at is None else at,
        system=system,
        release=release,
        facts=dict(facts or {}),
        private=dict(private or {}),
    )
    connection.execute(
        insert(outbox).values(
            id=event.id,
            kind=event.kind,
            at=event.at,
            system=event.system,
            release=event.release,
            facts=event.facts,
            private=msgspec.msgpack.encode(event.private),
        )
    )
    return event


def waiting(connection: Connection, limit: int = 4096) -> list[OutboxEvent]:
    """The oldest unsealed events, by id."""
    rows = connection.execute(select(outbox).order_by(outbox.c.id).limit(limit)).mappings()
    return [OutboxEvent(**{**row, "private": msgspec.msgpack.decode(row["private"])}) for row in rows]


def drop(connection: Connection, ids: list[str]) -> None:
    """Delete events that the ledger holds."""
    for start in range(0, len(ids), 500):
        connection.execute(delete(outbox).where(outbox.c.id.in_(ids[start : start + 500])))

"""The outbox: a control change writes its event in the same transaction; the steward seals it into the ledger.

A row is read by the steward, sealed under its `id` (at most once: the ledger's index is unique on it), then deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, String, Table, delete, insert, select

from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.kernel.sealedbox import seal
from pilotage.storage.database import BIG, DOCUMENT, control

__all__ = [
    "SEALED",
    "OutboxEvent",
    "box_context",
    "drop",
    "emit",
    "is_sealed_to",
    "outbox",
    "outbox_key",
    "seal_to",
    "waiting",
    "waiting_about",
]

SEALED = "sealed"
"""The one field of a private part that is sealed to the steward's key."""

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


outbox_key = Table(
    "outbox_key",
    control,
    Column("name", String(16), primary_key=True),
    Column("public", String(64), nullable=False),
)
"""One row, `steward`: the X25519 public key, in hex, that private parts are sealed to while they wait."""


class OutboxEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One control event on its way to the ledger.

    `facts` must hold no personal data: it becomes part of a leaf that is kept for ever. Who acted, and any free
    text, goes to `private`: it waits sealed to the steward's key, and is encrypted in the ledger.
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
            private=_sealed(connection, event),
        )
    )
    return event


def seal_to(connection: Connection, public: bytes, older: Iterable[bytes] = ()) -> bool:
    """From now on seal private parts to this X25519 public key (32 bytes); False when they are already.

    A key that is neither this one nor one of the `older` stays: it belongs to a newer keyring than the caller's.
    """
    now = _public(connection)
    if now == public.hex() or (now is not None and now not in {key.hex() for key in older}):
        return False
    connection.execute(delete(outbox_key))
    connection.execute(insert(outbox_key).values(name="steward", public=public.hex()))
    return True


def is_sealed_to(connection: Connection, public: bytes) -> bool:
    """Whether private parts are sealed to this key now."""
    return _public(connection) == public.hex()


def _public(connection: Connection) -> str | None:
    return connection.execute(select(outbox_key.c.public).where(outbox_key.c.name == "steward")).scalar()


def box_context(id_: str) -> bytes:
    """What binds a sealed private part to its event."""
    return f"outbox {id_}".encode()


def _sealed(connection: Connection, event: OutboxEvent) -> bytes:
    content = msgspec.msgpack.encode(event.private)
    if not event.private:
        return content
    public = _public(connection)
    if public is None:
        return content
    box = seal(bytes.fromhex(public), content, box_context(event.id))
    return msgspec.msgpack.encode({SEALED: box})


def waiting(connection: Connection, limit: int = 4096) -> list[OutboxEvent]:
    """The oldest unsealed events, by id. A `private` of `{SEALED: box}` is for the steward to open."""
    rows = connection.execute(select(outbox).order_by(outbox.c.id).limit(limit)).mappings()
    return [OutboxEvent(**{**row, "private": msgspec.msgpack.decode(row["private"])}) for row in rows]


def waiting_about(connection: Connection, kind: str, decision: str) -> OutboxEvent | None:
    """The oldest unsealed event of a kind whose facts name this decision, or None."""
    rows = connection.execute(select(outbox).where(outbox.c.kind == kind).order_by(outbox.c.id)).mappings()
    found = next((row for row in rows if row["facts"].get("decision") == decision), None)
    return None if found is None else OutboxEvent(**{**found, "private": msgspec.msgpack.decode(found["private"])})


def drop(connection: Connection, ids: list[str]) -> None:
    """Delete events that the ledger holds."""
    for start in range(0, len(ids), 500):
        connection.execute(delete(outbox).where(outbox.c.id.in_(ids[start : start + 500])))

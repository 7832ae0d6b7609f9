"""Events about a decision: an outcome, an override, an explanation. Their payload dies with the person's.

Such an event carries `decision: <id>` in its facts. The steward seals its payload under the key of that decision, so
that erasing the person makes all that was said about them unreadable too. Of a decision that is erased already nothing
more is kept; of one that is not sealed yet the payload gets a key of its own, which erasure finds by the decision.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from pilotage.errors import InputError, IntegrityError
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.kernel.sealedbox import open_box, seal
from pilotage.ledger import store
from pilotage.ledger.items import Item, outbox_item
from pilotage.ledger.keys import DataKey, KeyCabinet
from pilotage.ledger.portions import Portion
from pilotage.ledger.record import Event
from pilotage.ledger.rows import WITHHELD, about, place_day
from pilotage.ledger.tables import ERASED
from pilotage.storage import outbox
from pilotage.storage.outbox import SEALED, OutboxEvent, box_context

__all__ = ["Followed", "emit_about", "follow", "open_outbox_item", "waiting_subject"]

_SEALED = "sealed_to_steward"
_WITHHELD_KEY = AESGCM(os.urandom(32))
"""Encrypts nothing but empty text: the payload of a record that is not kept."""


def emit_about(
    connection: Connection,
    steward_public: bytes,
    kind: str,
    decision: str,
    *,
    system: str = "",
    release: str = "",
    facts: Mapping[str, Any] | None = None,
    private: Mapping[str, Any] | None = None,
    at: int | None = None,
) -> OutboxEvent:
    """Write an event about a decision in the caller's transaction; `decision: <id>` is added to its facts.

    `private` waits in the outbox sealed to the steward's public key (32 bytes), unlike that of `outbox.emit`, and is
    sealed into the ledger under the decision's own key. `facts` hold no personal data. Raises InputError.
    """
    if not decision or len(decision) > 64:
        raise InputError("no id of a decision", got=decision[:80], expected="1 to 64 characters", mend="give its id")
    id_ = uuid7()
    box = seal(steward_public, msgspec.msgpack.encode(dict(private or {})), _context(id_, decision))
    return outbox.emit(
        connection,
        kind,
        system=system,
        release=release,
        facts={**(facts or {}), "decision": decision},
        private={_SEALED: box},
        at=now_us() if at is None else at,
        id_=id_,
    )


def open_outbox_item(event: OutboxEvent, stewards: Sequence[X25519PrivateKey]) -> Item:
    """The leaf of a control event, its private part opened. A box that none of the keys opens is kept as it is, and
    the item is not `sound`: the ledger says so beside it.
    """
    opened: OutboxEvent | None = event
    if isinstance(box := event.private.get(SEALED), bytes):
        opened = event = _opened(event, box, box_context(event.id), stewards) or event
    decision = event.facts.get("decision")
    if isinstance(box := event.private.get(_SEALED), bytes) and isinstance(decision, str):
        opened = _opened(event, box, _context(event.id, decision), stewards)
    item = outbox_item(opened or event)
    return item if opened is not None and SEALED not in event.private else msgspec.structs.replace(item, sound=False)


def _opened(event: OutboxEvent, box: bytes, context: bytes, stewards: Sequence[X25519PrivateKey]) -> OutboxEvent | None:
    for private in stewards:
        with suppress(IntegrityError, msgspec.MsgspecError):
            opened = msgspec.msgpack.decode(open_box(private, box, context), type=dict[str, Any])
            return msgspec.structs.replace(event, private=opened)
    return None


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Whose key an event about a decision is sealed under: `key` when it is known, else that of a subject or a day."""

    key: DataKey | None = None
    subject: str = ""
    day: tuple[str, str] = ("", "")


def follow(items: Iterable[Item], portion: Portion, connection: Connection, cabinet: KeyCabinet) -> dict[str, Followed]:
    """For each event of a batch that is about a decision, by its id: where its payload must go.

    The decisions of a batch are in its `portion` or among its items.
    """
    wanted = {item.id: id_ for item in items if isinstance(item.leaf, Event) and (id_ := about(item.leaf))}
    if not wanted:
        return {}
    here = {item.id: item for item in items if not isinstance(item.leaf, Event)}
    ready, made = portion.key_ids(), {row.key_id: row for row in portion.made.values()}
    elsewhere = {id_ for id_ in wanted.values() if id_ not in here and id_ not in ready}
    sealed = {**store.keys_of_decisions(connection, elsewhere), **ready}
    keys: dict[str, DataKey] = {ERASED: DataKey(key_id=WITHHELD, aead=_WITHHELD_KEY)}
    followed: dict[str, Followed] = {}
    for event, id_ in wanted.items():
        if id_ in here:
            item = here[id_]
            followed[event] = Followed(subject=item.subject, day=(item.system, place_day(item.at)))
        elif id_ in sealed:
            key_id = sealed[id_]
            if key_id not in keys:
                row = made.get(key_id)
                keys[key_id] = cabinet.find(connection, key_id) if row is None else cabinet.open_row(row)
            followed[event] = Followed(key=keys[key_id])
        else:
            followed[event] = Followed(subject=waiting_subject(id_))
    return followed


def waiting_subject(decision: str) -> str:
    """What stands for the person while the decision that an event is about is not sealed."""
    return f"\0about\0{decision}"


def _context(id_: str, decision: str) -> bytes:
    return f"outbox {id_} {decision}".encode()

"""What becomes a leaf: the exact bytes to hash, and the secret to encrypt beside them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from pilotage.kernel.ids import uuid7
from pilotage.ledger.record import Event, Interrupted, Payload, Plain, commitment
from pilotage.storage.outbox import OutboxEvent

__all__ = [
    "SALT",
    "InterruptedPayload",
    "Item",
    "decision_item",
    "event_item",
    "interrupted_item",
    "journal_event_item",
    "outbox_item",
]

SALT = 32
"""Bytes of random salt before every payload."""

_Written = TypeVar("_Written", Plain, Event)
_MAX_ENTRY = 65_535
_MAX_ID = 64
_plain = msgspec.json.Decoder(Plain).decode
_event = msgspec.json.Decoder(Event).decode
_payload = msgspec.msgpack.Decoder(Payload).decode


class InterruptedPayload(Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a stream that was never closed: what was asked, and the text that left before it broke off.

    `opened` is the exact secret of the first frame (salt ‖ payload), to which the leaf's `opened` part commits;
    `chunks` are the texts in the order they were forwarded.
    """

    opened: bytes = b""
    chunks: list[bytes] = msgspec.field(default_factory=list)


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One leaf to be sealed. `secret` is salt ‖ payload; `origin` a journal file's name, `outbox` or `steward`.

    `closed` marks the end of a stream; `sound` is False when the secret is not what the leaf commits to.
    """

    leaf: Plain | Event | Interrupted
    id: str
    at: int
    system: str
    entry: bytes
    secret: bytes
    origin: str
    subject: str = ""
    payload: Payload | None = None
    closed: bool = False
    sound: bool = True

    def __repr__(self) -> str:
        return f"Item({self.id}, {type(self.leaf).__name__}, from {self.origin})"


def decision_item(plain: bytes, secret: bytes, origin: str, *, closed: bool = False) -> Item:
    """The leaf of a `decision` or `closed` frame. Raises ValueError when the plain part cannot be a leaf."""
    leaf = _checked(_plain(plain), plain)
    sound = hashlib.sha256(secret).hexdigest() == leaf.commitment
    try:
        payload = _payload(secret[SALT:])
    except msgspec.DecodeError:
        payload, sound = None, False
    return Item(
        leaf=leaf,
        id=leaf.id,
        at=leaf.times.received,
        system=leaf.system,
        entry=plain,
        secret=secret,
        origin=origin,
        subject=payload.subject if payload is not None else "",
        payload=payload,
        closed=closed,
        sound=sound,
    )


def journal_event_item(plain: bytes, secret: bytes, origin: str) -> Item:
    """The leaf of an `event` frame. Raises ValueError when it cannot be a leaf."""
    leaf = _checked(_event(plain), plain)
    sound = hashlib.sha256(secret).hexdigest() == leaf.commitment
    return Item(
        leaf=leaf,
        id=leaf.id,
        at=leaf.at,
        system=leaf.system,
        entry=plain,
        secret=secret,
        origin=origin,
        sound=sound,
    )


def outbox_item(event: OutboxEvent) -> Item:
    """The leaf of a control event, under the id it has in the outbox."""
    return event_item(
        event.kind,
        event.at,
        event.facts,
        event.private,
        system=event.system,
        release=event.release,
        id_=event.id,
        origin="outbox",
    )


def event_item(
    kind: str,
    at: int,
    facts: Mapping[str, Any],
    private: Mapping[str, Any] | None = None,
    *,
    system: str = "",
    release: str = "",
    subject: str = "",
    id_: str = "",
    origin: str = "steward",
) -> Item:
    """An event of the steward's own. `facts` hold no personal data; with a `subject` its payload dies with that key."""
    secret = os.urandom(SALT) + msgspec.msgpack.encode(dict(private or {}))
    leaf = Event(
        id=id_ or uuid7(),
        kind=kind,
        at=at,
        system=system,
        release=release,
        facts=dict(facts),
        commitment=hashlib.sha256(secret).hexdigest(),
    )
    entry = msgspec.json.encode(leaf)
    if len(entry) > _MAX_ENTRY:
        short = {"oversized": len(entry), "sha256": hashlib.sha256(entry).hexdigest()}
        short |= {"decision": facts["decision"]} if "decision" in facts else {}
        whole = {**(private or {}), "facts": dict(facts)}
        return event_item(
            kind, at, short, whole, system=system, release=release, subject=subject, id_=leaf.id, origin=origin
        )
    return Item(
        leaf=leaf,
        id=leaf.id,
        at=at,
        system=system,
        entry=entry,
        secret=secret,
        origin=origin,
        subject=subject,
    )


def interrupted_item(plain: bytes, secret: bytes, chunks: Iterable[bytes], origin: str, at: int) -> Item:
    """The leaf of a stream whose end never came; `chunks` are the secrets of its chunk frames."""
    opened = _plain(plain)
    texts = [chunk[SALT:] for chunk in chunks]
    said = b"".join(texts).decode(errors="replace")
    asked = _payload(memoryview(secret)[SALT:])
    known = {name: getattr(asked, name) for name in Payload.__struct_fields__ if name != "messages"}
    payload = InterruptedPayload(
        **known,
        messages=[*asked.messages, *([{"role": "assistant", "content": said}] if said else [])],
        opened=secret,
        chunks=texts,
    )
    salt, content = os.urandom(SALT), msgspec.msgpack.encode(payload)
    leaf = Interrupted(
        id=opened.id,
        at=at,
        opened=msgspec.Raw(plain),
        chunks=len(texts),
        commitment=commitment(salt, content),
    )
    return Item(
        leaf=leaf,
        id=opened.id,
        at=opened.times.received,
        system=opened.system,
        entry=msgspec.json.encode(leaf),
        secret=salt + content,
        origin=origin,
        subject=asked.subject,
        payload=payload,
    )


def _checked(leaf: _Written, entry: bytes) -> _Written:
    if len(entry) > _MAX_ENTRY:
        raise ValueError(f"{len(entry)} bytes of plain part; a leaf has at most {_MAX_ENTRY}")
    if not 0 < len(leaf.id) <= _MAX_ID:
        raise ValueError(f"an id of {len(leaf.id)} characters")
    return leaf

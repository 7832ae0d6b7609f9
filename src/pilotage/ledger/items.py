"""What becomes a leaf: the exact bytes to hash, and the secret to encrypt beside them."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

import msgspec

from pilotage.kernel.ids import uuid7
from pilotage.ledger.record import Event, Interrupted, Payload, Plain, commitment
from pilotage.ledger.rows import Draft, decision_draft, event_draft
from pilotage.storage.outbox import OutboxEvent

__all__ = [
    "SALT",
    "Counted",
    "InterruptedPayload",
    "Item",
    "decision_item",
    "event_item",
    "interrupted_item",
    "journal_event_item",
    "outbox_item",
    "read_private",
]

SALT = 32
"""Bytes of random salt before every payload."""

Kind = Literal["decision", "interrupted", "event"]
_Written = TypeVar("_Written", Plain, Event)
_COUNTED = frozenset({"answered", "fallback", "abstained", "review"})
_FLOATS = {float}
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


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What profiles count of a decision. `values` are its features by `names`; packed float64 when all are floats."""

    names: tuple[str, ...]
    values: bytes | list[float | str | bool | None]
    score: float | None


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One leaf to be sealed. `secret` is salt ‖ payload; `origin` a journal file's name, `outbox` or `steward`.

    A decision is kept small, as thousands wait at once: of what was decoded only its index columns and what is counted
    stay; `leaf` is there for events. `closed` marks the end of a stream; `sound` is False when the secret is not what
    the leaf commits to.
    """

    kind: Kind
    id: str
    at: int
    system: str
    entry: bytes
    secret: bytes
    origin: str
    draft: Draft
    subject: str = ""
    leaf: Event | None = None
    counted: Counted | None = None
    closed: bool = False
    sound: bool = True

    def __repr__(self) -> str:
        return f"Item({self.id}, {self.kind}, from {self.origin})"


def decision_item(plain: bytes, secret: bytes, origin: str, *, closed: bool = False) -> Item:
    """The leaf of a `decision` or `closed` frame. Raises ValueError when the plain part cannot be a leaf."""
    leaf = _checked(_plain(plain), plain)
    sound = hashlib.sha256(secret).hexdigest() == leaf.commitment
    try:
        payload = _payload(memoryview(secret)[SALT:])
    except msgspec.DecodeError:
        payload, sound = None, False
    draft = decision_draft(leaf, payload)
    return Item(
        kind="decision",
        id=draft.id,
        at=draft.at,
        system=leaf.system,
        entry=plain,
        secret=secret,
        origin=origin,
        draft=draft,
        subject=payload.subject if payload is not None else "",
        counted=_counted(payload) if payload is not None and leaf.outcome in _COUNTED else None,
        closed=closed,
        sound=sound,
    )


def journal_event_item(plain: bytes, secret: bytes, origin: str) -> Item:
    """The leaf of an `event` frame. Raises ValueError when it cannot be a leaf."""
    leaf = _checked(_event(plain), plain)
    sound = hashlib.sha256(secret).hexdigest() == leaf.commitment
    return Item(
        kind="event",
        id=leaf.id,
        at=leaf.at,
        system=leaf.system,
        entry=plain,
        secret=secret,
        origin=origin,
        draft=event_draft(leaf),
        leaf=leaf,
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
        kind="event",
        id=leaf.id,
        at=at,
        system=system,
        entry=entry,
        secret=secret,
        origin=origin,
        draft=event_draft(leaf),
        leaf=leaf,
        subject=subject,
    )


def read_private(secret: bytes) -> dict[str, Any] | None:
    """The private part in an event's `salt ‖ payload`; None when there is none that can be read."""
    try:
        return msgspec.msgpack.decode(memoryview(secret)[SALT:], type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


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
        kind="interrupted",
        id=opened.id,
        at=opened.times.received,
        system=opened.system,
        entry=msgspec.json.encode(leaf),
        secret=salt + content,
        origin=origin,
        draft=decision_draft(leaf, payload),
        subject=asked.subject,
    )


def _counted(payload: Payload) -> Counted | None:
    features = payload.features
    if not features:
        return None
    floats = set(map(type, features)) == _FLOATS
    values = array("d", cast("list[float]", features)).tobytes() if floats else features
    return Counted(_same_names(tuple(payload.names)), values, payload.score)


@lru_cache(maxsize=256)
def _same_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """One object for the names that all decisions of a contract share."""
    return names


def _checked(leaf: _Written, entry: bytes) -> _Written:
    if len(entry) > _MAX_ENTRY:
        raise ValueError(f"{len(entry)} bytes of plain part; a leaf has at most {_MAX_ENTRY}")
    if not 0 < len(leaf.id) <= _MAX_ID:
        raise ValueError(f"an id of {len(leaf.id)} characters")
    return leaf

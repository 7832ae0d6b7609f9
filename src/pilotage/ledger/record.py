"""What is recorded: the plain part of a decision, its payload, events, and the leaves of the ledger.

The plain part holds no personal data. Its exact JSON bytes, as the gateway wrote them (msgspec, fixed field order),
are the leaf: never encode again to verify. The payload is encrypted; the plain part commits to it by
`SHA-256(32-byte random salt ‖ payload)`, where `salt ‖ payload` is what is encrypted.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

__all__ = [
    "BATCH_LEAF",
    "Attempt",
    "Batch",
    "Event",
    "Finding",
    "Interrupted",
    "Leaf",
    "Outcome",
    "Payload",
    "Place",
    "Plain",
    "Segment",
    "Source",
    "Times",
    "commitment",
    "decode_batch",
    "decode_leaf",
]

Outcome = Literal["answered", "fallback", "abstained", "review", "rejected", "refused", "opened"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row stood among those that one call answered: `at`, from 0, of `size`."""

    size: int
    at: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at an answer. `ms` is its duration; `usage` counts units (tokens, rows); `cost` is decimal text.

    `batch` is there where the row was answered together with others.
    """

    target: str
    ms: float
    status: str
    usage: dict[str, int] = {}
    cost: str = ""
    batch: Place | msgspec.UnsetType = msgspec.UNSET


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a contract or a guard found. `path` names the field; never its value, which may be personal."""

    check: str
    version: str
    path: str
    verdict: str
    action: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A document an answer stands on: its digest, the span used, a label."""

    digest: str
    span: str
    label: str


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """`received` in Unix microseconds; each phase in microseconds spent; `clock` is the clock value a model used."""

    received: int
    contract: int = 0
    guard: int = 0
    answer: int = 0
    clock: int | None = None


class Plain(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="decision"):
    """The plain part of a decision: lineage without personal data. Digests are `sha256:<hex>`; empty means none.

    `kind`: who answers. `mode`: whether it counts. `outcome`: how it ended (`opened` only in a stream's first frame).
    """

    id: str
    request_id: str
    parent: str = ""
    trace: str = ""
    turn: int = 0
    kind: Literal["model", "tool", "retrieval", "human", "rules"] = "model"
    mode: Literal["live", "shadow", "drill"] = "live"
    system: str
    release: str
    environment: str
    contract: str
    policy: str
    plan: str
    stage: str
    arm: str = "champion"
    outcome: Outcome
    attempts: list[Attempt] = []
    prices: str = ""
    findings: list[Finding] = []
    sources: list[Source] = []
    supersedes: str = ""
    times: Times
    commitment: str


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The encrypted part of a decision, msgpack. `request` is the row as received (JSON bytes).

    `features` are the values used, in the order of `names`: float64 numbers, text, booleans or None.
    `enriched` is what was drawn from feature sources: {column, source, value, at, age_s, cached, status, fault}.
    `answer` is what the client got, e.g. {"score": .., "label": ..}; `score` is the number that monitors count.
    """

    subject: str = ""
    principal: str = ""
    conversation: str = ""
    request: bytes = b""
    repairs: list[dict[str, Any]] = []
    names: list[str] = []
    features: list[float | str | bool | None] = []
    answer: dict[str, Any] = {}
    score: float | None = None
    faults: list[dict[str, Any]] = []
    reasons: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    tool_calls: list[dict[str, Any]] = []
    upstream: list[bytes] = []
    enriched: list[dict[str, Any]] = []


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="event"):
    """Something that happened beside decisions. `facts` hold no personal data; who acted is in the payload.

    The payload of an event is msgpack of a mapping.
    """

    id: str
    kind: str
    at: int
    system: str = ""
    release: str = ""
    facts: dict[str, Any] = {}
    commitment: str


class Interrupted(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="interrupted"):
    """A stream that was opened and never closed, as the steward seals it. `opened` is the plain part as written."""

    id: str
    at: int
    opened: msgspec.Raw
    chunks: int
    commitment: str


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A payload segment file: path under the ledger folder, digest of its bytes, number of payloads."""

    path: str
    digest: str
    records: int


class Batch(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="batch"):
    """The last leaf of each sealed batch: it commits what is at rest beside the leaves.

    `first` is the tree index of the batch's first leaf, `counts` the digest of its profile counts, `consumed` the
    position and chain value (hex) reached in each journal file, `epoch` the steward's lease epoch.
    """

    id: str
    at: int
    epoch: int
    first: int
    segments: list[Segment]
    counts: str
    consumed: dict[str, tuple[int, str]]


BATCH_LEAF = b'{"t":"batch",'
"""How the entry of every batch leaf begins."""

Leaf = Plain | Event | Interrupted | Batch

_batch_decoder = msgspec.json.Decoder(Batch)
_leaf_decoder: msgspec.json.Decoder[Leaf] = msgspec.json.Decoder(Plain | Event | Interrupted | Batch)


def decode_leaf(entry: bytes) -> Leaf:
    """The leaf in an entry's bytes. Raises msgspec.DecodeError."""
    return _leaf_decoder.decode(entry)


def decode_batch(entry: bytes) -> Batch:
    """The batch leaf in an entry's bytes. Raises msgspec.DecodeError."""
    return _batch_decoder.decode(entry)


def commitment(salt: bytes, payload: bytes) -> str:
    """Hex SHA-256(salt ‖ payload); the salt is 32 random bytes."""
    return hashlib.sha256(salt + payload).hexdigest()

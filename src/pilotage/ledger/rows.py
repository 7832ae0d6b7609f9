"""What SQL holds of a leaf: pure functions of leaf, payload and place, used to seal and, again, to verify."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import astuple

from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import day
from pilotage.kernel.digests import digest
from pilotage.ledger.record import Event, Finding, Interrupted, Payload, Plain
from pilotage.ledger.tables import ERASED

__all__ = [
    "DECISION_COLUMNS",
    "INTERRUPTED",
    "WITHHELD",
    "DecisionDraft",
    "Draft",
    "EventDraft",
    "Place",
    "about",
    "counts_digest",
    "decision_draft",
    "decision_values",
    "event_draft",
    "index_row",
    "origin_of",
    "place_day",
    "placed_row",
    "sealed_values",
    "split_origin",
]

INTERRUPTED = "interrupted"
"""The `outcome` in the index of a stream that was opened and never closed."""

WITHHELD = "0" * 32
"""The key id in the payload record of an event about an erased decision: nothing was kept."""

_FAULT_TEXT = 2_000
_MAX_ID = 64
_PASSED = frozenset({"pass", "passed", "ok"})
_LAST_DAY_US = 253_402_300_799_000_000
_DAY_US = 86_400_000_000
_plain_of_opened = msgspec.json.Decoder(Plain)


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a leaf lies: its tree index, its payload's segment, offset and length, the key, the journal it came from.

    `origin` is `node/worker-n`, or `outbox`, or `steward`. `key_id` is `erased` once the subject's key was destroyed.
    """

    leaf: int
    segment: str
    offset: int
    length: int
    key_id: str
    origin: str


class DecisionDraft(msgspec.Struct, frozen=True, gc=False):
    """The columns of `decisions` that the leaf and its payload give, wherever they lie."""

    id: str
    at: int
    request_id: str
    system: str
    release: str
    contract: str
    plan: str
    stage: str
    arm: str
    mode: str
    kind: str
    outcome: str
    score: float | None
    label: str | None
    faults: int
    fault_text: str
    answer_us: int
    trace: str
    parent: str
    turn: int


class EventDraft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The columns of `events` that the leaf gives, wherever it lies."""

    id: str
    at: int
    kind: str
    system: str
    release: str
    about: str | None
    facts: Any


Draft = DecisionDraft | EventDraft

_PLACED = ("node", "worker", "journal", "offset", "length", "key_id")
_IN_TREE = ("leaf", "segment")
DECISION_COLUMNS = (*DecisionDraft.__struct_fields__, *_PLACED, "subject", *_IN_TREE)
"""The columns of `decisions`: those of `sealed_values`, then where in the tree and in which segment it lies."""

_EVENT_COLUMNS = (*EventDraft.__struct_fields__, *_PLACED, *_IN_TREE)


def index_row(
    leaf: Plain | Interrupted | Event, payload: Payload | None, pseudonym: str, place: Place
) -> dict[str, Any]:
    """The row of `decisions`, or of `events` for an Event: every column, derived from nothing else.

    After erasure a row is as with `payload` None and `pseudonym` empty: no subject, score or label.
    """
    draft = event_draft(leaf) if isinstance(leaf, Event) else decision_draft(leaf, payload)
    return placed_row(draft, pseudonym, place)


def placed_row(draft: Draft, pseudonym: str, place: Place) -> dict[str, Any]:
    """The whole row, once the place of its leaf and payload is known."""
    if isinstance(draft, EventDraft):
        row = dict(zip(_EVENT_COLUMNS, astuple(draft) + _placed(place) + (place.leaf, place.segment), strict=True))
        return row | {"key_id": ERASED} if place.key_id == WITHHELD else row
    return dict(zip(DECISION_COLUMNS, decision_values(draft, pseudonym, place), strict=True))


def decision_values(draft: DecisionDraft, pseudonym: str, place: Place) -> tuple[Any, ...]:
    """The row of `decisions` in the order of `DECISION_COLUMNS`: a third of a mapping's size."""
    return astuple(draft) + _placed(place) + (pseudonym or None, place.leaf, place.segment)


def sealed_values(
    draft: DecisionDraft, origin: str, offset: int, length: int, key_id: str, pseudonym: str
) -> tuple[Any, ...]:
    """That row but for its last two values, `leaf` and `segment`: all that is known before its batch is."""
    return astuple(draft) + split_origin(origin) + (offset, length, key_id, pseudonym or None)


def decision_draft(leaf: Plain | Interrupted, payload: Payload | None) -> DecisionDraft:
    """What the index will hold of a decision. Texts that many decisions share are one object."""
    if isinstance(leaf, Interrupted):
        plain, outcome = _plain_of_opened.decode(leaf.opened), INTERRUPTED
    else:
        plain, outcome = leaf, leaf.outcome
    faults, text = _faults(plain.findings)
    score = payload.score if payload is not None else None
    label = payload.answer.get("label") if payload is not None else None
    times = plain.times
    lineage = plain.system, plain.release, plain.contract, plain.plan, plain.stage, plain.arm
    system, release, contract, plan_, stage, arm, mode, kind, outcome = _alike(
        *lineage, plain.mode, plain.kind, outcome
    )
    return DecisionDraft(
        leaf.id,
        times.received,
        _text(plain.request_id),
        system,
        release,
        contract,
        plan_,
        stage,
        arm,
        mode,
        kind,
        outcome,
        score if score is not None and math.isfinite(score) else None,
        None if label is None else _shared(str(label)),
        faults,
        text,
        times.contract + times.guard + times.answer,
        _text(plain.trace),
        _text(plain.parent),
        plain.turn,
    )


def event_draft(event: Event) -> EventDraft:
    """What the index will hold of an event."""
    return EventDraft(
        id=event.id,
        at=event.at,
        kind=_text(event.kind),
        system=_text(event.system),
        release=_text(event.release),
        about=_text(about(event)) or None,
        facts=_clean(event.facts),
    )


def _placed(place: Place) -> tuple[Any, ...]:
    return *split_origin(place.origin), place.offset, place.length, place.key_id


def about(event: Event) -> str:
    """The id of the decision that an event is about; empty when it is about none."""
    id_ = event.facts.get("decision")
    return id_ if isinstance(id_, str) and len(id_) <= _MAX_ID else ""


@lru_cache(maxsize=512)
def split_origin(origin: str) -> tuple[str, int, int]:
    """(node, worker, n) of `node/worker-n`; (origin, -1, -1) of what names no journal file."""
    node, slash, name = origin.rpartition("/")
    if not slash:
        return origin, -1, -1
    worker, _, number = name.rpartition("-")
    if not (worker.isdecimal() and number.isdecimal()):
        return origin, -1, -1
    return node, int(worker), int(number)


def origin_of(node: str, worker: int, number: int) -> str:
    """What `split_origin` took apart."""
    return node if worker < 0 else f"{node}/{worker}-{number}"


def place_day(at: int) -> str:
    """The UTC day by which payloads are grouped; `undated` for a time that is no date."""
    return _day(at // _DAY_US) if 0 <= at <= _LAST_DAY_US else "undated"


@lru_cache(maxsize=512)
def _day(number: int) -> str:
    return day(number * _DAY_US)


def counts_digest(rows: Sequence[dict[str, Any]], outcomes: Sequence[dict[str, Any]] = ()) -> str:
    """The digest of a batch's counts, which its batch leaf carries; without any the digest of `[]`.

    With counts of outcomes it is the digest of `[profile counts, outcome counts]`.
    """
    fields = ("system", "release", "arm", "mode", "from_at", "to_at", "rows", "counts")
    listed = [[row[field] for field in fields] for row in rows]
    listed.sort(key=lambda row: row[:4])
    if not outcomes:
        return digest(canonical_json(listed))
    columns = ("system", "release", "arm", "mode", "day", "counts")
    told = [[*(row[column] for column in columns), *filter(None, [row["slice"]])] for row in outcomes]
    told.sort(key=lambda row: (row[:5], row[6:]))
    return digest(canonical_json([listed, told]))


def _faults(findings: list[Finding]) -> tuple[int, str]:
    """(number, `code@path code@path ...`, cut at 2,000 characters) of the findings that did not pass."""
    if not findings:
        return 0, ""
    failed = [finding for finding in findings if finding.verdict not in _PASSED]
    text = " ".join(f"{finding.verdict}@{finding.path}" for finding in failed)
    return len(failed), _text(text[:_FAULT_TEXT])


def _text(value: str) -> str:
    """PostgreSQL stores no NUL character in text."""
    return value.replace("\x00", "\\0") if "\x00" in value else value


_shared = lru_cache(maxsize=4_096)(_text)


_Nine = tuple[str, str, str, str, str, str, str, str, str]


@lru_cache(maxsize=512)
def _alike(a: str, b: str, c: str, d: str, e: str, f: str, g: str, h: str, i: str) -> _Nine:
    """Texts that most decisions of a time share, looked up together: nine look-ups took a microsecond more."""
    return _shared(a), _shared(b), _shared(c), _shared(d), _shared(e), _shared(f), _shared(g), _shared(h), _shared(i)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(str(key)): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value

"""The last step: a decision as one journal frame, durable before its answer leaves."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from math import isfinite, nan
from time import time_ns
from typing import Protocol

import msgspec

from pilotage.contracts.compile import CheckedRow, EnrichedRow
from pilotage.contracts.faults import Fault
from pilotage.gateway.state import LiveSystem
from pilotage.kernel.ids import VARIANT, uuid7, uuid7_prefix
from pilotage.kernel.rows import Value
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import Acknowledged
from pilotage.ledger.record import Attempt, Event, Finding, Outcome, Payload, Place, Plain, Times

__all__ = ["Asked", "Chance", "Journal", "Settled", "event_frame", "write"]

_FINDINGS = 64
"""A leaf is at most 65,535 bytes; the payload keeps all faults, the plain part the first of them."""

_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode
_sha256 = hashlib.sha256


class Journal(Protocol):
    """Where frames go: a `JournalWriter`. Called and awaited on the event loop only."""

    def submit(self, kind: FrameKind, plain: bytes, secret: bytes) -> asyncio.Future[None]:
        """Append a frame with the next group; done when it was synced, raises Unavailable when it cannot be."""

    def put(self, kind: FrameKind, plain: bytes, secret: bytes, waiter: Acknowledged) -> None:
        """The same for somebody else who waits."""


class Asked(msgspec.Struct, frozen=True):
    """What the decisions of one request share. `received` is Unix microseconds; `id` is the request id."""

    id: str
    received: int
    principal: str
    trace: str
    contract_us: int


class Settled(msgspec.Struct, frozen=True):
    """How one row ended, before it is recorded. `answer` is what the client gets; `row` None when nothing was parsed.

    `plain` marks the usual answer: one attempt, nothing found, nothing mended; its form holds all the rest, but the
    `batch` that the row was answered in. `reason` is the code of why the live release's answer was not given; it
    becomes a finding with `action`.
    """

    outcome: Outcome
    row: CheckedRow | None
    score: float = nan
    answer: dict[str, object] = {}
    attempts: list[Attempt] = []
    answer_us: int = 0
    reason: str = ""
    plain: bool = False
    action: str = "refuse"
    batch: Place | None = None


class _UsualPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What of `Payload` a usual answer fills, in its order; the names, the same in each, are packed already."""

    subject: str = ""
    principal: str = ""
    request: bytes = b""
    names: msgspec.Raw = msgspec.Raw()
    features: tuple[Value, ...] = ()
    answer: dict[str, object] = {}
    score: float | None = None


class Chance:
    """Random bytes from the kernel, fetched 4 KiB at a time: a system call for each id and salt costs too much.

    Not for several threads, and not across a fork.
    """

    __slots__ = ("_at", "_block", "_hex", "_hex_at", "_ms", "_prefix")

    def __init__(self) -> None:
        self._block, self._at = b"", 4_096
        self._hex, self._hex_at = "", 4_000
        self._ms, self._prefix = -1, ""

    def take(self, size: int) -> bytes:
        """Bytes that were never given before; at most 4,096."""
        end = self._at + size
        if end > 4_096:
            self._block, end = os.urandom(4_096), size
        self._at = end
        return self._block[end - size : end]

    def id(self) -> str:
        """A new UUIDv7: as `uuid7`, from random digits and a time that many of them share."""
        end = self._hex_at + 19
        if end > 4_000:
            self._hex, end = os.urandom(2_000).hex(), 19
        self._hex_at = end
        ms = time_ns() // 1_000_000
        if ms != self._ms:
            self._ms, self._prefix = ms, uuid7_prefix(ms)
        r = self._hex[end - 19 : end]
        return f"{self._prefix}{r[:3]}-{VARIANT[r[3]]}{r[4:7]}-{r[7:]}"


def write(
    journal: Journal,
    chance: Chance,
    live: LiveSystem,
    asked: Asked,
    settled: Settled,
    decision_id: str,
    waiter: Acknowledged,
) -> str:
    """Put one decision into the journal's next group, which will tell `waiter`; its leaf's hex RFC 6962 hash.

    Raises Unavailable when the journal has failed.
    """
    if settled.plain:
        secret = chance.take(32) + _msgpack(_usual_payload(live, asked, settled))
        commitment = _sha256(secret).hexdigest()
        plain = live.forms.plain(
            decision_id,
            asked.id,
            asked.trace,
            asked.received,
            asked.contract_us,
            settled.answer_us,
            commitment,
            settled.batch,
        )
    else:
        secret = chance.take(32) + _msgpack(_payload(live, asked, settled))
        plain = _json(_plain(live, asked, settled, decision_id, _sha256(secret).hexdigest()))
    journal.put(FrameKind.decision, plain, secret, waiter)
    return _sha256(b"\0" + plain).hexdigest()


def _plain(live: LiveSystem, asked: Asked, settled: Settled, decision_id: str, commitment: str) -> Plain:
    route = live.route
    return Plain(
        id=decision_id,
        request_id=asked.id,
        trace=asked.trace,
        kind=live.kind,
        mode=live.mode,
        system=route.system,
        release=route.release,
        environment=live.environment,
        contract=route.contract,
        policy=route.policy,
        plan=live.plan_digest,
        stage=route.stage,
        arm=route.arm,
        outcome=settled.outcome,
        attempts=[*_lookups(settled), *settled.attempts],
        findings=_findings(live, settled),
        times=Times(received=asked.received, contract=asked.contract_us, answer=settled.answer_us),
        commitment=commitment,
    )


def _lookups(settled: Settled) -> list[Attempt]:
    """The calls of feature sources that the request made, before any try at an answer."""
    row = settled.row
    if not isinstance(row, EnrichedRow):
        return []
    return [Attempt(target=target, ms=ms, status=status) for target, ms, status in row.lookups]


def event_frame(
    kind: str, at: int, salt: bytes, facts: dict[str, object], private: dict[str, object], *, system: str = ""
) -> tuple[bytes, bytes]:
    """The plain bytes and the secret of an event. `facts` hold no personal data; `private` is encrypted."""
    secret = salt + _msgpack(private)
    event = Event(id=uuid7(), kind=kind, at=at, system=system, facts=facts, commitment=_sha256(secret).hexdigest())
    return _json(event), secret


def _usual_payload(live: LiveSystem, asked: Asked, settled: Settled) -> _UsualPayload:
    row, model = settled.row, live.model
    assert row is not None and row.values is not None and model is not None  # noqa: S101 - it was answered from them
    return _UsualPayload(
        row.subject, asked.principal, row.raw, model.packed_names, row.values, settled.answer, settled.score
    )


def _payload(live: LiveSystem, asked: Asked, settled: Settled) -> Payload:
    row = settled.row
    if row is None or live.model is None:
        return Payload(principal=asked.principal, answer=settled.answer)
    # Of a row with faults the features are kept only where an answer came of what was left of them.
    used = row.values if row.values is not None else row.known if settled.outcome == "fallback" else None
    return Payload(
        subject=row.subject,
        principal=asked.principal,
        request=row.raw,
        repairs=[msgspec.to_builtins(repair) for repair in row.repairs],
        names=live.model.names if used is not None else [],
        features=list(used or ()),
        answer=settled.answer,
        score=settled.score if isfinite(settled.score) else None,
        faults=[msgspec.to_builtins(fault) for fault in row.faults],
        enriched=[msgspec.to_builtins(each) for each in row.drawn] if isinstance(row, EnrichedRow) else [],
    )


def _findings(live: LiveSystem, settled: Settled) -> list[Finding]:
    faults: Sequence[Fault] = settled.row.faults if settled.row is not None else ()
    version = live.model.contract.version if live.model is not None else ""
    action = settled.row.action if settled.row is not None else "reject"
    repairs = settled.row.repairs if settled.row is not None else ()
    found = [
        Finding(check="contract", version=version, path=fault.recorded_path, verdict=fault.code, action=action)
        for fault in faults[:_FINDINGS]
    ]
    if len(faults) > _FINDINGS:
        more = f"{len(faults) - _FINDINGS} more"
        found.append(Finding(check="contract", version=version, path="", verdict=more, action="reject"))
    found += [
        Finding(check="contract", version=version, path=repair.path, verdict=repair.code, action="repair")
        for repair in repairs[:_FINDINGS]
    ]
    if settled.reason and settled.reason != "contract":
        found.append(Finding(check="gateway", version="1", path="", verdict=settled.reason, action=settled.action))
    return found

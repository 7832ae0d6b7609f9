"""The last step: a decision as one journal frame, durable before its answer leaves."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pilotage.contracts.compile import CheckedRow
from pilotage.contracts.faults import Fault
from pilotage.gateway.state import LiveSystem
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.record import Attempt, Event, Finding, Outcome, Payload, Plain, Times

__all__ = ["Asked", "Journal", "Salts", "Settled", "Written", "event_frame", "write"]

_FINDINGS = 64
"""A leaf is at most 65,535 bytes; the payload keeps all faults, the plain part the first of them."""

_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode
_sha256 = hashlib.sha256
_NO_FINDINGS: list[Finding] = []


class Journal(Protocol):
    """Where frames go: a `JournalWriter`. The future is done when the frame's group was synced, or raises Unavailable.

    Called and awaited on the event loop only.
    """

    def submit(self, kind: FrameKind, plain: bytes, secret: bytes) -> asyncio.Future[None]:
        """Append a frame with the next group."""


class Asked(msgspec.Struct, frozen=True):
    """What the decisions of one request share. `received` is Unix microseconds; `id` is the request id."""

    id: str
    received: int
    principal: str
    trace: str
    contract_us: int


class Settled(msgspec.Struct, frozen=True):
    """How one row ended, before it is recorded. `answer` is what the client gets; `row` None when nothing was parsed.

    `reason` is the code of a refusal and becomes a finding.
    """

    outcome: Outcome
    row: CheckedRow | None
    score: float | None = None
    answer: dict[str, object] = {}
    attempts: list[Attempt] = []
    answer_us: int = 0
    reason: str = ""


class Written(msgspec.Struct, frozen=True):
    """A decision on its way to disk: `durable` first, then its reply. `leaf` is the hex RFC 6962 leaf hash."""

    id: str
    leaf: str
    durable: asyncio.Future[None]


class Salts:
    """32-byte random salts, drawn from the kernel 64 at a time."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block, self._at = b"", 0

    def __call__(self) -> bytes:
        """The next salt; never the same twice."""
        at = self._at
        if at == len(self._block):
            self._block, at = os.urandom(2_048), 0
        self._at = at + 32
        return self._block[at : at + 32]


def write(
    journal: Journal, salt: Callable[[], bytes], live: LiveSystem, asked: Asked, settled: Settled, decision_id: str
) -> Written:
    """Put one decision into the journal's next group. Raises Unavailable when the journal has failed."""
    secret = salt() + _msgpack(_payload(live, asked, settled))
    plain = _json(
        Plain(
            id=decision_id,
            request_id=asked.id,
            trace=asked.trace,
            system=live.route.system,
            release=live.route.release,
            environment=live.environment,
            contract=live.route.contract,
            policy=live.route.policy,
            plan=live.plan_digest,
            stage=live.route.stage,
            arm=live.route.arm,
            outcome=settled.outcome,
            attempts=settled.attempts,
            findings=_NO_FINDINGS if settled.outcome == "answered" else _findings(live, settled),
            times=Times(received=asked.received, contract=asked.contract_us, answer=settled.answer_us),
            commitment=_sha256(secret).hexdigest(),
        )
    )
    durable = journal.submit(FrameKind.decision, plain, secret)
    return Written(decision_id, _sha256(b"\0" + plain).hexdigest(), durable)


def event_frame(
    kind: str, at: int, salt: bytes, facts: dict[str, object], private: dict[str, object], *, system: str = ""
) -> tuple[bytes, bytes]:
    """The plain bytes and the secret of an event. `facts` hold no personal data; `private` is encrypted."""
    secret = salt + _msgpack(private)
    event = Event(id=uuid7(), kind=kind, at=at, system=system, facts=facts, commitment=_sha256(secret).hexdigest())
    return _json(event), secret


def _payload(live: LiveSystem, asked: Asked, settled: Settled) -> Payload:
    row = settled.row
    if row is None:
        return Payload(principal=asked.principal, answer=settled.answer)
    if row.values is None:
        return Payload(
            subject=row.subject,
            principal=asked.principal,
            request=row.raw,
            answer=settled.answer,
            faults=[msgspec.to_builtins(fault) for fault in row.faults],
        )
    return Payload(
        subject=row.subject,
        principal=asked.principal,
        request=row.raw,
        names=live.names,
        features=list(row.values),
        answer=settled.answer,
        score=settled.score,
    )


def _findings(live: LiveSystem, settled: Settled) -> list[Finding]:
    faults: Sequence[Fault] = settled.row.faults if settled.row is not None else ()
    found = [
        Finding(check="contract", version=live.version, path=fault.recorded_path, verdict=fault.code, action="reject")
        for fault in faults[:_FINDINGS]
    ]
    if len(faults) > _FINDINGS:
        more = f"{len(faults) - _FINDINGS} more"
        found.append(Finding(check="contract", version=live.version, path="", verdict=more, action="reject"))
    if settled.reason:
        found.append(Finding(check="gateway", version="1", path="", verdict=settled.reason, action="refuse"))
    return found

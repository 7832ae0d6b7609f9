"""What was in production at a moment, since when, on whose word and on what evidence: from the sealed events alone.

The control plane's tables may be edited; the ledger's leaves may not, unseen. What is not sealed yet is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pilotage.ledger.queries import EventRow, Ledger

__all__ = ["Assent", "InProduction", "Placed", "Stop", "in_production", "placements", "stops"]

_PLACED = ("release.promoted", "release.rolled_back")
_STOPPED, _STARTED = "system.stopped", "system.started"
_MOST = 1_000_000


class Assent(msgspec.Struct, frozen=True, kw_only=True):
    """An approval that the gate stood on. `by` is the person's name, empty for who may not read it.

    `granted`, `expires` and `withdrawn` (0: it was not, up to the moment asked for) are Unix microseconds; `state` is
    valid, expired, withdrawn, or unknown (no grant is on record), at that moment. `event` is the id under which the
    ledger proves it, `evidence` the digests it was bound to.
    """

    approval: str
    role: str
    by: str
    statement: str
    granted: int
    expires: int
    withdrawn: int
    policy: str
    evidence: dict[str, str]
    event: str
    state: str


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """A stop, in force while `until` is 0; `started` is the event that ended it.

    `reason` and `by` are empty for who may not read them.
    """

    since: int
    reason: str
    by: str
    event: str
    until: int = 0
    started: str = ""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A release in production from `since` to `until` (Unix microseconds; 0 while it is)."""

    release: str
    stage: str
    action: str
    since: int
    until: int
    event: str


class InProduction(msgspec.Struct, frozen=True, kw_only=True):
    """What answered for a system `at` a moment (Unix microseconds).

    `since` is when `action` (release.promoted or release.rolled_back) put it there under plan `plan`, by whom `by`.
    The gate: when it was passed, under which policy, the digests of verdict and evidence it read, and the approvals.
    `event` and `gate_event` are the ids under which the ledger proves both; `stop` is None while it was answering.
    `stops` are all until then, the newest first, and `history` what was in production before it, the oldest first.
    """

    system: str
    at: int
    release: str
    stage: str
    since: int
    action: str
    plan: int
    by: str
    event: str
    gate_event: str
    gate_passed: int
    policy: str
    verdict: str
    evidence: dict[str, str]
    approvals: list[Assent]
    stop: Stop | None
    stops: list[Stop]
    history: list[Placed]


def in_production(ledger: Ledger, system: str, at: int, *, names: bool = False) -> InProduction | None:
    """What was in production for a system at a moment; None when nothing was, as far as the ledger knows.

    With `names` it says who acted, from the encrypted parts. Raises IntegrityError when a leaf is not the one indexed.
    """
    placed = _newest(ledger, _PLACED, system, at)
    if placed is None:
        return None
    facts, private = _told(ledger, placed.id, names)
    held = stops(ledger, system, at, names=names)
    gate = _gate(ledger, system, placed.release, str(facts.get("passage", "")), at)
    read = _told(ledger, gate.id, names)[0] if gate is not None else {}
    return InProduction(
        system=system,
        at=at,
        release=placed.release,
        stage=str(facts.get("stage", "")),
        since=placed.at,
        action=placed.kind,
        plan=int(facts.get("plan", 0)),
        by=str(private.get("name", "")),
        event=placed.id,
        gate_event=gate.id if gate is not None else "",
        gate_passed=gate.at if gate is not None else 0,
        policy=str(read.get("policy", "")),
        verdict=str(read.get("verdict", "")),
        evidence=dict(read.get("evidence", {})),
        approvals=_approvals(ledger, system, list(read.get("approvals", ())), at, names),
        stop=held[0] if held and not held[0].until else None,
        stops=held,
        history=placements(ledger, system, at),
    )


def placements(ledger: Ledger, system: str, at: int) -> list[Placed]:
    """What was in production for a system up to a moment, the oldest first."""
    acts = _events(ledger, _PLACED, system, at)[::-1]
    ends = [act.at for act in acts[1:]] + [0]
    return [
        Placed(
            release=act.release,
            stage=str(act.facts.get("stage", "")),
            action=act.kind,
            since=act.at,
            until=end,
            event=act.id,
        )
        for act, end in zip(acts, ends, strict=True)
    ]


def stops(ledger: Ledger, system: str, at: int, *, names: bool = False) -> list[Stop]:
    """Every stop up to a moment, the newest first: one outlives promotions until somebody starts again."""
    found: list[Stop] = []
    for act in reversed(_events(ledger, (_STOPPED, _STARTED), system, at)):
        running = not found or bool(found[-1].until)
        if act.kind == _STARTED and not running:
            found[-1] = msgspec.structs.replace(found[-1], until=act.at, started=act.id)
        elif act.kind == _STOPPED and running:
            private = _told(ledger, act.id, names)[1]
            reason, by = str(private.get("reason", "")), str(private.get("name", ""))
            found.append(Stop(since=act.at, reason=reason, by=by, event=act.id))
    return found[::-1]


def _events(ledger: Ledger, kinds: Iterable[str], system: str, at: int) -> list[EventRow]:
    """The system's events of these kinds up to and with a moment, the newest first."""
    found = [row for kind in kinds for row in ledger.events(kind, system, _MOST) if row.at <= at]
    return sorted(found, key=lambda row: (row.at, row.leaf), reverse=True)


def _newest(ledger: Ledger, kinds: Sequence[str], system: str, at: int) -> EventRow | None:
    return next(iter(_events(ledger, kinds, system, at)), None)


def _told(ledger: Ledger, id_: str, names: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(facts of the leaf itself, the private part when it may be read)."""
    found = ledger.event(id_)
    return found.event.facts, (found.private or {}) if names else {}


def _gate(ledger: Ledger, system: str, release: str, passage: str, at: int) -> EventRow | None:
    """The passage that the act stands on: its event attests the row of that id."""
    for row in _events(ledger, ("gate.passed",), system, at):
        keys = {fact.get("key") for fact in row.facts.get("rows", ()) if isinstance(fact, dict)}
        if row.release == release and passage in keys:
            return row
    return None


def _approvals(ledger: Ledger, system: str, ids: Sequence[str], at: int, names: bool) -> list[Assent]:
    withdrawn = {row.facts.get("approval"): row.at for row in _events(ledger, ("approval.withdrawn",), system, at)}
    granted = {row.facts.get("approval"): row for row in _events(ledger, ("approval.granted",), system, at)}
    made = []
    for id_ in ids:
        row = granted.get(id_)
        facts, private = _told(ledger, row.id, names) if row is not None else ({}, {})
        made.append(
            Assent(
                approval=id_,
                role=str(facts.get("role", "")),
                by=str(private.get("name", "")),
                statement=str(private.get("statement", "")),
                granted=row.at if row is not None else 0,
                expires=int(facts.get("expires", 0)),
                withdrawn=withdrawn.get(id_, 0),
                policy=str(facts.get("policy", "")),
                evidence=dict(facts.get("evidence", {})),
                event=row.id if row is not None else "",
                state=_state(row is not None, int(facts.get("expires", 0)), withdrawn.get(id_, 0), at),
            )
        )
    return made


def _state(granted: bool, expires: int, withdrawn: int, at: int) -> str:
    if not granted:
        return "unknown"
    if withdrawn:
        return "withdrawn"
    return "expired" if expires and expires <= at else "valid"

"""Outcomes told at the gateway: checked whole, put into the journal as events, answered once they are durable.

No database is on this path: whether such a decision is on record, the steward finds when it seals.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pilotage.errors import Forbidden, InputError
from pilotage.gateway.authenticate import Principal
from pilotage.gateway.record import Chance, Journal, event_frame
from pilotage.gateway.reply import Denied, Reply, json_reply
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.outcomes import Told, read_told
from pilotage.ledger.said import OUTCOME

__all__ = ["MOST", "tell"]

MOST = 1_000
"""Outcomes in one body."""

_FAULTS = 100


async def tell(
    decision: str,
    body: bytes,
    *,
    principal: Principal,
    journal: Journal,
    chance: Chance,
    received: int,
    charge: Callable[[int], None],
) -> Reply:
    """Record the outcomes of a body and reply once all are durable. `decision` is that of the address, if any.

    All or none: raises InputError with every fault, Forbidden, Denied before anything is recorded, Unavailable when
    the journal failed.
    """
    entries = _entries(decision, body)
    charge(len(entries) - 1)
    told = [_scoped(each, principal) for each in _read(entries, received, single=bool(decision))]
    done = []
    for each in told:
        plain, secret = event_frame(
            OUTCOME,
            received,
            chance.take(32),
            {"decision": each.decision},
            each.private(principal.name),
            system=each.system,
        )
        receipt = f"{msgspec.json.decode(plain)['id']} {hashlib.sha256(bytes(1) + plain).hexdigest()}"
        done.append((each, receipt, journal.submit(FrameKind.event, plain, secret)))
    for failed in await asyncio.gather(*(durable for _, _, durable in done), return_exceptions=True):
        if failed is not None:
            raise failed
    recorded = [
        {"decision": each.decision, "event": receipt.partition(" ")[0], "receipt": receipt} for each, receipt, _ in done
    ]
    if decision:
        return json_reply(201, recorded[0], (b"pilotage-receipt", recorded[0]["receipt"].encode()), outcome="told")
    return json_reply(201, {"recorded": len(recorded), "outcomes": recorded}, outcome="told")


def _entries(decision: str, body: bytes) -> list[Any]:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(decision, "no JSON") from error
    if decision and isinstance(content, dict):
        return [content | {"decision": decision}]
    entries = content.get("outcomes") if isinstance(content, dict) and not decision and len(content) == 1 else None
    if not isinstance(entries, list) or not entries:
        raise _malformed(decision, type(content).__name__)
    if len(entries) > MOST:
        raise Denied(
            "too many outcomes in one body",
            status=413,
            code="too_many_outcomes",
            got=len(entries),
            expected=f"at most {MOST}",
            mend="send them in several requests",
        )
    return entries


def _malformed(decision: str, got: str) -> Denied:
    return Denied(
        "the body tells no outcome",
        status=400,
        code="malformed_body",
        got=got,
        expected='{"value": ...}' if decision else '{"outcomes": [{"decision": id, "value": ...}, ...]}',
        mend="send such an object",
    )


def _read(entries: Sequence[Any], received: int, *, single: bool) -> list[Told]:
    """Every entry, or InputError with the faults of all, the first 100."""
    told, faults = [], []
    for number, entry in enumerate(entries):
        path = "" if single else f"outcomes/{number}/"
        try:
            told.append(read_told(entry if isinstance(entry, dict) else {}, received, path))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(
            "an outcome cannot be recorded, so none is" if len(entries) > 1 else "the outcome cannot be recorded",
            mend="mend every fault listed, then send it again",
            code="outcome_invalid",
            faults=faults[:_FAULTS],
        )
    return told


def _scoped(told: Told, principal: Principal) -> Told:
    """The outcome under a system that the key may tell of: the one it names, or the only one there is."""
    systems = principal.outcomes
    if told.system in systems or (told.system and "*" in systems):
        return told
    if not told.system and "*" in systems:
        return told
    if not told.system and len(systems) == 1:
        return dataclasses.replace(told, system=next(iter(systems)))
    named = ", ".join(sorted(f"outcome:{name}" for name in systems))
    if systems and not told.system:
        raise InputError(
            "the key may tell of several systems: say of which",
            expected=f"`system`, one of: {', '.join(sorted(systems))}",
            mend="add `system` to the outcome",
            code="outcome_invalid",
        )
    raise Forbidden(
        "the API key may not tell outcomes of this system",
        got=named or "no such scope",
        expected=f"outcome:{told.system or '<system>'}",
        mend="ask an administrator for a key with this scope",
    )

"""The way of one request through the steps: contract, answer, record; then, and only then, its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import InputError, PilotageError, Unavailable
from pilotage.gateway.answer import answer_together, refusal
from pilotage.gateway.chain import Ended, settle
from pilotage.gateway.deadline import asked_ms
from pilotage.gateway.record import Asked, Chance, Settled
from pilotage.gateway.reply import JSON, Reply, error_body, json_reply
from pilotage.gateway.state import LiveSystem
from pilotage.gateway.turn import UNSETTLED, Awaited, Pending, Turn

__all__ = ["LARGE_BODY", "decide", "reply_to_one"]

LARGE_BODY = 65_536
"""Bytes from which a body is checked in a thread."""

_ROWS_A_TURN = 64
_STATUS = {"answered": 200, "fallback": 200, "abstained": 202, "review": 202, "rejected": 422, "refused": 503}
"""The HTTP status of a reply to one row, by its outcome."""
_WORST = ("answered", "fallback", "refused", "review", "abstained", "rejected")
"""A reply to several rows takes the status of the first of these that is among them."""


async def decide(
    live: LiveSystem,
    body: bytes,
    *,
    turn: Turn,
    chance: Chance,
    received: int,
    principal: str,
    trace: str,
    charge: Callable[[int], None],
    timeout: bytes = b"",
) -> Reply:
    """Decide every row of a body and return the reply once each decision is durable.

    `received` is Unix microseconds; `charge` counts further rows against the key; `timeout` is how long the caller
    wants to wait, as text. Raises MalformedBody, TooManyRows or Denied before anything is decided, Unavailable
    (`journal_failed`) when a record did not reach the disk: then nothing may be answered.
    """
    started = perf_counter_ns()
    route, first = live.route, chance.id()
    deadline = started + int((asked_ms(timeout, route.deadline_ms) if timeout else route.deadline_ms) * 1_000_000)
    model = live.model if live.model is not None else _standing_in(live)
    if model is None:
        # Without the contract nobody knows whose data the body is, so nothing of it is kept.
        reason = "system_stopped" if route.stopped else "release_unavailable"
        asked = Asked(first, received, principal, trace, 0)
        pending = turn.add(live, asked, first, None, 0, Settled("refused", None, reason=reason))
        await pending.durable
        return reply_to_one(pending)
    if len(body) < LARGE_BODY:
        checked = model.check.check(body, route.max_rows)
    else:
        # A large body takes milliseconds; in a thread it does not hold up everybody else for all of them.
        checked = await asyncio.to_thread(model.check.check, body, route.max_rows)
    rows = checked.rows
    if checked.many:
        charge(len(rows) - 1)
    if model.enricher is not None and (not route.stopped or live.falls_back):
        rows = await model.enricher.complete(rows, deadline)
    asked = Asked(first, received, principal, trace, (perf_counter_ns() - started) // 1_000)
    if checked.many:
        return await _decide_many(live, rows, asked, turn, chance, deadline)
    row = rows[0]
    by, settled = live, UNSETTLED
    if row.faults or row.repairs or live.guarded:
        by, settled = await settle(live, row, deadline)
    pending = turn.add(by, asked, first, row, deadline, settled)
    await pending.durable
    return reply_to_one(pending)


def _standing_in(live: LiveSystem) -> Any:
    """The release of the chain whose contract reads the request when the live one cannot be loaded."""
    return live.chain[0].model if live.falls_back else None


async def _decide_many(
    live: LiveSystem, rows: Sequence[CheckedRow], asked: Asked, turn: Turn, chance: Chance, deadline: int
) -> Reply:
    done: list[Awaited] = []
    inline = live.model is not None and live.model.runtime.inline
    step = _ROWS_A_TURN if inline else live.at_once
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        for row, (by, settled) in zip(part, await _settled(live, part, deadline, inline), strict=True):
            done.append(turn.add(by, asked, chance.id(), row, deadline, settled))
        await asyncio.sleep(0)
    try:
        for pending in done:
            await pending.durable
    except Unavailable:
        await asyncio.gather(*(pending.durable for pending in done), return_exceptions=True)
        raise
    return _reply_to_many(live, asked, done)


async def _settled(live: LiveSystem, rows: Sequence[CheckedRow], deadline: int, inline: bool) -> Sequence[Ended]:
    """How rows of one request end, worked on together; `UNSETTLED` where the end of the turn will tell."""
    if not inline:
        return await asyncio.gather(*(settle(live, row, deadline) for row in rows))
    if not live.guarded:
        return [
            await settle(live, row, deadline) if row.faults or row.repairs else Ended(live, UNSETTLED) for row in rows
        ]
    scored: list[Settled | None] = [None] * len(rows)
    if live.together and not live.route.stopped:
        fit = [at for at, row in enumerate(rows) if row.values is not None]
        for at, settled in zip(fit, answer_together(live, [(rows[at], deadline) for at in fit]), strict=True):
            scored[at] = settled
    return [await settle(live, row, deadline, known) for row, known in zip(rows, scored, strict=True)]


def reply_to_one(pending: Pending) -> Reply:
    """The reply to one row whose record is on the disk."""
    live, settled = pending.live, pending.settled
    receipt = (b"pilotage-receipt", pending.receipt.encode())
    if settled.plain:
        body = live.forms.reply(pending.id, pending.asked.id, settled.score, settled.answer["label"])
        return Reply(
            200, [JSON, (b"content-length", b"%d" % len(body)), receipt, *live.forms.lineage], body, "answered"
        )
    content = {"id": pending.id, "request_id": pending.asked.id, **_told(pending)}
    if settled.outcome in ("rejected", "refused"):
        error = _error(live, settled)
        content |= error_body(error, pending.asked.id, decision_id=pending.id, faults=_faults(settled))
    return json_reply(_STATUS[settled.outcome], content, receipt, *live.forms.lineage, outcome=settled.outcome)


def _reply_to_many(live: LiveSystem, asked: Asked, done: Sequence[Pending]) -> Reply:
    outcomes = {pending.settled.outcome for pending in done}
    outcome = next(each for each in _WORST if each in outcomes)
    shared = _shared_lineage(done)
    entries = [_entry(pending) for pending in done]
    if len(shared) < len(live.forms.lineage):
        for entry, pending in zip(entries, done, strict=True):
            entry["answered_by"] = pending.live.route.arm
    content = {"request_id": asked.id, "decisions": entries}
    return json_reply(_STATUS[outcome], content, *shared, outcome=outcome)


def _shared_lineage(done: Sequence[Pending]) -> list[tuple[bytes, bytes]]:
    """The headers of what answered that hold for every row."""
    first, *others = {id(each.live): each.live.forms.lineage for each in done}.values()
    return [header for header in first if all(header in other for other in others)]


def _entry(pending: Pending) -> dict[str, Any]:
    settled = pending.settled
    entry = {"id": pending.id, **_told(pending), "receipt": pending.receipt}
    if settled.outcome == "rejected":
        entry["faults"] = _faults(settled)
    elif settled.outcome == "refused":
        entry["error"] = refusal(settled.reason).as_dict()
    return entry


def _told(pending: Pending) -> dict[str, Any]:
    """What every reply says of a decision, with its answer when there is one, and by what when not by the model."""
    settled, route = pending.settled, pending.live.route
    told: dict[str, Any] = {"system": route.system, "release": route.release, "outcome": settled.outcome}
    if settled.outcome == "fallback":
        told |= {"degraded": True, "answered_by": route.arm, "because": settled.reason}
    if settled.outcome in ("abstained", "review"):
        told |= {"because": settled.reason, "faults": _faults(settled)}
    if settled.outcome in ("answered", "fallback"):
        told["answer"] = settled.answer
    if settled.row is not None and settled.row.repairs:
        told["repairs"] = settled.row.repairs
    return told


def _error(live: LiveSystem, settled: Settled) -> PilotageError:
    if settled.outcome == "rejected":
        return InputError(
            f"the input does not fit the data contract of {live.route.system}",
            code="contract",
            mend="mend every fault listed, then send it again",
        )
    return refusal(settled.reason)


def _faults(settled: Settled) -> Any:
    return settled.row.faults if settled.row is not None else ()

"""The way of one request through the steps: contract, answer, record; then, and only then, its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import InputError, PilotageError, Unavailable
from pilotage.gateway.answer import answer_beside, refusal
from pilotage.gateway.record import Asked, Chance, Settled
from pilotage.gateway.reply import JSON, Reply, error_body, json_reply
from pilotage.gateway.state import LiveSystem
from pilotage.gateway.turn import UNSETTLED, Awaited, Pending, Turn

__all__ = ["LARGE_BODY", "decide", "reply_to_one"]

LARGE_BODY = 65_536
"""Bytes from which a body is checked in a thread."""

_ROWS_A_TURN = 32


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
) -> Reply:
    """Decide every row of a body and return the reply once each decision is durable.

    `received` is Unix microseconds; `charge` counts further rows against the key. Raises MalformedBody,
    TooManyRows or Denied before anything is decided, Unavailable (`journal_failed`) when a record did not reach
    the disk: then nothing may be answered.
    """
    started = perf_counter_ns()
    route, model, first = live.route, live.model, chance.id()
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
    asked = Asked(first, received, principal, trace, (perf_counter_ns() - started) // 1_000)
    deadline = started + route.deadline_ms * 1_000_000
    if checked.many:
        charge(len(checked.rows) - 1)
        return await _decide_many(live, checked.rows, asked, turn, chance, deadline)
    row = checked.rows[0]
    settled = UNSETTLED
    if row.faults or route.stopped or not model.runtime.inline:
        settled = await _settle(live, row, deadline)
    pending = turn.add(live, asked, first, row, deadline, settled)
    await pending.durable
    return reply_to_one(pending)


async def _settle(live: LiveSystem, row: CheckedRow, deadline: int) -> Settled:
    """How a row ends that is not scored at the end of the turn; UNSETTLED when it is."""
    if live.route.stopped:
        return Settled("refused", row, reason="system_stopped")
    if row.faults:
        return Settled("rejected", row)
    if live.model is not None and not live.model.runtime.inline:
        return await answer_beside(live, row, deadline)
    return UNSETTLED


async def _decide_many(
    live: LiveSystem, rows: Sequence[CheckedRow], asked: Asked, turn: Turn, chance: Chance, deadline: int
) -> Reply:
    done: list[Awaited] = []
    for number, row in enumerate(rows, 1):
        done.append(turn.add(live, asked, chance.id(), row, deadline, await _settle(live, row, deadline)))
        if number % _ROWS_A_TURN == 0:
            await asyncio.sleep(0)
    try:
        for pending in done:
            await pending.durable
    except Unavailable:
        await asyncio.gather(*(pending.durable for pending in done), return_exceptions=True)
        raise
    return _reply_to_many(live, asked, done)


def reply_to_one(pending: Pending) -> Reply:
    """The reply to one row whose record is on the disk."""
    live, settled = pending.live, pending.settled
    receipt = (b"pilotage-receipt", pending.receipt.encode())
    if settled.outcome == "answered":
        body = live.forms.reply(pending.id, pending.asked.id, settled.score, settled.answer["label"])
        return Reply(
            200, [JSON, (b"content-length", b"%d" % len(body)), receipt, *live.forms.lineage], body, "answered"
        )
    content: dict[str, Any] = {
        "id": pending.id,
        "request_id": pending.asked.id,
        "system": live.route.system,
        "release": live.route.release,
        "outcome": settled.outcome,
    }
    error = _error(live, settled)
    content |= error_body(error, pending.asked.id, decision_id=pending.id, faults=_faults(settled))
    return json_reply(error.status, content, receipt, *live.forms.lineage, outcome=settled.outcome)


def _reply_to_many(live: LiveSystem, asked: Asked, done: Sequence[Pending]) -> Reply:
    outcomes = {pending.settled.outcome for pending in done}
    status = 200 if "answered" in outcomes else 503 if "refused" in outcomes else 422
    outcome = "answered" if status == 200 else "refused" if status == 503 else "rejected"
    content = {"request_id": asked.id, "decisions": [_entry(pending) for pending in done]}
    return json_reply(status, content, *live.forms.lineage, outcome=outcome)


def _entry(pending: Pending) -> dict[str, Any]:
    settled = pending.settled
    entry: dict[str, Any] = {
        "id": pending.id,
        "system": pending.live.route.system,
        "release": pending.live.route.release,
        "outcome": settled.outcome,
        "receipt": pending.receipt,
    }
    if settled.outcome == "answered":
        entry["answer"] = settled.answer
    elif settled.outcome == "rejected":
        entry["faults"] = _faults(settled)
    else:
        entry["error"] = refusal(settled.reason).as_dict()
    return entry


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

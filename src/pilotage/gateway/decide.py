"""The way of one request through the steps: contract, answer, record; then, and only then, its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import InputError, PilotageError, Unavailable
from pilotage.gateway.answer import answer_beside, answer_inline, refusal
from pilotage.gateway.record import Asked, Chance, Journal, Settled, Written, write
from pilotage.gateway.reply import JSON, Reply, error_body, json_reply
from pilotage.gateway.state import LiveSystem, LoadedModel

__all__ = ["decide"]

_LARGE_BODY = 65_536
_ROWS_AT_ONCE = 32


async def decide(
    live: LiveSystem,
    body: bytes,
    *,
    journal: Journal,
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
    model = live.model
    if model is None:
        return await _undecided(live, journal, chance, Asked(chance.id(), received, principal, trace, 0))
    if len(body) < _LARGE_BODY:
        checked = model.check.check(body, live.route.max_rows)
    else:
        # A large body takes milliseconds; in a thread it does not hold up everybody else for all of them.
        checked = await asyncio.to_thread(model.check.check, body, live.route.max_rows)
    contract_us = (perf_counter_ns() - started) // 1_000
    deadline = started + live.route.deadline_ms * 1_000_000
    first = chance.id()
    asked = Asked(first, received, principal, trace, contract_us)
    if checked.many:
        charge(len(checked.rows) - 1)
        return await _decide_many(live, model, checked.rows, asked, journal, chance, deadline)
    row = checked.rows[0]
    if row.faults or live.route.stopped:
        settled = _settle_early(live, row)
    elif model.runtime.inline:
        settled = answer_inline(live, model, row, deadline)
    else:
        settled = await answer_beside(live, model, row, deadline)
    written = write(journal, chance, live, asked, settled, first)
    await written.durable
    return _reply_to_one(live, asked, settled, written)


async def _undecided(live: LiveSystem, journal: Journal, chance: Chance, asked: Asked) -> Reply:
    """Refuse for a system whose release is not loaded. Without its contract nobody knows whose data the body is,
    so nothing of the body is kept."""
    settled = Settled("refused", None, reason=_stop_reason(live) or "release_unavailable")
    written = write(journal, chance, live, asked, settled, asked.id)
    await written.durable
    return _reply_to_one(live, asked, settled, written)


def _settle_early(live: LiveSystem, row: CheckedRow) -> Settled:
    if live.route.stopped:
        return Settled("refused", row, reason="system_stopped")
    return Settled("rejected", row)


def _stop_reason(live: LiveSystem) -> str:
    return "system_stopped" if live.route.stopped else ""


async def _decide_many(
    live: LiveSystem,
    model: LoadedModel,
    rows: list[CheckedRow],
    asked: Asked,
    journal: Journal,
    chance: Chance,
    deadline: int,
) -> Reply:
    done: list[tuple[Settled, Written]] = []
    for index, row in enumerate(rows):
        if index % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
        if row.faults or live.route.stopped:
            settled = _settle_early(live, row)
        elif model.runtime.inline:
            settled = answer_inline(live, model, row, deadline)
        else:
            settled = await answer_beside(live, model, row, deadline)
        done.append((settled, write(journal, chance, live, asked, settled, chance.id())))
    await _all_durable(written for _, written in done)
    return _reply_to_many(live, asked, done)


async def _all_durable(written: Iterable[Written]) -> None:
    waiting = [each.durable for each in written]
    try:
        for future in waiting:
            await future
    except Unavailable:
        await asyncio.gather(*waiting, return_exceptions=True)
        raise


def _reply_to_one(live: LiveSystem, asked: Asked, settled: Settled, written: Written) -> Reply:
    receipt = (b"pilotage-receipt", f"{written.id} {written.leaf}".encode())
    if settled.outcome == "answered":
        body = live.forms.reply(written.id, asked.id, settled.score, settled.answer["label"])
        return Reply(
            200, [JSON, (b"content-length", b"%d" % len(body)), receipt, *live.forms.lineage], body, "answered"
        )
    content: dict[str, Any] = {
        "id": written.id,
        "request_id": asked.id,
        "system": live.route.system,
        "release": live.route.release,
        "outcome": settled.outcome,
    }
    error = _error(live, settled)
    content |= error_body(error, asked.id, decision_id=written.id, faults=_faults(settled))
    return json_reply(error.status, content, receipt, *live.forms.lineage, outcome=settled.outcome)


def _reply_to_many(live: LiveSystem, asked: Asked, done: list[tuple[Settled, Written]]) -> Reply:
    outcomes = {settled.outcome for settled, _ in done}
    status = 200 if "answered" in outcomes else 503 if "refused" in outcomes else 422
    content = {"request_id": asked.id, "decisions": [_entry(live, settled, written) for settled, written in done]}
    outcome = "answered" if status == 200 else "refused" if status == 503 else "rejected"
    return json_reply(status, content, *live.forms.lineage, outcome=outcome)


def _entry(live: LiveSystem, settled: Settled, written: Written) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": written.id,
        "system": live.route.system,
        "release": live.route.release,
        "outcome": settled.outcome,
        "receipt": f"{written.id} {written.leaf}",
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

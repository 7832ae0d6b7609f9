"""How a row ends that is not simply scored: the live release, then its fallback chain, then a refusal.

Each target of the chain checks the raw request against its own contract. What it answers is a decision of its own
release, with outcome `fallback`; why the live release did not answer is a finding of it, and each try an attempt.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import NamedTuple

import msgspec

from pilotage.contracts.compile import CheckedRow, EnrichedRow
from pilotage.gateway.answer import answer_beside, answer_by_rules, answer_inline
from pilotage.gateway.record import Settled
from pilotage.gateway.state import LiveSystem
from pilotage.ledger.record import Attempt

__all__ = ["AWAY", "Ended", "settle"]

AWAY = "runtime_unavailable"
"""Why nothing came of the model while a drill keeps it away: the same as when it really is."""

_SHARE = 0.8
"""Of the time that is left a target may use this part, so that the next one has some too; the last may use all."""


class Ended(NamedTuple):
    """How a row ended, and by what: the system as the release or the rules answer for it that did."""

    by: LiveSystem
    settled: Settled


async def settle(live: LiveSystem, row: CheckedRow, deadline_ns: int, scored: Settled | None = None) -> Ended:
    """The end of a row whose system is guarded, or that has faults; `scored` is the live release's answer if known."""
    if row.faults and (live.falls_back or not live.route.stopped):
        # Where the live release cannot be loaded, it is the first of the chain whose contract read the row.
        return _at_fault(live if live.model is not None else live.chain[0], row, live)
    if live.route.stopped:
        first = Settled("refused", row, reason="system_stopped")
    elif live.away:
        first = Settled("refused", row, attempts=[Attempt(target=live.target, ms=0.0, status="away")], reason=AWAY)
    else:
        first = scored or await _answered_by(live, row, _part(deadline_ns, last=not live.chain))
        if first.outcome == "answered":
            return Ended(live, _sure(live, _told(live, first)))
    return await _fall_back(live, row, first, deadline_ns) if live.falls_back else Ended(live, first)


def _at_fault(by: LiveSystem, row: CheckedRow, live: LiveSystem) -> Ended:
    """A row with faults, by the contract's own word: a person decides, the rules answer from the rest, or nobody."""
    if row.action == "review":
        return Ended(by, Settled("review", row, reason="contract", action="review"))
    if row.action == "fallback" and row.known is not None:
        for target in live.chain:
            if target.kind == "rules":
                found = answer_by_rules(target, row, row.known)
                if found.outcome == "answered":
                    changes = {"outcome": "fallback", "reason": "contract", "action": "fallback"}
                    return Ended(target, msgspec.structs.replace(found, **changes))
    return Ended(by, Settled("rejected", row))


def _told(live: LiveSystem, settled: Settled) -> Settled:
    """An answer to a row that was repaired or enriched is no plain one: its record says what was mended or drawn."""
    row = settled.row
    if row is None or live.model is None or not (row.repairs or isinstance(row, EnrichedRow)):
        return settled
    attempts = settled.attempts or [_attempt(live, settled)]
    return msgspec.structs.replace(settled, attempts=attempts, plain=False)


async def _answered_by(live: LiveSystem, row: CheckedRow, deadline_ns: int) -> Settled:
    if live.kind == "rules":
        return answer_by_rules(live, row, row.values or ())
    if live.model is not None and live.model.runtime.inline:
        return answer_inline(live, row, deadline_ns)
    return await answer_beside(live, row, deadline_ns)


def _part(deadline_ns: int, *, last: bool) -> int:
    now = perf_counter_ns()
    return deadline_ns if last else now + int((deadline_ns - now) * _SHARE)


def _sure(live: LiveSystem, settled: Settled) -> Settled:
    """The answer, unless it is less probable than the system's floor: then nobody gets it."""
    floor, model = live.route.floor, live.model
    if not floor or model is None:
        return settled
    probable = settled.score if settled.answer["label"] == model.spec.adverse else 1.0 - settled.score
    if probable >= floor:
        return settled
    below = live.route.below
    return msgspec.structs.replace(
        settled,
        outcome="review" if below == "review" else "abstained",
        answer={},
        attempts=settled.attempts or [_attempt(live, settled)],
        reason="below_floor",
        action=below,
        plain=False,
    )


async def _fall_back(live: LiveSystem, row: CheckedRow, first: Settled, deadline_ns: int) -> Ended:
    attempts, spent = list(first.attempts), first.answer_us
    for target in live.chain:
        if perf_counter_ns() >= deadline_ns:
            break
        again = _read_again(target, row)
        if again.values is None:
            attempts.append(Attempt(target=f"{target.route.arm}@contract", ms=0.0, status="contract"))
            continue
        found = await _answered_by(target, again, _part(deadline_ns, last=target is live.chain[-1]))
        attempts += found.attempts or [_attempt(target, found)]
        spent += found.answer_us
        if found.outcome == "answered":
            changes = {"outcome": "fallback", "attempts": attempts, "answer_us": spent, "reason": first.reason}
            return Ended(target, msgspec.structs.replace(found, **changes, action="fallback", plain=False))
    return Ended(live, msgspec.structs.replace(first, attempts=attempts, answer_us=spent))


def _attempt(by: LiveSystem, settled: Settled) -> Attempt:
    """The one attempt of a plain answer."""
    return Attempt(target=by.target, ms=settled.answer_us / 1_000, status="ok", batch=settled.batch or msgspec.UNSET)


def _read_again(target: LiveSystem, row: CheckedRow) -> CheckedRow:
    """The row as the target's own contract reads the request, with what was drawn for it: no source is asked again."""
    assert target.model is not None  # noqa: S101 - the chain holds only what is loaded
    drawn = {each.column: each for each in row.drawn} if isinstance(row, EnrichedRow) else {}
    return target.model.check.again(row.raw, drawn)

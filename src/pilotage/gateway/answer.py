"""The answer: the release's runtime under the route's deadline. No safe answer is a refusal, with its reason."""

from __future__ import annotations

import asyncio
import logging
import math
from time import perf_counter_ns

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import Unavailable
from pilotage.gateway.record import Settled
from pilotage.gateway.reply import Denied
from pilotage.gateway.state import LiveSystem
from pilotage.ledger.record import Attempt

__all__ = ["REFUSALS", "answer", "refusal"]

_log = logging.getLogger(__name__)

REFUSALS = {
    "system_stopped": ("the system is stopped", "wait until its operator starts it again"),
    "release_unavailable": ("the live release cannot be loaded on this node", "tell the system's operator"),
    "deadline": ("no answer within the deadline", "try again"),
    "runtime_error": ("the model failed on this input", "tell the system's owner, with the decision's id"),
    "runtime_unavailable": ("the model cannot answer now", "try again in a moment"),
    "not_finite": ("the model's score is not a finite number", "tell the system's owner, with the decision's id"),
}
"""What a refusal says, by code: (what happened, the mend)."""


def refusal(code: str) -> Denied:
    """The error of a refused decision, HTTP 503."""
    message, mend = REFUSALS[code]
    return Denied(message, status=503, code=code, mend=mend)


async def answer(live: LiveSystem, row: CheckedRow, deadline_ns: int) -> Settled:
    """Score one row that fits the contract. Never raises: what goes wrong is a refused decision.

    An inline runtime answers on the event loop in microseconds and cannot be interrupted; its deadline is checked
    before it begins. Any other runs beside the loop and is cancelled at the deadline (`perf_counter_ns`).
    """
    model = live.model
    if model is None or row.values is None:
        return Settled("refused", row, reason="release_unavailable")
    runtime = model.runtime
    started = perf_counter_ns()
    reason, status = "", "ok"
    score = math.nan
    try:
        if started >= deadline_ns:
            raise TimeoutError
        if runtime.inline:
            score = runtime.score(row.values)
        else:
            async with asyncio.timeout((deadline_ns - started) / 1e9):
                score = await runtime.score_async(row.values)
        if not math.isfinite(score):
            reason = status = "not_finite"
    except TimeoutError:
        reason, status = "deadline", "timeout"
    except Unavailable as error:
        reason, status = "runtime_unavailable", "unavailable"
        _log.warning("release %s cannot answer: %s", live.route.release, error.what)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the row is refused and recorded
        reason, status = "runtime_error", "error"
        _log.warning("release %s failed on a row: %s", live.route.release, type(error).__name__)
    spent = (perf_counter_ns() - started) // 1_000
    if not reason:
        return Settled("answered", row, score, {"score": score, "label": model.spec.label(score)}, answer_us=spent)
    attempt = Attempt(target=model.target, ms=spent / 1_000, status=status)
    return Settled("refused", row, attempts=[attempt], answer_us=spent, reason=reason)

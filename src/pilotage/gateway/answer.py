"""The answer: the release's runtime under the route's deadline. No safe answer is a refusal, with its reason."""

from __future__ import annotations

import asyncio
import logging
from math import isfinite
from time import perf_counter_ns

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import Unavailable
from pilotage.gateway.record import Settled
from pilotage.gateway.reply import Denied
from pilotage.gateway.state import LiveSystem, LoadedModel
from pilotage.ledger.record import Attempt

__all__ = ["REFUSALS", "answer_beside", "answer_inline", "refusal"]

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


def answer_inline(live: LiveSystem, row: CheckedRow | None, deadline_ns: int) -> Settled:
    """Score one row that fits the contract by a runtime that answers at once. What goes wrong is a refusal, not raised.

    It takes microseconds and cannot be interrupted: the deadline (`perf_counter_ns`) is checked before it begins.
    """
    started, model = perf_counter_ns(), live.model
    if model is None or row is None or row.values is None:
        return Settled("refused", row, reason="release_unavailable")
    if started >= deadline_ns:
        return _refused(model, row, started, "deadline", "timeout")
    try:
        score = model.runtime.score(row.values)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the row is refused and recorded
        return _refused(model, row, started, *_failure(live, error))
    return _settled(model, row, started, score)


async def answer_beside(live: LiveSystem, row: CheckedRow, deadline_ns: int) -> Settled:
    """The same by a runtime that answers beside the event loop; it is cancelled at the deadline."""
    started, model = perf_counter_ns(), live.model
    if model is None or row.values is None:
        return Settled("refused", row, reason="release_unavailable")
    try:
        async with asyncio.timeout((deadline_ns - started) / 1e9):
            score = await model.runtime.score_async(row.values)
    except TimeoutError:
        return _refused(model, row, started, "deadline", "timeout")
    except Exception as error:  # noqa: BLE001 - as above
        return _refused(model, row, started, *_failure(live, error))
    return _settled(model, row, started, score)


def _settled(model: LoadedModel, row: CheckedRow, started: int, score: float) -> Settled:
    if not isfinite(score):
        return _refused(model, row, started, "not_finite", "not_finite")
    spent = (perf_counter_ns() - started) // 1_000
    return Settled("answered", row, score, {"score": score, "label": model.spec.label(score)}, answer_us=spent)


def _refused(model: LoadedModel, row: CheckedRow, started: int, reason: str, status: str) -> Settled:
    spent = (perf_counter_ns() - started) // 1_000
    attempt = Attempt(target=model.target, ms=spent / 1_000, status=status)
    return Settled("refused", row, attempts=[attempt], answer_us=spent, reason=reason)


def _failure(live: LiveSystem, error: Exception) -> tuple[str, str]:
    """(the refusal's code, the attempt's status). The error's text may hold values of the row: it is not logged."""
    _log.warning("release %s failed on a row: %s", live.route.release, type(error).__name__)
    return ("runtime_unavailable", "unavailable") if isinstance(error, Unavailable) else ("runtime_error", "error")

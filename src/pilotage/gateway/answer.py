"""The answer: the release's runtime under the route's deadline. No safe answer is a refusal, with its reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import isfinite
from time import perf_counter_ns

from pilotage.contracts.compile import CheckedRow
from pilotage.errors import Unavailable
from pilotage.gateway.record import Settled
from pilotage.gateway.reply import Denied
from pilotage.gateway.state import LiveSystem, LoadedModel
from pilotage.kernel.rows import Value
from pilotage.ledger.record import Attempt, Place
from pilotage.runtimes.together import filled

__all__ = ["REFUSALS", "answer_beside", "answer_by_rules", "answer_inline", "answer_together", "refusal"]

_log = logging.getLogger(__name__)

REFUSALS = {
    "system_stopped": ("the system is stopped", "wait until its operator starts it again"),
    "release_unavailable": ("the live release cannot be loaded on this node", "tell the system's operator"),
    "deadline": ("no answer within the deadline", "try again"),
    "runtime_error": ("the model failed on this input", "tell the system's owner, with the decision's id"),
    "runtime_unavailable": ("the model cannot answer now", "try again in a moment"),
    "not_finite": ("the model's score is not a finite number", "tell the system's owner, with the decision's id"),
    "breaker_open": ("the model keeps failing and is left alone for a while", "try again in a few seconds"),
    "bulkhead_full": ("the model works on as many requests as it may", "try again in a moment"),
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
    if not isfinite(score):
        return _refused(model, row, started, "not_finite", "not_finite")
    spent = (perf_counter_ns() - started) // 1_000
    return Settled(
        "answered", row, score, {"score": score, "label": model.spec.label(score)}, answer_us=spent, plain=True
    )


async def answer_beside(live: LiveSystem, row: CheckedRow, deadline_ns: int) -> Settled:
    """The same by a runtime that answers beside the event loop, behind its breaker and bulkhead."""
    started, model = perf_counter_ns(), live.model
    if model is None or model.upstream is None or row.values is None:
        return Settled("refused", row, reason="release_unavailable")
    found = await model.upstream.score(model.runtime, row.values, deadline_ns)
    spent = (perf_counter_ns() - started) // 1_000
    if found.reason:
        return Settled("refused", row, attempts=found.attempts, answer_us=spent, reason=found.reason)
    answer = {"score": found.score, "label": model.spec.label(found.score)}
    if len(found.attempts) == 1:
        batch = found.attempts[0].batch or None
        return Settled("answered", row, found.score, answer, answer_us=spent, plain=True, batch=batch)
    return Settled("answered", row, found.score, answer, found.attempts, spent)


def answer_together(live: LiveSystem, rows: Sequence[tuple[CheckedRow | None, int]]) -> list[Settled]:
    """Score rows, each with its deadline, by a runtime that answers at once, as many in one call as is proven safe.

    A row that cannot be among others, or a call that fails, is answered alone.
    """
    model, now = live.model, perf_counter_ns()
    ended: list[Settled | None] = [None] * len(rows)
    fit = [
        at for at, (row, deadline) in enumerate(rows) if row is not None and row.values is not None and now < deadline
    ]
    for first in range(0, len(fit), live.together):
        if len(places := fit[first : first + live.together]) > 1 and model is not None:
            _answer_in_one_call(model, rows, places, ended)
    return [each or answer_inline(live, *rows[at]) for at, each in enumerate(ended)]


def _answer_in_one_call(
    model: LoadedModel,
    rows: Sequence[tuple[CheckedRow | None, int]],
    places: Sequence[int],
    ended: list[Settled | None],
) -> None:
    started = perf_counter_ns()
    given = filled([rows[at][0].values for at in places])  # type: ignore[union-attr, misc]  # the caller looked
    try:
        scores = model.runtime.score_together(given)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; each row is asked alone, and says it again
        _log.warning("%s failed on %d rows together: %s", model.target, len(places), type(error).__name__)
        return
    spent = (perf_counter_ns() - started) // 1_000
    for place, at in enumerate(places):
        score = scores[place]
        if isfinite(score):
            answer: dict[str, object] = {"score": score, "label": model.spec.label(score)}
            batch = Place(size=len(given), at=place)
            ended[at] = Settled("answered", rows[at][0], score, answer, answer_us=spent, plain=True, batch=batch)


def answer_by_rules(live: LiveSystem, row: CheckedRow, values: Sequence[Value]) -> Settled:
    """The answer of the release's rules file: a label without a score. A row that no rule is for is refused."""
    started, model = perf_counter_ns(), live.model
    assert model is not None and model.rules is not None  # noqa: S101 - the chain holds it
    found = model.rules.answer(values)
    spent = (perf_counter_ns() - started) // 1_000
    target = f"rules@{live.route.policy.removeprefix('sha256:')[:12]}"
    attempt = Attempt(target=target, ms=spent / 1_000, status="ok" if found is not None else "no_rule")
    if found is None:
        return Settled("refused", row, attempts=[attempt], answer_us=spent, reason="no_rule")
    answer: dict[str, object] = {"score": None, "label": found.label, "rule": found.rule}
    return Settled("answered", row, answer=answer, attempts=[attempt], answer_us=spent)


def _refused(model: LoadedModel, row: CheckedRow, started: int, reason: str, status: str) -> Settled:
    spent = (perf_counter_ns() - started) // 1_000
    attempt = Attempt(target=model.target, ms=spent / 1_000, status=status)
    return Settled("refused", row, attempts=[attempt], answer_us=spent, reason=reason)


def _failure(live: LiveSystem, error: Exception) -> tuple[str, str]:
    """(the refusal's code, the attempt's status). The error's text may hold values of the row: it is not logged."""
    _log.warning("release %s failed on a row: %s", live.route.release, type(error).__name__)
    return ("runtime_unavailable", "unavailable") if isinstance(error, Unavailable) else ("runtime_error", "error")

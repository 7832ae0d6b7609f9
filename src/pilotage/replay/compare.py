"""Compare an answer with the record: pure functions from a decision and an answer to the verdict."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from pilotage.contracts.enrichment import Drawn
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.record import Payload
from pilotage.replay.model import ReplayVerdict, Verdict
from pilotage.replay.questions import Answer, Question

__all__ = ["compare", "drawn_of", "hindrance", "payload_of", "place", "question_of", "unreplayable"]


_SCORED = ("answered", "fallback")
"""A fallback names the release that answered, and the row as that release's contract read it."""


def hindrance(decision: RecordedDecision) -> str:
    """Why a decision cannot be asked again; empty when nothing in its record speaks against it."""
    plain = decision.plain
    if decision.payload is None:
        return decision.unreadable or "the payload cannot be read"
    if decision.row.outcome == "interrupted" or plain.outcome == "opened":
        return "a stream is not regenerated: its recorded chunks are the answer"
    if plain.kind != "model":
        return f"a decision of kind {plain.kind} has no model to ask again"
    if decision.payload.messages:
        return "a conversation with a provider's model is not regenerated: its recorded messages are the answer"
    if plain.outcome not in (*_SCORED, "rejected"):
        return f"no model answered: the outcome was {plain.outcome}"
    if not decision.payload.request:
        return "the record holds no request"
    if plain.outcome in _SCORED and decision.payload.score is None:
        return "the record holds no score"
    return ""


def question_of(decision: RecordedDecision) -> Question:
    """What to ask again of a decision without a hindrance."""
    payload = payload_of(decision)
    features = payload.features if decision.plain.outcome in _SCORED else None
    return Question(release=decision.plain.release, request=payload.request, features=features, drawn=drawn_of(payload))


def drawn_of(payload: Payload) -> list[Drawn]:
    """What came from feature sources when it was decided."""
    return msgspec.convert(payload.enriched, list[Drawn]) if payload.enriched else []


def payload_of(decision: RecordedDecision) -> Payload:
    """The payload of a decision without a hindrance."""
    assert decision.payload is not None  # noqa: S101 - a hindrance otherwise
    return decision.payload


def unreplayable(decision: RecordedDecision, reason: str, environment: str = "") -> ReplayVerdict:
    """The verdict on a decision that was not, or could not be, answered again."""
    return ReplayVerdict(decision=decision.row.id, verdict="unreplayable", reason=reason, environment=environment)


def compare(decision: RecordedDecision, answer: Answer, environment: str) -> ReplayVerdict:
    """The verdict on a decision that `environment` (a digest) answered again."""
    if answer.failure:
        return unreplayable(decision, answer.failure, environment)
    if answer.contract != decision.plain.contract:
        why = f"contract differs: recorded {decision.plain.contract}, the release's {answer.contract}"
        return unreplayable(decision, why, environment)
    judged = _compare_faults if decision.plain.outcome == "rejected" else _compare_scores
    return judged(decision, answer, environment)


def _bits(score: float) -> bytes:
    return struct.pack("<d", score)


def _compare_scores(decision: RecordedDecision, answer: Answer, environment: str) -> ReplayVerdict:
    payload = payload_of(decision)
    score, label = payload.score, payload.answer.get("label")
    recorded: dict[str, Any] = {"score": score, "label": label}
    replayed: dict[str, Any] = {"score": answer.score, "label": answer.label}
    verdict, reason = _verdict(score, label, answer)
    return ReplayVerdict(
        decision=decision.row.id,
        verdict=verdict,
        reason=reason,
        recorded=recorded,
        replayed=replayed,
        environment=environment,
        apart=0.0 if score is None or answer.score is None else abs(score - answer.score),
    )


def _verdict(score: float | None, label: object, answer: Answer) -> tuple[Verdict, str]:
    """The verdict on an answered row and its reason."""
    if not answer.same_features:
        return "differs", "the contract reads the request to other features than were used"
    if score is None or answer.score is None:
        return "differs", "one of the two has no score"
    if answer.label != label:
        return "differs", f"the label was {label}, now {answer.label}"
    if _bits(score) == _bits(answer.score):
        return "bit_exact", ""
    apart = abs(score - answer.score)
    if apart <= answer.tolerance:
        return "within_tolerance", f"scores are {apart:.3g} apart, {answer.tolerance:.3g} is declared"
    return "differs", f"scores are {apart:.3g} apart, more than the {answer.tolerance:.3g} declared"


def _compare_faults(decision: RecordedDecision, answer: Answer, environment: str) -> ReplayVerdict:
    """A rejected row: the contract must find the same faults again."""
    recorded = sorted((place(fault["path"]), str(fault["code"])) for fault in payload_of(decision).faults)
    replayed = sorted((place(path), code) for path, code in answer.faults)
    same = recorded == replayed
    return ReplayVerdict(
        decision=decision.row.id,
        verdict="bit_exact" if same else "differs",
        reason="" if same else "the contract finds other faults",
        recorded={"faults": [f"{code}@{path}" for path, code in recorded]},
        replayed={"faults": [f"{code}@{path}" for path, code in replayed]},
        environment=environment,
    )


def place(path: object) -> str:
    """A fault's path without the row's number in its request."""
    text = str(path)
    head, dot, rest = text.partition(".")
    return (head.partition("[")[0] if head.startswith("inputs") else head) + dot + rest

"""Replay recorded decisions: ask a fresh process the same questions, and compare to the last bit."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotage.errors import IntegrityError, NotFound, Unavailable
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.record import Payload
from pilotage.releases.load import open_release
from pilotage.replay.model import ReplayVerdict
from pilotage.replay.questions import Answer, Answers, Question, Questions

__all__ = ["replay", "replay_many"]

START_S, ROW_S = 120.0, 0.05


def replay(decision: RecordedDecision, releases: Path) -> ReplayVerdict:
    """Answer one decision again. Raises Unavailable when the replaying process fails."""
    return replay_many([decision], releases)[0]


def replay_many(decisions: Sequence[RecordedDecision], releases: Path) -> list[ReplayVerdict]:
    """Answer decisions again in one fresh process, one verdict each, in order. Raises Unavailable."""
    hindered = [_hindrance(decision, releases) for decision in decisions]
    asked = [decision for decision, why in zip(decisions, hindered, strict=True) if not why]
    given = _ask(asked, releases) if asked else None
    answers = iter(given.answers if given is not None else [])
    verdicts = []
    for decision, why in zip(decisions, hindered, strict=True):
        if why or given is None:
            verdicts.append(_unreplayable(decision, why))
        else:
            verdicts.append(_compare(decision, next(answers), given, releases))
    return verdicts


def _hindrance(decision: RecordedDecision, releases: Path) -> str:
    """Why a decision cannot be asked again; empty when it can."""
    if decision.payload is None:
        return decision.unreadable or "the payload cannot be read"
    if decision.plain.outcome not in ("answered", "rejected"):
        return f"no model answered: the outcome was {decision.plain.outcome}"
    if decision.plain.kind != "model":
        return f"a decision of kind {decision.plain.kind} has no model to ask again"
    if decision.plain.outcome == "answered" and decision.payload.score is None:
        return "the record holds no score"
    if not (releases / decision.plain.release.removeprefix("sha256:")).is_dir():
        return f"release missing: {decision.plain.release}"
    return ""


def _ask(decisions: Sequence[RecordedDecision], releases: Path) -> Answers:
    questions = [_question(decision) for decision in decisions]
    content = msgspec.msgpack.encode(Questions(releases=str(releases.resolve()), questions=questions))
    command = [sys.executable, "-P", "-m", "pilotage.replay.answer"]
    try:
        ended = subprocess.run(
            command, input=content, capture_output=True, timeout=START_S + ROW_S * len(questions), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable("the replaying process was too slow", mend="replay fewer decisions at once") from error
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(
            "the replaying process failed", got=lines[-1] if lines else ended.returncode, mend="see `got`"
        )
    return msgspec.msgpack.decode(ended.stdout, type=Answers)


def _question(decision: RecordedDecision) -> Question:
    payload = _payload(decision)
    features = payload.features if decision.plain.outcome == "answered" else None
    return Question(release=decision.plain.release, request=payload.request, features=features)


def _payload(decision: RecordedDecision) -> Payload:
    assert decision.payload is not None  # noqa: S101 - a hindrance otherwise
    return decision.payload


def _unreplayable(decision: RecordedDecision, reason: str, environment: str = "") -> ReplayVerdict:
    return ReplayVerdict(decision=decision.row.id, verdict="unreplayable", reason=reason, environment=environment)


def _compare(decision: RecordedDecision, answer: Answer, given: Answers, releases: Path) -> ReplayVerdict:
    if given.digest != decision.plain.environment:
        return _unreplayable(decision, _environment_difference(decision, given, releases), given.digest)
    if answer.failure:
        return _unreplayable(decision, answer.failure, given.digest)
    if answer.contract != decision.plain.contract:
        why = f"contract differs: recorded {decision.plain.contract}, the release's {answer.contract}"
        return _unreplayable(decision, why, given.digest)
    judged = _compare_faults if decision.plain.outcome == "rejected" else _compare_scores
    return judged(decision, answer, given.digest)


def _environment_difference(decision: RecordedDecision, given: Answers, releases: Path) -> str:
    """Both digests; and where the release was built in the recorded environment, what is not as it was."""
    text = f"environment differs: recorded {decision.plain.environment}, here {given.digest}"
    try:
        origin = open_release(releases, decision.plain.release).manifest.origin.environment
    except (NotFound, IntegrityError):
        return text
    changed = [
        f"{name}: {origin.get(name)} then, {given.environment.get(name)} here"
        for name in sorted({*origin, *given.environment})
        if origin.get(name) != given.environment.get(name)
    ]
    return text + (f"; against the release's origin: {'; '.join(changed)}" if changed else "")


def _bits(score: float) -> bytes:
    return struct.pack("<d", score)


def _compare_scores(decision: RecordedDecision, answer: Answer, environment: str) -> ReplayVerdict:
    payload = _payload(decision)
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
    )


def _verdict(score: float | None, label: object, answer: Answer) -> tuple[Any, str]:
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
    recorded = sorted((_place(fault["path"]), str(fault["code"])) for fault in _payload(decision).faults)
    replayed = sorted((_place(path), code) for path, code in answer.faults)
    same = recorded == replayed
    return ReplayVerdict(
        decision=decision.row.id,
        verdict="bit_exact" if same else "differs",
        reason="" if same else "the contract finds other faults",
        recorded={"faults": [f"{code}@{path}" for path, code in recorded]},
        replayed={"faults": [f"{code}@{path}" for path, code in replayed]},
        environment=environment,
    )


def _place(path: object) -> str:
    """A fault's path without the row's number in its request."""
    text = str(path)
    head, dot, rest = text.partition(".")
    return (head.partition("[")[0] if head.startswith("inputs") else head) + dot + rest

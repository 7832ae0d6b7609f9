"""What the replaying process is asked and answers; JSON would do, msgpack keeps float64 and bytes as they are."""

from __future__ import annotations

from typing import Any

import msgspec

from pilotage.evaluation.explainer import Value

__all__ = ["Answer", "Answers", "Question", "Questions"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One decision to answer again: the row as received, and the features that were used (None for a rejected row)."""

    release: str
    request: bytes
    features: list[Value] | None


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions to answer again, from releases in a folder."""

    releases: str
    questions: list[Question]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one: `score` and `label`, or `faults` as [path, code], or `failure`.

    `same_features` says whether the contract reads the request to the features that were used.
    """

    contract: str = ""
    score: float | None = None
    label: str = ""
    tolerance: float = 0.0
    faults: list[tuple[str, str]] = []
    same_features: bool = True
    failure: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """All answers in order, with the serving environment that gave them and its digest."""

    environment: dict[str, Any]
    digest: str
    answers: list[Answer]

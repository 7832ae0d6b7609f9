"""What the replaying process is asked and answers; JSON would do, msgpack keeps float64 and bytes as they are."""

from __future__ import annotations

from typing import Any

import msgspec

from pilotage.contracts.enrichment import Drawn
from pilotage.kernel.rows import Value

__all__ = ["Answer", "Hello", "Question", "Questions"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One row to answer: as received, and the features that were used (None for a rejected row).

    `own`: the release's own contract reads the row, whatever another release's contract made of it; `features` is
    not looked at then. `drawn` is what came from feature sources when it was decided: none is asked again.
    """

    release: str
    request: bytes
    features: list[Value] | None = None
    own: bool = False
    drawn: list[Drawn] = []


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to answer, by releases in a folder; one message."""

    releases: str
    questions: list[Question]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one: `score` and `label`, or `faults` as [path, code], or `failure`.

    `same_features` says whether the contract reads the request to the features that were used. `contract_us` and
    `answer_us` are the microseconds that reading the row and scoring it took.
    """

    contract: str = ""
    score: float | None = None
    label: str = ""
    tolerance: float = 0.0
    faults: list[tuple[str, str]] = []
    same_features: bool = True
    failure: str = ""
    contract_us: float = 0.0
    answer_us: float = 0.0


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The process's first message: the serving environment it is, and that environment's digest."""

    environment: dict[str, Any]
    digest: str

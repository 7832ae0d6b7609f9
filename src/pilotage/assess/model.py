"""The parts of an assessment. A rating cannot hold a point without the evidence that gives it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pilotage.kernel.pert import expected
from pilotage.systems.model import Stage

__all__ = [
    "CAPS",
    "DIMENSIONS",
    "Assessment",
    "Blocker",
    "Contradiction",
    "Coverage",
    "Criterion",
    "Dimension",
    "DimensionScore",
    "Done",
    "Finding",
    "Grade",
    "MLTest",
    "MLTestScore",
    "Makeup",
    "Observation",
    "Raise",
    "Rating",
    "Risk",
    "Section",
    "State",
]

Grade = Literal["E0", "E1", "E2", "E3", "E4"]
State = Literal["unknown", "fails", "partial", "holds"]
Done = Literal["automatic", "by hand", "no", "unknown"]
Section = Literal["data", "model", "infrastructure", "monitoring"]
Dimension = Literal["data", "model", "infrastructure", "team", "governance", "business"]
DIMENSIONS: tuple[Dimension, ...] = ("data", "model", "infrastructure", "team", "governance", "business")

CAPS: dict[str, dict[Grade, float]] = {
    "measurable": {"E4": 1.0, "E3": 0.85, "E2": 0.5, "E1": 0.25, "E0": 0.1},
    "attestable": {"E4": 1.0, "E3": 1.0, "E2": 0.6, "E1": 1.0, "E0": 0.25},
}
"""The most that one piece of evidence of a class can give: measured outranks declared."""


class Criterion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is asked of a pilot, and the risk it answers.

    `ttl_days` 0 means: as long as its subject is unchanged. `from_stage`: not held against a pilot before it.
    `applies_if` names a fact about the folder without which it is not asked. `proof` is the evidence that can be had
    for it before live traffic: E2 where only reading shows it; empty: a test (measurable), a confirmed statement
    (attestable). `owasp` and `atlas` are the risks and techniques against language models that it answers. `days` are
    optimistic, likely and pessimistic engineer-days to satisfy it; the defaults are guesses.
    """

    id: str
    dimension: Dimension
    text: str
    risk: str
    kind: Literal["measurable", "attestable"]
    mend: str
    weight: int = 1
    knock_out: bool = False
    ttl_days: int = 0
    from_stage: Stage = "pilot"
    applies_if: Literal["", "notebook", "upstream", "history", "classic", "llm", "rag", "agent", "server", "tests"] = ""
    owasp: list[str] = []
    atlas: list[str] = []
    proof: Grade | Literal[""] = ""
    days: tuple[float, float, float] = (0.5, 1, 2)

    @property
    def effort(self) -> float:
        """Expected engineer-days: the PERT mean (O + 4M + P) / 6."""
        return expected(*self.days)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something at a place: `file` relative to the pilot's folder, `line` from 1 (0: the whole file).

    `digest` is that of the line or file it was read from, `risk` what may come of it, `mend` what to do about it.
    """

    file: str
    line: int
    message: str
    mend: str = ""
    digest: str = ""
    risk: str = ""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence for a criterion.

    `level`: 0 none, 0.5 done by hand or in part, 1 done and automatic. `subject` is the digest of what was looked at;
    `collected` is Unix microseconds. `current` is false once the subject has changed: it then counts for nothing.
    `expires` is when it must be renewed where that is sooner than its criterion says (Unix microseconds; 0: it does
    not say), `renew` how. `evidence` is the id under which an installation keeps it.
    """

    criterion: str
    grade: Grade
    level: float
    summary: str
    collector: str
    collected: int
    subject: str = ""
    current: bool = True
    figures: dict[str, Any] = {}
    findings: list[Finding] = []
    expires: int = 0
    renew: str = ""
    evidence: str = ""


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """What a criterion gets, and why.

    `state` is unknown without evidence, and then the score is 0; partial also where nothing but a statement supports
    it.
    """

    criterion: Criterion
    score: float
    state: State
    evidence: list[Observation] = []

    def __post_init__(self) -> None:
        if self.score > 0 and not self.evidence:
            raise ValueError(f"{self.criterion.id}: a point without evidence")
        if not self.evidence and self.state != "unknown":
            raise ValueError(f"{self.criterion.id}: a verdict without evidence")
        if any(item.criterion != self.criterion.id for item in self.evidence):
            raise ValueError(f"{self.criterion.id}: evidence of another criterion")

    @property
    def knocked_out(self) -> bool:
        """Whether this knock-out criterion was looked at and fails."""
        return self.criterion.knock_out and self.state == "fails"


class DimensionScore(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension. `score` counts what is unknown as 0; `interval` ends where all unknown were tested and held.

    `coverage` is the share of the weight that has any evidence. `level` is 1-5; `caps` say what holds it down.
    """

    dimension: Dimension
    score: float
    coverage: float
    interval: tuple[float, float]
    level: int
    level_high: int
    ratings: list[Rating]
    caps: list[str] = []
    later: list[Criterion] = []


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """What stops the pilot: a knock-out, or a criterion of full weight that was looked at and fails."""

    criterion: str
    dimension: Dimension
    text: str
    why: str
    mend: str
    knock_out: bool
    findings: list[Finding] = []


class Contradiction(msgspec.Struct, frozen=True, kw_only=True):
    """Something claimed beside the fact that was measured; the measured one counts."""

    claim: str
    fact: str
    file: str
    line: int
    criterion: str = ""


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """One next step towards a higher verdict, in the order to take them. `days` is an expectation, a default guess."""

    criterion: str
    dimension: Dimension
    text: str
    mend: str
    days: float
    gain: float
    level_after: int
    verdict_after: int


class Makeup(msgspec.Struct, frozen=True, kw_only=True):
    """What a pilot is, as its code says.

    `kinds`: classic (a model of its own), llm (it asks a language model), rag (it retrieves for it), agent (it lets it
    act). `models` are the names under which models are asked.
    """

    kinds: list[str] = []
    libraries: list[str] = []
    models: list[str] = []
    stores: list[str] = []
    interfaces: list[str] = []


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """One risk. `applies` is false where the pilot lacks what it is about: tools, or retrieval.

    `state` is `unknown` where nothing was measured, `fails` where a fault was found, `holds` only where it was tested.
    `attacked` counts those of `measured` that were tested.
    """

    id: str
    name: str
    applies: bool
    state: State
    measured: list[str] = []
    not_measured: list[str] = []
    findings: int = 0
    attacked: int = 0


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """The ten risks. `looked_at` counts those of which something was measured, `tested` those that were attacked."""

    edition: str
    looked_at: int
    tested: int
    faults: int
    applicable: int
    risks: list[Risk]


class MLTest(msgspec.Struct, frozen=True, kw_only=True):
    """One of the 28: how far it is done, its points (0, 0.5, 1), and why."""

    id: str
    section: Section
    text: str
    done: Done
    points: float
    why: str


class MLTestScore(msgspec.Struct, frozen=True, kw_only=True):
    """The score: the lowest of four sections of 0 to 7, its band in the paper's sense, and the 28 tests."""

    score: float
    band: str
    sections: dict[str, float]
    tests: list[MLTest]


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot's readiness. `verdict` is the lowest dimension level, `required` what the stage after `stage` asks.

    `isolation` is what the probes' boxes had in force, `environment` whose packages they ran with; `skipped` names what
    could not be looked at, and why. `draft_contract` is the contract that its data suggests, as a file. `model` is the
    digest of the artefact that lay in the folder.
    `owasp` is None for a pilot that asks no language model, `ml_test_score` for one without a model of its own.
    """

    path: str
    subject: str
    at: int
    stage: Stage
    verdict: int
    required: int
    dimensions: list[DimensionScore]
    blockers: list[Blocker]
    contradictions: list[Contradiction]
    raises: list[Raise]
    findings: int
    skipped: list[str]
    isolation: dict[str, Any]
    seconds: float
    version: str
    model: str = ""
    makeup: Makeup = Makeup()
    owasp: Coverage | None = None
    ml_test_score: MLTestScore | None = None
    environment: str = ""
    draft_contract: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON values; `dimensions` has six entries."""
        built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return built

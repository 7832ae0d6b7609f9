"""Keep a pilot's assessment as evidence about its system, so that gates and the console can read it."""

from __future__ import annotations

from typing import Any

from pilotage.assess.model import Assessment
from pilotage.evidence.model import tested
from pilotage.evidence.store import record
from pilotage.kernel.canonical import canonical_json
from pilotage.storage.database import writing
from pilotage.wiring.installation import Installation

__all__ = ["CHECK", "keep_assessment", "subject_of", "summary"]

CHECK = "readiness.assessed"
_LIFE_US = 90 * 24 * 3_600_000_000


def subject_of(system: str) -> str:
    """The subject of a system's assessments: the system itself, whatever its releases."""
    return f"system:{system}"


def summary(assessment: Assessment) -> dict[str, Any]:
    """Level, weakest dimension, blockers and the six dimensions, as JSON values."""
    weakest = min(assessment.dimensions, key=lambda each: (each.level, each.score))
    return {
        "level": assessment.verdict,
        "weakest": weakest.dimension,
        "blockers": [f"{blocker.text}: {blocker.why}" for blocker in assessment.blockers],
        "dimensions": [
            {
                "name": each.dimension,
                "level": each.level,
                "score": round(each.score, 4),
                "low": round(each.interval[0], 4),
                "high": round(each.interval[1], 4),
                "coverage": round(each.coverage, 4),
            }
            for each in assessment.dimensions
        ],
    }


def keep_assessment(installation: Installation, system: str, assessment: Assessment) -> None:
    """Store the whole result as an object, and its summary as evidence that lives 90 days."""
    artefact = installation.objects.put(canonical_json(assessment.as_dict()))
    evidence = tested(
        CHECK,
        subject_of(system),
        assessment.at,
        expires=assessment.at + _LIFE_US,
        passed=assessment.verdict >= assessment.required,
        figures=summary(assessment),
        artefact=artefact,
    )
    with writing(installation.control) as connection:
        record(connection, evidence)

"""The newest recorded assessment of a system, as the console draws it."""

from __future__ import annotations

from typing import Any

from pilotage.evidence.store import latest
from pilotage.storage.database import reading
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import CHECK, subject_of

__all__ = ["latest_assessment"]


def latest_assessment(installation: Installation, system: str) -> dict[str, Any] | None:
    """{level, weakest, blockers, spokes: [(label, score, low, high, level)]} of the newest assessment, or None."""
    with reading(installation.control) as connection:
        found = latest(connection, subject_of(system), CHECK)
    if found is None:
        return None
    figures = found.figures
    spokes = [
        (
            str(each["name"]).capitalize(),
            float(each["score"]),
            float(each["low"]),
            float(each["high"]),
            int(each["level"]),
        )
        for each in figures["dimensions"]
    ]
    return {
        "level": figures["level"],
        "weakest": figures["weakest"],
        "blockers": figures["blockers"],
        "spokes": spokes,
        "collected": found.collected,
    }

"""How ready a system was found last, as the console draws it in few words: as it runs, else as a pilot."""

from __future__ import annotations

from typing import Any

from pilotage.evidence.store import latest
from pilotage.storage.database import reading
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import CHECK, subject_of
from pilotage.wiring.standing import KEPT

__all__ = ["latest_assessment"]


def latest_assessment(installation: Installation, system: str) -> dict[str, Any] | None:
    """{level, weakest, blockers, spokes: [(label, score, low, high, level)], collected, live, due} of what the steward
    kept last, else of the newest assessment, or None. `due` is how much evidence expires soon.
    """
    with reading(installation.control) as connection:
        kept = latest(connection, subject_of(system), KEPT)
        found = kept or latest(connection, subject_of(system), CHECK)
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
        "live": kept is not None,
        "due": len(figures.get("due", {})),
    }

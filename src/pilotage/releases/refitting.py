"""Fit the pilot's model again in its box, under other seeds and on rows drawn again: how stable are its answers?

What is measured depends on the time that there is, so nothing of it is in the release: it is evidence about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.evaluation.refits import FEWEST, spread_of_refits
from pilotage.evidence.model import Evidence, tested
from pilotage.kernel.rows import even_places
from pilotage.releases.data import PilotRows
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.remote_pilot import RemotePilot

__all__ = ["BUILD_S", "BUILD_SEEDS", "CHECK", "measure_refits", "stability_evidence"]

CHECK = "evaluation.stability"
BUILD_SEEDS, BUILD_S = FEWEST, 4.0
"""What a build can afford; `pilotage evaluate --stability` takes more."""

_MOST_ROWS = 20_000
"""Rows to fit and rows to judge, each: evenly chosen where there are more."""
_KINDS = ("seed", "rows")
_MEND = "pilotage evaluate REF --stability --seconds N measures with more time"

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]


def measure_refits(
    pilot: PilotModel | RemotePilot,
    rows: PilotRows,
    threshold: float,
    *,
    seeds: int = BUILD_SEEDS,
    seconds: float = BUILD_S,
    seed: int = 2026,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What `seeds` refits of each kind within `seconds` show; `measured` false, and `why`, where too few were possible.

    By `seed`: the same rows, every random state set anew. By `rows`: also the rows to fit drawn anew, with
    replacement. The box that the pilot is in may be lost over it: ask the model nothing more afterwards.
    """
    if isinstance(pilot, RemotePilot):
        return _not("a model at another address cannot be fitted here")
    fitted, labels = rows.part(held_out=False)
    held_out, truth = rows.part(held_out=True)
    if not len(fitted):
        return _not("every row is held out: there is none to fit on")
    chosen, judged = (even_places(len(each), _MOST_ROWS) for each in (fitted, held_out))
    tell, until = progress or (lambda _done, _all: None), time.monotonic() + seconds
    found: dict[str, list[Floats]] = {kind: [] for kind in _KINDS}
    why = ""
    try:
        draws = pilot.train(fitted[chosen], labels[chosen].tolist(), held_out[judged], seconds)
        kinds = _KINDS if draws else _KINDS[1:]
        asked = [(kind, turn) for turn in range(seeds) for kind in kinds]
        for done, (kind, turn) in enumerate(asked):
            left = until - time.monotonic()
            if left <= 0:
                why = f"{seconds:g} s were too short for {len(asked)} refits"
                break
            found[kind].append(pilot.refit(seed + 1 + turn, draw=kind == "rows", seconds=left))
            tell(done + 1, len(asked))
    except InputError as error:
        why = f"{error.what}: {error.got}" if error.got else error.what
    return _told(found, truth[judged], threshold, len(chosen), why)


def _told(
    found: dict[str, list[Floats]], truth: NDArray[np.bool_], threshold: float, fitted: int, why: str
) -> dict[str, Any]:
    enough = {kind: scores for kind, scores in found.items() if len(scores) >= FEWEST}
    if not enough:
        return _not(f"{why or 'too few refits'}; {_MEND}")
    by = {kind: spread_of_refits(truth, scores, threshold) for kind, scores in enough.items()}
    return {"measured": True, "why": why, "rows_fitted": fitted, "rows": len(truth), "threshold": threshold, "by": by}


def _not(why: str) -> dict[str, Any]:
    return {"measured": False, "why": why, "by": {}}


def stability_evidence(release: str, figures: dict[str, Any], at: int) -> Evidence:
    """The evidence: it passes where something was measured, whatever it was."""
    return tested(CHECK, release, at, passed=bool(figures["measured"]), figures=figures)

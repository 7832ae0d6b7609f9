"""What a build looks for in data: leaks in the pilot's rows, and what becomes of rows that are spoilt or strange."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import DataContract
from pilotage.evaluation.leakage.suite import find_leaks
from pilotage.evaluation.messy.strange import judge_strange
from pilotage.evaluation.messy.suite import Score, judge_messy
from pilotage.releases.data import PilotRows
from pilotage.releases.leaking import leakage_table
from pilotage.systems.model import AISystem

__all__ = ["data_faults"]


def data_faults(
    system: AISystem, contract: DataContract, rows: PilotRows, scores: NDArray[np.float64], score: Score | None
) -> dict[str, Any]:
    """`leakage`, `messy_cases` and `strange` of evaluation.json; `scores` are of the held-out rows.

    `score` is None where each row that is asked is paid for: then only the door is judged.
    """
    held_out, _ = rows.part(held_out=True)
    threshold, limits = system.answer.threshold, system.messy
    messy = judge_messy(contract, held_out, score, threshold, tolerance=limits.tolerance)
    strange = judge_strange(contract, held_out, scores, score, threshold, seed=system.pilot.seed)
    leaks = find_leaks(leakage_table(system, contract, rows))
    # The split is by a hash of the subject, or of the row where there is none: nobody is on both sides.
    skipped = {name: why for name, why in leaks.skipped.items() if name != "subjects on both sides"}
    return {
        "leakage": msgspec.structs.replace(leaks, skipped=skipped).as_dict(),
        "messy_cases": {**messy.as_dict(), "limit": limits.silent},
        "strange": msgspec.to_builtins(strange),
    }

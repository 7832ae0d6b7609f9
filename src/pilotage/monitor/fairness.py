"""How groups of a protected column fared on live decisions, from the counts by slice: pure."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from pilotage.evaluation.fairness import fairness_of_counts, held_limits
from pilotage.evaluation.realised import FEWEST
from pilotage.monitor.performance import Performance
from pilotage.systems.model import FairnessLimits

__all__ = ["groups_live"]


def groups_live(found: Performance, column: str, rules: FairnessLimits) -> dict[str, Any] | None:
    """Rates by group, disparities and declared limits of a column; None where fewer than two groups can be compared.
    Of a group under FEWEST decisions, in `too_small`, no figure is told: it might be that of single persons.

    Chosen is the favourable answer, true that it was deserved: that the positive outcome did not come.
    """
    every = [each for each in found.slices if each.slice == column]
    groups = [each for each in every if each.figures.enough]
    counts = np.array(
        [
            (own.true_negative, own.false_negative, own.false_positive, own.true_positive)
            for own in (each.figures for each in groups)
        ],
        dtype=np.int64,
    ).reshape(-1, 4)
    fair = fairness_of_counts([each.value for each in groups], counts, fewest=FEWEST)
    if not fair.disparities:
        return None
    small = [each.value for each in every if not each.figures.enough]
    return {"column": column, "limits": held_limits(rules, fair), "too_small": small, **msgspec.to_builtins(fair)}

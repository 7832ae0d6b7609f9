"""How much of a figure is the luck of the draw: the same model on many random halves of its held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.scored import NAMES, ScoredRows

__all__ = ["HALVES", "redrawn"]

HALVES = 20
"""How many seeds are drawn; each gives two halves."""
_SHOWN = ("auc", "log_loss", "brier", "f1")


def redrawn(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float, *, seed: int = 2026
) -> dict[str, Any]:
    """The spread of figures over halves drawn by `HALVES` seeds: {figure: {lowest, mean, highest, deviation}}.

    The model is the same throughout: how much it would change if it were fitted again, with another seed or on other
    rows, this does not say. Halves in which one class is missing are left out.
    """
    ranked, size = ScoredRows(labels, scores, threshold), len(labels)
    found = []
    for turn in range(HALVES):
        half = np.zeros(size)
        half[np.random.default_rng([seed % 2**63, turn]).permutation(size)[: size // 2]] = 1.0
        found += [ranked.figures(half), ranked.figures(1 - half)]
    table = np.array(found)
    told = {}
    for name in _SHOWN:
        own = table[:, NAMES.index(name)]
        own = own[~np.isnan(own)]
        if len(own):
            told[name] = {
                "lowest": float(own.min()),
                "mean": float(own.mean()),
                "highest": float(own.max()),
                "deviation": float(own.std()),
            }
    return {"seeds": HALVES, "rows": size // 2, "figures": told, "refitted": False}

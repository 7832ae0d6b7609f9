"""How much a model is the luck of its training: fitted again under other seeds, or on rows drawn again.

`redrawn` asks how much of a figure is the luck of the rows that judge; this asks how much is that of the rows and
random numbers that made the model (Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.scored import NAMES, ScoredRows
from pilotage.evaluation.words import label

__all__ = ["FEWEST", "KINDS", "MOST", "rows_of_stability", "spread_of_refits"]

Floats = NDArray[np.float64]

FEWEST, MOST = 3, 20
"""Refits of one kind: fewer say nothing of a spread, more say little more."""
KINDS = {"seed": "other seeds", "rows": "rows drawn again"}
"""What is other about a refit, in words."""
_SHOWN = ("auc", "log_loss", "brier", "f1")
_T = (
    *(4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813),
    *(2.160369, 2.144787, 2.13145, 2.119905, 2.109816, 2.100922, 2.093024),
)
"""Student's quantile at .975 by degrees of freedom, from 2 on."""


def spread_of_refits(labels: NDArray[np.bool_], scores: Sequence[Floats], threshold: float) -> dict[str, Any]:
    """The spread of figures over refits, and how often they answer the same held-out rows otherwise.

    `scores` are those of each refit, [n] like `labels`, FEWEST to MOST of them. Each figure has its `mean`,
    `deviation`, extremes, and `next_95`: where one more refit would lie 95 times in 100 (the prediction interval of
    Student). `flips.pair` is the share of rows that two refits answer otherwise, the mean over all pairs; `flips.rows`
    that of rows on which not all agree, with its Wilson interval.
    """
    table = np.array([ScoredRows(labels, own, threshold).figures(np.ones(len(own))) for own in scores])
    metrics = {}
    for name in _SHOWN:
        own = table[:, NAMES.index(name)]
        if not np.isnan(own).any():
            metrics[name] = _spread(own)
    count = len(scores)
    adverse = (np.array(scores) >= threshold).sum(axis=0)
    pairs = adverse * (count - adverse) / (count * (count - 1) / 2)
    ever = wilson(int(((adverse > 0) & (adverse < count)).sum()), len(labels))
    return {
        "refits": count,
        "metrics": metrics,
        "flips": {"pair": float(pairs.mean()), "rows": msgspec.to_builtins(ever)},
    }


def _spread(values: Floats) -> dict[str, Any]:
    count, mean = len(values), float(values.mean())
    # Of values that are all the same, the mean may be off by its rounding.
    deviation = float(values.std(ddof=1)) if np.ptp(values) else 0.0
    half = _T[count - FEWEST] * deviation * math.sqrt(1 + 1 / count)
    return {
        "mean": mean,
        "deviation": deviation,
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "next_95": [mean - half, mean + half],
    }


def rows_of_stability(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """What was measured (`evaluation.stability`) as rows of text: what was other, refits, the figure, its mean, its
    deviation, where one more would lie, rows that two refits answer otherwise, rows on which not all agree."""
    told: list[tuple[str, ...]] = []
    for kind, found in measured["by"].items():
        ever = found["flips"]["rows"]
        flips = (
            f"{found['flips']['pair']:.2%}",
            f"{ever['rate']:.2%} ({ever['low']:.2%} to {ever['high']:.2%})",
        )
        for at, (name, each) in enumerate(found["metrics"].items()):
            low, high = each["next_95"]
            figures = (label(name), f"{each['mean']:.4f}", f"{each['deviation']:.4f}", f"{low:.4f} to {high:.4f}")
            told.append((KINDS[kind], str(found["refits"]), *figures, *(flips if not at else ("", ""))))
    return told

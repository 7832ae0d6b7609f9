"""What the model must beat: the base rate, and one feature alone. Both are fitted on the training rows only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.explainer import Value
from pilotage.evaluation.metrics import auc

__all__ = ["BINS", "constant_baseline", "single_feature_baseline"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

BINS = 20
_PRIOR_ROWS = 10.0


def constant_baseline(labels: Labels, count: int) -> Floats:
    """The positive rate of the training labels, for each of `count` rows."""
    return np.full(count, labels.mean())


def single_feature_baseline(
    names: Sequence[str],
    rows: Sequence[Sequence[Value]],
    labels: Labels,
    held_out: Sequence[Sequence[Value]],
) -> tuple[str, Floats]:
    """The best single feature by training AUC, and the held-out rows' scores by it.

    A feature's score is the positive rate of its bin (up to 20 of equal count; a category is a bin), shrunk toward the
    base rate by ten rows. So it needs neither an order nor a scale.
    """
    rate = float(labels.mean())
    best = ("", -1.0, constant_baseline(labels, len(held_out)))
    for name, column, other in zip(names, zip(*rows, strict=True), zip(*held_out, strict=True), strict=True):
        cuts = _cuts(column)
        cells = _cells(column, cuts)
        table = _rates(cells, labels, rate)
        area = auc(labels, np.array([table[cell] for cell in cells])) or 0.0
        if area > best[1]:
            best = (name, area, np.array([table.get(cell, rate) for cell in _cells(other, cuts)]))
    return best[0], best[2]


def _cuts(column: Sequence[Value]) -> Floats | None:
    """Borders of bins; None for values that are few or no numbers."""
    distinct = {value for value in column if value is not None}
    if len(distinct) <= BINS or any(isinstance(value, (str, bool)) for value in distinct):
        return None
    numbers = np.array([value for value in column if value is not None], dtype=np.float64)
    return np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))


def _cells(column: Sequence[Value], cuts: Floats | None) -> list[Value]:
    if cuts is None:
        return list(column)
    numbers = np.array([np.nan if value is None else value for value in column], dtype=np.float64)
    return [float(cell) for cell in np.where(np.isnan(numbers), -1, np.searchsorted(cuts, numbers, side="right"))]


def _rates(cells: Sequence[Value], labels: Labels, rate: float) -> dict[Value, float]:
    counts: dict[Value, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for cell, label in zip(cells, labels, strict=True):
        entry = counts[cell]
        entry[0] += 1
        entry[1] += label
    return {cell: (hits + rate * _PRIOR_ROWS) / (seen + _PRIOR_ROWS) for cell, (seen, hits) in counts.items()}

"""What the model must beat: the base rate, and one feature alone, as a line or in bins. Fitted on other rows only.

One feature in bins is the harder of the two: it learns any shape. A model that does not beat it is hardly worth its
upkeep, even where it beats the line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.explainer import Value
from pilotage.evaluation.metrics import auc

__all__ = ["BINS", "constant_baseline", "linear_feature_baseline", "single_feature_baseline"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

BINS = 20
_PRIOR_ROWS = 10.0


def constant_baseline(labels: Labels, count: int) -> Floats:
    """The positive rate of the training labels, for each of `count` rows."""
    return np.full(count, labels.mean())


def linear_feature_baseline(
    names: Sequence[str],
    rows: Sequence[Sequence[Value]],
    labels: Labels,
    held_out: Sequence[Sequence[Value]],
) -> tuple[str, Floats] | None:
    """The best single number by training AUC, and the held-out rows' scores by logistic regression on it alone.

    Null counts as the training mean. None when no feature is a number.
    """
    best: tuple[float, str, Floats, Floats] | None = None
    for name, column, other in zip(names, zip(*rows, strict=True), zip(*held_out, strict=True), strict=True):
        if any(isinstance(value, (str, bool)) for value in column):
            continue
        known, asked = np.array(column, dtype=np.float64), np.array(other, dtype=np.float64)
        if np.isnan(known).all():
            continue
        mean, spread = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
        known, asked = ((np.where(np.isnan(each), mean, each) - mean) / spread for each in (known, asked))
        area = abs((auc(labels, known) or 0.5) - 0.5)
        if best is None or area > best[0]:
            best = (area, name, known, asked)
    if best is None:
        return None
    slope, intercept = _logistic(best[2], labels)
    return best[1], 1.0 / (1.0 + np.exp(-np.clip(intercept + slope * best[3], -500, 500)))


def _logistic(x: Floats, labels: Labels) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on one number, by Newton's method with a slight ridge."""
    design = np.column_stack([x, np.ones(len(x))])
    ridge = np.diag([1e-3, 1e-3])
    weights = np.array([0.0, float(np.log((labels.mean() + 1e-9) / (1 - labels.mean() + 1e-9)))])
    for _ in range(25):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        curve = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge
        step = np.linalg.solve(curve, design.T @ (labels - chance) - ridge @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


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

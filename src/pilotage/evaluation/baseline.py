"""What the model must beat: the base rate, and one feature alone, as a line or in bins. Fitted on other rows only.

One feature in bins is the harder of the two: it learns any shape. A model that does not beat it is hardly worth its
upkeep, even where it beats the line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.metrics import auc
from pilotage.kernel.rows import Column, Value, columns_of, is_numeric, values_of

__all__ = ["BINS", "constant_baseline", "linear_feature_baseline", "single_feature_baseline"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Cells = NDArray[np.intp]

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
    width = len(names)
    for name, known, asked in zip(names, columns_of(rows, width), columns_of(held_out, width), strict=True):
        if not (is_numeric(known) and is_numeric(asked)) or np.isnan(known).all():
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
    width = len(names)
    for name, column, other in zip(names, columns_of(rows, width), columns_of(held_out, width), strict=True):
        cells, asked, count = _cells(column, other)
        seen = np.bincount(cells, minlength=count)
        hits = np.bincount(cells[labels], minlength=count)
        rates = (hits + rate * _PRIOR_ROWS) / (seen + _PRIOR_ROWS)
        area = auc(labels, rates[cells]) or 0.0
        if area > best[1]:
            best = (name, area, np.where(seen[asked] > 0, rates[asked], rate))
    return best[0], best[2]


def _cells(column: Column, other: Column) -> tuple[Cells, Cells, int]:
    """The cell of each value of a column and of another one's, and how many there are.

    Numbers of many values are cut; a value that only the other one has is in a last, empty cell.
    """
    if is_numeric(column) and is_numeric(other):
        known = column[~np.isnan(column)]
        distinct = np.unique(known)
        if len(distinct) > BINS:
            distinct = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
            cells, asked = (np.searchsorted(distinct, each, side="right") for each in (column, other))
        else:
            cells, asked = (_places(distinct, each) for each in (column, other))
        none = len(distinct) + 2
        cells[np.isnan(column)] = asked[np.isnan(other)] = none - 1
        return cells, asked, none
    values, others = values_of(column), values_of(other)
    places: dict[Value, int] = {value: at for at, value in enumerate(dict.fromkeys(values))}
    return (
        np.array([places[value] for value in values], dtype=np.intp),
        np.array([places.get(value, len(places)) for value in others], dtype=np.intp),
        len(places) + 1,
    )


def _places(distinct: Floats, column: Column) -> Cells:
    """Where each number is among the distinct ones, or after the last."""
    found = np.minimum(np.searchsorted(distinct, column), max(0, len(distinct) - 1))
    return np.where(distinct[found] == column, found, len(distinct)) if len(distinct) else found + 0

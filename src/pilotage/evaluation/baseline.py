"""What the model must beat: the base rate, and one feature alone, as a line or in bins. Fitted on other rows only.

One feature in bins is the harder of the two: it learns any shape. A model that does not beat it is hardly worth its
upkeep, even where it beats the line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.metrics import auc
from pilotage.evaluation.simple_models import spaced
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

    Null counts as the training mean. Which number is best is told by at most MOST_ROWS rows. None when no feature is a
    number.
    """
    best: tuple[float, str, Column, Column] | None = None
    width, some = len(names), spaced(len(labels))
    for name, known, asked in zip(names, columns_of(rows, width), columns_of(held_out, width), strict=True):
        if not (is_numeric(known) and is_numeric(asked)) or np.isnan(known).all():
            continue
        few = known[some]
        mean = float(np.nanmean(few)) if not np.isnan(few).all() else 0.0
        area = abs((auc(labels[some], np.where(np.isnan(few), mean, few)) or 0.5) - 0.5)
        if best is None or area > best[0]:
            best = (area, name, known, asked)
    if best is None:
        return None
    _, name, known, asked = best
    mean, spread = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
    known, asked = ((np.where(np.isnan(each), mean, each) - mean) / spread for each in (known, asked))
    slope, intercept = _logistic(known, labels)
    return name, 1.0 / (1.0 + np.exp(-np.clip(intercept + slope * asked, -500, 500)))


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
    base rate by ten rows. So it needs neither an order nor a scale. Which feature is best is told by at most MOST_ROWS
    rows, its rates by all of them.
    """
    best: tuple[float, str, Column, Column] | None = None
    width, some = len(names), spaced(len(labels))
    for name, column, other in zip(names, columns_of(rows, width), columns_of(held_out, width), strict=True):
        few = column[some]
        own, _ = _by_bin(few, labels[some], few)
        area = auc(labels[some], own) or 0.0
        if best is None or area > best[0]:
            best = (area, name, column, other)
    if best is None:
        return "", constant_baseline(labels, len(held_out))
    _, name, column, other = best
    rates, seen = _by_bin(column, labels, other)
    return name, np.where(seen > 0, rates, float(labels.mean()))


def _by_bin(column: Column, labels: Labels, other: Column) -> tuple[Floats, Cells]:
    """The positive rate of the bin of each value of another column, and of how many rows that is."""
    rate = float(labels.mean())
    cells, asked, count = _cells(column, other)
    seen = np.bincount(cells, minlength=count)
    hits = np.bincount(cells[labels], minlength=count)
    rates = (hits + rate * _PRIOR_ROWS) / (seen + _PRIOR_ROWS)
    return rates[asked], seen[asked]


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

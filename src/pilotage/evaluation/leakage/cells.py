"""How well cells of rows tell yes from no, on rows that did not make the table: the area under the ROC curve.

Every area here is cross-fitted: one half of the rows says which cells are high, the other half is ranked by it. So a
column of ids, with one row a cell, scores one half and not one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pilotage.evaluation.intervals import hanley_mcneil
from pilotage.evaluation.leakage.table import Codes, Flags, Floats

__all__ = ["Separation", "halves", "information", "joint", "number_cells", "separation"]

BINS = 64
SPIKE = 0.01
_PRIOR_ROWS = 2.0


class Separation(NamedTuple):
    """An area under the ROC curve, with its 95 % interval."""

    area: float
    low: float
    high: float


def halves(rows: int) -> Codes:
    """0 or 1 for each row: the two halves of cross-fitting, the same for the same number of rows."""
    return np.random.default_rng(rows).integers(0, 2, rows)


def separation(cells: Codes, yes: Flags, half: Codes) -> Separation:
    """How well `cells`, numbered from 0, tell `yes` from no."""
    size = int(cells.max()) + 1
    counts = np.bincount((half * 2 + yes) * size + cells, minlength=4 * size).reshape(2, 2, size).astype(np.float64)
    areas, weights = [], []
    for own, other in ((0, 1), (1, 0)):
        no, hits = counts[own]
        if not no.sum() or not hits.sum():
            continue
        rate = counts[other, 1].sum() / max(1.0, counts[other].sum())
        score = (counts[other, 1] + _PRIOR_ROWS * rate) / (counts[other].sum(axis=0) + _PRIOR_ROWS)
        areas.append(_area(score, hits, no))
        weights.append(hits.sum() * no.sum())
    positives, negatives = int(yes.sum()), int((~yes).sum())
    if not areas:
        return Separation(0.5, 0.0, 1.0)
    area = float(np.average(areas, weights=weights))
    low, high = hanley_mcneil(area, positives, negatives)
    return Separation(area, low, high)


def _area(score: Floats, hits: Floats, no: Floats) -> float:
    """The area when cells are ranked by score; cells of one score count as ties."""
    _, group = np.unique(score, return_inverse=True)
    up, down = np.bincount(group, weights=hits), np.bincount(group, weights=no)
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / (up.sum() * down.sum()))


def number_cells(numbers: Floats, bins: int = BINS) -> Codes:
    """Cells of a column of numbers: its values where they are few, else bins of equal count; frequent values and gaps
    are cells of their own."""
    known = ~np.isnan(numbers)
    cells = np.zeros(len(numbers), dtype=np.int64)
    if not known.any():
        return cells
    values, place, counts = np.unique(numbers[known], return_inverse=True, return_counts=True)
    if len(values) <= bins:
        cells[known] = place + 1
        return cells
    upto = np.cumsum(counts)
    cuts = np.unique(values[np.searchsorted(upto, np.linspace(0, 1, bins + 1)[1:-1] * upto[-1])])
    own = np.searchsorted(cuts, values, side="right")
    frequent = np.flatnonzero(counts >= SPIKE * known.sum())
    own[frequent] = len(cuts) + 1 + np.arange(len(frequent))
    cells[known] = own[place] + 1
    return cells


def joint(one: Codes, other: Codes) -> Codes:
    """The cells that two sets of cells make together."""
    return one * (int(other.max()) + 1) + other


def information(cells: Codes, yes: Flags) -> float:
    """The mutual information of cells and answer, in nats, less its bias on so few rows (Miller and Madow 1955)."""
    size = int(cells.max()) + 1
    table = np.bincount(yes * size + cells, minlength=2 * size).reshape(2, size).astype(np.float64)
    rows = float(table.sum())
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / rows
    there = table > 0
    found = float((table[there] * np.log(table[there] / expected[there])).sum() / rows)
    return max(0.0, found - (int((table.sum(axis=0) > 0).sum()) - 1) / (2 * rows)) if math.isfinite(found) else 0.0

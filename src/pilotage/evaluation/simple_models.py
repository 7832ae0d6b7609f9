"""Simple models of all columns, that a pilot's model should beat: a line, and a shallow tree. Small, and numpy only.

They are fitted on the rows that were not held out, at most `MOST_ROWS` of them, evenly spaced. Whoever needs a learner
should take a library's: these are here to be beaten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.rows import Column, Value, columns_of, counts_of, is_numeric, looked_up, values_of

__all__ = ["DEPTH", "MOST_ROWS", "linear_baseline", "spaced", "tree_baseline"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

MOST_ROWS = 50_000
DEPTH = 3
_FEWEST_IN_LEAF = 20
_CUTS = 20
_CATEGORIES = 20
_RIDGE = 1.0
_STEPS = 30


def linear_baseline(
    rows: Sequence[Sequence[Value]], labels: Labels, held_out: Sequence[Sequence[Value]], width: int
) -> Floats:
    """The held-out rows' scores by a logistic regression on all columns, [n].

    Numbers are standardised, null is their mean with a mark of its own; the most frequent categories have an indicator
    each. A ridge of 1 on standardised columns, none on the intercept.
    """
    chosen = spaced(len(labels))
    known = _designs(columns_of(rows, width), columns_of(held_out, width), chosen)
    if not known:
        return np.full(len(held_out), labels.mean())
    design = np.column_stack([*(one for one, _ in known), np.ones(len(chosen))])
    asked = np.column_stack([*(other for _, other in known), np.ones(len(held_out))])
    weights = _logistic(design, labels[chosen].astype(np.float64))
    return 1 / (1 + np.exp(-np.clip(asked @ weights, -500, 500)))


def tree_baseline(
    rows: Sequence[Sequence[Value]], labels: Labels, held_out: Sequence[Sequence[Value]], width: int
) -> Floats:
    """The held-out rows' scores by a decision tree of depth `DEPTH`, split by Gini impurity, [n].

    Numbers are cut at up to 20 quantiles, categories ordered by their rate; null is below all. A leaf holds 20 rows or
    more and is shrunk toward the rate of all by two rows.
    """
    chosen = spaced(len(labels))
    truth = labels[chosen]
    pairs = [
        _cells(one[chosen], other, truth)
        for one, other in zip(columns_of(rows, width), columns_of(held_out, width), strict=True)
    ]
    if not pairs:
        return np.full(len(held_out), labels.mean())
    own, asked = (np.column_stack([pair[side] for pair in pairs]) for side in (0, 1))
    scores = np.empty(len(held_out))
    _grow(own, truth, asked, np.arange(len(own)), np.arange(len(held_out)), DEPTH, float(truth.mean()), scores)
    return scores


def spaced(count: int) -> NDArray[np.intp]:
    """The places of at most MOST_ROWS of so many rows, evenly spaced."""
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.linspace(0, count - 1, MOST_ROWS).round().astype(np.intp)


def _designs(
    columns: Sequence[Column], others: Sequence[Column], chosen: NDArray[np.intp]
) -> list[tuple[Floats, Floats]]:
    found: list[tuple[Floats, Floats]] = []
    for column, other in zip(columns, others, strict=True):
        own = column[chosen]
        if is_numeric(own) and is_numeric(other):
            found += _standardised(own, other)
            continue
        counts: Counter[str] = Counter()
        for value, count in counts_of(own).items():
            counts[str(value)] += count
        places = {name: at for at, (name, _) in enumerate(counts.most_common(_CATEGORIES))}
        one, two = (_placed(each, places, -1) for each in (own, other))
        for at in range(len(places)):
            found += _standardised((one == at).astype(np.float64), (two == at).astype(np.float64))
    return found


def _standardised(one: Floats, other: Floats) -> list[tuple[Floats, Floats]]:
    """The pair as numbers of mean 0 and spread 1 in the first, and marks of null where it has some."""
    missing, also = np.isnan(one), np.isnan(other)
    if missing.all():
        return []
    pairs = [(one, other)]
    if missing.any():
        pairs.append((missing.astype(np.float64), also.astype(np.float64)))
    found = []
    for own, asked in pairs:
        mean, spread = float(np.nanmean(own)), float(np.nanstd(own))
        if spread > 0:
            # Far outliers would rule a line; a robust scale would hide them.
            made = [np.clip(np.where(np.isnan(each), 0.0, (each - mean) / spread), -8, 8) for each in (own, asked)]
            found.append((made[0], made[1]))
    return found


def _logistic(design: Floats, truth: Floats) -> Floats:
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[-1] = 1e-9
    weights = np.zeros(design.shape[1])
    rate = float(truth.mean())
    weights[-1] = np.log((rate + 1e-9) / (1 - rate + 1e-9))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        curve = design.T @ (design * (chance * (1 - chance))[:, None]) + np.diag(ridge)
        step = np.linalg.solve(curve, design.T @ (truth - chance) - ridge * weights)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _cells(column: Column, other: Column, truth: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ordered cells of a column and of another one's; those of null, and of what the first lacks, are 0."""
    if is_numeric(column) and is_numeric(other):
        known = column[~np.isnan(column)]
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, _CUTS + 1)[1:-1])) if len(known) else np.empty(0)
        own, asked = (np.searchsorted(cuts, each, side="right") + 1 for each in (column, other))
        own[np.isnan(column)] = asked[np.isnan(other)] = 0
        return own, asked
    values = np.array([str(value) for value in values_of(column)], dtype=object)
    names, which = np.unique(values, return_inverse=True)
    rates = np.bincount(which, weights=truth, minlength=len(names)) / np.bincount(which, minlength=len(names))
    place = {name: at + 1 for at, name in enumerate(names[np.argsort(rates, kind="stable")])}
    return _placed(column, place, 0), _placed(other, place, 0)


def _placed(column: Column, places: Mapping[str, int], other: int) -> NDArray[np.intp]:
    """The place of each value as text; `other` where it has none."""
    return looked_up(column, lambda value: places.get(str(value), other)).astype(np.intp)


@dataclass(frozen=True, kw_only=True)
class _Split:
    gain: float
    column: int
    cell: int


def _grow(
    own: NDArray[np.intp],
    truth: Labels,
    asked: NDArray[np.intp],
    inside: NDArray[np.intp],
    reached: NDArray[np.intp],
    depth: int,
    rate: float,
    scores: Floats,
) -> None:
    """Score the asked rows that reached this node, by the rows of the fit inside it."""
    split = _best(own[inside], truth[inside]) if depth and len(inside) >= 2 * _FEWEST_IN_LEAF else None
    if split is None:
        scores[reached] = (float(truth[inside].sum()) + 2 * rate) / (len(inside) + 2)
        return
    left, goes = own[inside, split.column] <= split.cell, asked[reached, split.column] <= split.cell
    for side, also in ((left, goes), (~left, ~goes)):
        _grow(own, truth, asked, inside[side], reached[also], depth - 1, rate, scores)


def _best(cells: NDArray[np.intp], truth: Labels) -> _Split | None:
    """The split that lowers the Gini impurity most; None where none does."""
    total, hits = len(truth), int(truth.sum())
    best = _Split(gain=1e-12, column=-1, cell=0)
    for at in range(cells.shape[1]):
        column = cells[:, at]
        count = np.cumsum(np.bincount(column))[:-1]
        positive = np.cumsum(np.bincount(column, weights=truth))[:-1]
        allowed = (count >= _FEWEST_IN_LEAF) & (total - count >= _FEWEST_IN_LEAF)
        if not allowed.any():
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            purer = positive**2 / count + (hits - positive) ** 2 / (total - count) - hits**2 / total
        purer = np.where(allowed, purer, -np.inf)
        place = int(np.argmax(purer))
        if purer[place] > best.gain:
            best = _Split(gain=float(purer[place]), column=at, cell=place)
    return best if best.column >= 0 else None

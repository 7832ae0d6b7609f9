"""What decisions cost: at the threshold in force, at the best one, and when everybody gets the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import mean_interval
from pilotage.evaluation.scored import ScoredRows
from pilotage.systems.evaluating import Costs

__all__ = ["CURVE", "cost_facts"]

Floats = NDArray[np.float64]

CURVE = 100
"""The most points of the curve of cost by threshold."""
_ONE_SIDED = 1.6448536269514722
_PARTS = 10


def cost_facts(
    labels: NDArray[np.bool_], scores: Floats, threshold: float, costs: Costs, *, seed: int
) -> dict[str, Any]:
    """The cost of a decision, in the costs' unit, each with its 95 % interval over the rows.

    - `current` at the threshold, `all_adverse` and `all_favourable` when all get one answer.
    - `best`: the threshold of least cost on these rows, and `between`, the thresholds that these rows cannot tell from
      it: whose extra cost is under 1.645 of its own standard errors (95 %, one-sided). A threshold found on rows
      flatters itself there: `elsewhere` is the cost when it is found on nine tenths and counted on the tenth left out.
    - `saving`: what the best would save of the current, a decision, each row counted as left out.
    - `theoretical`: where the best is if scores are true probabilities.
    - `curve`: [threshold, cost] pairs, the highest threshold first.
    """
    ranked = ScoredRows(labels, scores, threshold, costs)
    hits, false = ranked.counts(np.ones(len(labels)))
    # Before the highest score nothing is answered adversely.
    hits, false = np.r_[0.0, hits], np.r_[0.0, false]
    values = np.r_[np.nextafter(ranked.scores[0], np.inf), ranked.scores[ranked.ends]]
    rows, positives, negatives = len(labels), float(labels.sum()), float((~labels).sum())
    every = costs.of(hits, false, positives - hits, negatives - false) / rows
    best = int(np.argmin(every))
    same = _alike(hits, false, best, costs, rows)
    current, elsewhere = (
        _row_costs(labels, scores >= threshold, costs),
        _elsewhere(labels, scores, threshold, costs, seed),
    )
    shown = np.unique(np.linspace(0, len(values) - 1, CURVE).round().astype(int))
    return {
        "unit": costs.unit,
        "costs": {
            "true_positive": costs.true_positive,
            "false_positive": costs.false_positive,
            "false_negative": costs.false_negative,
            "true_negative": costs.true_negative,
        },
        "current": {"threshold": threshold, **_mean(current)},
        "all_adverse": _mean(_row_costs(labels, np.ones(rows, dtype=bool), costs)),
        "all_favourable": _mean(_row_costs(labels, np.zeros(rows, dtype=bool), costs)),
        "best": {
            "threshold": float(values[best]),
            "cost": float(every[best]),
            "between": [float(values[same].min()), float(values[same].max())],
            "elsewhere": float(elsewhere.mean()),
        },
        "saving": _mean(current - elsewhere),
        "theoretical": costs.theoretical,
        "curve": [[float(values[at]), float(every[at])] for at in shown],
    }


def _alike(hits: Floats, false: Floats, best: int, costs: Costs, rows: int) -> NDArray[np.bool_]:
    """Which thresholds' costs cannot be told from the best: rows between the two change by a constant a class."""
    to_positive, to_negative = costs.true_positive - costs.false_negative, costs.false_positive - costs.true_negative
    more, others = hits - hits[best], false - false[best]
    mean = (more * to_positive + others * to_negative) / rows
    square = (np.abs(more) * to_positive**2 + np.abs(others) * to_negative**2) / rows
    spread = np.sqrt(np.maximum(square - mean**2, 0) / rows)
    return np.asarray(mean <= _ONE_SIDED * spread)


def _row_costs(labels: NDArray[np.bool_], flagged: NDArray[np.bool_], costs: Costs) -> Floats:
    wrong = np.where(labels, costs.false_negative, costs.true_negative)
    return np.where(flagged, np.where(labels, costs.true_positive, costs.false_positive), wrong)


def _elsewhere(labels: NDArray[np.bool_], scores: Floats, threshold: float, costs: Costs, seed: int) -> Floats:
    """Each row's cost at the threshold that is best on the nine tenths without it."""
    parts = np.random.default_rng(seed).permutation(len(labels)) % _PARTS
    found = np.empty(len(labels))
    for part in range(_PARTS):
        out = parts == part
        if not out.any():
            continue
        kept = ScoredRows(labels[~out], scores[~out], threshold, costs)
        hits, false = kept.counts(np.ones(int((~out).sum())))
        every = costs.of(hits, false, hits[-1] - hits, false[-1] - false)
        nobody = costs.of(0.0, 0.0, float(hits[-1]), float(false[-1]))
        at = int(np.argmin(every))
        chosen = np.inf if nobody <= every[at] else kept.scores[kept.ends][at]
        found[out] = _row_costs(labels[out], scores[out] >= chosen, costs)
    return found


def _mean(values: Floats) -> dict[str, Any]:
    mean, low, high = mean_interval(len(values), float(values.sum()), float(np.square(values).sum()))
    return {"cost": mean, "interval_95": [low, high]}

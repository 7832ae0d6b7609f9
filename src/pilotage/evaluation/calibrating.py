"""Whether a score of .3 means that it happens three times in ten: bins, slope, and the Brier score in its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import mean_interval, wilson
from pilotage.evaluation.metrics import calibration

__all__ = ["BINS", "calibration_facts"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

BINS = 10
_Z = 1.959963984540054
_SMALLEST = 1e-6
_BY_CHANCE = 200
_STEPS = 50


def calibration_facts(labels: Labels, scores: Floats, *, seed: int = 2026) -> dict[str, Any]:
    """Everything about the calibration of probabilities.

    - `bins` of equal count, each {low, high, mean_score, rate, rows, rate_low, rate_high} (Wilson), and
      `expected_error`, the mean over rows of how far mean score and rate of their bin lie apart. `error_by_chance` is
      what 95 of 100 samples of this size stay under if every score were true (Broecker and Smith 2007).
    - `in_the_large`: mean score less rate, with its 95 % interval.
    - `slope` and `intercept` of the log-odds of the outcome on those of the score (Cox 1958), with their 95 %
      intervals from the sandwich variance; 1 and 0 are perfect, a slope under 1 promises too much. None where they
      cannot be fitted.
    - `brier`: `uncertainty` - `resolution` + `reliability` + `within_bins` is the Brier score (Murphy 1973; the last
      is what bins do not see, Stephenson et al. 2008).
    """
    table, error = calibration(labels, scores, BINS)
    for row in table:
        known = wilson(round(row["rate"] * row["rows"]), int(row["rows"]))
        row |= {"rate_low": known.low, "rate_high": known.high}
    apart = scores - labels
    gap, low, high = mean_interval(len(labels), float(apart.sum()), float(np.square(apart).sum()))
    return {
        "bins": table,
        "expected_error": error,
        "error_by_chance": _error_by_chance(scores, seed),
        "in_the_large": {"value": gap, "interval_95": [low, high]},
        **_line(labels, scores),
        "brier": _parts(labels, scores, table),
    }


def _error_by_chance(scores: Floats, seed: int) -> float:
    """The 95th percentile of the expected error when outcomes are drawn by the scores: draws of counts, bin by bin."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1]))
    which = np.searchsorted(edges, scores, side="right")
    counts = np.bincount(which, minlength=len(edges) + 1)
    sums = np.bincount(which, weights=scores, minlength=len(counts))
    # A sum of unlike chances varies less than a binomial of their mean: by the sum of p (1 - p).
    spread = np.sqrt(np.bincount(which, weights=scores * (1 - scores), minlength=len(counts)))
    generator = np.random.default_rng(seed)
    moved = np.abs(generator.normal(size=(_BY_CHANCE, len(counts))) * spread[None, :])
    largest = np.maximum(sums, counts - sums)[None, :]
    return float(np.quantile(np.minimum(moved, largest).sum(axis=1) / len(scores), 0.95))


def _line(labels: Labels, scores: Floats) -> dict[str, Any]:
    clipped = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    odds = np.log(clipped) - np.log1p(-clipped)
    design = np.column_stack([odds, np.ones(len(odds))])
    found = _fitted(design, labels.astype(np.float64)) if len(np.unique(odds)) > 1 else None
    if found is None:
        return {"slope": None, "intercept": None}
    weights, spread = found
    return {
        name: {
            "value": float(weights[at]),
            "interval_95": [float(weights[at] - _Z * spread[at]), float(weights[at] + _Z * spread[at])],
        }
        for at, name in enumerate(("slope", "intercept"))
    }


def _fitted(design: Floats, truth: Floats) -> tuple[Floats, Floats] | None:
    """Weights of a logistic regression by Newton's method and their standard errors; None where it does not settle, as
    with labels that the scores part without fault."""
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        curve = design.T @ (design * (chance * (1 - chance))[:, None])
        if not np.isfinite(curve).all() or np.linalg.cond(curve) > 1e12:
            return None
        step = np.linalg.solve(curve, design.T @ (truth - chance))
        # Halved where it is long: a full step from far away may overshoot for ever.
        weights = weights + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-10:
            scored = design * (truth - chance)[:, None]
            inverse = np.linalg.inv(curve)
            return weights, np.sqrt(np.diag(inverse @ (scored.T @ scored) @ inverse))
    return None


def _parts(labels: Labels, scores: Floats, table: list[dict[str, float]]) -> dict[str, float]:
    rate, rows = float(labels.mean()), len(labels)
    reliability = sum(row["rows"] * (row["mean_score"] - row["rate"]) ** 2 for row in table) / rows
    resolution = sum(row["rows"] * (row["rate"] - rate) ** 2 for row in table) / rows
    uncertainty = rate * (1 - rate)
    whole = float(np.square(scores - labels).mean())
    return {
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within_bins": whole - uncertainty + resolution - reliability,
    }

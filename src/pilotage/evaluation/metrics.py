"""Figures of a scored set, each from its definition, with bootstrap intervals. Numpy only; all inputs float64 [n]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERVAL", "auc", "auc_gain", "brier", "calibration", "confusion", "intervals", "log_loss"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

INTERVAL = (2.5, 97.5)
"""Percentiles of the interval that `intervals` gives."""

_SMALLEST = 1e-15


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Floats = last - (counts - 1) / 2.0
    return mean[inverse]


def auc(labels: Labels, scores: Floats) -> float | None:
    """The area under the ROC curve (Mann-Whitney: the chance that a positive outranks a negative; ties count half).

    None when only one class is there.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    total = _ranks(scores)[labels].sum() - positives * (positives + 1) / 2
    return float(total / (positives * negatives))


def _losses(labels: Labels, scores: Floats) -> Floats:
    clipped = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return -np.where(labels, np.log(clipped), np.log1p(-clipped))


def log_loss(labels: Labels, scores: Floats) -> float:
    """The mean negative log-likelihood, in nats; scores are clipped to 1e-15 from 0 and 1."""
    return float(_losses(labels, scores).mean())


def brier(labels: Labels, scores: Floats) -> float:
    """The mean squared difference between score and outcome (Brier 1950)."""
    return float(np.square(scores - labels).mean())


def calibration(labels: Labels, scores: Floats, bins: int = 10) -> tuple[list[dict[str, float]], float]:
    """Bins of equal count, each {low, high, mean_score, rate, rows}, and the expected calibration error.

    The error is the mean over rows of |mean score - observed rate| of the row's bin. Rows of equal score share a bin.
    """
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
    which = np.searchsorted(edges, scores, side="right")
    counts = np.bincount(which, minlength=len(edges) + 1)
    sums = np.bincount(which, weights=scores, minlength=len(counts))
    hits = np.bincount(which, weights=labels, minlength=len(counts))
    table = [
        {
            "low": float(scores[which == index].min()),
            "high": float(scores[which == index].max()),
            "mean_score": float(sums[index] / counts[index]),
            "rate": float(hits[index] / counts[index]),
            "rows": int(counts[index]),
        }
        for index in np.flatnonzero(counts)
    ]
    error = sum(abs(row["mean_score"] - row["rate"]) * row["rows"] for row in table) / len(scores)
    return table, float(error)


def confusion(labels: Labels, scores: Floats, threshold: float) -> dict[str, float | int | None]:
    """Counts and rates when at or above `threshold` counts as positive; a rate over nothing is None."""
    flagged = scores >= threshold
    hit, miss = int((flagged & labels).sum()), int((~flagged & labels).sum())
    false, clear = int((flagged & ~labels).sum()), int((~flagged & ~labels).sum())

    def rate(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return {
        "true_positive": hit,
        "false_negative": miss,
        "false_positive": false,
        "true_negative": clear,
        "precision": rate(hit, hit + false),
        "recall": rate(hit, hit + miss),
        "false_positive_rate": rate(false, false + clear),
        "accuracy": rate(hit + clear, len(labels)),
        "flagged": rate(hit + false, len(labels)),
    }


def intervals(labels: Labels, scores: Floats, *, rounds: int = 200, seed: int = 2026) -> dict[str, list[float]]:
    """95 % percentile bootstrap intervals [low, high] of auc, log_loss and brier.

    Rows are drawn with replacement as multinomial weights, so that one sort serves every round.
    """
    generator = np.random.default_rng(seed)
    size, area = len(labels), _AreaOfWeights(labels, scores)
    losses, squares = _losses(labels, scores), np.square(scores - labels)
    figures = np.empty((rounds, 3))
    for turn in range(rounds):
        weights = np.bincount(generator.integers(0, size, size), minlength=size).astype(np.float64)
        figures[turn] = area.area(weights), weights @ losses / size, weights @ squares / size
    if np.isnan(figures[:, 0]).all():
        return {}
    limits = np.nanpercentile(figures, INTERVAL, axis=0)
    return {name: [float(x) for x in limits[:, at]] for at, name in enumerate(("auc", "log_loss", "brier"))}


def auc_gain(
    labels: Labels, scores: Floats, baseline: Floats, *, rounds: int = 200, seed: int = 2026
) -> tuple[float, list[float]] | None:
    """How much larger the AUC of `scores` is than that of `baseline`, and its 95 % paired bootstrap interval.

    None when only one class is there.
    """
    gain = (auc(labels, scores), auc(labels, baseline))
    if gain[0] is None or gain[1] is None:
        return None
    generator = np.random.default_rng(seed)
    one, other = _AreaOfWeights(labels, scores), _AreaOfWeights(labels, baseline)
    draws = np.empty(rounds)
    for turn in range(rounds):
        weights = np.bincount(generator.integers(0, len(labels), len(labels)), minlength=len(labels)).astype(np.float64)
        draws[turn] = one.area(weights) - other.area(weights)
    return gain[0] - gain[1], [float(limit) for limit in np.nanpercentile(draws, INTERVAL)]


class _AreaOfWeights:
    """The AUC of one scored set under many row weights: sorted once."""

    def __init__(self, labels: Labels, scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        self._starts = np.flatnonzero(np.r_[True, np.diff(scores[self.order]) > 0])
        self._positive = labels[self.order].astype(np.float64)

    def area(self, weights: Floats) -> float:
        """The AUC when row i counts `weights[i]` times; NaN when one class has no weight."""
        drawn = weights[self.order]
        hits = np.add.reduceat(drawn * self._positive, self._starts)
        others = np.add.reduceat(drawn * (1 - self._positive), self._starts)
        pairs = hits.sum() * others.sum()
        below = np.cumsum(others) - others
        return float((hits * (below + others / 2)).sum() / pairs) if pairs else float("nan")

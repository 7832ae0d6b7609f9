"""Figures of a scored set, each from its definition, with bootstrap intervals. Numpy only; all inputs float64 [n]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERVAL", "auc", "brier", "calibration", "confusion", "intervals", "log_loss"]

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
    size = len(labels)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positive = labels[order].astype(np.float64)
    losses, squares = _losses(labels, scores)[order], np.square(scores - labels)[order]
    figures = np.empty((rounds, 3))
    for turn in range(rounds):
        weights = np.bincount(generator.integers(0, size, size), minlength=size).astype(np.float64)
        hits = np.add.reduceat(weights * positive, starts)
        others = np.add.reduceat(weights * (1 - positive), starts)
        pairs = hits.sum() * others.sum()
        below = np.cumsum(others) - others
        area = float((hits * (below + others / 2)).sum() / pairs) if pairs else np.nan
        figures[turn] = area, (weights * losses).sum() / size, (weights * squares).sum() / size
    limits = np.nanpercentile(figures, INTERVAL, axis=0) if not np.isnan(figures[:, 0]).all() else None
    names = ("auc", "log_loss", "brier")
    return {} if limits is None else {name: [float(x) for x in limits[:, at]] for at, name in enumerate(names)}

"""Whether one score ranks better than another on the same rows, beyond chance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["auc_error", "auc_gain"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

_Z = 1.959963984540054


def _midranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = np.cumsum(counts) - (counts - 1) / 2.0
    return ranks[inverse]


def _placements(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    positives, negatives = scores[labels], scores[~labels]
    together = _midranks(scores)
    above = (together[labels] - _midranks(positives)) / len(negatives)
    below = 1 - (together[~labels] - _midranks(negatives)) / len(positives)
    return above, below


def auc_gain(labels: Labels, scores: Floats, other: Floats) -> tuple[float, float, float]:
    """AUC(scores) - AUC(other) on the same rows, and its 95 % interval.

    By the variance of placements (DeLong, DeLong and Clarke-Pearson 1988; Sun and Xu 2014). Needs both classes.
    """
    ours, theirs = _placements(labels, scores), _placements(labels, other)
    first, second = ours[0] - theirs[0], ours[1] - theirs[1]
    gain = float(first.mean())
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (first, second) if len(part) > 1)
    half = _Z * math.sqrt(variance)
    return gain, gain - half, gain + half


def auc_error(area: float, positives: int, negatives: int) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982)."""
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (one - area * area) + (negatives - 1) * (two - area * area)
    return math.sqrt(max(spread, 0.0) / (positives * negatives))

"""Figures of scores against labels under any weights of the rows: sorted once, then a few sums a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.bootstrap import dot
from pilotage.systems.evaluating import Costs

__all__ = ["NAMES", "TOP", "ScoredRows"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

NAMES = (
    "auc",
    "average_precision",
    "ks",
    "top_tenth_lift",
    "log_loss",
    "brier",
    "balanced_accuracy",
    "f1",
    "mcc",
    "cost",
)
"""What `ScoredRows.figures` gives, in order."""
TOP = 0.1
_SMALLEST = 1e-15


class ScoredRows:
    """One scored set. Its figures are of all rows, or of rows drawn from them.

    - `auc`: the chance that a positive outranks a negative, ties counting half (Mann and Whitney 1947).
    - `average_precision`: the mean of precision over the recalls reached, one step a distinct score.
    - `ks`: the largest distance between the shares of positives and of negatives above a score.
    - `top_tenth_lift`: the rate of positives in the tenth of highest scores, to the rate of all. Of rows of one score
      as many count as the tenth has room for, of average rate.
    - `log_loss` in nats (scores held 1e-15 from 0 and 1) and `brier`: NaN when a score is no probability.
    - `balanced_accuracy`, `f1`, `mcc` (Matthews 1975), and `cost` a row: when scores at or above the threshold are
      answered as positive. `cost` is NaN without costs.
    """

    def __init__(self, labels: Labels, scores: Floats, threshold: float, costs: Costs | None = None) -> None:
        order = np.argsort(-scores, kind="stable")
        self._order = order
        self.scores = scores[order]
        self.positive = labels[order].astype(np.float64)
        self.ends = np.flatnonzero(np.r_[np.diff(self.scores) != 0, True])
        self._ties = len(self.ends) < len(scores)
        self.cut = int(np.searchsorted(-self.scores, -threshold, side="right"))
        self.costs = costs
        probable = bool(scores.min() >= 0 and scores.max() <= 1)
        clipped = np.clip(self.scores, _SMALLEST, 1 - _SMALLEST)
        missing = np.full(len(scores), np.nan)
        losses = -np.where(self.positive > 0, np.log(clipped), np.log1p(-clipped)) if probable else missing
        squares = np.square(self.scores - self.positive) if probable else missing
        self._losses, self._squares = losses, squares

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted positives and negatives at or above each distinct score, the highest first."""
        drawn = weights[self._order]
        hits, every = np.cumsum(drawn * self.positive), np.cumsum(drawn)
        if self._ties:
            hits, every = hits[self.ends], every[self.ends]
        return hits, every - hits

    def figures(self, weights: Floats) -> Floats:
        """The figures named in NAMES, NaN where there is only one class or nothing to tell."""
        drawn = weights[self._order]
        hits, every = np.cumsum(drawn * self.positive), np.cumsum(drawn)
        at = self._at(hits), self._at(every - hits)
        positives, total = hits[-1], every[-1]
        negatives = total - positives
        if not positives or not negatives:
            return np.full(len(NAMES), np.nan)
        if self._ties:
            hits, every = hits[self.ends], every[self.ends]
        false = every - hits
        steps, falls = np.diff(hits, prepend=0.0), np.diff(false, prepend=0.0)
        precision = np.divide(hits, every, out=np.zeros_like(hits), where=every > 0)
        return np.array(
            [
                dot(falls, hits - steps / 2) / (positives * negatives),
                dot(steps, precision) / positives,
                np.abs(hits / positives - false / negatives).max(),
                np.interp(TOP * total, np.r_[0.0, every], np.r_[0.0, hits]) / (TOP * positives),
                dot(drawn, self._losses) / total,
                dot(drawn, self._squares) / total,
                *self._threshold_figures(*at, positives, negatives),
            ]
        )

    def area(self, weights: Floats) -> float:
        """Only the AUC, for a comparison."""
        hits, false = self.counts(weights)
        steps, falls = np.diff(hits, prepend=0.0), np.diff(false, prepend=0.0)
        pairs = hits[-1] * false[-1]
        return dot(falls, hits - steps / 2) / float(pairs) if pairs else float("nan")

    def _at(self, sums: Floats) -> float:
        return float(sums[self.cut - 1]) if self.cut else 0.0

    def _threshold_figures(self, hit: float, false: float, positives: float, negatives: float) -> list[float]:
        miss, clear = positives - hit, negatives - false
        product = (hit + false) * positives * negatives * (miss + clear)
        f1 = 2 * hit / (2 * hit + false + miss)
        mcc = (hit * clear - false * miss) / np.sqrt(product) if product else 0.0
        cost = self.costs.of(hit, false, miss, clear) / (positives + negatives) if self.costs else np.nan
        return [(hit / positives + clear / negatives) / 2, f1, mcc, cost]

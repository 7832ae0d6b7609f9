"""Intervals at 95 %, each from its definition: of a rate, of a mean, of an area under a curve of counts."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.metrics import auc

__all__ = ["Area", "Rate", "auc_area", "binned_auc", "hanley_mcneil", "mean_interval", "wilson"]

_Z = 1.959963984540054
_ROUNDS = 400


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """`count` of `of`, with the Wilson score interval at 95 % (Wilson 1927); 0 to 1 where there is nothing."""

    count: int
    of: int
    rate: float
    low: float
    high: float


def wilson(count: int, of: int) -> Rate:
    """The rate and its interval."""
    if of == 0:
        return Rate(count=count, of=0, rate=0.0, low=0.0, high=1.0)
    share, spread = count / of, _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # Rounding must not keep the interval from holding none and all.
    return Rate(count=count, of=of, rate=share, low=0.0 if count == 0 else low, high=1.0 if count == of else high)


def mean_interval(n: int, total: float, squares: float) -> tuple[float, float, float]:
    """(mean, low, high) at 95 % from a sum and a sum of squares of n values, by the normal approximation."""
    if n == 0:
        return 0.0, 0.0, 0.0
    mean = total / n
    deviation = math.sqrt(max(0.0, squares / n - mean * mean) * n / (n - 1)) if n > 1 else 0.0
    half = _Z * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """An area under the ROC curve with its interval at 95 %."""

    area: float
    low: float
    high: float


def auc_area(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> Area | None:
    """The AUC of scores, with the interval of Hanley and McNeil (1982); None when one class is missing."""
    area = auc(labels, scores)
    if area is None:
        return None
    positives = int(labels.sum())
    low, high = hanley_mcneil(area, positives, len(labels) - positives)
    return Area(area=area, low=low, high=high)


def hanley_mcneil(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """The interval at 95 % of an AUC on so many rows of each class (Hanley and McNeil 1982)."""
    one, other = area / (2 - area), 2 * area * area / (1 + area)
    spread = (positives - 1) * (one - area * area) + (negatives - 1) * (other - area * area)
    half = _Z * math.sqrt(max(0.0, area * (1 - area) + spread) / (positives * negatives))
    return max(0.0, area - half), min(1.0, area + half)


def binned_auc(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> Area | None:
    """The AUC of counts by cell of the score, [cells] each, the lowest first; rows of one cell count as ties.

    None when one class is missing. The interval draws rows of each class anew: the same counts give the same.
    """
    if not positives.sum() or not negatives.sum():
        return None
    random = np.random.default_rng(2026)
    drawn = [random.multinomial(each.sum(), each / each.sum(), size=_ROUNDS) for each in (positives, negatives)]
    areas = [_area(one, other) for one, other in zip(*drawn, strict=True)]
    low, high = np.quantile(areas, [0.025, 0.975])
    return Area(area=_area(positives, negatives), low=float(low), high=float(high))


def _area(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))

"""PERT estimates: low, likely, high, as a beta distribution of mean (low + 4 likely + high) / 6 (Malcolm 1959)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn", "expected"]


def expected(low: float, likely: float, high: float) -> float:
    """The mean of an estimate."""
    return (low + 4 * likely + high) / 6


def drawn(generator: np.random.Generator, low: float, likely: float, high: float, count: int) -> NDArray[np.float64]:
    """Draws of an estimate, [count].

    As many are drawn where it is certain: one estimate made certain leaves the draws of the others as they were.
    """
    span = high - low
    before, after = ((likely - low) / span, (high - likely) / span) if span else (0.5, 0.5)
    return low + span * generator.beta(1 + 4 * before, 1 + 4 * after, count)

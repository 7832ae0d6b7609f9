"""Bootstrap intervals at 95 %: rows, or whole groups of rows, are drawn with replacement and become weights.

A figure is a function of weights, so that the same code gives the figure itself (every weight 1) and each of its draws.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROUNDS", "Figures", "Progress", "bootstrap", "codes_of", "dot", "interval"]

Floats = NDArray[np.float64]
Figures = Callable[[Floats], Floats]
"""Weights of the rows, [n], to figures, [k]; NaN where the weighted rows say nothing of one."""
Progress = Callable[[int, int], None]
"""Told (rounds done, all of them)."""

ROUNDS = 1_000
_NORMAL = NormalDist()
_Z = 1.959963984540054
_FEWEST_DRAWS = 20


def bootstrap(
    figures: Figures,
    rows: int,
    *,
    rounds: int = ROUNDS,
    seed: int = 2026,
    groups: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Draws of the figures, [rounds, k]. `groups` are the codes of rows that belong together (`codes_of`), [n]."""
    generator = np.random.default_rng(seed)
    units = rows if groups is None else int(groups.max()) + 1
    draws = []
    for turn in range(rounds):
        counts = np.bincount(generator.integers(0, units, units), minlength=units).astype(np.float64)
        draws.append(figures(counts if groups is None else counts[groups]))
        if progress is not None and turn % 20 == 19:
            progress(turn + 1, rounds)
    return np.array(draws)


def interval(point: float, draws: Floats) -> list[float] | None:
    """[low, high] at 95 %: percentiles of the draws, corrected for bias (Efron 1987, without acceleration).

    The correction matters where draws lie to one side of the figure, as those of a maximum do. None without a figure,
    or where too few draws have one.
    """
    known = draws[~np.isnan(draws)]
    if np.isnan(point) or len(known) < _FEWEST_DRAWS:
        return None
    share = (np.count_nonzero(known < point) + np.count_nonzero(known == point) / 2) / len(known)
    shift = 2 * _NORMAL.inv_cdf(min(max(share, 0.5 / len(known)), 1 - 0.5 / len(known)))
    shares = [_NORMAL.cdf(shift - _Z), _NORMAL.cdf(shift + _Z)]
    return [float(each) for each in np.quantile(known, shares)]


def codes_of(groups: NDArray[np.generic]) -> NDArray[np.int64]:
    """A number from 0 for each row's group, [n]."""
    codes: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return codes


def dot(one: Floats, other: Floats) -> float:
    """The sum of products by one core: several, for sums as short as these, mostly wait for each other."""
    return float(np.einsum("i,i", one, other))

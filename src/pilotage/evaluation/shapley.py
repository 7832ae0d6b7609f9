"""Shapley values by sampling orders (Castro, Gómez and Tejada 2009), each order walked forth and back (antithetic)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.explainer import ScoreRows
from pilotage.kernel.rows import Value

__all__ = ["sampled_contributions"]


def sampled_contributions(
    score_rows: ScoreRows,
    values: Sequence[Value],
    background: Sequence[Sequence[Value]],
    *,
    permutations: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contributions of each feature to the score against the background, and their standard errors; [features] each.

    `permutations` pairs of orders are drawn; each walks from one background row to `values`, background rows taken in
    turn. The contributions of one walk add up exactly to the score's difference. All rows are scored in one call.
    """
    generator = np.random.default_rng(seed)
    features = len(values)
    orders: list[NDArray[np.int64]] = []
    rows: list[list[Value]] = []
    for turn in range(permutations):
        order = generator.permutation(features)
        start = background[turn % len(background)]
        for each in (order, order[::-1]):
            orders.append(each)
            row = list(start)
            rows.append(list(row))
            for feature in each:
                row[feature] = values[feature]
                rows.append(list(row))
    scores = score_rows(rows).reshape(2 * permutations, features + 1)
    walks = np.empty((2 * permutations, features))
    for walk, order in enumerate(orders):
        walks[walk, order] = np.diff(scores[walk])
    pairs = walks.reshape(permutations, 2, features).mean(axis=1)
    spread = pairs.std(axis=0, ddof=1) if permutations > 1 else np.zeros(features)
    return pairs.mean(axis=0), spread / np.sqrt(permutations)

"""Figures of ranked lists, one a query, with intervals over queries: a query is drawn whole or not at all.

Rows of one query and score have no order: each figure is what it is on average over their orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.evaluation.bootstrap import ROUNDS, Progress, bootstrap, interval

__all__ = ["CUTS", "query_figures", "ranking"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

CUTS = (5, 10)
"""How far down lists are looked at, unless told."""


def ranking(
    queries: Codes,
    relevance: Floats,
    scores: Floats,
    *,
    cuts: Sequence[int] = CUTS,
    against: Mapping[str, Floats] | None = None,
    rounds: int = ROUNDS,
    seed: int = 2026,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The evaluation of ranked rows, [n]; `queries` are codes, `relevance` is 0 or more.

    Queries without a relevant row say nothing of a ranking: they are counted and left out. `against` has other scores
    of the same rows: their figures, and how much larger the model's NDCG at the last cut is, with the interval of the
    paired difference over queries. Raises InputError when no query has a relevant row.
    """
    table = query_figures(queries, relevance, scores, cuts)
    names = list(table)
    others = {name: query_figures(queries, relevance, each, cuts) for name, each in (against or {}).items()}
    main = f"ndcg_at_{max(cuts)}"
    columns = [table[name] for name in names] + [table[main] - other[main] for other in others.values()]
    known = ~np.isnan(table[main])
    if not known.any():
        raise InputError(
            "no query has a relevant row",
            got=f"{len(known)} queries, every relevance 0",
            expected="a target above 0 for what should rank first",
            mend="check --target and --group",
        )
    values = np.column_stack(columns)[known]

    def figures(weights: Floats) -> Floats:
        found: Floats = weights @ values / weights.sum()
        return found

    point = figures(np.ones(len(values)))
    draws = bootstrap(figures, len(values), rounds=rounds, seed=seed, progress=progress)
    spans = [interval(value, draws[:, at]) for at, value in enumerate(point)]
    sizes = np.bincount(queries)
    return {
        "queries": len(known),
        "queries_without_relevant": int((~known).sum()),
        "rows_a_query": float(sizes.mean()),
        "metrics": {name: float(value) for name, value in zip(names, point, strict=False)},
        "intervals_95": {name: span for name, span in zip(names, spans, strict=False) if span is not None},
        "against": {
            name: {
                **{each: float(column[known].mean()) for each, column in other.items()},
                "ndcg_gain": float(point[len(names) + at]),
                "ndcg_gain_interval_95": (span := spans[len(names) + at]),
                "beaten": span is not None and span[0] > 0,
            }
            for at, (name, other) in enumerate(others.items())
        },
    }


def query_figures(queries: Codes, relevance: Floats, scores: Floats, cuts: Sequence[int]) -> dict[str, Floats]:
    """By name, the figure of each query, [queries]; NaN for a query without a relevant row.

    `ndcg_at_k` with gain the relevance and discount log2 (Järvelin and Kekäläinen 2002; ties as McSherry and Najork
    2008), `map` (precision at each score that brings a relevant row, as scikit-learn's average_precision_score), `mrr`,
    `precision_at_k` of k rows even where a query has fewer, `recall_at_k`.
    """
    ties = _Ties(queries, relevance, scores)
    ideal = _Ties(queries, relevance, relevance)
    found: dict[str, Floats] = {}
    for cut in cuts:
        with np.errstate(invalid="ignore"):
            found[f"ndcg_at_{cut}"] = ties.discounted(cut) / ideal.discounted(cut)
    found |= {"map": ties.average_precision(), "mrr": ties.reciprocal_rank()}
    for cut in cuts:
        within = ties.relevant_within(cut)
        found[f"precision_at_{cut}"] = within / cut
        with np.errstate(invalid="ignore"):
            found[f"recall_at_{cut}"] = within / ties.relevant_a_query
    nothing = ties.relevant_a_query == 0
    return {name: np.where(nothing, np.nan, each) for name, each in found.items()}


class _Ties:
    """Rows by query and falling score, in groups of equal score: where each starts, how large, how relevant it is."""

    def __init__(self, queries: Codes, relevance: Floats, scores: Floats) -> None:
        order = np.lexsort((-scores, queries))
        asked, ranked, worth = queries[order], scores[order], relevance[order]
        fresh = np.r_[True, (np.diff(asked) != 0) | (np.diff(ranked) != 0)]
        starts = np.flatnonzero(fresh)
        self.query = asked[starts]
        self.queries = int(queries.max()) + 1
        sizes = np.bincount(queries, minlength=self.queries)
        first = np.r_[0, np.cumsum(sizes)[:-1]]
        self.longest = int(sizes.max())
        self.start = starts - first[self.query]
        self.size = np.diff(np.r_[starts, len(order)])
        self.gain = np.add.reduceat(worth, starts)
        self.relevant = np.add.reduceat((worth > 0).astype(np.float64), starts)
        self.relevant_a_query = np.bincount(self.query, weights=self.relevant, minlength=self.queries)

    def _sum(self, values: Floats) -> Floats:
        sums: Floats = np.bincount(self.query, weights=values, minlength=self.queries).astype(np.float64)
        return sums

    def discounted(self, cut: int) -> Floats:
        discounts = np.r_[0.0, np.cumsum(1 / np.log2(np.arange(self.longest) + 2))]
        ends = np.minimum(self.start + self.size, cut)
        return self._sum(self.gain / self.size * (discounts[ends] - discounts[np.minimum(self.start, cut)]))

    def relevant_within(self, cut: int) -> Floats:
        inside = np.minimum(self.start + self.size, cut) - np.minimum(self.start, cut)
        return self._sum(self.relevant / self.size * inside)

    def average_precision(self) -> Floats:
        total = np.cumsum(self.relevant)
        before = np.r_[0.0, np.cumsum(self.relevant_a_query)[:-1]]
        precision = (total - before[self.query]) / (self.start + self.size)
        with np.errstate(invalid="ignore"):
            found: Floats = self._sum(self.relevant * precision) / self.relevant_a_query
        return found

    def reciprocal_rank(self) -> Floats:
        found = np.zeros(self.queries)
        holding = np.flatnonzero(self.relevant > 0)
        asked, at = np.unique(self.query[holding], return_index=True)
        for query, tie in zip(asked, holding[at], strict=True):
            start, size, relevant = int(self.start[tie]), int(self.size[tie]), int(self.relevant[tie])
            found[query] = 1 / (start + 1) if relevant == size else _expected(start, size, relevant)
        return found


def _expected(start: int, size: int, relevant: int) -> float:
    """The mean of 1 / rank of the first relevant row, over the orders of `size` rows after `start` others."""
    at = np.arange(size - relevant + 1)
    here = relevant / (size - at)
    reached = np.r_[1.0, np.cumprod(1 - here)[:-1]]
    return float((reached * here / (start + at + 1)).sum())

"""How strongly two columns go together, from 0 to 1, and which columns therefore stand for one factor.

Two columns of numbers: the absolute rank correlation (Spearman 1904), from 20 pairs on. With a category among them:
Cramér's V with Bergsma's (2013) correction for small samples, numbers cut at their deciles. Null is a category of its
own in the latter and left out of the former.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.rows import Value

__all__ = ["Columns", "associations", "connected"]

FEWEST = 20
MOST_CATEGORIES = 20
_DECILES = np.linspace(0, 1, 11)[1:-1]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Columns:
    """Columns made ready to be compared: the order of the numbers among them, cells of all."""

    def __init__(self, columns: dict[str, Sequence[Value]], numeric: Iterable[str]) -> None:
        self.names = list(columns)
        numbers = {name: _numbers(columns[name]) for name in numeric if name in columns}
        self._places = {name: _places(column) for name, column in numbers.items()}
        self._cells = {
            name: _binned(numbers[name]) if name in numbers else _coded(column) for name, column in columns.items()
        }

    def association(self, one: str, other: str) -> float:
        """Of two columns; 0 where one of them is constant or too few rows have both."""
        if one in self._places and other in self._places:
            return _rank_correlation(self._places[one], self._places[other])
        return _cramers_v(self._cells[one], self._cells[other])


def associations(columns: Columns, pairs: Iterable[tuple[str, str]] | None = None) -> dict[tuple[str, str], float]:
    """The association of each pair; of all pairs unless given."""
    chosen = combinations(columns.names, 2) if pairs is None else pairs
    return {(one, other): columns.association(one, other) for one, other in chosen}


def connected(names: Sequence[str], links: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The names in groups that the links connect, also over others; each group and their list in the order given."""
    home = {name: name for name in names}

    def root(name: str) -> str:
        while home[name] != name:
            home[name] = home[home[name]]
            name = home[name]
        return name

    for one, other in links:
        home[root(other)] = root(one)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def _numbers(column: Sequence[Value]) -> Floats:
    return np.array([np.nan if value is None else float(value) for value in column], dtype=np.float64)


def _coded(column: Sequence[Value]) -> Codes:
    """A cell number for each value; values beyond the most frequent ones share a cell."""
    texts = np.array(["\x00" if value is None else f"{type(value).__name__}:{value}" for value in column], dtype=object)
    found, codes, counts = np.unique(texts, return_inverse=True, return_counts=True)
    if len(found) <= MOST_CATEGORIES:
        return codes.astype(np.int64)
    keep = np.argsort(-counts, kind="stable")[: MOST_CATEGORIES - 1]
    place = np.full(len(found), MOST_CATEGORIES - 1, dtype=np.int64)
    place[keep] = np.arange(len(keep))
    return place[codes]


def _binned(numbers: Floats) -> Codes:
    known = numbers[~np.isnan(numbers)]
    cuts = np.unique(np.quantile(known, _DECILES)) if len(known) else np.empty(0)
    codes = np.searchsorted(cuts, numbers, side="left").astype(np.int64)
    codes[np.isnan(numbers)] = len(cuts) + 1
    return codes


def _places(numbers: Floats) -> Codes:
    """Where each number is among the distinct ones, -1 for null: ranks of any part of the rows follow by counting."""
    known = ~np.isnan(numbers)
    places = np.full(len(numbers), -1, dtype=np.int64)
    places[known] = np.unique(numbers[known], return_inverse=True)[1]
    return places


def _ranks(places: Codes) -> Floats:
    """Ranks less their mean, equal numbers sharing their mean rank."""
    counts = np.bincount(places)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[places]
    return ranks - (len(places) + 1) / 2


def _rank_correlation(one: Codes, other: Codes) -> float:
    both = (one >= 0) & (other >= 0)
    if both.sum() < FEWEST:
        return 0.0
    a, b = _ranks(one[both]), _ranks(other[both])
    # Sums of products and not `@`: over so short columns threads of BLAS wait for each other longer than they work.
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return abs(float((a * b).sum()) / norm) if norm > 0 else 0.0


def _cramers_v(one: Codes, other: Codes) -> float:
    rows = len(one)
    if rows < FEWEST:
        return 0.0
    _, a = np.unique(one, return_inverse=True)
    _, b = np.unique(other, return_inverse=True)
    height, width = int(a.max()) + 1, int(b.max()) + 1
    if min(height, width) < 2:
        return 0.0
    table = np.bincount(a * width + b, minlength=height * width).reshape(height, width).astype(np.float64)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / rows
    phi = float(((table - expected) ** 2 / expected).sum()) / rows
    phi = max(0.0, phi - (height - 1) * (width - 1) / (rows - 1))
    tall, wide = height - (height - 1) ** 2 / (rows - 1), width - (width - 1) ** 2 / (rows - 1)
    most = min(tall, wide) - 1
    return min(1.0, float(np.sqrt(phi / most))) if most > 0 else 0.0

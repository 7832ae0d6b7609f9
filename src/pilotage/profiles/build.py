"""Build a reference profile: bins at the reference's own quantiles, categories by how common they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.kernel.rows import Column, Rows, counts_of, is_numeric
from pilotage.profiles.counts import count_values
from pilotage.profiles.model import SCORE, ColumnProfile, Kind, ReferenceProfile

__all__ = ["BINS", "COMMON", "RARE", "build_profile"]

BINS = 20
COMMON = 50
RARE = 1_000
"""At most so many rare categories are remembered by name; those beyond count as unseen."""


def build_profile(
    kinds: Mapping[str, Kind],
    rows: Sequence[Sequence[Any]],
    scores: Sequence[float | None] = (),
) -> ReferenceProfile:
    """The profile of reference rows, whose values are in the order of `kinds` (a contract's `kinds`).

    `scores` may be those of other rows: give held-out ones, since a model scores the rows it was fitted on otherwise
    than rows it meets. Numeric columns get about 20 bins of equal count; a single value that would fill a bin alone
    has its own. Raises InputError when there are no rows or they do not fit `kinds`.
    """
    widths = {len(rows.columns)} if isinstance(rows, Rows) else set(map(len, rows))
    wrong = next(iter(widths - {len(kinds)}), None)
    if not rows or wrong is not None:
        raise InputError(
            "the reference rows cannot be profiled",
            got="no rows" if wrong is None else f"a row of {wrong} values",
            expected=f"rows of {len(kinds)} values",
            mend="give the rows in the order of the columns",
        )
    given: Iterable[Sequence[Any] | Column] = rows.columns if isinstance(rows, Rows) else zip(*rows, strict=True)
    columns = [_profile(name, kind, values) for (name, kind), values in zip(kinds.items(), given, strict=True)]
    if scores:
        columns.append(_profile(SCORE, "numeric", scores))
    return ReferenceProfile(columns=tuple(columns), rows=len(rows))


def _profile(name: str, kind: Kind, values: Sequence[Any] | Column) -> ColumnProfile:
    empty = _numeric(name, values) if kind == "numeric" else _categorical(name, values)
    return msgspec.structs.replace(empty, counts=tuple(count_values(empty, values)))


def _categorical(name: str, values: Sequence[Any] | Column) -> ColumnProfile:
    common: Counter[Any] = counts_of(values) if isinstance(values, np.ndarray) else Counter(values)
    common.pop(None, None)
    ranked = sorted(common, key=lambda value: (-common[value], str(value)))
    plain = [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in ranked]
    return ColumnProfile(
        name=name,
        kind="categorical",
        counts=(),
        categories=tuple(sorted(plain[:COMMON], key=lambda value: (isinstance(value, str), value))),
        rare=tuple(plain[COMMON : COMMON + RARE]),
    )


def _numeric(name: str, values: Sequence[Any] | Column) -> ColumnProfile:
    numbers = values if isinstance(values, np.ndarray) and is_numeric(values) else _numbers(values)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return ColumnProfile(name=name, kind="numeric", counts=())
    distinct, counts = np.unique(numbers, return_counts=True)
    return ColumnProfile(
        name=name,
        kind="numeric",
        counts=(),
        low=float(distinct[0]),
        high=float(distinct[-1]),
        cuts=_cuts(distinct, counts),
    )


def _numbers(values: Iterable[Any]) -> NDArray[np.float64]:
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return np.array(numbers, dtype=np.float64)


def _cuts(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Borders between bins of about equal count; a value as common as a whole bin stands alone."""
    target = counts.sum() / BINS
    heavy = counts >= target
    # The value's place among the light ones says which quantile it belongs to; heavy values only split.
    before = np.cumsum(np.where(heavy, 0, counts)) - np.where(heavy, 0, counts)
    quantile = np.floor(before / target).astype(np.int64)
    border = heavy[1:] | heavy[:-1] | (quantile[1:] != quantile[:-1])
    groups = np.concatenate([[0], np.cumsum(border)])
    sizes = np.bincount(groups, weights=counts)
    kept = np.flatnonzero(_kept(border, groups, sizes, heavy))
    return tuple(_between(float(distinct[i]), float(distinct[i + 1])) for i in kept)


def _kept(border: NDArray[Any], groups: NDArray[Any], sizes: NDArray[Any], heavy: NDArray[Any]) -> NDArray[Any]:
    """The borders without those that would leave a light bin under a quarter of a bin beside another light one."""
    least = sizes.sum() / BINS / 4
    alone = np.zeros(len(sizes), dtype=bool)
    alone[groups[heavy]] = True
    kept = border.copy()
    for index in np.flatnonzero(border):
        left, right = groups[index], groups[index + 1]
        if not alone[left] and not alone[right] and min(sizes[left], sizes[right]) < least:
            kept[index] = False
    return kept


def _between(left: float, right: float) -> float:
    """A border between two neighbours that puts `left` below it and `right` at or above it."""
    middle = left + (right - left) / 2
    return float(middle if left < middle <= right else right)

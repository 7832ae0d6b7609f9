"""Count rows in a profile's cells. Counts are integers and add up: a window is a sum of batches, exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pilotage.errors import InputError
from pilotage.kernel.rows import Column, counts_of, is_numeric
from pilotage.profiles.model import SCORE, ColumnProfile, ReferenceProfile

__all__ = ["Counts", "add", "count_floats", "count_rows", "count_values", "total"]

Array = np.ndarray[tuple[int], np.dtype[np.float64]]

Counts = dict[str, list[int]]
"""Column name → rows per cell, in the order of the column's cells; plain JSON."""


def count_rows(
    profile: ReferenceProfile,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    scores: Sequence[float | None] = (),
) -> Counts:
    """The counts of rows whose values are in the order of `names`, and of their scores.

    A column of the profile that `names` lacks is left out, as is the score when the profile has none. A row without
    a score (None) is counted in the score's null cell. Vectorised; about 2 µs a row at 23 columns.
    """
    cells: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    values = dict(zip(names, cells, strict=True))
    if scores:
        values[SCORE] = scores
    return {
        column.name: count_values(column, values[column.name]) for column in profile.columns if column.name in values
    }


def count_floats(
    profile: ReferenceProfile, names: Sequence[str], rows: Sequence[bytes], scores: Sequence[float | None] = ()
) -> Counts:
    """As `count_rows`, of rows that are packed float64 values in native byte order, without a null among them.

    Raises ValueError when a row has not one value for each name.
    """
    if any(len(row) != 8 * len(names) for row in rows):
        raise ValueError(f"a row does not have {len(names)} values")
    cells = np.ascontiguousarray(np.frombuffer(b"".join(rows)).reshape(len(rows), len(names)).T)
    values: dict[str, Any] = dict(zip(names, cells, strict=True))
    counts = {
        column.name: _count_array(column, values[column.name])
        if column.kind == "numeric"
        else _count_categories(column, Counter(values[column.name].tolist()))
        for column in profile.columns
        if column.name in values
    }
    score = profile.column(SCORE)
    return {**counts, SCORE: count_values(score, scores)} if scores and score is not None else counts


def count_values(column: ColumnProfile, values: Sequence[Any] | Column) -> list[int]:
    """The counts of one column's values: numbers, text, booleans, None; or of a column of `kernel.rows`."""
    if isinstance(values, np.ndarray):
        return _count_column(column, values)
    return _count_numbers(column, values) if column.kind == "numeric" else _count_categories(column, Counter(values))


def add(a: Counts, b: Counts) -> Counts:
    """The sum of two counts; a column that only one of them has keeps its counts.

    Raises InputError when a column's cells differ in number: the two were counted against different profiles.
    """
    wrong = [name for name in a if name in b and len(a[name]) != len(b[name])]
    if wrong:
        raise InputError(
            "counts of different profiles do not add up",
            got=wrong,
            expected="counts of one release",
            mend="add up the counts of one release at a time",
        )
    both = {name: [x + y for x, y in zip(cells, b[name], strict=True)] for name, cells in a.items() if name in b}
    return {**a, **b, **both}


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of any number of counts."""
    summed: Counts = {}
    for part in parts:
        summed = add(summed, part)
    return summed


def _count_numbers(column: ColumnProfile, values: Sequence[Any]) -> list[int]:
    nulls = faults = 0
    if set(map(type, values)) - {float, int}:
        nulls = sum(value is None for value in values)
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        faults = len(values) - nulls - len(numbers)
        values = numbers
    array = np.fromiter(map(float, values), dtype=np.float64, count=len(values))
    counted = _count_array(column, array)
    counted[-2] += nulls
    counted[-1] += faults
    return counted


def _count_array(column: ColumnProfile, array: Array) -> list[int]:
    finite = array[np.isfinite(array)]
    cells = np.searchsorted(np.asarray(column.cuts), finite, side="right") + 1
    cells[finite < column.low] = 0
    cells[finite > column.high] = len(column.cuts) + 2
    counted = np.bincount(cells, minlength=len(column.cuts) + 3)
    return [*counted.tolist(), 0, len(array) - len(finite)]


def _count_column(column: ColumnProfile, values: Column) -> list[int]:
    if column.kind == "categorical":
        return _count_categories(column, counts_of(values))
    if not is_numeric(values):
        return _count_numbers(column, values.tolist())
    nulls = np.isnan(values)
    counted = _count_array(column, values[~nulls])
    counted[-2] += int(nulls.sum())
    return counted


def _count_categories(column: ColumnProfile, occurring: Mapping[Any, int]) -> list[int]:
    cell = {value: index for index, value in enumerate(column.categories)}
    other = len(column.categories)
    cell.update(dict.fromkeys(column.rare, other))
    counts = [0] * column.cells
    for value, count in occurring.items():
        counts[column.null if value is None else cell.get(value, other + 1)] += count
    return counts

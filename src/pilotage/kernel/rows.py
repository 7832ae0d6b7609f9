"""Rows of values kept by column: as many as a file has, in a twentieth of the memory that tuples take.

They read as a sequence of tuples; whoever works on columns asks for these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Column",
    "Rows",
    "Value",
    "as_column",
    "columns_of",
    "counts_of",
    "even_places",
    "evenly_spaced",
    "filled",
    "is_numeric",
    "looked_up",
    "values_of",
]

Value = float | str | bool | None
Column = NDArray[Any]
"""The values of one column: float64 with NaN for None where all are numbers, else objects."""

_CHUNK = 4_096
_Item = TypeVar("_Item")


class Rows(Sequence[tuple[Value, ...]]):
    """Rows by column; each column has one value a row. A slice, a mask or an array of places gives rows again."""

    def __init__(self, columns: Iterable[Column], count: int) -> None:
        """Of columns (`as_column`) of `count` values each."""
        self.columns = tuple(columns)
        self._count = count

    @classmethod
    def of(cls, rows: Sequence[Sequence[Value]], width: int) -> Rows:
        """The same rows of `width` values by column."""
        if isinstance(rows, Rows):
            return rows
        given = zip(*rows, strict=True) if len(rows) else [()] * width
        return cls([as_column(values) for values in given], len(rows))

    @classmethod
    def joined(cls, parts: Iterable[Sequence[Sequence[Value]]], width: int) -> Rows:
        """The rows of all parts, one after another."""
        every = [cls.of(part, width) for part in parts]
        columns = [_joined([part.columns[at] for part in every if len(part)]) for at in range(width)]
        return cls(columns, sum(map(len, every)))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> tuple[Value, ...]: ...
    @overload
    def __getitem__(self, at: slice | NDArray[Any]) -> Rows: ...
    def __getitem__(self, at: int | slice | NDArray[Any]) -> tuple[Value, ...] | Rows:
        if isinstance(at, (slice, np.ndarray)):
            count = len(range(*at.indices(self._count))) if isinstance(at, slice) else _chosen(at)
            return Rows([column[at] for column in self.columns], count)
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return tuple(values_of(column[at : at + 1 or None])[0] for column in self.columns)

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        for start in range(0, self._count, _CHUNK):
            yield from zip(*(values_of(column[start : start + _CHUNK]) for column in self.columns), strict=True)


def evenly_spaced(rows: Sequence[_Item], most: int) -> list[_Item]:
    """All of them, or so many at even distances, the first among them."""
    if len(rows) <= most:
        return list(rows)
    places = even_places(len(rows), most)
    if isinstance(rows, Rows):
        # Together: one by one, each would take a look into every column.
        return cast("list[_Item]", list(rows[places]))
    return [rows[at] for at in places.tolist()]


def even_places(count: int, most: int) -> NDArray[np.intp]:
    """The places of so many rows, or of `most` of them at even distances, the first among them."""
    return np.arange(min(count, most), dtype=np.intp) * count // max(1, min(count, most))


def as_column(values: Sequence[Value]) -> Column:
    """The values as a column: numbers as float64, null as NaN; anything else as it is."""
    if isinstance(values, np.ndarray):
        return values
    kinds = set(map(type, values))
    if kinds <= {float, int, type(None)}:
        # numpy makes NaN of None here.
        return np.array(values, dtype=np.float64)
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def columns_of(rows: Sequence[Sequence[Value]], width: int) -> tuple[Column, ...]:
    """The columns of any rows of `width` values."""
    return Rows.of(rows, width).columns


def is_numeric(column: Column) -> bool:
    """Whether all its values are numbers or null."""
    return column.dtype != object


def values_of(column: Column) -> list[Value]:
    """The values one by one, null as None."""
    values: list[Value] = column.tolist()
    if is_numeric(column) and np.isnan(column).any():
        return [None if value != value else value for value in values]
    return values


def counts_of(column: Column) -> Counter[Value]:
    """How often each value occurs, null among them."""
    if not is_numeric(column):
        return Counter(column.tolist())
    distinct, counts = np.unique(column, return_counts=True)
    return Counter(dict(zip(values_of(distinct), counts.tolist(), strict=True)))


def filled(column: Column, fill: float | None) -> NDArray[np.float64]:
    """The column as numbers, with `fill` for null; NaN where there is none."""
    if is_numeric(column):
        return column if fill is None else np.where(np.isnan(column), fill, column)
    return np.array([fill if value is None else value for value in column.tolist()], dtype=np.float64)


def looked_up(column: Column, number: Callable[[Value], float | None]) -> NDArray[np.float64]:
    """The number of each value, None as NaN; asked once for each that occurs."""
    values = values_of(column)
    table = {value: number(value) for value in set(values)}
    return np.array([table[value] for value in values], dtype=np.float64)


def _chosen(at: NDArray[Any]) -> int:
    return int(np.count_nonzero(at)) if at.dtype == bool else len(at)


def _joined(columns: list[Column]) -> Column:
    if not columns:
        return np.empty(0)
    if len({is_numeric(column) for column in columns}) == 1:
        return np.concatenate(columns)
    return as_column(list(chain.from_iterable(map(values_of, columns))))

"""A table by columns: numbers as float64 with NaN for a gap, text as codes of its distinct values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.kernel.rows import Column, Value, is_numeric

__all__ = [
    "EXACT",
    "MOST_ALONE",
    "Codes",
    "Field",
    "Flags",
    "Floats",
    "Table",
    "Target",
    "field_of",
    "moments",
    "sampled",
    "table_of_columns",
    "table_of_fields",
    "text_field",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

MOST_CLASSES = 12
MOST_ALONE = 100_000
"""Rows by which single columns are judged: the interval of an area of .98 is then .001 to either side."""
EXACT = 2**53
"""The largest integer below which float64 holds every integer."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column. `numbers` is None for text; text is `labels[codes]`, a gap is code -1."""

    name: str
    numbers: Floats | None = None
    codes: Codes = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    labels: tuple[str, ...] = ()

    @property
    def missing(self) -> Flags:
        """Where nothing is."""
        return np.isnan(self.numbers) if self.numbers is not None else self.codes < 0

    @cached_property
    def levels(self) -> Codes:
        """A number from 0 for each distinct value, gaps among them."""
        if self.numbers is None:
            return self.codes + 1
        _, levels = np.unique(self.numbers, return_inverse=True, equal_nan=True)
        return levels.astype(np.int64)

    @cached_property
    def distinct(self) -> int:
        """How many levels there are; text has one for gaps in any case."""
        if self.numbers is None:
            return int(self.codes.max(initial=-1)) + 2
        return len(np.unique(self.numbers))

    def take(self, places: Codes) -> Field:
        """The same column of some rows."""
        if self.numbers is not None:
            return Field(name=self.name, numbers=self.numbers[places])
        return Field(name=self.name, codes=self.codes[places], labels=self.labels)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The column to predict as questions of yes and no, by name: one, one a class, or above and below the median.

    `values` are its numbers: 0 and 1 for two classes.
    """

    name: str
    questions: dict[str, Flags]
    values: Floats

    def take(self, places: Codes) -> Target:
        """The same of some rows."""
        asked = {name: labels[places] for name, labels in self.questions.items()}
        return Target(name=self.name, questions=asked, values=self.values[places])


@dataclass(frozen=True, kw_only=True)
class Table:
    """Features, the target, and what is known of the rows: their subject, their moment, whether they are held out."""

    fields: tuple[Field, ...]
    target: Target
    subject: Field | None = None
    time: Field | None = None
    held_out: Flags | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.target.values)

    def take(self, places: Codes) -> Table:
        """The same of some rows, in the order given."""
        return Table(
            fields=tuple(each.take(places) for each in self.fields),
            target=self.target.take(places),
            subject=None if self.subject is None else self.subject.take(places),
            time=None if self.time is None else self.time.take(places),
            held_out=None if self.held_out is None else self.held_out[places],
        )


def sampled(rows: int, most: int) -> Codes:
    """Places in order; all of them, or so many at random by a fixed seed."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(rows).choice(rows, most, replace=False))


def table_of_columns(
    columns: Mapping[str, Sequence[Value]],
    *,
    target: str,
    positive: str = "",
    subject: str = "",
    time: str = "",
    split: str = "",
    ignore: Sequence[str] = (),
) -> Table:
    """The table of plain columns; the rest as `table_of_fields`."""
    fields = {name: field_of(name, column) for name, column in columns.items()}
    return table_of_fields(
        fields, target=target, positive=positive, subject=subject, time=time, split=split, ignore=ignore
    )


def table_of_fields(
    columns: Mapping[str, Field],
    *,
    target: str,
    positive: str = "",
    subject: str = "",
    time: str = "",
    split: str = "",
    ignore: Sequence[str] = (),
) -> Table:
    """The table of columns. `split` names a column of two values, one of which means held out.

    Rows whose target is missing are left out. Raises InputError for names that no column has, a target of one value,
    and a split that is not two sides.
    """
    named = [("target", target), ("subject", subject), ("time", time), ("split", split)]
    faults: list[dict[str, object]] = [
        {"path": use, "code": "unknown_column", "message": "the data has no such column", "got": name}
        for use, name in [*named, *(("ignore", name) for name in ignore)]
        if name and name not in columns
    ]
    if faults:
        raise InputError(
            "columns are named that the data does not have",
            got=", ".join(str(fault["got"]) for fault in faults),
            expected=", ".join(columns),
            mend="correct the names; they are case-sensitive",
            code="unknown_column",
            faults=faults,
        )
    kept = np.flatnonzero(~columns[target].missing)
    fields = {name: each.take(kept) for name, each in columns.items()}
    apart = {target, subject, split, time, *ignore}
    return Table(
        fields=tuple(each for name, each in fields.items() if name not in apart),
        target=_target(fields[target], positive),
        subject=fields[subject] if subject else None,
        time=fields[time] if time else None,
        held_out=_held_out(fields[split]) if split else None,
    )


def field_of(name: str, column: Sequence[Value] | Column) -> Field:
    """A column of plain values; integers that float64 would confuse with their neighbours are text."""
    if isinstance(column, np.ndarray) and is_numeric(column):
        return Field(name=name, numbers=column)
    values = column.tolist() if isinstance(column, np.ndarray) else column
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        return text_field(name, cast("Sequence[str | None]", values))
    beyond = int in kinds and any(type(value) is int and abs(value) > EXACT for value in values)
    if str not in kinds and not beyond:
        numbers = np.array(values, dtype=np.float64)  # numpy makes NaN of None here
        return Field(name=name, numbers=np.where(np.isfinite(numbers), numbers, np.nan))
    return text_field(name, [None if value is None else str(value) for value in values])


def text_field(name: str, column: Sequence[str | None]) -> Field:
    """A column of text."""
    labels = tuple(value for value in dict.fromkeys(column) if value is not None)
    places: dict[str | None, int] = {None: -1, **{label: at for at, label in enumerate(labels)}}
    codes = np.fromiter(map(places.__getitem__, column), dtype=np.int64, count=len(column))
    return Field(name=name, codes=codes, labels=labels)


def _target(column: Field, positive: str) -> Target:
    shown = column.labels if column.numbers is None else None
    levels, first = np.unique(column.levels, return_index=True)
    if len(levels) < 2:
        raise InputError(
            "the target has one value only", got=column.name, expected="two or more", mend="name another column"
        )
    names = {
        int(level): shown[column.codes[at]] if shown is not None else f"{column.numbers[at]:g}"  # type: ignore[index]
        for level, at in zip(levels, first, strict=True)
    }
    numbers = column.numbers if column.numbers is not None else column.levels.astype(np.float64)
    if positive:
        return _one_class(column, names, positive)
    if len(levels) == 2:
        yes = column.levels == levels[-1]
        return Target(name=column.name, questions={names[int(levels[-1])]: yes}, values=yes.astype(np.float64))
    if len(levels) <= MOST_CLASSES or column.numbers is None:
        common = sorted(levels, key=lambda level: -int((column.levels == level).sum()))[:MOST_CLASSES]
        questions = {names[int(level)]: column.levels == level for level in sorted(common)}
        return Target(name=column.name, questions=questions, values=numbers)
    middle = float(np.median(numbers))
    return Target(name=column.name, questions={f"above {middle:g}": numbers > middle}, values=numbers)


def _one_class(column: Field, names: Mapping[int, str], positive: str) -> Target:
    chosen = [level for level, name in names.items() if name == positive or _same_number(name, positive)]
    if not chosen:
        raise InputError(
            "the target never has the positive value",
            got=positive,
            expected=", ".join(list(names.values())[:12]),
            mend="correct --positive",
        )
    yes = column.levels == chosen[0]
    return Target(name=column.name, questions={positive: yes}, values=yes.astype(np.float64))


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


_HELD = {"test", "testing", "holdout", "hold-out", "held_out", "held out", "heldout", "valid", "validation", "eval"}
_HELD |= {"1", "true", "yes"}


def _held_out(column: Field) -> Flags:
    """Which rows a split column holds out. Raises InputError when it cannot be told."""
    levels, first = np.unique(column.levels, return_index=True)
    names = [column.labels[column.codes[at]] if column.numbers is None else f"{column.numbers[at]:g}" for at in first]
    chosen = [level for level, name in zip(levels, names, strict=True) if name.strip().casefold() in _HELD]
    if len(levels) < 2 or not chosen or len(chosen) == len(levels) or column.missing.any():
        raise InputError(
            "the split column does not say which rows are held out",
            got=", ".join(sorted(set(names))[:12]),
            expected="train beside test, holdout or validation; or 0 beside 1",
            mend="write such a column, one value in every row",
        )
    return np.isin(column.levels, chosen)


def moments(column: Field) -> Floats | None:
    """A column as moments in order: numbers as they are, ISO dates and times as seconds.

    None for other text, and where no row has a moment.
    """
    found = _moments(column)
    return None if found is None or np.isnan(found).all() else found


def _moments(column: Field) -> Floats | None:
    if column.numbers is not None:
        return column.numbers
    seconds = np.full(len(column.labels) + 1, np.nan)
    for at, label in enumerate(column.labels):
        if (second := _second(label)) is None:
            return None
        seconds[at] = second
    return seconds[column.codes]


def _second(text: str) -> float | None:
    if not 8 <= len(text.strip()) <= 40:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    second = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return second if math.isfinite(second) else None

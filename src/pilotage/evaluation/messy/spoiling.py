"""Rows spoilt as data is spoilt: units, text, numbers as text, gaps, swaps. From the contract, nothing by hand."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from pilotage.contracts.model import Column, DataContract
from pilotage.kernel.rows import Value

__all__ = ["ROWS", "Spoilt", "spoilt_cases"]

ROWS = 16
"""Rows that a case spoils, of those in which it changes anything; fewer of very wide contracts.

Of more than 200 columns at most 200 are spoilt, spread from the first to the last.
"""
_LOOKED_AT = 200
_FEWEST, _KINDS, _VALUES = 2, 18, 2_000_000
_MOST_COLUMNS = 200
_NOBODY = "a value that nobody has sent before"

Row = dict[str, Any]
_Change = Callable[[Column, Any], Any]


class _Same(Exception):
    """The value cannot be spoilt in this way."""


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """One case: `bodies` are rows as JSON, each with the place of the row it was made of."""

    kind: str
    group: str
    columns: tuple[str, ...]
    bodies: tuple[tuple[int, bytes], ...]


def _scaled(factor: float) -> _Change:
    def change(column: Column, value: Any) -> Any:
        scaled = value * factor
        return round(scaled) if column.type == "integer" else scaled

    return change


def _inverse(column: Column, value: Any) -> Any:
    if not value or column.type == "integer":
        raise _Same
    return 1 / value


def _beyond(side: int) -> _Change:
    def change(column: Column, _value: Any) -> Any:
        bound = column.minimum if side < 0 else column.maximum
        if bound is None:
            raise _Same
        return bound + side * max(1.0, abs(bound))

    return change


def _unseen_number(column: Column, _value: Any) -> Any:
    return max(float(each) for each in column.categories or (0.0,)) + 1


def _as(value: Any) -> _Change:
    return lambda _column, _value: value


def _digit_lost(_column: Column, value: Any) -> Any:
    if abs(value) < 10:
        raise _Same
    return math.trunc(value / 10)


def _decimal_comma(_column: Column, value: Any) -> Any:
    return f"{value:.2f}".replace(".", ",")


def _grouped(_column: Column, value: Any) -> Any:
    if abs(value) < 1000:
        raise _Same
    return f"{value:,.0f}"


def _text(change: Callable[[str], str]) -> _Change:
    return lambda _column, value: change(value)


def _mojibake(text: str) -> str:
    return text.encode().decode("cp1252", "replace")


def _date(form: str) -> _Change:
    def change(_column: Column, value: Any) -> Any:
        try:
            return datetime.fromisoformat(value).strftime(form)
        except ValueError as error:
            raise _Same from error

    return change


_NUMBERS: tuple[tuple[str, str, _Change], ...] = (
    ("times 100", "units", _scaled(100)),
    ("times 1,000", "units", _scaled(1000)),
    ("a hundredth", "units", _scaled(0.01)),
    ("a thousandth", "units", _scaled(0.001)),
    ("inverse", "units", _inverse),
    ("sign turned", "units", lambda _c, v: -v),
    ("below the range", "range", _beyond(-1)),
    ("above the range", "range", _beyond(1)),
    ("extreme", "range", _as(1e15)),
    ("-999 for a gap", "gaps", _as(-999)),
    ("0 for a gap", "gaps", _as(0)),
    ("last digit lost", "truncated", _digit_lost),
)
_FORMS: tuple[tuple[str, str, _Change], ...] = (
    ("number as text", "form", lambda c, v: str(int(v) if c.type == "integer" else v)),
    ("decimal comma", "form", _decimal_comma),
    ("thousands separator", "form", _grouped),
    ("NaN", "form", _as(math.nan)),
    ("Infinity", "form", _as(math.inf)),
)
_TEXTS: tuple[tuple[str, str, _Change], ...] = (
    ("capitals", "text", _text(str.upper)),
    ("small letters", "text", _text(str.lower)),
    ("space around", "text", _text(lambda t: f" {t} ")),
    ("no-break space", "text", _text(lambda t: t.replace(" ", "\u00a0") if " " in t else f"{t}\u00a0")),
    ("wrong encoding", "encoding", _text(_mojibake)),
    ("accents apart", "encoding", _text(lambda t: unicodedata.normalize("NFD", t))),
    ("byte order mark", "encoding", _text(lambda t: f"\ufeff{t}")),
    ("truncated", "truncated", _text(lambda t: t[: len(t) // 2])),
    ("empty text", "gaps", _as("")),
    ("N/A for a gap", "gaps", _as("N/A")),
    ("unseen text", "category", _as(_NOBODY)),
)
_DATES: tuple[tuple[str, str, _Change], ...] = (
    ("day first", "form", _date("%d/%m/%Y")),
    ("month in words", "form", _date("%B %d, %Y")),
    ("century lost", "form", _date("%y-%m-%d")),
)
_FLAGS: tuple[tuple[str, str, _Change], ...] = (
    ("truth as text", "form", lambda _c, v: str(v).lower()),
    ("truth as number", "form", lambda _c, v: int(v)),
)
_ANY: tuple[tuple[str, str, _Change], ...] = (("null", "gaps", _as(None)),)


def _changes(column: Column) -> Iterator[tuple[str, str, _Change]]:
    if column.type == "boolean":
        yield from _FLAGS
    elif column.numeric:
        yield from (("unseen category", "category", _unseen_number),) if column.categories is not None else _NUMBERS
        yield from _FORMS
    else:
        yield from _TEXTS
        if column.categories is None:
            yield from _DATES
    yield from _ANY


def spoilt_cases(contract: DataContract, rows: Sequence[Sequence[Value]]) -> Iterator[Spoilt]:
    """Every case that this contract gives rise to, of rows that fit it. Only what a request brings is spoilt."""
    every = tuple(column.name for column in contract.asked)
    asked = contract.asked[:: _stride(len(every))]
    most = max(_FEWEST, min(ROWS, _VALUES // (_KINDS * max(1, len(asked)) * len(contract.features))))
    sent = [_as_sent(contract, row) for row in rows[:_LOOKED_AT]]
    whole = [(row, msgspec.json.encode(row)) for row in sent]
    for column in asked:
        for kind, group, change in _changes(column):
            spoilt = partial(_changed, column=column, change=change)
            yield from _case(kind, group, (column.name,), whole, most, spoilt)
    for column in asked:
        yield from _case("field missing", "fields", (column.name,), whole, most, partial(_without, column=column))
    for one, other in pairwise(asked):
        spoilt = partial(_swapped, one=one.name, other=other.name)
        yield from _case("neighbours swapped", "order", (one.name, other.name), whole, most, spoilt)
    for kind, spoil in (
        ("columns shifted by one", _shifted),
        ("fields in another order", lambda row: dict(reversed(row.items()))),
        ("names in another case", lambda row: {name.swapcase(): value for name, value in row.items()}),
        ("one field more", lambda row: {**row, "another": 1}),
    ):
        yield from _case(kind, "order" if "order" in kind or "shifted" in kind else "fields", every, whole, most, spoil)
    yield _written(
        "field given twice", "fields", every[:1], whole, lambda raw, row: raw[:-1] + b"," + _pair(row) + b"}"
    )
    yield _written("row sent twice", "fields", (), whole, lambda raw, _row: raw + b"," + raw)


def _stride(columns: int) -> int:
    return max(1, math.ceil(columns / _MOST_COLUMNS))


def _as_sent(contract: DataContract, row: Sequence[Value]) -> Row:
    """A row as a client sends it: integers as integers."""
    named = zip(contract.features, row, strict=True)
    return {c.name: int(v) if c.type == "integer" and isinstance(v, float) else v for c, v in named}


def _case(
    kind: str,
    group: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Row, bytes]],
    most: int,
    change: Callable[[Row], Row],
) -> Iterator[Spoilt]:
    bodies: list[tuple[int, bytes]] = []
    for at, (row, before) in enumerate(rows):
        try:
            body = _encoded(change(row), columns[0])
        except (_Same, OverflowError):
            continue
        if body != before:
            bodies.append((at, body))
        if len(bodies) == most:
            break
    if bodies:
        yield Spoilt(kind=kind, group=group, columns=columns, bodies=tuple(bodies))


def _written(
    kind: str,
    group: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Row, bytes]],
    write: Callable[[bytes, Row], bytes],
) -> Spoilt:
    bodies = tuple((at, write(raw, row)) for at, (row, raw) in enumerate(rows[:ROWS]))
    return Spoilt(kind=kind, group=group, columns=columns, bodies=bodies)


def _encoded(row: Row, spoilt: str) -> bytes:
    """JSON, and NaN and Infinity as careless clients write them: only the value that was spoilt can be such a one."""
    value = row.get(spoilt)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(row).encode()
    return msgspec.json.encode(row)


def _pair(row: Row) -> bytes:
    name, value = next(iter(row.items()))
    return msgspec.json.encode({name: value})[1:-1]


def _changed(row: Row, column: Column, change: _Change) -> Row:
    value = row[column.name]
    if value is None:
        raise _Same
    return {**row, column.name: change(column, value)}


def _without(row: Row, column: Column) -> Row:
    return {name: value for name, value in row.items() if name != column.name}


def _swapped(row: Row, one: str, other: str) -> Row:
    return {**row, one: row[other], other: row[one]}


def _shifted(row: Row) -> Row:
    values = list(row.values())
    return dict(zip(row, [values[-1], *values[:-1]], strict=True))

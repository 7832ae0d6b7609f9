"""The line of a contract that would catch a silent case: a narrower range, a list of values, a rule over two fields.

A line is named only where it turns away hardly any row of the reference data and most of the spoilt ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import Column, DataContract
from pilotage.evaluation.messy.spoiling import Spoilt
from pilotage.kernel.rows import Rows, Value, counts_of, is_numeric

__all__ = ["Mender"]

Floats = NDArray[np.float64]

_MOST_TURNED_AWAY = 0.001
_CAUGHT = 0.5
_MOST_VALUES = 50
_ROWS = 20_000
_NONE = (
    "no line of a contract tells these rows from honest ones: say units and names in the request's own schema, check "
    "them where the request is made, and watch the column's drift"
)


class Mender:
    """Looks for lines in what the reference rows allow."""

    def __init__(self, contract: DataContract, rows: Rows) -> None:
        self._columns = {column.name: column for column in contract.features}
        self._places = {column.name: at for at, column in enumerate(contract.features)}
        self._asked = [column.name for column in contract.asked]
        some = rows[:_ROWS]
        self._reference = dict(zip(self._columns, some.columns, strict=True))

    def mend(self, case: Spoilt, spoilt: Sequence[Sequence[Value]]) -> tuple[str, str]:
        """The line to write, empty where there is none, and what it would do."""
        if not spoilt:
            return "", _NONE
        if case.group == "order" and (order := next(self._rules(case, spoilt), None)):
            return order
        for name in case.columns[:2]:
            column = self._columns[name]
            values = [row[self._places[name]] for row in spoilt]
            if all(value is None for value in values):
                return self._null(column)
            found = self._text(column) if column.type == "string" else self._range(column, values)
            if found:
                return found
        return next(self._rules(case, spoilt), ("", _NONE))

    def _null(self, column: Column) -> tuple[str, str]:
        share = _gaps(self._reference[column.name])
        if share <= _MOST_TURNED_AWAY:
            return f"{column.name}: required: true", f"no gap is usual: {share:.2%} of reference rows have one"
        line = f"{column.name}: customProperties: - {{property: on_fault, value: {{null: review}}}}"
        return line, f"{share:.1%} of reference rows have a gap; set `required: true` too, so that a gap is a fault"

    def _text(self, column: Column) -> tuple[str, str] | None:
        if column.categories is not None:
            return None
        values = [value for value in counts_of(self._reference[column.name]) if value is not None]
        if len(values) <= _MOST_VALUES:
            listed = ", ".join(sorted(map(str, values)))[:200]
            rule = f"{{metric: invalidValues, arguments: {{validValues: [{listed}]}}, mustBe: 0}}"
            return f"{column.name}: quality: - {rule}", f"the reference data has {len(values)} values: list them"
        longest = max(len(str(value)) for value in values)
        line = f"{column.name}: logicalTypeOptions: {{maxLength: {longest}}}"
        return line, "and say what form the text has, by a pattern or a format"

    def _range(self, column: Column, values: Sequence[Value]) -> tuple[str, str] | None:
        if not column.numeric or column.categories is not None:
            return None
        known = _numbers(self._reference[column.name])
        known = known[~np.isnan(known)]
        if not len(known):
            return None
        spoilt = np.array([np.nan if value is None else float(value) for value in values])
        low, high = np.quantile(known, [_MOST_TURNED_AWAY / 2, 1 - _MOST_TURNED_AWAY / 2], method="nearest")
        for side, bound, out in (("maximum", high, spoilt > high), ("minimum", low, spoilt < low)):
            away = float((known > bound).mean() if side == "maximum" else (known < bound).mean())
            if out.mean() >= _CAUGHT and away <= _MOST_TURNED_AWAY:
                line = f"{column.name}: logicalTypeOptions: {{{side}: {bound:.12g}}}"
                return line, f"turns away {out.mean():.0%} of these rows and {away:.2%} of reference rows"
        return None

    def _rules(self, case: Spoilt, spoilt: Sequence[Sequence[Value]]) -> Iterator[tuple[str, str]]:
        """Orders of two columns that the reference rows keep and the spoilt ones break."""
        numeric = [
            name
            for name in self._asked
            if self._columns[name].numeric and is_numeric(self._reference[name]) and name.isidentifier()
        ]
        rows = [
            [np.nan if row[self._places[n]] is None else float(row[self._places[n]] or 0) for n in numeric]
            for row in spoilt
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(spoilt), len(numeric))
        for at, one in enumerate(numeric):
            for to, other in enumerate(numeric):
                if one == other or not {one, other} & set(case.columns):
                    continue
                kept = self._reference[one] <= self._reference[other]
                away = float((~kept).mean())
                broken = float((table[:, at] > table[:, to]).mean())
                if away <= _MOST_TURNED_AWAY and broken >= _CAUGHT:
                    rule = f'implementation: {{check: "{one} <= {other}", action: reject}}'
                    line = f"quality: - {{name: {one}-within-{other}, type: custom, engine: pilotage, {rule}}}"
                    yield line, f"turns away {broken:.0%} of these rows and {away:.2%} of reference rows"


def _numbers(column: NDArray[np.generic]) -> Floats:
    if is_numeric(column):
        return column.astype(np.float64)
    return np.array([np.nan if v is None else float(v) for v in column.tolist()], dtype=np.float64)


def _gaps(column: NDArray[np.generic]) -> float:
    if is_numeric(column):
        return float(np.isnan(column.astype(np.float64)).mean())
    return float(np.mean([value is None for value in column.tolist()]))

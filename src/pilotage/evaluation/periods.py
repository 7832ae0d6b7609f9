"""A figure by age: period by period of a time column, each with its interval, and whether it falls as time goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.evaluation.intervals import auc_area, mean_interval
from pilotage.kernel.clock import parse_time
from pilotage.kernel.rows import Value

__all__ = ["FEWEST", "MOST_PERIODS", "Estimate", "area_estimate", "by_period", "mean_estimate", "times_of"]

Floats = NDArray[np.float64]

FEWEST = 100
"""A period of fewer rows is counted and not judged."""
MOST_PERIODS = 24
_Z = 1.959963984540054
_LONGER = re.compile("[0-9]{4}(-(0[1-9]|1[0-2]))?")
_UNITS = ("day", "week", "month", "quarter", "year")


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


Figure = Callable[[NDArray[np.intp]], Estimate | None]
"""The figure of some of the rows, by their places; None where they say nothing."""


def area_estimate(labels: NDArray[np.bool_], scores: Floats) -> Figure:
    """The AUC, with the interval of Hanley and McNeil."""

    def figure(rows: NDArray[np.intp]) -> Estimate | None:
        found = auc_area(labels[rows], scores[rows])
        return None if found is None else Estimate(found.area, found.low, found.high)

    return figure


def mean_estimate(values: Floats) -> Figure:
    """The mean of a value of each row, such as its absolute error."""

    def figure(rows: NDArray[np.intp]) -> Estimate | None:
        own = values[rows]
        return Estimate(*mean_interval(len(own), float(own.sum()), float(np.square(own).sum())))

    return figure


def by_period(times: NDArray[np.datetime64], figure: Figure, name: str) -> dict[str, Any] | None:
    """The figure `name` by period of `times` ([n], NaT where unknown); None when the rows span no two periods.

    The unit is the shortest of day, week, month, quarter and year of which there are at most 24. `slope` is the change
    a period by weighted least squares, with its 95 % interval from the figures' own; None under three judged periods.
    Whether time or something else that changed is the cause, a slope cannot say.
    """
    known = np.flatnonzero(~np.isnat(times))
    if not len(known):
        return None
    unit, periods = _periods(times[known])
    distinct, which = np.unique(periods, return_inverse=True)
    if len(distinct) < 2:
        return None
    table: list[dict[str, Any]] = []
    for at, period in enumerate(distinct):
        rows = known[which == at]
        entry: dict[str, Any] = {"period": _text(period, unit), "rows": len(rows)}
        found = figure(rows) if len(rows) >= FEWEST else None
        entry |= {"judged": found is not None}
        if found is not None:
            entry |= {"value": found.value, "interval_95": [found.low, found.high]}
        table.append(entry)
    return {"figure": name, "unit": unit, "periods": table, "unknown": len(times) - len(known), "slope": _slope(table)}


def times_of(name: str, values: Sequence[Value]) -> NDArray[np.datetime64]:
    """ISO 8601 dates or times in UTC, which what has no zone is in; NaT for anything else.

    Raises InputError when nothing else is there.
    """
    known = {value: _time(value) for value in set(values)}
    times = np.array([known[value] for value in values], dtype="datetime64[us]")
    if np.isnat(times).all():
        raise InputError(
            f"{name} holds no dates",
            got=", ".join(str(value) for value in list(known)[:3]),
            expected="dates such as 2026-03-01, or times such as 2026-03-01T10:00:00",
            mend="name another column of times",
        )
    return times


def _time(value: Value) -> np.datetime64:
    text = str(value).removesuffix("UTC").strip()
    try:
        return np.datetime64(parse_time(text), "us")
    except (InputError, OverflowError):
        # What is less than a day, such as 2026-03, which is its first moment.
        return np.datetime64(text, "us") if _LONGER.fullmatch(text) else np.datetime64("NaT", "us")


def _periods(times: NDArray[np.datetime64]) -> tuple[str, NDArray[np.int64]]:
    found = np.empty(0, dtype=np.int64)
    for unit in _UNITS:
        months = times.astype("datetime64[M]").astype(np.int64)
        # Weeks of numpy begin on Thursdays, the weekday of 1970-01-01: shifted to Mondays.
        days = times.astype("datetime64[D]").astype(np.int64)
        by_unit = {"week": (days + 3) // 7, "quarter": months // 3, "year": months // 12, "month": months, "day": days}
        found = by_unit[unit]
        if len(np.unique(found)) <= MOST_PERIODS:
            return unit, found
    return _UNITS[-1], found


def _text(period: int, unit: str) -> str:
    if unit == "day":
        return str(np.datetime64(int(period), "D"))
    if unit == "week":
        return str(np.datetime64(int(period) * 7 - 3, "D"))
    month = np.datetime64(int(period) * {"month": 1, "quarter": 3, "year": 12}[unit], "M")
    if unit == "year":
        return str(month)[:4]
    return f"{str(month)[:4]}-Q{period % 4 + 1}" if unit == "quarter" else str(month)


def _slope(table: list[dict[str, Any]]) -> dict[str, Any] | None:
    judged = [(at, row) for at, row in enumerate(table) if row["judged"]]
    if len(judged) < 3:
        return None
    x = np.array([at for at, _ in judged], dtype=np.float64)
    y = np.array([row["value"] for _, row in judged])
    spread = np.array([(row["interval_95"][1] - row["interval_95"][0]) / (2 * _Z) for _, row in judged])
    weights = 1 / np.maximum(spread, 1e-9) ** 2
    middle = (weights @ x) / weights.sum()
    square = weights @ (x - middle) ** 2
    slope = float(weights @ ((x - middle) * y) / square)
    level = float((weights @ y) / weights.sum())
    # What periods differ by beyond chance widens the interval (Birge 1932).
    misfit = float(weights @ (y - level - slope * (x - middle)) ** 2) / max(1, len(x) - 2)
    half = _Z * float(np.sqrt(max(1.0, misfit) / square))
    return {"value": slope, "interval_95": [slope - half, slope + half], "periods": len(judged)}

"""The same figures by slice: a model that is good on average may be poor for some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import auc_area, mean_interval
from pilotage.evaluation.metrics import brier, confusion
from pilotage.kernel.rows import Value

__all__ = ["FEWEST", "QUANTILES", "amount_slices", "evaluate_slices", "slice_names"]

FEWEST = 30
"""A slice with fewer rows is counted and not judged: its figures would be noise."""

QUANTILES = 4
_FEW_VALUES = 12


def evaluate_slices(
    name: str,
    column: Sequence[Value],
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    threshold: float,
) -> list[dict[str, Any]]:
    """One entry a value of the column (quarters of a column of many numbers): rows, rate, figures; sorted by value.

    A slice under `FEWEST` rows has `judged` false and no figures.
    """
    entries = []
    for entry, chosen in _parts(name, column):
        if entry["judged"]:
            part, own = labels[chosen], scores[chosen]
            area = auc_area(part, own)
            entry |= {"rate": float(part.mean()), "mean_score": float(own.mean())}
            entry |= {"auc": area.area if area else None, "auc_interval_95": [area.low, area.high] if area else None}
            entry |= {"brier": brier(part, own)}
            flags = confusion(part, own, threshold)
            entry |= {key: flags[key] for key in ("flagged", "recall", "false_positive_rate", "precision")}
        entries.append(entry)
    return entries


def amount_slices(
    name: str, column: Sequence[Value], truth: NDArray[np.float64], predicted: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """The same of predicted amounts: rows, mean absolute error and bias, each with its 95 % interval."""
    entries = []
    for entry, chosen in _parts(name, column):
        if entry["judged"]:
            apart = predicted[chosen] - truth[chosen]
            for figure, values in (("mae", np.abs(apart)), ("bias", apart)):
                mean, *ends = mean_interval(len(values), float(values.sum()), float(np.square(values).sum()))
                entry |= {figure: mean, f"{figure}_interval_95": ends}
        entries.append(entry)
    return entries


def _parts(name: str, column: Sequence[Value]) -> Iterator[tuple[dict[str, Any], NDArray[np.intp]]]:
    """The entry of each slice, without figures, and the places of its rows."""
    places: dict[tuple[float, str], list[int]] = {}
    for at, cell in enumerate(_cells(column)):
        places.setdefault(cell, []).append(at)
    for cell in sorted(places):
        chosen = np.array(places[cell])
        yield {"column": name, "slice": cell[1], "rows": len(chosen), "judged": len(chosen) >= FEWEST}, chosen


def slice_names(column: Sequence[Value]) -> list[str]:
    """The name of each row's slice: its value, or the quarter that it is in for a column of many numbers."""
    return [name for _, name in _cells(column)]


def _cells(column: Sequence[Value]) -> list[tuple[float, str]]:
    """Each value's slice as (sort key, text)."""
    distinct = {value for value in column if value is not None}
    numbers = sorted(value for value in distinct if isinstance(value, (int, float)) and not isinstance(value, bool))
    if len(distinct) <= _FEW_VALUES or len(numbers) < len(distinct):
        ordered = sorted(distinct, key=lambda each: (isinstance(each, str), each))
        places = {value: float(at) for at, value in enumerate(ordered)}
        return [(-1.0, "null") if value is None else (places[value], _text(value)) for value in column]
    every = np.array([value for value in column if value is not None], dtype=np.float64)
    cuts = np.unique(np.quantile(every, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    borders = [float(every.min()), *(float(cut) for cut in cuts), float(every.max())]
    texts = [f"{_text(low)} to {_text(high)}" for low, high in pairwise(borders)]
    quarters = [-1 if value is None else int(np.searchsorted(cuts, value, side="right")) for value in column]
    return [(float(at), "null" if at < 0 else texts[at]) for at in quarters]


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Rows that a conversion is most likely to get wrong: extremes and gaps that the contract allows, and the boundary.

Boundary rows lie where one feature alone carries the decision over the threshold: both neighbours in the feature's
grid (integers; float32 for numbers), and for numbers three float64 values between them, where a model that computes
in float32 and one that does not may part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import Column
from pilotage.kernel.rows import Value

__all__ = ["HardRow", "boundary_rows", "messy_rows"]

Floats = NDArray[np.float64]

MESSY_FROM, MOST_CATEGORIES = 25, 12
BOUNDARY_FROM, STEPS = 40, 80
UNSEEN = "a value that nobody has sent before"


@dataclass(frozen=True, kw_only=True)
class HardRow:
    """One such row. `kind` is minimum, maximum, null, category, unseen or all_<kind>; `origin` is the row before."""

    kind: str
    origin: int
    values: tuple[Value, ...]


def _extremes(column: Column) -> list[tuple[str, Value]]:
    """The values at the edge of what a column allows, each with its kind."""
    found: list[tuple[str, Value]] = []
    if column.nullable:
        found.append(("null", None))
    if column.categories is not None:
        found += [("category", value) for value in column.categories[:MOST_CATEGORIES]]
    elif column.type == "boolean":
        found += [("category", True), ("category", False)]
    elif column.type == "string":
        if not column.format and not column.pattern and column.longest >= len(UNSEEN):
            found.append(("unseen", UNSEEN))
    else:
        found += [("minimum", column.minimum)] if column.minimum is not None else []
        found += [("maximum", column.maximum)] if column.maximum is not None else []
    return found


def messy_rows(columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> list[HardRow]:
    """Rows at the edge of the contract: each of the first 25 with each feature at each edge, and with all at once."""
    edges = [_extremes(column) for column in columns]
    made = []
    for origin, row in enumerate(rows[:MESSY_FROM]):
        for at, found in enumerate(edges):
            made += [
                HardRow(kind=kind, origin=origin, values=(*row[:at], value, *row[at + 1 :])) for kind, value in found
            ]
        for kind in ("null", "minimum", "maximum"):
            chosen = [dict(found) for found in edges]
            whole = tuple(each.get(kind, value) for each, value in zip(chosen, row, strict=True))
            if whole != tuple(row):
                made.append(HardRow(kind=f"all_{kind}", origin=origin, values=whole))
    return made


def boundary_rows(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Value]],
    score: Callable[[Sequence[Sequence[Value]]], Floats],
    threshold: float,
) -> list[tuple[Value, ...]]:
    """Rows around the boundary: from each of the first 40 along each feature with a range that leads over it.

    Found by halving: at most 80 calls of `score`, the pilot's own model.
    """
    pairs = [
        (row, at)
        for row in rows[:BOUNDARY_FROM]
        for at, column in enumerate(columns)
        if column.numeric and column.categories is None and None not in (column.minimum, column.maximum)
    ]
    if not pairs:
        return []
    whole = np.array([columns[at].type == "integer" for _, at in pairs])
    low = np.array([columns[at].minimum for _, at in pairs], dtype=np.float64)
    high = np.array([columns[at].maximum for _, at in pairs], dtype=np.float64)
    low, high = _on_grid(low, whole), _on_grid(high, whole)

    def adverse(values: Floats, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        given = [_with(pairs[index], float(value)) for index, value in zip(chosen, values, strict=True)]
        return score(given) >= threshold

    every = np.arange(len(pairs))
    at_low = adverse(low, every)
    crossing = np.flatnonzero(at_low != adverse(high, every))
    active = crossing
    for _ in range(STEPS):
        middle = _on_grid((low[active] + high[active]) / 2, whole[active])
        moving = (middle != low[active]) & (middle != high[active])
        active, middle = active[moving], middle[moving]
        if not len(active):
            break
        same = adverse(middle, active) == at_low[active]
        low[active[same]], high[active[~same]] = middle[same], middle[~same]
    return [
        _with(pairs[index], float(value))
        for index in crossing
        for value in _around(float(low[index]), float(high[index]), bool(whole[index]))
    ]


def _on_grid(values: Floats, whole: NDArray[np.bool_]) -> Floats:
    with np.errstate(over="ignore"):
        return np.where(whole, np.floor(values), values.astype(np.float32).astype(np.float64))


def _around(low: float, high: float, whole: bool) -> list[float]:
    return [low, high] if whole else [low, *(low + (high - low) * share for share in (0.25, 0.5, 0.75)), high]


def _with(pair: tuple[Sequence[Value], int], value: float) -> tuple[Value, ...]:
    row, at = pair
    return (*row[:at], value, *row[at + 1 :])

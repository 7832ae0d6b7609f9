"""The slices of one column: its categories, or four parts of a column of numbers. Pure functions of the profile.

A slice is a cell of the reference profile or several of them, never a value as it was sent: counts by slice hold no
text that somebody typed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from pilotage.profiles.counts import count_values
from pilotage.profiles.model import ColumnProfile

__all__ = ["quarters", "slice_cell", "slice_labels"]

_PARTS = 4


def quarters(column: ColumnProfile) -> Sequence[float]:
    """Three of the profile's own borders that part its reference rows best into quarters; fewer where it has fewer."""
    if column.kind != "numeric" or not column.cuts:
        return ()
    return sorted({_border(column, part / _PARTS) for part in range(1, _PARTS)})


def slice_labels(column: ColumnProfile) -> tuple[str, ...]:
    """A word for each slice, in order. Of numbers: their parts, then null and fault."""
    if column.kind == "categorical":
        return column.labels
    cuts = quarters(column)
    if not cuts:
        return ("any number", "null", "fault")
    inner = (f"{low:g} to {high:g}" for low, high in pairwise(cuts))
    return (f"below {cuts[0]:g}", *inner, f"from {cuts[-1]:g}", "null", "fault")


def slice_cell(column: ColumnProfile, value: float | str | bool | None) -> int:
    """The slice that a value belongs to: an index of `slice_labels`. A value equal to a border is in the upper part."""
    cell = count_values(column, [value]).index(1)
    if column.kind == "categorical":
        return cell
    parts = len(quarters(column)) + 1
    if cell >= column.null:
        return parts + cell - column.null
    return bisect_right(quarters(column), float(value))  # type: ignore[arg-type]  # the profile counted it as a number


def _border(column: ColumnProfile, share: float) -> float:
    bins = column.counts[1 : len(column.cuts) + 2]
    total, below = sum(bins) or 1, 0
    best = (2.0, column.cuts[0])
    for count, cut in zip(bins, column.cuts, strict=False):
        below += count
        best = min(best, (abs(below / total - share), cut))
    return best[1]

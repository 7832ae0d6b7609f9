"""Geometry of a backtest's pictures, as plain numbers that a template draws as SVG. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.evaluation.intervals import Rate
from pilotage.replay.backtest import Backtest
from pilotage.replay.shift import Shift

__all__ = ["Columns", "Whisker", "Whiskers", "flips_by_segment", "score_columns"]


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """One rate: `x` of its point, `low` and `high` of its interval, `y` of its row; and what it is of."""

    label: str
    rate: Rate
    x: float
    low: float
    high: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Whiskers:
    """Rates on one scale from 0 to `most`, in a box of `width` by `height`; `limit` is where the limit stands."""

    rows: list[Whisker]
    most: float
    limit: float
    width: float
    height: float


def flips_by_segment(found: Backtest, width: float = 260.0, row: float = 22.0) -> Whiskers:
    """The flip rate of all decisions and of each segment, with their intervals; segments without any are left out."""
    rates = [("all", found.flips)] if found.flips.of else []
    rates += [(f"{each.dimension}: {each.value}", each.flips) for each in found.segments if each.flips.of]
    most = min(1.0, max([found.limits.max_flips, *(rate.high for _, rate in rates)]) * 1.05)
    rows = [
        Whisker(
            label=label,
            rate=rate,
            x=rate.rate / most * width,
            low=rate.low / most * width,
            high=rate.high / most * width,
            y=row * (at + 0.5),
        )
        for at, (label, rate) in enumerate(rates)
    ]
    limit = min(1.0, found.limits.max_flips / most) * width
    return Whiskers(rows=rows, most=most, limit=limit, width=width, height=row * len(rows))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Two columns for each cell of scores: (x, old top, new top, label); each column is `wide`."""

    cells: list[tuple[float, float, float, str]]
    wide: float
    width: float
    height: float


def score_columns(shift: Shift, width: float = 480.0, height: float = 120.0) -> Columns:
    """How many of the old and of the new scores lie in each decile cell of the old ones."""
    borders = [f"{cut:.3g}" for cut in shift.cuts]
    labels: Sequence[str] = ["lowest", *borders] if borders else ["all"]
    top = max([1, *shift.old_cells, *shift.new_cells])
    step = width / len(shift.old_cells)
    cells = [
        (step * at, height * (1 - old / top), height * (1 - new / top), label)
        for at, (old, new, label) in enumerate(zip(shift.old_cells, shift.new_cells, labels, strict=True))
    ]
    return Columns(cells=cells, wide=step * 0.38, width=width, height=height)

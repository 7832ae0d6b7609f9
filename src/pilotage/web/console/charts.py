"""Geometry of the console's charts, as plain numbers that templates draw as SVG.

Pure functions: the same input gives the same picture, on a page and in a printed report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Radar", "Spoke", "bars", "polyline", "radar", "sparkline"]


@dataclass(frozen=True, kw_only=True)
class Spoke:
    """One dimension of a radar: its label and where the text goes, score, level, interval, axis end."""

    label: str
    x: float
    y: float
    anchor: str
    axis_x: float
    axis_y: float
    score: float
    low: float
    high: float
    level: int


@dataclass(frozen=True, kw_only=True)
class Radar:
    """A radar chart in a `size` × `size` box: rings, the score polygon, and the interval's two polygons."""

    width: float
    height: float
    rings: list[str]
    score: str
    low: str
    high: str
    spokes: list[Spoke]


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """SVG `points` text of coordinates."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def radar(dimensions: Sequence[tuple[str, float, float, float, int]], radius: float = 110.0) -> Radar:
    """A radar of (label, score, low, high, level); scores are held to 0..1, the first axis points up.

    The box leaves room beside the rings for each label, taken as 7 units a letter, and for "level 5 · 0.99" under it.
    """
    n = max(len(dimensions), 3)
    angles = [2 * math.pi * index / n - math.pi / 2 for index in range(n)]
    reach = [
        _reach(label, radius * 1.14 * math.cos(angle)) for (label, *_), angle in zip(dimensions, angles, strict=False)
    ]
    width, height = 2 * max([radius, *reach]), radius * 2 + 80
    cx, cy = width / 2, height / 2

    def at(index: int, value: float) -> tuple[float, float]:
        return cx + radius * value * math.cos(angles[index]), cy + radius * value * math.sin(angles[index])

    def shape(values: Sequence[float]) -> str:
        return polyline([at(i, max(0.0, min(1.0, v))) for i, v in enumerate(values)])

    spokes = []
    for i, (label, score, low, high, level) in enumerate(dimensions):
        axis_x, axis_y = at(i, 1.0)
        x, y = at(i, 1.14)
        if _central(x - cx) and y < cy:
            y -= 10  # its second line would touch the outer ring
        anchor = "middle" if _central(x - cx) else ("start" if x > cx else "end")
        spokes.append(
            Spoke(
                label=label,
                x=x,
                y=y,
                anchor=anchor,
                axis_x=axis_x,
                axis_y=axis_y,
                score=score,
                low=low,
                high=high,
                level=level,
            )
        )
    return Radar(
        width=width,
        height=height,
        rings=[shape([ring / 5] * n) for ring in range(1, 6)],
        score=shape([d[1] for d in dimensions]),
        low=shape([d[2] for d in dimensions]),
        high=shape([d[3] for d in dimensions]),
        spokes=spokes,
    )


def _central(x: float) -> bool:
    return abs(x) < 20


def _reach(label: str, x: float) -> float:
    """How far from the middle a label at `x` reaches sideways."""
    text = max(7.0 * len(label), 96.0)
    return text / 2 if _central(x) else abs(x) + text


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A signed horizontal bar: `x` and `width` in a box of the given width whose zero is at `zero`.

    `low` and `high` are the ends of a whisker one standard error about the bar's end; equal where there is none.
    """

    label: str
    value: float
    x: float
    width: float
    zero: float
    low: float = 0.0
    high: float = 0.0


def bars(
    values: Sequence[tuple[str, float]], width: float = 260.0, errors: Mapping[str, float] | None = None
) -> list[Bar]:
    """Signed bars on one common scale, zero where the signs part; with whiskers for the labels that have an error."""
    spread = {label: (errors or {}).get(label, 0.0) for label, _ in values}
    least = min([0.0, *(v - spread[label] for label, v in values)])
    most = max([0.0, *(v + spread[label] for label, v in values)])
    span = (most - least) or 1.0
    zero = -least / span * width
    return [
        Bar(
            label=label,
            value=v,
            x=zero + min(0.0, v) / span * width,
            width=abs(v) / span * width,
            zero=zero,
            low=zero + (v - spread[label]) / span * width,
            high=zero + (v + spread[label]) / span * width,
        )
        for label, v in values
    ]


def sparkline(values: Sequence[float], width: float = 240.0, height: float = 48.0) -> str:
    """SVG `points` of a line through values, zero at the bottom; empty text when there is nothing to draw."""
    if not values:
        return ""
    top = max(values) or 1.0
    step = width / max(len(values) - 1, 1)
    return polyline([(i * step, height - 2 - (height - 4) * v / top) for i, v in enumerate(values)])

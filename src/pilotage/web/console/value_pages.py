"""The business case as a page of its own: what executives read in a minute, and the sums under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.value.case import Judgement, Lever
from pilotage.value.model import figure
from pilotage.web.console.charts import polyline
from pilotage.web.console.templating import make_templates

__all__ = ["case_file"]

_LEFT, _WIDTH, _ROW = 170.0, 330.0, 24
_MOST = 15


@dataclass(frozen=True, kw_only=True)
class Span:
    """One bar of the tornado: its ends on the drawing and which of them the input's low end is."""

    lever: Lever
    x: float
    width: float
    low_is_left: bool


@dataclass(frozen=True, kw_only=True)
class Tornado:
    """Bars from the weightiest down, the likely value and zero on the same scale; zero may lie outside (None)."""

    spans: list[Span]
    likely: float
    zero: float | None
    height: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """The summed-up gain from the start on, year by year: points of a line, zero's height, and the marks under it."""

    line: str
    zero: float
    marks: list[tuple[float, str]]
    low: float
    high: float


def case_file(found: Judgement) -> str:
    """The case as one HTML document that loads nothing and prints well."""
    template = make_templates().get_template("value_file.html")
    return template.render(found=found, tornado=_tornado(found), course=_course(found), figure=figure)


def _tornado(found: Judgement) -> Tornado | None:
    levers = found.levers[:_MOST]
    if not levers:
        return None
    ends = [end for each in levers for end in (each.at_low, each.at_high)]
    low, high = min(ends), max(ends)

    def at(value: float) -> float:
        return _LEFT + (value - low) / ((high - low) or 1.0) * _WIDTH

    spans = [
        Span(
            lever=each,
            x=min(at(each.at_low), at(each.at_high)),
            width=abs(at(each.at_high) - at(each.at_low)),
            low_is_left=each.at_low <= each.at_high,
        )
        for each in levers
    ]
    zero = at(0.0) if low <= 0.0 <= high else None
    return Tornado(spans=spans, likely=at(found.npv), zero=zero, height=len(spans) * _ROW + 6)


def _course(found: Judgement) -> Course:
    start = found.years[0].cumulative - found.years[0].discounted
    sums: Sequence[float] = [start, *(each.cumulative for each in found.years)]
    low, high = min(0.0, *sums), max(0.0, *sums)

    def up(value: float) -> float:
        return 10 + (high - value) / ((high - low) or 1.0) * 120

    across = [40 + at * 440 / (len(sums) - 1) for at in range(len(sums))]
    points = [(x, up(value)) for x, value in zip(across, sums, strict=True)]
    marks = [(x, "today" if not at else f"year {at}") for at, x in enumerate(across)]
    return Course(line=polyline(points), zero=up(0.0), marks=marks, low=low, high=high)

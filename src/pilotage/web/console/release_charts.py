"""Geometry of an evaluation's pictures, as plain numbers that a template draws as SVG. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.evaluation.intervals import wilson

__all__ = ["Calibration", "GroupBar", "Span", "calibration_plot", "group_bars", "two_spans"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Points (x, y, top and bottom of the interval, words) in a square box of `size`; both scales end at `most`."""

    points: list[tuple[float, float, float, float, str]]
    most: float
    size: float


def calibration_plot(bins: Sequence[dict[str, Any]], size: float = 240.0) -> Calibration:
    """What was promised against what happened, by bin of the score; a sound score lies on the diagonal."""
    found = [(each["mean_score"], wilson(round(each["rate"] * each["rows"]), each["rows"])) for each in bins]
    most = min(1.0, max([0.05, *(max(score, rate.high) for score, rate in found)]) * 1.05)

    def y(value: float) -> float:
        return float(size * (1 - value / most))

    return Calibration(
        points=[
            (
                size * score / most,
                y(rate.rate),
                y(rate.high),
                y(rate.low),
                f"mean score {score:.3f}, happened {rate.rate:.3f} of {rate.of:,}",
            )
            for score, rate in found
        ],
        most=most,
        size=size,
    )


@dataclass(frozen=True, kw_only=True)
class GroupBar:
    """One group's rate on a scale from 0 to 1 of `width`: its point, the ends of its interval, its row."""

    group: str
    rows: int
    judged: bool
    rate: float
    x: float
    low: float
    high: float
    y: float


def group_bars(groups: Sequence[dict[str, Any]], rate: str, width: float = 260.0, row: float = 22.0) -> list[GroupBar]:
    """One named rate of each group that has it, with its interval, in order."""
    known = [each for each in groups if each[rate] is not None]
    return [
        GroupBar(
            group=each["group"],
            rows=each["rows"],
            judged=each["judged"],
            rate=each[rate]["rate"],
            x=each[rate]["rate"] * width,
            low=each[rate]["low"] * width,
            high=each[rate]["high"] * width,
            y=row * (at + 0.5),
        )
        for at, each in enumerate(known)
    ]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A figure's point and the ends of its interval, on a scale that it shares with another."""

    x: float
    low: float
    high: float


def two_spans(
    old: tuple[float | None, list[float] | None], new: tuple[float | None, list[float] | None], width: float = 120.0
) -> tuple[Span, Span] | None:
    """The same figure before and after, each (value, interval), over the least range that holds both intervals.

    None where a value or an interval is missing.
    """
    (was, before), (now, after) = old, new
    if was is None or now is None or before is None or after is None:
        return None
    low, high = min(was, now, before[0], after[0]), max(was, now, before[1], after[1])
    wide = (high - low) or 1.0

    def x(value: float) -> float:
        return width * (value - low) / wide

    first, second = (Span(x=x(value), low=x(span[0]), high=x(span[1])) for value, span in ((was, before), (now, after)))
    return first, second

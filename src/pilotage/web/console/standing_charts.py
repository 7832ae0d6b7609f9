"""How the six dimensions moved: one small line each, over the days that were kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.web.console.charts import polyline
from pilotage.wiring.standing import DayStanding

__all__ = ["Course", "courses"]

WIDTH, HEIGHT = 220.0, 46.0
_EDGE = 4.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """One dimension over time in a box WIDTH × HEIGHT, 0 at the bottom and 1 at the top.

    `line` are the scores, `band` runs along both ends of the interval; `ends` is the newest point. `moved` is how far
    the score moved between the last two days; `words` say all of it.
    """

    name: str
    line: str
    band: str
    end: tuple[float, float]
    moved: float
    words: str


def courses(days: Sequence[DayStanding]) -> list[Course]:
    """One course for each dimension, in the order of the newest day; nothing without a day."""
    if not days:
        return []
    return [_course(name, days) for name in (str(each["name"]) for each in days[-1].dimensions)]


def _course(name: str, days: Sequence[DayStanding]) -> Course:
    held = [(day, each) for day in days for each in day.dimensions if each["name"] == name]
    first, last = held[0][0].at, held[-1][0].at

    def at(moment: int, value: float) -> tuple[float, float]:
        share = (moment - first) / (last - first) if last > first else 1.0
        return _EDGE + share * (WIDTH - 2 * _EDGE), HEIGHT - _EDGE - value * (HEIGHT - 2 * _EDGE)

    scores = [float(each["score"]) for _, each in held]
    low = [at(day.at, float(each["low"])) for day, each in held]
    high = [at(day.at, float(each["high"])) for day, each in held]
    points = [at(day.at, score) for (day, _), score in zip(held, scores, strict=True)]
    moved = scores[-1] - scores[-2] if len(scores) > 1 else 0.0
    words = f"{name}: {scores[0]:.2f} on {held[0][0].day}"
    words += f", {scores[-1]:.2f} on {held[-1][0].day}" if len(scores) > 1 else ""
    return Course(
        name=name,
        line=polyline(points),
        band=polyline([*high, *reversed(low)]),
        end=points[-1],
        moved=moved,
        words=words,
    )

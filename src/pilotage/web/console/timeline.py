"""Geometry of the strip that shows what was in production when: releases above, stops below, the moment asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pilotage.rollout.past import Placed, Stop

__all__ = ["Span", "Strip", "strip"]

_WIDTH = 1_000.0
_LETTER = 7.5


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span on the strip: `x` and `width` in its units; `label` is empty where it would not fit, `title` is whole."""

    x: float
    width: float
    label: str
    title: str
    odd: bool = False


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The strip, 1,000 wide, from `start` to `end` (Unix microseconds). `cursor` is the place of the moment, `anchor`
    how its text is aligned so that it stays inside.
    """

    start: int
    end: int
    releases: list[Span]
    stops: list[Span]
    cursor: float
    anchor: str


def strip(
    placed: Sequence[Placed],
    stops: Sequence[Stop],
    at: int,
    now: int,
    name: Callable[[str], str],
    when: Callable[[int], str],
) -> Strip | None:
    """The strip of a system's history up to `now`, oldest first; None while nothing was ever in production."""
    if not placed:
        return None
    start = min(placed[0].since, at)
    end = max(now, at, start + 1)

    def x(moment: int) -> float:
        return _WIDTH * (moment - start) / (end - start)

    def span(since: int, until: int, label: str, told: str, odd: bool) -> Span:
        left, right = x(since), x(until or end)
        title = f"{told}: {when(since)} to {when(until) if until else 'now'}"
        fits = len(label) * _LETTER + 12 <= right - left
        return Span(x=left, width=max(right - left, 2.0), label=label if fits else "", title=title, odd=odd)

    cursor = x(at)
    return Strip(
        start=start,
        end=end,
        releases=[
            span(each.since, each.until, name(each.release), f"{name(each.release)}, {each.stage}", bool(n % 2))
            for n, each in enumerate(placed)
        ],
        stops=[span(each.since, each.until, "", "stopped", False) for each in stops],
        cursor=cursor,
        anchor="start" if cursor < 150 else "end" if cursor > _WIDTH - 150 else "middle",
    )

"""How far a roadmap has come, as one page: the burn-up over all looks, and what can be begun now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.assess.keeping import Kept
from pilotage.assess.roadmap import Progress
from pilotage.web.console.charts import polyline
from pilotage.web.console.templating import make_templates

__all__ = ["BurnUp", "burn_up", "status_file"]

WIDTH, HEIGHT = 640.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 14.0, 24.0


@dataclass(frozen=True, kw_only=True)
class BurnUp:
    """Engineer-days over time in a box WIDTH × HEIGHT: `done` and `planned` are lines, `looks` points, `words` say it.

    One look is drawn at the right edge: it has no course yet.
    """

    done: str
    planned: str
    looks: list[tuple[float, float]]
    top: float
    words: str


def burn_up(history: Sequence[Progress]) -> BurnUp:
    """The chart of the looks at a plan, oldest first; at least one."""
    first, last = history[0].at, history[-1].at
    top = max(each.days_planned for each in history) or 1.0

    def at(moment: int, days: float) -> tuple[float, float]:
        share = (moment - first) / (last - first) if last > first else 1.0
        low = HEIGHT - _BOTTOM
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT), low - days / top * (low - _TOP)

    done = [at(each.at, each.days_done) for each in history]
    now = history[-1]
    return BurnUp(
        done=polyline(done),
        planned=polyline([at(each.at, each.days_planned) for each in history]),
        looks=done,
        top=top,
        words=f"{now.days_done:.1f} of {now.days_planned:.1f} engineer-days done after {len(history)} looks",
    )


def status_file(kept: Kept) -> str:
    """The newest look at a roadmap as one HTML document that loads nothing and prints well."""
    now, open_now = kept.history[-1], set(kept.history[-1].open)
    items = [item for item in kept.plan.items if item.id in open_now]
    return (
        make_templates()
        .get_template("burn_up_file.html")
        .render(
            now=now,
            first=kept.history[0],
            chart=burn_up(kept.history),
            width=WIDTH,
            height=HEIGHT,
            left=_LEFT,
            right=WIDTH - _RIGHT,
            low=HEIGHT - _BOTTOM,
            high=_TOP,
            ready=[item for item in items if not open_now.intersection(item.after)],
            later=[item for item in items if open_now.intersection(item.after)],
        )
    )

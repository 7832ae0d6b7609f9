"""The report of an assessment as one page: two minutes for an executive, twenty for an engineer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.assess.model import Assessment
from pilotage.assess.planning import Plan, plan_from
from pilotage.assess.report import told_of, told_of_owasp, told_of_score
from pilotage.assess.roadmap import Phase
from pilotage.assess.standing import Standing
from pilotage.storage.database import reading
from pilotage.web.console.charts import radar
from pilotage.web.console.standing_charts import Course, courses
from pilotage.web.console.templating import make_templates
from pilotage.wiring.installation import Installation
from pilotage.wiring.standing import days_of, facts_of

__all__ = ["report_file", "standing_file"]

_WIDTH = 360.0


@dataclass(frozen=True, kw_only=True)
class PhaseBar:
    """One phase on the time line of effort: where its likely part begins, P50 long, up to P90."""

    phase: Phase
    x: float
    width: float
    to_p90: float


def standing_file(installation: Installation, standing: Standing) -> str:
    """The report of a running system, with the plan that follows from what people stated of it."""
    plan = plan_from(standing.assessment, facts_of(installation, standing.system), None)
    with reading(installation.control) as connection:
        days = [each for each in days_of(connection, standing.system) if each.at <= standing.assessment.at]
    return report_file(standing.assessment, plan, standing, courses(days) if len(days) > 1 else ())


def report_file(found: Assessment, plan: Plan, standing: Standing | None = None, moved: Sequence[Course] = ()) -> str:
    """The report as one HTML document that loads nothing and prints well."""
    chart = radar([(each.dimension.capitalize(), each.score, *each.interval, each.level) for each in found.dimensions])
    weakest = min(found.dimensions, key=lambda each: (each.level, each.score))
    return (
        make_templates()
        .get_template("readiness_file.html")
        .render(
            found=found,
            plan=plan,
            chart=chart,
            weakest=weakest.dimension,
            bars=_bars(plan),
            standing=standing,
            moved=moved,
            told=told_of(found.makeup),
            owasp=told_of_owasp(found.owasp) if found.owasp else "",
            score=told_of_score(found.ml_test_score) if found.ml_test_score else "",
        )
    )


def _bars(plan: Plan) -> list[PhaseBar]:
    phases = plan.roadmap.phases
    whole = sum(each.effort.p50 for each in phases) + max(
        (each.effort.p90 - each.effort.p50 for each in phases), default=0
    )
    bars, start = [], 0.0
    for each in phases:
        scale = _WIDTH / (whole or 1.0)
        likely = each.effort.p50 * scale
        bars.append(PhaseBar(phase=each, x=start, width=likely, to_p90=(each.effort.p90 - each.effort.p50) * scale))
        start += likely
    return bars

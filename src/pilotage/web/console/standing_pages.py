"""The page of a system's readiness as it runs, and the same as a report to keep, send and print."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import may
from pilotage.assess.model import Assessment
from pilotage.assess.report import told_of_owasp, told_of_score
from pilotage.kernel.clock import day
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.web.console.charts import radar
from pilotage.web.console.readiness_report import standing_file
from pilotage.web.console.render import Pages, download
from pilotage.web.console.standing_charts import courses
from pilotage.wiring.standing import days_of, kept_on, standing_of

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of page and report; each runs in a thread, because SQL is synchronous."""
    pages = _StandingPages(view)
    return [
        Route("/systems/{system}/readiness", pages.one),
        Route("/systems/{system}/readiness/report", pages.report),
    ]


class _StandingPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def one(self, request: Request) -> Response:
        person = self.view.person(request, "evidence.read")
        with reading(self.installation.control) as connection:
            system = find_system(connection, request.path_params["system"])
            days = days_of(connection, system.id)
        on = request.query_params.get("day", "")
        found = kept_on(self.installation, system.id, on) if on else standing_of(self.installation, system.id)
        assessed = found.assessment
        weakest = min(assessed.dimensions, key=lambda each: (each.level, each.score))
        return self.view.render(
            "readiness.html",
            section="systems",
            person=person,
            system=system,
            found=found,
            assessed=assessed,
            weakest=weakest.dimension,
            chart=radar([(d.dimension.capitalize(), d.score, *d.interval, d.level) for d in assessed.dimensions]),
            courses={each.name: each for each in courses(days)},
            days=days,
            rubrics=_rubrics(assessed),
            on=on,
            may_answer=may(person, "interview.answer") or may(person, "interview.confirm"),
        )

    def report(self, request: Request) -> Response:
        self.view.person(request, "evidence.read")
        with reading(self.installation.control) as connection:
            system = find_system(connection, request.path_params["system"])
        on = request.query_params.get("day", "")
        found = kept_on(self.installation, system.id, on) if on else standing_of(self.installation, system.id)
        content = standing_file(self.installation, found).encode()
        return download(content, f"readiness-{system.id}-{day(found.assessment.at)}.html")


def _rubrics(found: Assessment) -> list[str]:
    """The ML Test Score and the coverage of the OWASP Top 10, each in a line, where it applies."""
    lines = [] if found.ml_test_score is None else [told_of_score(found.ml_test_score)]
    return lines + ([] if found.owasp is None else [told_of_owasp(found.owasp)])

"""Backtests: the list, one of them, and the same report as a file that needs nothing beside it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.evidence.store import for_check
from pilotage.releases.store import list_releases
from pilotage.replay.backtest import Backtest
from pilotage.replay.backtesting import CHECK, find_backtest
from pilotage.replay.shift import QUANTILES
from pilotage.storage.database import reading
from pilotage.web.console.backtest_charts import flips_by_segment, score_columns
from pilotage.web.console.render import Pages
from pilotage.web.console.templating import make_templates

__all__ = ["report_file", "routes"]

_MOST = 100


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each runs in a thread, because SQL is synchronous."""
    pages = _BacktestPages(view)
    return [Route("/backtests", pages.all), Route("/backtests/{id}", pages.one)]


class _BacktestPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def all(self, request: Request) -> Response:
        person = self.view.person(request, "evidence.read")
        with reading(self.installation.control) as connection:
            found = for_check(connection, CHECK, limit=_MOST)
            names = {each.digest: each.name for each in list_releases(connection)}
        rows = [(each, names.get(each.subject, "")) for each in found]
        return self.view.render("backtests.html", section="backtests", person=person, rows=rows)

    def one(self, request: Request) -> Response:
        person = self.view.person(request, "evidence.read")
        id_ = request.path_params["id"]
        evidence, found = find_backtest(self.installation.control, self.installation.objects, id_)
        with reading(self.installation.control) as connection:
            names = {each.digest: each.name for each in list_releases(connection, found.system)}
        return self.view.render(
            "backtest.html", section="backtests", person=person, evidence=evidence, **_values(found, names)
        )


def report_file(found: Backtest, names: dict[str, str]) -> str:
    """The report as one HTML document that loads nothing and prints well; `names` are those of releases by digest."""
    return make_templates().get_template("backtest_file.html").render(**_values(found, names))


def _values(found: Backtest, names: dict[str, str]) -> dict[str, Any]:
    return {
        "found": found,
        "names": names,
        "flips": flips_by_segment(found),
        "columns": score_columns(found.shift) if found.shift else None,
        "quantiles": QUANTILES,
    }

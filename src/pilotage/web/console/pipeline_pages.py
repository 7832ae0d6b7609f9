"""Pipelines: the list of runs with schedules, and one run with its steps as a picture in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.storage.objects import Objects
from pilotage.web.console.render import Pages
from pilotage.workflows.model import Run, StepRun
from pilotage.workflows.schedule import next_due
from pilotage.workflows.shown import log_tail, reasons, state_of
from pilotage.workflows.store import find_run, list_runs, list_schedules, steps_of

__all__ = ["Bar", "bars", "routes"]

_MOST = 100
_LEFT, _WIDTH, _ROW, _LEAST = 160.0, 700.0, 26.0, 2.0
_TAIL = 8_000


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One step on the picture, 900 wide: where its bar is, and how long it took in seconds."""

    step: StepRun
    y: float
    x: float
    width: float
    seconds: float


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each needs the permission `system.read`."""
    pages = _PipelinePages(view)
    return [Route("/pipelines", pages.all), Route("/pipelines/{id}", pages.one)]


class _PipelinePages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def all(self, request: Request) -> Response:
        person, now = self.view.person(request, "system.read"), now_us()
        with reading(self.installation.control) as connection:
            rows = [(run, state_of(connection, run, now)) for run in list_runs(connection, limit=_MOST)]
            schedules = [(each, next_due(each, now)) for each in list_schedules(connection)]
        values: dict[str, Any] = {"rows": rows, "schedules": schedules}
        return self.view.render("pipelines.html", section="pipelines", person=person, **values)

    def one(self, request: Request) -> Response:
        person, now = self.view.person(request, "system.read"), now_us()
        objects = Objects(root=self.installation.home.pipelines / "objects")
        with reading(self.installation.control) as connection:
            run = find_run(connection, request.path_params["id"])
            steps = steps_of(connection, run.id)
            state, why = state_of(connection, run, now), reasons(connection, objects, run, steps)
        values: dict[str, Any] = {"run": run, "state": state, "why": why, "steps": steps}
        values |= {"bars": bars(run, steps, now), "height": _ROW * len(steps) + 8}
        values["logs"] = {step.name: log_tail(objects, step)[-_TAIL:] for step in steps}
        return self.view.render("pipeline.html", section="pipelines", person=person, **values)


def bars(run: Run, steps: list[StepRun], now: int) -> list[Bar]:
    """Each step that began, from the begin of the run to its end, or to now."""
    begun = [step for step in steps if step.started]
    until = max([run.ended or now, *(step.ended for step in begun)])
    span = max(until - run.started, 1)

    def bar(step: StepRun) -> Bar:
        ended = step.ended or (until if step.state == "running" else step.started)
        x = _LEFT + _WIDTH * (step.started - run.started) / span
        width = max(_LEAST, _WIDTH * (ended - step.started) / span)
        return Bar(step=step, y=_ROW * step.at + 4, x=x, width=width, seconds=(ended - step.started) / 1e6)

    return [bar(step) for step in begun]

"""The control API: what people and their tools do to an installation, as JSON under /api/v1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person, may, require
from pilotage.errors import InputError, NotFound
from pilotage.gates.service import approve, check
from pilotage.kernel.clock import now_us, parse_time
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.days import utc_day
from pilotage.monitor.outcomes import realised_performance
from pilotage.monitor.service import status
from pilotage.releases.store import find_release
from pilotage.rollout.service import live, live_systems
from pilotage.rollout.then import then
from pilotage.storage.database import reading
from pilotage.systems.store import find_system, list_systems
from pilotage.web import access_api, decisions_api, fairness_api, release_api, retention_api
from pilotage.web.backtests import list_backtests, read_backtest, start_backtest
from pilotage.web.bodies import (
    Approve,
    Move,
    Reason,
    StartBacktest,
    json_object,
    read_body,
)
from pilotage.web.openapi import openapi
from pilotage.web.operation import Operation
from pilotage.web.paper_files import paper_file
from pilotage.web.pipelines import list_pipelines, read_pipeline
from pilotage.web.readiness import (
    Answering,
    Confirming,
    answer_interview,
    confirm_interview,
    read_interview,
    read_readiness,
)
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation

__all__ = ["routes"]


def routes(installation: Installation) -> list[BaseRoute]:
    """The API's routes."""
    api = _Api(installation)
    table = [
        *_looks(api),
        *_acts(api),
        *_work(api),
        *access_api.table(installation),
        *decisions_api.table(installation),
        *fairness_api.table(installation),
        *release_api.table(installation),
        *retention_api.table(installation),
    ]
    says = "OpenAPI 3.1 of all of this."
    table.append(Operation("GET", "/openapi.json", "system.read", lambda *_: openapi(table), says))
    return [Route(f"/api/v1{each.path}", _endpoint(installation, each), methods=[each.method]) for each in table]


def _looks(api: _Api) -> list[Operation]:
    return [
        Operation("GET", "/systems", "system.read", api.systems, "The AI systems, with stage and live release."),
        Operation("GET", "/systems/{system}", "system.read", api.system, "One system: its declaration, what is live."),
        Operation(
            "GET",
            "/systems/{system}/gate",
            "gate.check",
            api.gate,
            "The verdict of a gate on a release.",
            query=("release", "to"),
        ),
        Operation(
            "GET",
            "/systems/{system}/drift",
            "monitor.read",
            api.drift,
            "Drift of what was decided.",
            query=("since",),
        ),
        Operation(
            "GET",
            "/systems/{system}/outcomes",
            "monitor.read",
            api.outcomes,
            "Realised performance, whole and by slice.",
            query=("release", "arm", "since", "until"),
        ),
        Operation(
            "GET",
            "/systems/{system}/readiness",
            "evidence.read",
            api.readiness,
            "Where a system stands, and what runs out.",
            query=("ahead", "day"),
        ),
        Operation(
            "GET",
            "/systems/{system}/interview",
            "evidence.read",
            api.interview,
            "The questions, and what people stated.",
        ),
        Operation(
            "GET",
            "/systems/{system}/at",
            "decision.read",
            api.at,
            "What was in production at a time, who approved it, on what evidence.",
            query=("time",),
        ),
    ]


def _acts(api: _Api) -> list[Operation]:
    return [
        Operation(
            "POST",
            "/systems/{system}/interview",
            "interview.answer",
            api.answer,
            "State answers and facts.",
            Answering,
            made=(201,),
        ),
        Operation(
            "POST",
            "/systems/{system}/interview/confirm",
            "interview.confirm",
            api.confirm,
            "Stand for statements of others.",
            Confirming,
            made=(201,),
        ),
        Operation(
            "POST",
            "/systems/{system}/promote",
            "system.promote",
            api.promote,
            "Put a release into production at a stage.",
            Move,
        ),
        Operation(
            "POST",
            "/systems/{system}/rollback",
            "system.rollback",
            api.rollback,
            "Go back to the release before.",
            Reason,
        ),
        Operation(
            "POST", "/approvals", "system.read", api.approve, "Approve a release for a stage.", Approve, made=(201,)
        ),
    ]


def _work(api: _Api) -> list[Operation]:
    return [
        Operation(
            "GET",
            "/releases/{ref}/papers/{file}",
            "evidence.read",
            api.paper,
            "A paper about a release.",
            query=("against",),
            media="*/*",
        ),
        Operation(
            "GET", "/backtests", "evidence.read", api.backtests, "The newest backtests.", query=("system", "limit")
        ),
        Operation(
            "POST",
            "/backtests",
            "release.backtest",
            api.start_backtest,
            "Let a candidate answer recorded decisions.",
            StartBacktest,
            made=(201,),
        ),
        Operation("GET", "/backtests/{id}", "evidence.read", api.backtest, "One backtest with its whole report."),
        Operation(
            "GET",
            "/pipelines",
            "system.read",
            api.pipelines,
            "The newest runs of pipelines.",
            query=("system", "limit"),
        ),
        Operation("GET", "/pipelines/{id}", "system.read", api.pipeline, "One run with its steps."),
    ]


def _endpoint(installation: Installation, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        content = await request.body() if request.method == "POST" else b""

        def do() -> Any:
            person = person_of(request, installation)
            require(person, operation.permission)
            return operation.work(request, person, json_object(content))

        made = await run_in_threadpool(do)
        return made if isinstance(made, Response) else JSONResponse(made)

    return endpoint


class _Api:
    """The work behind each route, in a thread; returns JSON values or a response."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def systems(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        with reading(self.installation.control) as connection:
            found = list_systems(connection)
        placed = {each.system: each for each in live_systems(self.installation.control)}
        return [
            {
                "id": each.id,
                "name": each.name,
                "risk_tier": each.risk_tier,
                "stage": placed[each.id].stage if each.id in placed else "pilot",
                "release": placed[each.id].release if each.id in placed else None,
            }
            for each in found
        ]

    def system(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        with reading(self.installation.control) as connection:
            found = find_system(connection, request.path_params["system"])
        placed = live(self.installation.control, found.id)
        return {"system": msgspec.to_builtins(found), "live": None if placed is None else msgspec.to_builtins(placed)}

    def gate(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        query = request.query_params
        system = request.path_params["system"]
        return check(self.installation.control, system, query.get("release", ""), query.get("to", "")).as_dict()

    def drift(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        system = request.path_params["system"]
        placed = live(self.installation.control, system)
        if placed is None:
            raise NotFound(f"{system} has no live release", mend="promote one first")
        since = request.query_params.get("since", "")
        found = status(
            self.installation.ledger(),
            self.installation.profile_of,
            system,
            placed.release,
            since=parse_time(since) if since else None,
        )
        return msgspec.to_builtins(found)

    def outcomes(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        system, query = request.path_params["system"], request.query_params
        with reading(self.installation.control) as connection:
            known = find_system(connection, system)
            release = find_release(connection, query["release"]).digest if query.get("release") else ""
        placed = None if release else live(self.installation.control, known.id)
        if not release and placed is None:
            raise NotFound(f"{system} has no live release", mend="name one with the parameter release")
        found = realised_performance(
            self.installation.control,
            Outcomes(self.installation.ledger_engine),
            self.installation.releases,
            known.id,
            release or (placed.release if placed else ""),
            arm=query.get("arm", "")[:80],
            since=utc_day(query.get("since", "")),
            until=utc_day(query.get("until", "")),
            now=now_us(),
        )
        return msgspec.to_builtins(found)

    def readiness(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return read_readiness(self.installation, request.path_params["system"], request.query_params)

    def interview(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return read_interview(self.installation, request.path_params["system"])

    def answer(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        made = answer_interview(self.installation, person, request.path_params["system"], body)
        return JSONResponse(made, status_code=201)

    def confirm(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        made = confirm_interview(self.installation, person, request.path_params["system"], body)
        return JSONResponse(made, status_code=201)

    def promote(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move = read_body(Move, body)
        made = self.installation.rollout.promote(person, request.path_params["system"], move.release, move.stage)
        return msgspec.to_builtins(made)

    def rollback(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move = read_body(Reason, body)
        return msgspec.to_builtins(
            self.installation.rollout.rollback(person, request.path_params["system"], move.reason)
        )

    def approve(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(Approve, body)
        if ask.system:
            _refuse_other_system(self.installation, ask)
        made = approve(
            self.installation.control,
            person,
            release=ask.release,
            stage=ask.stage,
            role=ask.role,
            statement=ask.statement,
        )
        return JSONResponse(msgspec.to_builtins(made), status_code=201)

    def at(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        with reading(self.installation.control) as connection:
            system = find_system(connection, request.path_params["system"]).id
        moment, names = request.query_params.get("time", ""), may(person, "decision.read_payload")
        at = parse_time(moment) if moment else now_us()
        found = then(self.installation.ledger(), self.installation.control, system, at, names=names)
        return None if found is None else found.as_dict()

    def paper(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        name, against = request.path_params["file"], request.query_params.get("against", "")
        content = paper_file(self.installation, request.path_params["ref"], name, against)
        types = {"md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8", "json": "application/json"}
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=types[name.rpartition(".")[2]], headers=headers)

    def backtests(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return list_backtests(self.installation, request.query_params)

    def backtest(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return read_backtest(self.installation, request.path_params["id"])

    def start_backtest(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        made = start_backtest(self.installation, person, read_body(StartBacktest, body))
        return JSONResponse(made, status_code=201)

    def pipelines(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return list_pipelines(self.installation, request.query_params)

    def pipeline(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return read_pipeline(self.installation, request.path_params["id"])


def _refuse_other_system(installation: Installation, ask: Approve) -> None:
    with reading(installation.control) as connection:
        found = find_release(connection, ask.release)
    if found.system != ask.system:
        fault: dict[str, object] = {"path": "system", "code": "mismatch", "message": f"this is {found.name}"}
        raise InputError(
            "the release is another system's",
            got=ask.system,
            expected=found.system,
            mend="name a release of this system",
            faults=[fault],
        )

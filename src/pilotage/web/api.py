"""The control API: what people and their tools do to an installation, as JSON under /api/v1."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
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
from pilotage.ledger.erasure import list_holds, place_hold, release_hold
from pilotage.ledger.erasure_requests import erasure_requests
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.overriding import override, said_about
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.retention import in_words, retention_floors
from pilotage.ledger.retention_rules import WIDE
from pilotage.ledger.traces import TRACE_LIMIT, tree_document
from pilotage.monitor.days import utc_day
from pilotage.monitor.outcomes import realised_performance
from pilotage.monitor.service import status
from pilotage.releases.store import find_release
from pilotage.replay.service import replay
from pilotage.rollout.past import in_production
from pilotage.rollout.service import live, live_systems
from pilotage.rollout.then import then
from pilotage.storage.database import reading
from pilotage.systems.store import find_system, list_systems
from pilotage.web import access_api
from pilotage.web.backtests import list_backtests, read_backtest, start_backtest
from pilotage.web.bodies import (
    Approve,
    Erase,
    Move,
    Override,
    PlaceHold,
    Reason,
    SetRetention,
    StartBacktest,
    json_object,
    read_body,
)
from pilotage.web.exports import export_response, look_ups, outcomes_response
from pilotage.web.filters import decision_filter, page_of
from pilotage.web.paper_files import paper_file
from pilotage.web.pipelines import list_pipelines, read_pipeline
from pilotage.web.readiness import answer_interview, confirm_interview, read_interview, read_readiness
from pilotage.web.session import person_of
from pilotage.wiring.erasing import erase_person
from pilotage.wiring.installation import Installation
from pilotage.wiring.retention import classes_now, enforce, retention_now, set_retention

__all__ = ["routes"]

Work = Callable[[Request, Person, dict[str, Any]], Any]


def routes(installation: Installation) -> list[BaseRoute]:
    """The API's routes."""
    api = _Api(installation)
    table: list[tuple[str, str, str, Work]] = [
        ("GET", "/systems", "system.read", api.systems),
        ("GET", "/systems/{system}", "system.read", api.system),
        ("GET", "/systems/{system}/gate", "gate.check", api.gate),
        ("GET", "/systems/{system}/drift", "monitor.read", api.drift),
        ("GET", "/systems/{system}/outcomes", "monitor.read", api.outcomes),
        ("GET", "/systems/{system}/readiness", "evidence.read", api.readiness),
        ("GET", "/systems/{system}/interview", "evidence.read", api.interview),
        ("POST", "/systems/{system}/interview", "interview.answer", api.answer),
        ("POST", "/systems/{system}/interview/confirm", "interview.confirm", api.confirm),
        ("POST", "/systems/{system}/promote", "system.promote", api.promote),
        ("POST", "/systems/{system}/rollback", "system.rollback", api.rollback),
        ("GET", "/systems/{system}/at", "decision.read", api.at),
        ("POST", "/approvals", "system.read", api.approve),
        ("GET", "/decisions", "decision.read", api.decisions),
        ("GET", "/decisions/export", "decision.read", api.export),
        ("GET", "/outcomes/export", "decision.read", api.export_outcomes),
        ("GET", "/decisions/{id}", "decision.read", api.decision),
        ("GET", "/traces/{id}", "decision.read", api.trace),
        ("GET", "/decisions/{id}/explanation", "decision.read_payload", api.explanation),
        ("GET", "/decisions/{id}/proof", "decision.read", api.proof),
        ("POST", "/decisions/{id}/replay", "decision.read", api.replay),
        ("GET", "/erasures", "retention.read", api.erasures),
        ("POST", "/erasures", "subject.erase", api.erase),
        ("GET", "/retention", "retention.read", api.retention),
        ("POST", "/retention", "retention.set", api.set_retention),
        ("POST", "/retention/enforce", "retention.enforce", api.enforce),
        ("GET", "/holds", "hold.read", api.holds),
        ("POST", "/holds", "hold.edit", api.place_hold),
        ("POST", "/holds/{id}/release", "hold.edit", api.release_hold),
        ("POST", "/decisions/{id}/override", "decision.override", api.override),
        ("GET", "/releases/{ref}/papers/{file}", "evidence.read", api.paper),
        ("GET", "/backtests", "evidence.read", api.backtests),
        ("POST", "/backtests", "release.backtest", api.start_backtest),
        ("GET", "/backtests/{id}", "evidence.read", api.backtest),
        ("GET", "/pipelines", "system.read", api.pipelines),
        ("GET", "/pipelines/{id}", "system.read", api.pipeline),
        ("GET", "/checkpoint", "decision.read", api.checkpoint),
        ("GET", "/stats", "decision.read", api.stats),
    ]
    return [
        Route(f"/api/v1{path}", _endpoint(installation, permission, work), methods=[method])
        for method, path, permission, work in [*table, *access_api.table(installation)]
    ]


def _endpoint(installation: Installation, permission: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        content = await request.body() if request.method == "POST" else b""

        def do() -> Any:
            person = person_of(request, installation)
            require(person, permission)
            return work(request, person, json_object(content))

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

    def decisions(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        limit, before = page_of(request.query_params, limit=100, most=1_000)
        wanted = decision_filter(request.query_params, look_ups(self.installation))
        found = self.installation.ledger().decisions(wanted, limit=limit, before=before)
        return [asdict(row) for row in found]

    def export(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        return export_response(self.installation, person, request.query_params)

    def export_outcomes(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        return outcomes_response(self.installation, person, request.query_params)

    def trace(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return tree_document(self.installation.ledger().trace(request.path_params["id"], TRACE_LIMIT))

    def decision(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        found, readable = self._recorded(request), may(person, "decision.read_payload")
        ledger = self.installation.ledger()
        return {
            "row": asdict(found.row),
            "plain": json.loads(msgspec.json.encode(found.plain)),
            "payload": found.payload_values() if readable else None,
            "unreadable": found.unreadable,
            "past_retention": None if found.past is None else asdict(found.past),
            "said": said_about(ledger, found.row.id, readable),
            "in_force": msgspec.to_builtins(in_production(ledger, found.row.system, found.row.at, names=readable)),
        }

    def at(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        with reading(self.installation.control) as connection:
            system = find_system(connection, request.path_params["system"]).id
        moment, names = request.query_params.get("time", ""), may(person, "decision.read_payload")
        at = parse_time(moment) if moment else now_us()
        found = then(self.installation.ledger(), self.installation.control, system, at, names=names)
        return None if found is None else found.as_dict()

    def override(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        asked = read_body(Override, body)
        made = override(
            self.installation.control,
            self.installation.ledger(),
            self.installation.keyring.steward_public,
            person,
            decision=request.path_params["id"],
            answer=asked.answer,
            reason=asked.reason,
        )
        return JSONResponse({"event": made.id, "decision": request.path_params["id"]}, status_code=201)

    def explanation(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        return self.installation.explanations.make(self._recorded(request), person.id).as_dict()

    def replay(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return msgspec.to_builtins(replay(self._recorded(request), self.installation.releases))

    def proof(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        id_ = request.path_params["id"]
        text = self.installation.ledger().prove(id_)
        return _download(text.encode(), f"{id_}.tlog-proof", "text/plain; charset=utf-8")

    def erase(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(Erase, body)
        report = erase_person(self.installation, person, ask.subject, ask.reason)
        return JSONResponse(asdict(report), status_code=202 if report.restricted_until else 200)

    def erasures(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        found = erasure_requests(self.installation.ledger(), self.installation.ledger_engine)
        return [asdict(each) for each in found]

    def retention(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        floors = [msgspec.to_builtins(each) for each in retention_floors().values()]
        kept = [asdict(each) for each in retention_now(self.installation)]
        return {"systems": kept, "classes": [asdict(each) for each in classes_now(self.installation)], "floors": floors}

    def set_retention(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(SetRetention, body)
        cover = {"system": ask.system, "of": ask.class_}
        made = set_retention(self.installation, person, **cover, span=ask.span, reason=ask.reason)
        if ask.class_ in WIDE:
            return {"class": ask.class_, "kept": in_words(made.payloads)}
        return {"system": ask.system, "payloads": in_words(made.payloads), "entries": in_words(made.entries)}

    def enforce(self, _request: Request, person: Person, _body: dict[str, Any]) -> Any:
        return asdict(enforce(self.installation, person))

    def holds(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return [asdict(hold) for hold in list_holds(self.installation.control, self.installation.keyring)]

    def place_hold(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(PlaceHold, body)
        cover = {"subject": ask.subject, "system": ask.system}
        made = place_hold(self.installation.control, self.installation.keyring, ask.reason, person.id, **cover)
        return JSONResponse({"id": made}, status_code=201)

    def release_hold(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        release_hold(self.installation.control, request.path_params["id"], person.id)
        return {"id": request.path_params["id"]}

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

    def checkpoint(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return Response(self.installation.ledger().checkpoint(), media_type="text/plain; charset=utf-8")

    def stats(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        found = self.installation.ledger().stats()
        return {"decisions": found.decisions, "outcomes": found.outcomes, "workers": self.installation.settings.workers}

    def _recorded(self, request: Request) -> RecordedDecision:
        return self.installation.ledger().decision(request.path_params["id"])


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


def _download(content: bytes, name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)

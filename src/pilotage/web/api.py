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
from pilotage.kernel.clock import parse_time
from pilotage.ledger.queries import DecisionFilter, RecordedDecision
from pilotage.monitor.service import status
from pilotage.replay.reasons import explain_recorded
from pilotage.replay.service import replay
from pilotage.rollout.service import live, live_systems
from pilotage.storage.database import reading
from pilotage.systems.store import find_system, list_systems
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation

__all__ = ["decision_filter", "routes"]

Work = Callable[[Request, Person, dict[str, Any]], Any]


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an approval: which release, for which stage, in which role."""

    release: str
    stage: str
    system: str = ""
    role: str = ""
    statement: str = ""


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of promote, rollback, stop and start; each uses what it needs."""

    release: str = ""
    stage: str = ""
    reason: str = ""


def routes(installation: Installation) -> list[BaseRoute]:
    """The API's routes."""
    api = _Api(installation)
    table: list[tuple[str, str, str, Work]] = [
        ("GET", "/systems", "system.read", api.systems),
        ("GET", "/systems/{system}", "system.read", api.system),
        ("GET", "/systems/{system}/gate", "gate.check", api.gate),
        ("GET", "/systems/{system}/drift", "monitor.read", api.drift),
        ("POST", "/systems/{system}/promote", "system.promote", api.promote),
        ("POST", "/systems/{system}/rollback", "system.rollback", api.rollback),
        ("POST", "/systems/{system}/stop", "system.stop", api.stop),
        ("POST", "/systems/{system}/start", "system.start", api.start),
        ("POST", "/approvals", "system.read", api.approve),
        ("GET", "/decisions", "decision.read", api.decisions),
        ("GET", "/decisions/{id}", "decision.read", api.decision),
        ("GET", "/decisions/{id}/explanation", "decision.read_payload", api.explanation),
        ("GET", "/decisions/{id}/proof", "decision.read", api.proof),
        ("POST", "/decisions/{id}/replay", "decision.read", api.replay),
        ("GET", "/checkpoint", "decision.read", api.checkpoint),
    ]
    return [
        Route(f"/api/v1{path}", _endpoint(installation, permission, work), methods=[method])
        for method, path, permission, work in table
    ]


def _endpoint(installation: Installation, permission: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = _body(await request.body()) if request.method == "POST" else {}

        def do() -> Any:
            person = person_of(request, installation)
            require(person, permission)
            return work(request, person, body)

        made = await run_in_threadpool(do)
        return made if isinstance(made, Response) else JSONResponse(made)

    return endpoint


def _body(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError as error:
        raise InputError("the body is no JSON", got=error, expected="a JSON object", mend="mend the body") from error
    if not isinstance(found, dict):
        raise InputError(
            "the body is no JSON object", got=type(found).__name__, expected="an object", mend="send {...}"
        )
    return found


def _as(kind: type[Any], body: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        expected = ", ".join(kind.__struct_fields__)
        raise InputError("the body does not fit", got=error, expected=expected, mend="mend the field named") from error


def decision_filter(query: dict[str, str]) -> DecisionFilter:
    """The filter that query parameters describe; unknown names are ignored. Raises InputError with every fault."""
    faults: list[dict[str, object]] = []
    values: dict[str, Any] = {
        name: query.get(name, "") for name in ("system", "release", "stage", "outcome", "fault", "subject")
    }
    for name, read in (("since", parse_time), ("until", parse_time), ("score_min", float), ("score_max", float)):
        if text := query.get(name, "").strip():
            try:
                values[name] = read(text)
            except (InputError, ValueError):
                faults.append({"path": name, "code": "wrong_type", "message": f"{text[:60]} cannot be read"})
    if faults:
        raise InputError("the filter cannot be read", mend="times as 2026-03-01T10:00Z, scores as 0.25", faults=faults)
    return DecisionFilter(**values)


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

    def promote(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move: Move = _as(Move, body)
        made = self.installation.rollout.promote(person, request.path_params["system"], move.release, move.stage)
        return msgspec.to_builtins(made)

    def rollback(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move: Move = _as(Move, body)
        return msgspec.to_builtins(
            self.installation.rollout.rollback(person, request.path_params["system"], move.reason)
        )

    def stop(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move: Move = _as(Move, body)
        return msgspec.to_builtins(self.installation.rollout.stop(person, request.path_params["system"], move.reason))

    def start(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        move: Move = _as(Move, body)
        return msgspec.to_builtins(self.installation.rollout.start(person, request.path_params["system"], move.reason))

    def approve(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask: Ask = _as(Ask, body)
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
        query = dict(request.query_params)
        limit, before = query.get("limit", "100"), query.get("before", "")
        if not (limit.isdigit() and 1 <= int(limit) <= 1_000) or not (before == "" or before.isdigit()):
            raise InputError("limit or before cannot be read", got=f"{limit}, {before}", mend="limit 1 to 1000")
        found = self.installation.ledger().decisions(
            decision_filter(query), limit=int(limit), before=int(before) if before else None
        )
        return [asdict(row) for row in found]

    def decision(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        found = self._recorded(request)
        return {
            "row": asdict(found.row),
            "plain": json.loads(msgspec.json.encode(found.plain)),
            "payload": payload_as_json(found) if may(person, "decision.read_payload") else None,
            "unreadable": found.unreadable,
        }

    def explanation(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return msgspec.to_builtins(explain_recorded(self._recorded(request), self.installation.releases))

    def replay(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return msgspec.to_builtins(replay(self._recorded(request), self.installation.releases))

    def proof(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        id_ = request.path_params["id"]
        text = self.installation.ledger().prove(id_)
        return _download(text.encode(), f"{id_}.tlog-proof", "text/plain; charset=utf-8")

    def checkpoint(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return Response(self.installation.ledger().checkpoint(), media_type="text/plain; charset=utf-8")

    def _recorded(self, request: Request) -> RecordedDecision:
        return self.installation.ledger().decision(request.path_params["id"])


def payload_as_json(found: RecordedDecision) -> dict[str, Any] | None:
    """A payload as JSON values: the request as text, recorded upstream answers as base64."""
    if found.payload is None:
        return None
    made: dict[str, Any] = msgspec.to_builtins(found.payload)
    made["subject"] = found.payload.subject
    made["request"] = found.payload.request.decode("utf-8", errors="replace")
    return made


def _download(content: bytes, name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)

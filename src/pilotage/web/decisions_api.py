"""The control API of decisions: what was decided, why, by which proof, and a person's other answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pilotage.access.model import Person, may
from pilotage.ledger.overriding import override, said_about
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.traces import TRACE_LIMIT, tree_document
from pilotage.replay.service import replay
from pilotage.rollout.past import in_production
from pilotage.web.bodies import (
    Override,
    read_body,
)
from pilotage.web.exports import export_response, look_ups, outcomes_response
from pilotage.web.filters import FILTERS, decision_filter, page_of
from pilotage.web.operation import Operation
from pilotage.wiring.installation import Installation

__all__ = ["table"]


def table(installation: Installation) -> list[Operation]:
    """The operations of decisions."""
    decisions = _Decisions(installation)
    choose = (*FILTERS, "limit", "before")
    files = (*FILTERS, "format", "payload")
    return [
        Operation(
            "GET", "/decisions", "decision.read", decisions.decisions, "Decisions, the newest first.", query=choose
        ),
        Operation(
            "GET",
            "/decisions/export",
            "decision.read",
            decisions.export,
            "All decisions that the filters choose, as a streamed file.",
            query=files,
            media="*/*",
        ),
        Operation(
            "GET",
            "/outcomes/export",
            "decision.read",
            decisions.export_outcomes,
            "All outcomes, as a streamed file.",
            query=("system", "state", "format"),
            media="*/*",
        ),
        Operation("GET", "/decisions/{id}", "decision.read", decisions.decision, "Every factor of one decision."),
        Operation("GET", "/traces/{id}", "decision.read", decisions.trace, "The tree of a trace or a request."),
        Operation(
            "GET",
            "/decisions/{id}/explanation",
            "decision.read_payload",
            decisions.explanation,
            "Reasons, attribution, and what would have altered the answer.",
        ),
        Operation(
            "GET", "/decisions/{id}/proof", "decision.read", decisions.proof, "The inclusion proof.", media="text/plain"
        ),
        Operation("POST", "/decisions/{id}/replay", "decision.read", decisions.replay, "Answer it again and compare."),
        Operation(
            "POST",
            "/decisions/{id}/override",
            "decision.override",
            decisions.override,
            "Give another answer than the decision's.",
            Override,
            made=(201,),
        ),
        Operation(
            "GET", "/checkpoint", "decision.read", decisions.checkpoint, "The ledger's signed root.", media="text/plain"
        ),
        Operation("GET", "/stats", "decision.read", decisions.stats, "Counts of what is sealed."),
    ]


class _Decisions:
    """The work behind each route, in a thread; returns JSON values or a response."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

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

    def checkpoint(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return Response(self.installation.ledger().checkpoint(), media_type="text/plain; charset=utf-8")

    def stats(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        found = self.installation.ledger().stats()
        return {"decisions": found.decisions, "outcomes": found.outcomes, "workers": self.installation.settings.workers}

    def _recorded(self, request: Request) -> RecordedDecision:
        return self.installation.ledger().decision(request.path_params["id"])


def _download(content: bytes, name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)

"""The console's pages about decisions: the list with its filters, and one decision with proof, record and replay."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person, may
from pilotage.errors import InputError, PilotageError
from pilotage.ledger.items import InterruptedPayload
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.overriding import said_about
from pilotage.ledger.queries import DecisionRow, Ledger, RecordedDecision
from pilotage.ledger.said import SAID
from pilotage.ledger.traces import TRACE_LIMIT, trace_tree, untraced
from pilotage.releases.store import list_releases
from pilotage.replay.explanations import KeptExplanation
from pilotage.replay.model import ReplayVerdict
from pilotage.replay.reasons import quick_to_explain
from pilotage.replay.service import replay
from pilotage.rollout.past import in_production
from pilotage.storage.database import reading
from pilotage.systems.store import list_systems
from pilotage.web.console.charts import bars
from pilotage.web.console.render import Pages, download
from pilotage.web.exports import export_response, look_ups
from pilotage.web.filters import FIELDS, FILTERS, decision_filter, page_of

__all__ = ["routes"]

_MOST_SHOWN = 65_536
"""Bytes of a request that a page shows: it may have 31 MiB."""

_MOST_VALUE = 400
_PAGE = 50
_MOST_BARS = 10


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each runs in a thread, because SQL is synchronous."""
    pages = _DecisionPages(view)
    return [
        Route("/decisions", pages.decisions),
        Route("/exports/decisions", pages.export),
        Route("/traces/{id}", pages.trace),
        Route("/decisions/{id}", pages.decision),
        Route("/decisions/{id}/proof", pages.proof),
        Route("/decisions/{id}/record", pages.record),
        Route("/decisions/{id}/replay", pages.replay, methods=["POST"]),
        Route("/decisions/{id}/explain", pages.explain, methods=["POST"]),
    ]


class _DecisionPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def ledger(self) -> Ledger:
        return self.installation.ledger()

    def decisions(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        query = {name: request.query_params.get(name, "").strip() for name in FILTERS}
        faults: list[dict[str, object]] = []
        rows: list[DecisionRow] = []
        try:
            wanted = decision_filter(query, look_ups(self.installation))
            limit, before = page_of({"before": request.query_params.get("before", "")}, limit=_PAGE, most=_PAGE)
            rows = self.ledger().decisions(wanted, limit=limit + 1, before=before)
        except InputError as error:
            faults = error.faults
        given = {name: text for name, text in query.items() if text}
        values: dict[str, Any] = {
            "rows": rows[:_PAGE],
            "older": urlencode({**given, "before": rows[_PAGE - 1].leaf}) if len(rows) > _PAGE else "",
            "newest": urlencode(given) if request.query_params.get("before") else None,
            "faults": faults,
            "filtered": bool(given),
            "chosen": urlencode(given),
            "may_read": may(person, "decision.read_payload"),
        }
        # A piece is what a filter asks for; going back in the browser's history asks for the page.
        if "hx-request" in request.headers and "hx-history-restore-request" not in request.headers:
            return self.view.render("_rows.html", **values)
        with reading(self.installation.control) as connection:
            systems = [each.id for each in list_systems(connection)]
        return self.view.render(
            "decisions.html",
            section="decisions",
            person=person,
            filters=query,
            wrong={str(fault["path"]) for fault in faults},
            systems=systems,
            fields=FIELDS,
            **values,
        )

    def export(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        return export_response(self.installation, person, request.query_params)

    def trace(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        rows = self.ledger().trace(request.path_params["id"], TRACE_LIMIT)
        nodes = trace_tree(rows)
        return self.view.render(
            "trace.html",
            section="decisions",
            person=person,
            id=request.path_params["id"],
            nodes=nodes,
            whole=len(rows) < TRACE_LIMIT,
            span_ms=max(node.after_us + node.row.answer_us for node in nodes) / 1000,
        )

    def decision(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        return self._page(request, person, None)

    def replay(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        verdict = replay(
            self.ledger().decision(request.path_params["id"]),
            self.installation.releases,
            self.installation.environments,
        )
        return self._page(request, person, verdict)

    def _page(self, request: Request, person: Person, verdict: ReplayVerdict | None) -> Response:
        found = self.ledger().decision(request.path_params["id"])
        if found.past is not None:
            leaf_hash, row = self.ledger().hash_of(found.row.leaf).hex(), found.row
            return self.view.render(
                "past.html", section="decisions", person=person, row=row, past=found.past, leaf_hash=leaf_hash
            )
        may_read = may(person, "decision.read_payload")
        kept, why = self._explained(found, person, may_read)
        explanation = None if kept is None else kept.explanation
        payload = found.payload if may_read else None
        top = sorted(explanation.attributions.items(), key=lambda item: -abs(item[1])) if explanation else []
        return self.view.render(
            "decision.html",
            section="decisions",
            person=person,
            row=found.row,
            plain=found.plain,
            payload=payload,
            unreadable=found.unreadable,
            untraced=untraced(found),
            may_read=may_read,
            release_name=self._release_name(found),
            features=[(name, _short(value)) for name, value in zip(payload.names, payload.features, strict=False)]
            if payload
            else [],
            faults={str(fault.get("path")): fault for fault in payload.faults} if payload else {},
            request_text=_pretty(payload.request[:_MOST_SHOWN]) if payload else "",
            request_left=max(0, len(payload.request) - _MOST_SHOWN) if payload else 0,
            sent=payload.chunks if isinstance(payload, InterruptedPayload) else [],
            explanation=explanation,
            kept=kept,
            explanation_why=why,
            bars=bars(top[:_MOST_BARS], errors=explanation.standard_errors if explanation else {}),
            more_bars=max(0, len(top) - _MOST_BARS),
            leaf_hash=self.ledger().hash_of(found.row.leaf).hex(),
            said=self._said(found, may_read),
            then=in_production(self.ledger(), found.row.system, found.row.at, names=may_read),
            size=read_checkpoint_body(self.ledger().checkpoint()).size,
            replay=verdict,
            replayed=_both(verdict) if verdict and may_read else [],
        )

    def _said(self, found: RecordedDecision, may_read: bool) -> list[dict[str, Any]]:
        """The outcomes and overrides; explanations have a place of their own."""
        return [each for each in said_about(self.ledger(), found.row.id, may_read) if each["kind"] in SAID]

    def _release_name(self, found: RecordedDecision) -> str:
        with reading(self.installation.control) as connection:
            releases = list_releases(connection, found.row.system)
        return next((each.name for each in releases if each.digest == found.row.release), "")

    def _explained(self, found: RecordedDecision, person: Person, may_read: bool) -> tuple[KeptExplanation | None, str]:
        """The explanation on record, made now where that is quick; or why there is none, nothing to offer making it."""
        if not may_read:
            return None, "Your roles may not read payloads, and reasons come from them."
        explanations = self.installation.explanations
        try:
            kept = explanations.find(found)
            if kept is None and quick_to_explain(found, self.installation.releases):
                kept = explanations.make(found, person.id)
            return kept, ""
        except PilotageError as error:
            return None, error.what[0].upper() + error.what[1:] + "."

    def explain(self, request: Request) -> Response:
        """Make what takes a while, then show it."""
        person = self.view.person(request, "decision.read_payload")
        found = self.ledger().decision(request.path_params["id"])
        self.installation.explanations.make(found, person.id)
        return RedirectResponse(f"/decisions/{found.row.id}", status_code=303)

    def proof(self, request: Request) -> Response:
        self.view.person(request, "decision.read")
        found = self.ledger().decision(request.path_params["id"])
        return download(self.ledger().prove(found.row.id).encode(), f"{found.row.id}.tlog-proof")

    def record(self, request: Request) -> Response:
        self.view.person(request, "decision.read")
        id_ = request.path_params["id"]
        return download(self.ledger().entry(self.ledger().leaf_of(id_)), f"{id_}.json")


def _both(verdict: ReplayVerdict) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys((*verdict.recorded, *verdict.replayed))
    return [(name, verdict.recorded.get(name), verdict.replayed.get(name)) for name in names]


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= _MOST_VALUE else f"{value[:_MOST_VALUE]}…"


def _pretty(content: bytes) -> str:
    try:
        return json.dumps(json.loads(content), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return content.decode("utf-8", errors="replace")

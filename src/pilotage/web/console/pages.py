"""The console's pages: systems, one system, decisions, one decision."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person, may
from pilotage.errors import InputError, PilotageError
from pilotage.kernel.clock import now_us
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.queries import DecisionRow, Ledger, RecordedDecision
from pilotage.monitor.service import status
from pilotage.releases.store import list_releases
from pilotage.replay.reasons import explain_recorded
from pilotage.replay.service import replay
from pilotage.rollout.service import live, live_systems
from pilotage.storage.database import reading
from pilotage.systems.model import STAGES
from pilotage.systems.store import find_system, list_systems
from pilotage.web.api import decision_filter
from pilotage.web.console.charts import bars, radar
from pilotage.web.console.live import live_figures
from pilotage.web.console.readiness import latest_assessment
from pilotage.web.console.render import Pages

__all__ = ["routes"]

_HOUR_US = 3_600_000_000
_PAGE = 50
_OUTCOMES = ("answered", "rejected", "refused", "fallback", "abstained", "review", "interrupted")
_FILTERS = ("system", "outcome", "stage", "fault", "subject", "release", "since", "until", "score_min", "score_max")


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each runs in a thread, because SQL is synchronous."""
    pages = _ConsolePages(view)
    return [
        Route("/", lambda request: RedirectResponse("/systems", status_code=303)),
        Route("/systems", pages.systems),
        Route("/systems/{system}", pages.system),
        Route("/systems/{system}/live", pages.live),
        Route("/decisions", pages.decisions),
        Route("/decisions/{id}", pages.decision),
        Route("/decisions/{id}/proof", pages.proof),
        Route("/decisions/{id}/record", pages.record),
        Route("/decisions/{id}/replay", pages.replay, methods=["POST"]),
    ]


class _ConsolePages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    @property
    def control(self) -> Engine:
        return self.installation.control

    def ledger(self) -> Ledger:
        return self.installation.ledger()

    def systems(self, request: Request) -> Response:
        person = self.view.person(request, "system.read")
        with reading(self.control) as connection:
            found = list_systems(connection)
        placed = {each.system: each for each in live_systems(self.control)}
        since = now_us() - _HOUR_US
        rows = []
        for each in found:
            stats, at = self.ledger().stats(each.id, since), placed.get(each.id)
            assessed = latest_assessment(self.installation, each.id)
            rows.append(
                {
                    "id": each.id,
                    "name": each.name,
                    "purpose": each.purpose,
                    "risk_tier": each.risk_tier,
                    "stage": at.stage if at else "pilot",
                    "release": at.release if at else "",
                    "stopped": at.stopped if at else "",
                    "level": assessed["level"] if assessed else None,
                    "decisions": stats.decisions,
                    "p99_ms": stats.p99_us / 1000 if stats.decisions else None,
                }
            )
        return self.view.render("systems.html", section="systems", person=person, systems=rows)

    def system(self, request: Request) -> Response:
        person = self.view.person(request, "system.read")
        with reading(self.control) as connection:
            system = find_system(connection, request.path_params["system"])
            releases = list_releases(connection, system.id)[:10]
        placed = live(self.control, system.id)
        assessed = latest_assessment(self.installation, system.id)
        drift, why = self._drift(system.id, placed.release if placed else "")
        return self.view.render(
            "system.html",
            section="systems",
            person=person,
            system=system,
            stage=placed.stage if placed else "pilot",
            release=placed.release if placed else "",
            stopped=placed.stopped if placed else "",
            releases=releases,
            assessment=assessed,
            chart=radar(assessed["spokes"]) if assessed else None,
            drift=drift,
            drift_why=why,
            live=live_figures(self.ledger(), system.id),
            events=self.ledger().events(system=system.id, limit=10),
        )

    def _drift(self, system: str, release: str) -> tuple[Any, str]:
        if not release:
            return None, "Nothing is live yet."
        try:
            return status(self.ledger(), self.installation.profile_of, system, release, last=5_000), ""
        except PilotageError as error:
            return None, error.what

    async def live(self, request: Request) -> Response:
        await run_in_threadpool(self.view.person, request, "system.read")
        system = request.path_params["system"]

        async def fragments() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                figures = await run_in_threadpool(live_figures, self.ledger(), system)
                html = self.view.fragment("_live.html", live=figures)
                yield ("event: live\n" + "".join(f"data: {line}\n" for line in html.splitlines()) + "\n").encode()
                await asyncio.sleep(1)

        return StreamingResponse(fragments(), media_type="text/event-stream")

    def decisions(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
        before = request.query_params.get("before", "")
        fault = ""
        rows: list[DecisionRow] = []
        try:
            wanted = decision_filter(query)
            rows = self.ledger().decisions(wanted, limit=_PAGE, before=int(before) if before.isdigit() else None)
        except InputError as error:
            fault = "; ".join(str(each["message"]) for each in error.faults)
        older = ""
        if len(rows) == _PAGE:
            older = urlencode({**{k: v for k, v in query.items() if v}, "before": rows[-1].leaf})
        values: dict[str, Any] = {"rows": rows, "older": older, "fault": fault}
        if request.headers.get("hx-request") == "true":
            return self.view.render("_rows.html", **values)
        with reading(self.control) as connection:
            systems = [each.id for each in list_systems(connection)]
        return self.view.render(
            "decisions.html",
            section="decisions",
            person=person,
            filters=query,
            systems=systems,
            outcomes=_OUTCOMES,
            stages=STAGES,
            **values,
        )

    def decision(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        return self._decision_page(request, person, None)

    def replay(self, request: Request) -> Response:
        person = self.view.person(request, "decision.read")
        verdict = replay(self.ledger().decision(request.path_params["id"]), self.installation.releases)
        return self._decision_page(request, person, verdict)

    def _decision_page(self, request: Request, person: Person, verdict: Any) -> Response:
        found = self.ledger().decision(request.path_params["id"])
        may_read = may(person, "decision.read_payload")
        explanation, why = self._explained(found, may_read)
        payload = found.payload if may_read else None
        top = sorted(explanation.attributions.items(), key=lambda item: -abs(item[1]))[:10] if explanation else []
        return self.view.render(
            "decision.html",
            section="decisions",
            person=person,
            row=found.row,
            plain=found.plain,
            payload=payload,
            unreadable=found.unreadable,
            may_read=may_read,
            features=list(zip(payload.names, payload.features, strict=False)) if payload else [],
            request_text=_pretty(payload.request) if payload else "",
            explanation=explanation,
            explanation_why=why,
            bars=bars(top),
            adverse=explanation.label if explanation and explanation.reasons else "the adverse answer",
            leaf_hash=leaf_hash(found.entry).hex(),
            size=read_checkpoint_body(self.ledger().checkpoint()).size,
            replay=verdict,
        )

    def _explained(self, found: RecordedDecision, may_read: bool) -> tuple[Any, str]:
        if not may_read:
            return None, "Your roles may not read payloads, and reasons come from them."
        try:
            return explain_recorded(found, self.installation.releases), ""
        except PilotageError as error:
            return None, error.what[0].upper() + error.what[1:] + "."

    def proof(self, request: Request) -> Response:
        self.view.person(request, "decision.read")
        id_ = request.path_params["id"]
        return _download(self.ledger().prove(id_).encode(), f"{id_}.tlog-proof")

    def record(self, request: Request) -> Response:
        self.view.person(request, "decision.read")
        found = self.ledger().decision(request.path_params["id"])
        return _download(found.entry, f"{found.row.id}.json")


def _pretty(content: bytes) -> str:
    try:
        return json.dumps(json.loads(content), indent=1, ensure_ascii=False)
    except ValueError:
        return content.decode("utf-8", errors="replace")


def _download(content: bytes, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)

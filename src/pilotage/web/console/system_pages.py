"""The console's pages about systems: all of them, one of them, and its live figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from pilotage.errors import PilotageError
from pilotage.evidence.model import Evidence
from pilotage.gates.model import GateVerdict
from pilotage.gates.policy import gate_stages
from pilotage.gates.service import check
from pilotage.gateway.stops import ALL, read_stops
from pilotage.kernel.clock import now_us
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.queries import Ledger
from pilotage.monitor.model import ColumnVerdict, MonitorStatus
from pilotage.monitor.outcomes import realised_performance
from pilotage.monitor.performance import Performance
from pilotage.monitor.service import status
from pilotage.releases.model import Release
from pilotage.releases.store import list_releases
from pilotage.releases.yanking import yanked
from pilotage.rollout.model import Live
from pilotage.rollout.service import live, live_systems
from pilotage.storage.database import reading
from pilotage.systems.store import find_system, list_systems
from pilotage.web.console.charts import radar
from pilotage.web.console.live import recent
from pilotage.web.console.readiness import latest_assessment
from pilotage.web.console.render import Pages

__all__ = ["routes"]

_TICK_S = 1.0
_MOST_RELEASES = 8
_MOST_EVENTS = 12
_DRIFT_ROWS = 5_000
_DRIFT_SPANS_US = (600_000_000, 6 * 3_600_000_000)
_GRAVITY = ("drift", "watch", "not enough data", "ok")


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each runs in a thread, because SQL is synchronous."""
    pages = _SystemPages(view)
    return [
        Route("/", lambda request: RedirectResponse("/systems", status_code=303)),
        Route("/systems", pages.systems),
        Route("/systems/{system}", pages.system),
        Route("/systems/{system}/live", pages.live),
    ]


class _SystemPages:
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
        taken_back = self._yanked([each.release for each in placed.values()])
        now = now_us()
        rows = []
        for each in found:
            window, _, stats = recent(self.ledger(), each.id, now)
            rows.append(
                {
                    "system": each,
                    "live": placed.get(each.id),
                    "yanked": each.id in placed and placed[each.id].release in taken_back,
                    "assessed": latest_assessment(self.installation, each.id),
                    "window": window,
                    "decisions": stats.decisions,
                    "rejected": stats.outcomes.get("rejected", 0),
                    "p99_ms": stats.p99_us / 1000 if stats.decisions else None,
                }
            )
        return self.view.render("systems.html", section="systems", person=person, rows=rows)

    def system(self, request: Request) -> Response:
        person = self.view.person(request, "system.read")
        with reading(self.control) as connection:
            system = find_system(connection, request.path_params["system"])
            releases = list_releases(connection, system.id)
        placed = live(self.control, system.id)
        shown = releases[:_MOST_RELEASES]
        assessed = latest_assessment(self.installation, system.id)
        drift, why = self._drift(system.id, placed)
        gate, gate_why = self._gate(system.id, placed, releases)
        stops = read_stops(self.installation.home.stops)
        return self.view.render(
            "system.html",
            section="systems",
            person=person,
            system=system,
            placed=placed,
            stage=placed.stage if placed else "pilot",
            releases=shown,
            yanked=self._yanked([*(each.digest for each in shown), *([placed.release] if placed else [])]),
            more_releases=max(0, len(releases) - _MOST_RELEASES),
            assessment=assessed,
            chart=radar(assessed["spokes"]) if assessed else None,
            drift=drift,
            columns=sorted(drift.columns, key=_gravity) if drift else [],
            drift_why=why,
            told=self._told(system.id, placed),
            gate=gate,
            gate_why=gate_why,
            live=self.view.live.of(system.id),
            here=stops.get(system.id) or stops.get(ALL),
            followed=_FOLLOWED.get(request.query_params.get("done", ""), ""),
            events=self.ledger().events(system=system.id, limit=_MOST_EVENTS),
        )

    def _yanked(self, digests: list[str]) -> dict[str, Evidence]:
        """Those of some releases that were taken back, with the evidence of it."""
        with reading(self.control) as connection:
            found = {each: yanked(connection, each) for each in digests}
        return {each: evidence for each, evidence in found.items() if evidence is not None}

    def _drift(self, system: str, placed: Live | None) -> tuple[MonitorStatus | None, str]:
        if placed is None:
            return None, "Nothing is live yet."
        try:
            found = self._newest_drift(system, placed.release)
        except PilotageError as error:
            return None, error.what
        return (found, "") if found.rows else (None, "No decision of the live release is sealed yet.")

    def _told(self, system: str, placed: Live | None) -> Performance | None:
        """What the live release's answers were worth, once any outcome of them is told."""
        if placed is None:
            return None
        try:
            found = realised_performance(
                self.control,
                Outcomes(self.installation.ledger_engine),
                self.installation.releases,
                system,
                placed.release,
                now=now_us(),
            )
        except PilotageError:
            return None  # the section on drift says what is wrong with the release
        return found if found.outcomes else None

    def _newest_drift(self, system: str, release: str) -> MonitorStatus:
        """Over the newest rows that suffice. Counts are read of a short while first: of all time they are many."""
        now = now_us()
        for since in (*(now - each for each in _DRIFT_SPANS_US), None):
            found = status(self.ledger(), self.installation.profile_of, system, release, since=since, last=_DRIFT_ROWS)
            if found.rows >= _DRIFT_ROWS:
                break
        return found

    def _gate(self, system: str, placed: Live | None, releases: list[Release]) -> tuple[GateVerdict | None, str]:
        """The gate that the live release, or the newest when none is live, has to pass next."""
        stages = ("pilot", *gate_stages())
        at = placed.stage if placed else "pilot"
        if at not in stages or stages.index(at) + 1 == len(stages):
            return None, f"No gate leads on from stage {at}."
        if not releases:
            return None, "There is no release yet."
        try:
            release = placed.release if placed else releases[0].digest
            return check(self.control, system, release, stages[stages.index(at) + 1]), ""
        except PilotageError as error:
            return None, error.what

    async def live(self, request: Request) -> Response:
        system = request.path_params["system"]

        def known() -> None:
            self.view.person(request, "system.read")
            with reading(self.control) as connection:
                find_system(connection, system)

        def tick() -> bytes:
            # The session may have ended meanwhile, so whoever watches is asked for again each time.
            try:
                self.view.person(request, "system.read")
            except PilotageError:
                return _event("over", "")
            figures = self.view.live.of(system)
            pieces = {"live": "_live.html", "outcomes": "_outcomes.html"}
            return b"".join(
                _event(name, self.view.fragment(template, live=figures, system_id=system))
                for name, template in pieces.items()
            )

        async def fragments() -> AsyncIterator[bytes]:
            while not (self.view.stopping() or await request.is_disconnected()):
                began = time.monotonic()
                sent = await run_in_threadpool(tick)
                yield sent
                if sent.startswith(b"event: over"):
                    return
                # A ledger that is slow to read is read less often: at most a fifth of the time.
                await asyncio.sleep(max(_TICK_S, 4 * (time.monotonic() - began)))

        await run_in_threadpool(known)
        return StreamingResponse(fragments(), media_type="text/event-stream")


_FOLLOWED = {
    "stopped": "It is stopped, and on record.",
    "started": "It is started, and on record.",
    "here": "Every worker of this node follows.",
    "waits": "Not every worker of this node follows yet: look again, or at pilotage gateway check.",
}


def _gravity(column: ColumnVerdict) -> tuple[int, float]:
    return _GRAVITY.index(column.verdict), -column.psi


def _event(name: str, html: str) -> bytes:
    lines = html.splitlines() or [""]
    return (f"event: {name}\n" + "".join(f"data: {line}\n" for line in lines) + "\n").encode()

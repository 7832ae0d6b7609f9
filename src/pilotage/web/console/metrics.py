"""What Prometheus reads of the console: how far the journals of nodes lag, how ready live systems were found last, and
which evidence expires soon.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.evidence.store import latest
from pilotage.kernel.clock import now_us
from pilotage.nodes.service import nodes_of
from pilotage.rollout.service import live_systems
from pilotage.storage.database import reading
from pilotage.web.console.render import Pages
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import subject_of
from pilotage.wiring.standing import KEPT

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The route; it needs the permission `system.read`."""

    async def metrics(request: Request) -> Response:
        return await run_in_threadpool(_metrics, view, request)

    return [Route("/metrics", metrics)]


def _metrics(view: Pages, request: Request) -> Response:
    view.person(request, "system.read")
    registry, now = CollectorRegistry(), now_us()
    _add_nodes(registry, view.installation, now)
    _add_standings(registry, view.installation, now)
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


def _add_nodes(registry: CollectorRegistry, installation: Installation, now: int) -> None:
    seconds = Gauge(
        "pilotage_journal_pull_lag_seconds",
        "Since all that the node had was on the steward's disk",
        ["node"],
        registry=registry,
    )
    waiting = Gauge(
        "pilotage_journal_pull_lag_bytes", "Of the node's journal, not here when last seen", ["node"], registry=registry
    )
    for node in nodes_of(installation.control):
        if node.address and not node.retired:
            seconds.labels(node.name).set(node.lag_s(now))
            waiting.labels(node.name).set(node.lag_bytes)


def _add_standings(registry: CollectorRegistry, installation: Installation, now: int) -> None:
    """Of what the steward kept last of each live system: nothing is measured anew for a scrape."""
    level = Gauge("pilotage_readiness_level", "Level 1 to 5 of a dimension", ["system", "dimension"], registry=registry)
    required = Gauge(
        "pilotage_readiness_required_level", "Level that the next stage asks for", ["system"], registry=registry
    )
    left = Gauge(
        "pilotage_evidence_expires_seconds",
        "Until evidence that a score rests on begins to fade; below 0: since it has begun",
        ["system", "criterion"],
        registry=registry,
    )
    for each in live_systems(installation.control):
        with reading(installation.control) as connection:
            kept = latest(connection, subject_of(each.system), KEPT)
        if kept is None:
            continue
        required.labels(each.system).set(kept.figures["required"])
        for one in kept.figures["dimensions"]:
            level.labels(each.system, one["name"]).set(one["level"])
        soonest: dict[str, int] = {}
        for key, due in kept.figures["due"].items():
            criterion = str(key).partition("/")[0] or "approval"
            soonest[criterion] = min(due, soonest.get(criterion, due))
        for criterion, due in soonest.items():
            left.labels(each.system, criterion).set((due - now) / 1_000_000)

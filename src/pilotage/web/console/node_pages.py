"""The console's page of gateway nodes, and the figures that Prometheus reads of them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.kernel.clock import now_us
from pilotage.nodes.service import nodes_of
from pilotage.web.console.render import Pages

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The routes; each needs the permission `system.read`."""

    async def page(request: Request) -> Response:
        return await run_in_threadpool(_page, view, request)

    async def metrics(request: Request) -> Response:
        return await run_in_threadpool(_metrics, view, request)

    return [Route("/nodes", page), Route("/metrics", metrics)]


def _page(view: Pages, request: Request) -> Response:
    person, now = view.person(request, "system.read"), now_us()
    rows = [{"node": node, "lag_s": node.lag_s(now)} for node in nodes_of(view.installation.control)]
    return view.render("nodes.html", person=person, section="nodes", rows=rows)


def _metrics(view: Pages, request: Request) -> Response:
    view.person(request, "system.read")
    registry, now = CollectorRegistry(), now_us()
    seconds = Gauge(
        "pilotage_journal_pull_lag_seconds",
        "Since all that the node had was on the steward's disk",
        ["node"],
        registry=registry,
    )
    waiting = Gauge(
        "pilotage_journal_pull_lag_bytes", "Of the node's journal, not here when last seen", ["node"], registry=registry
    )
    for node in nodes_of(view.installation.control):
        if node.address and not node.retired:
            seconds.labels(node.name).set(node.lag_s(now))
            waiting.labels(node.name).set(node.lag_bytes)
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

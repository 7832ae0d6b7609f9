"""The console's page of gateway nodes."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.kernel.clock import now_us
from pilotage.nodes.service import nodes_of
from pilotage.web.console.render import Pages

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The route; it needs the permission `system.read`."""

    async def page(request: Request) -> Response:
        return await run_in_threadpool(_page, view, request)

    return [Route("/nodes", page)]


def _page(view: Pages, request: Request) -> Response:
    person, now = view.person(request, "system.read"), now_us()
    rows = [{"node": node, "lag_s": node.lag_s(now)} for node in nodes_of(view.installation.control)]
    return view.render("nodes.html", person=person, section="nodes", rows=rows)

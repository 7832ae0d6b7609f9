"""The console's page of what was in production then: a moment, a strip of releases and stops, approvals, evidence."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import may
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us, parse_time, rfc3339
from pilotage.kernel.digests import short
from pilotage.releases.store import list_releases
from pilotage.rollout.past import placements, stops
from pilotage.rollout.then import then
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.web.console.render import Pages
from pilotage.web.console.timeline import strip

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The route; it needs the permission `decision.read`, and names need `decision.read_payload`."""

    async def page(request: Request) -> Response:
        return await run_in_threadpool(_page, view, request)

    return [Route("/systems/{system}/at", page)]


def _page(view: Pages, request: Request) -> Response:
    person = view.person(request, "decision.read")
    control, ledger, now = view.installation.control, view.installation.ledger(), now_us()
    with reading(control) as connection:
        system = find_system(connection, request.path_params["system"])
        names = {each.digest: each.name for each in list_releases(connection, system.id)}
    asked, fault, at = request.query_params.get("time", "").strip(), "", now
    if asked:
        try:
            at = parse_time(asked)
        except InputError as error:
            fault = f"{error.what}: expected {error.expected}"
    named = may(person, "decision.read_payload")

    def name(release: str) -> str:
        return names.get(release, short(release))

    found = then(ledger, control, system.id, at, names=named)
    placed = placements(ledger, system.id, now)
    held = stops(ledger, system.id, now, names=False)
    return view.render(
        "at.html",
        section="systems",
        person=person,
        system=system,
        at=at,
        field=rfc3339(at)[:19],
        fault=fault,
        found=found,
        named=named,
        name=name,
        strip=strip(placed, held, at, now, name, lambda us: rfc3339(us)[:16].replace("T", " ")),
    )

"""The console and the API as one Starlette application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pilotage import __version__
from pilotage.access.model import Person
from pilotage.errors import PilotageError, Unauthenticated
from pilotage.kernel.clock import rfc3339
from pilotage.kernel.digests import short
from pilotage.web import api
from pilotage.web.console import pages, sign_in
from pilotage.web.console.render import Pages
from pilotage.web.security import Guard
from pilotage.wiring.installation import Installation

__all__ = ["create_app"]

_HERE = Path(__file__).parent


def create_app(installation: Installation) -> Starlette:
    """The application over one installation: pages at /, API at /api/v1, /live and /ready for whoever watches it."""
    view = Pages(installation=installation, templates=_templates())
    routes = [
        Route("/live", _fine),
        Route("/ready", _fine),
        *api.routes(installation),
        *sign_in.routes(view),
        *pages.routes(view),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]

    async def on_error(request: Request, error: Exception) -> Response:
        return _error_response(view, request, error)

    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard)],
        exception_handlers={PilotageError: on_error, HTTPException: on_error, Exception: on_error},
    )


async def _fine(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = lambda us: rfc3339(us)[:-4].replace("T", " ")
    environment.filters["short"] = short
    environment.globals["version"] = __version__
    return environment


def _error_response(view: Pages, request: Request, error: Exception) -> Response:
    wants_page = not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")
    if isinstance(error, Unauthenticated) and wants_page:
        return RedirectResponse("/sign-in", status_code=303)
    body, status = _error_body(error)
    if not wants_page:
        return JSONResponse({"error": body}, status_code=status)
    facts = {"got": None, "expected": None, "mend": "", **body}
    person: Person | None = None
    return view.render("error.html", section="", person=person, status=status, status_code=status, **facts)


def _error_body(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, PilotageError):
        return error.as_dict(), error.status
    if isinstance(error, HTTPException):
        words = {404: ("not_found", "there is no such page"), 405: ("method_not_allowed", "this method is not allowed")}
        code, message = words.get(error.status_code, ("http_error", str(error.detail)))
        return {"code": code, "message": message, "mend": "check the address"}, error.status_code
    return {"code": "internal", "message": "something broke here", "mend": "see the console's log"}, 500

"""The console and the API as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pilotage.errors import PilotageError, Unauthenticated
from pilotage.web import api, log
from pilotage.web.console import (
    access_pages,
    backtest_pages,
    comparison_pages,
    decision_pages,
    interview_pages,
    issuer_pages,
    metrics,
    node_pages,
    past_pages,
    pipeline_pages,
    release_pages,
    retention_pages,
    sign_in,
    standing_pages,
    system_pages,
)
from pilotage.web.console.live import LiveFigures
from pilotage.web.console.render import Pages
from pilotage.web.console.templating import make_templates
from pilotage.web.security import Guard
from pilotage.wiring.installation import Installation

__all__ = ["create_app"]

_HERE = Path(__file__).parent
_WORDS = {404: ("not_found", "There is no such page"), 405: ("method_not_allowed", "This method is not allowed here")}


def create_app(installation: Installation, stopping: Callable[[], bool] = lambda: False) -> ASGIApp:
    """The application over one installation: pages at /, API at /api/v1, /live and /ready for whoever watches it.

    `stopping` says that the server wants to end: live streams then end by themselves, instead of being waited for.
    """
    live = LiveFigures(installation.ledger)
    view = Pages(installation=installation, templates=make_templates(), live=live, stopping=stopping)
    routes = [
        Route("/live", _fine),
        Route("/ready", _fine),
        *api.routes(installation),
        *log.routes(installation),
        *sign_in.routes(view),
        *issuer_pages.routes(view),
        *system_pages.routes(view),
        *access_pages.routes(view),
        *decision_pages.routes(view),
        *backtest_pages.routes(view),
        *node_pages.routes(view),
        *metrics.routes(view),
        *past_pages.routes(view),
        *pipeline_pages.routes(view),
        *comparison_pages.routes(view),
        *release_pages.routes(view),
        *retention_pages.routes(view),
        *standing_pages.routes(view),
        *interview_pages.routes(view),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]

    async def on_error(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(_error_response, view, request, error)

    inner = Starlette(
        routes=routes, exception_handlers={PilotageError: on_error, HTTPException: on_error, Exception: on_error}
    )
    # Outside of Starlette, whose answer to an unforeseen error passes by its own middleware.
    return Guard(inner)


async def _fine(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _error_response(view: Pages, request: Request, error: Exception) -> Response:
    wants_page = not request.url.path.startswith(("/api/", "/log/")) and "text/html" in request.headers.get(
        "accept", ""
    )
    if isinstance(error, Unauthenticated) and wants_page:
        if "hx-request" in request.headers:
            # A redirect would put the sign-in page into a piece of this one.
            return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
        return RedirectResponse("/sign-in", status_code=303)
    body, status = _error_body(error)
    if not wants_page:
        return JSONResponse({"error": body}, status_code=status)
    facts = {"got": None, "expected": None, "mend": "", "faults": [], **body}
    person = view.person_if_known(request)
    return view.render("error.html", section="", person=person, status=status, status_code=status, **facts)


def _error_body(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, PilotageError):
        return error.as_dict(), error.status
    if isinstance(error, HTTPException):
        code, message = _WORDS.get(error.status_code, ("http_error", str(error.detail)))
        return {"code": code, "message": message, "mend": "check the address"}, error.status_code
    return {"code": "internal", "message": "Something broke here", "mend": "see the console's log"}, 500

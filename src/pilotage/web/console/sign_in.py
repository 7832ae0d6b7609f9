"""Signing in with a personal token or a one-time link, and out."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.service import authenticate, end_session, exchange_link, one_time_link
from pilotage.errors import Unauthenticated
from pilotage.web.console.render import Pages
from pilotage.web.session import drop_session, keep_session, session_of

__all__ = ["routes"]


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of signing in and out."""
    control = view.installation.control

    def form(request: Request) -> Response:
        return view.sign_in()

    def link_form(request: Request) -> Response:
        # A GET must not use the link up: mail scanners and previews follow links.
        code = request.query_params.get("code", "")
        return view.sign_in(code=code)

    async def by_token(request: Request) -> Response:
        token = str((await request.form()).get("token", "")).strip()
        return _enter(request, lambda: one_time_link(control, (p := authenticate(control, token)), by=p).text)

    async def by_link(request: Request) -> Response:
        code = str((await request.form()).get("code", ""))
        return _enter(request, lambda: code)

    def _enter(request: Request, code_of: Callable[[], str]) -> Response:
        try:
            session = exchange_link(control, code_of())
        except Unauthenticated as error:
            fault = f"That did not work: {error.what}."
            return view.sign_in(fault=fault, status_code=401)
        response = RedirectResponse("/systems", status_code=303)
        keep_session(response, session.text, secure=request.url.scheme == "https")
        return response

    def sign_out(request: Request) -> Response:
        try:
            end_session(control, session_of(request))
        except Unauthenticated:
            pass
        response = RedirectResponse("/sign-in", status_code=303)
        drop_session(response)
        return response

    return [
        Route("/sign-in", form, methods=["GET"]),
        Route("/sign-in", by_token, methods=["POST"]),
        Route("/sign-in/link", link_form, methods=["GET"]),
        Route("/sign-in/link", by_link, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
    ]

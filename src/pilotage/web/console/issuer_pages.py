"""Signing in to the console at a trusted issuer, and coming back from it."""

from __future__ import annotations

from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person
from pilotage.access.service import begin_session
from pilotage.errors import PilotageError, Unauthenticated
from pilotage.web.console.render import Pages
from pilotage.web.session import keep_session

__all__ = ["routes"]

_COOKIE, _PATH, _LIFE_S = "pilotage_attempt", "/sign-in", 600
_MOST = 4_096


def routes(view: Pages) -> list[BaseRoute]:
    """The way to an issuer and back; nobody is known on it yet."""
    bearers = view.installation.bearers

    def away(request: Request) -> Response:
        address, attempt = bearers.begin(request.path_params["issuer"])
        response = RedirectResponse(address, status_code=303)
        # Lax: the browser comes back from another site. It is no session, and good for one attempt.
        response.set_cookie(
            _COOKIE,
            attempt,
            max_age=_LIFE_S,
            path=_PATH,
            httponly=True,
            samesite="lax",
            secure=bearers.secure(request.path_params["issuer"]),
        )
        return response

    def back(request: Request) -> Response:
        try:
            person = _person(request)
        except PilotageError as error:
            response = view.sign_in(fault=f"That did not work: {error.what}.", status_code=401)
        else:
            session = begin_session(view.installation.control, person)
            # A page of ours, and not a redirect: the session's cookie is not sent on the way from another site.
            response = view.render("signed_in.html", person=None, section="")
            keep_session(response, session.text, secure=bearers.secure(request.path_params["issuer"]))
        response.delete_cookie(_COOKIE, path=_PATH)
        return response

    def _person(request: Request) -> Person:
        given, attempt = request.query_params, request.cookies.get(_COOKIE, "")[:_MOST]
        code, state = given.get("code", ""), given.get("state", "")
        if not attempt or not state or not compare_digest(state.encode(), bearers.state_of(attempt).encode()):
            raise Unauthenticated("this browser did not begin it, or too long ago", mend="sign in again")
        if not 0 < len(code) <= _MOST or "error" in given:
            raise Unauthenticated("the issuer signed nobody in", mend="sign in again")
        return bearers.finish(request.path_params["issuer"], attempt, code, given.get("iss"))

    return [
        Route("/sign-in/with/{issuer}", away),
        Route("/sign-in/back/{issuer}", back),
    ]

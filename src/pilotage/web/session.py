"""Who is asking: a person by bearer token, ours or a trusted issuer's, or by the console's session cookie."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pilotage.access.model import Person
from pilotage.access.service import authenticate, session_person
from pilotage.errors import Unauthenticated
from pilotage.wiring.installation import Installation

__all__ = ["COOKIE", "drop_session", "keep_session", "person_of", "session_of"]

COOKIE = "pilotage_session"


def session_of(request: Request) -> str:
    """The session text in the cookie, or empty."""
    return request.cookies.get(COOKIE, "")


def person_of(request: Request, installation: Installation) -> Person:
    """The person who asks. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token:
        if scheme.lower() != "bearer":
            raise Unauthenticated(
                "not a bearer token", got=scheme, expected="Bearer", mend="send Authorization: Bearer"
            )
        token = token.strip()
        # A JSON Web Token begins with the base64 of `{"`; a token of ours with `pt_`.
        return installation.bearers.person(token) if token[:3] == "eyJ" else authenticate(installation.control, token)
    session = session_of(request)
    if not session:
        raise Unauthenticated("you are not signed in", mend="sign in, or send Authorization: Bearer pt_...")
    return session_person(installation.control, session)


def keep_session(response: Response, session: str, *, secure: bool) -> None:
    """Set the session cookie: not readable by scripts, never sent from another site."""
    response.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=secure, path="/")


def drop_session(response: Response) -> None:
    """Take the session cookie away."""
    response.delete_cookie(COOKIE, path="/")

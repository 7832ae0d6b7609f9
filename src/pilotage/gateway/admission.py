"""Who a request comes from and what it may ask: what has passed the steps before any row of it is looked at."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

from pilotage.errors import Forbidden
from pilotage.gateway.authenticate import Principal, authorize
from pilotage.gateway.headers import Headers
from pilotage.gateway.state import LiveSystem, Serving
from pilotage.gateway.tokens import Tokens, is_token
from pilotage.gateway.turn import Turn

__all__ = ["Admitted", "as_asked", "may_tell", "principal_of"]


class Admitted(NamedTuple):
    """A request that may go on: what it is answered from, who asks, when it came (Unix microseconds), headers, path."""

    serving: Serving
    turn: Turn
    principal: Principal
    received: int
    headers: Headers
    path: str


async def principal_of(
    serving: Serving, tokens: Tokens | None, scope: MutableMapping[str, Any], key: bytes, at: int
) -> Principal:
    """Who presents a key or a token, or without one a certificate. Raises Unauthenticated, Unavailable."""
    if not key and (certificate := scope.get("client_certificate")) is not None:
        found = serving.principals.certified(certificate, at)
        if found is not None:
            return found
    if tokens is None or not is_token(key):
        return serving.principals.authenticate(key, at)
    known = serving.principals.find(key)
    if known is None or at >= known.expires:
        known = await tokens.principal(key, at)
        serving.principals.learn(key, known)
    return known


def as_asked(admitted: Admitted, live: LiveSystem) -> LiveSystem:
    """The system as it answers this principal: for whoever only drills, on record as a drill. Raises Forbidden."""
    authorize(admitted.principal, live.route.system)
    drills = admitted.principal.only_drills(live.route.system)
    return admitted.serving.drills.get(live.route.system, live) if drills else live


def may_tell(principal: Principal) -> None:
    """Raises Forbidden when a principal has no scope for outcomes."""
    if not principal.outcomes:
        raise Forbidden(
            "the API key may not tell outcomes",
            expected="a scope outcome:<system>",
            mend="ask an administrator for a key with this scope",
        )

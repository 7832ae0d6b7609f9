"""Signing in at an issuer: the authorization code flow (OpenID Connect Core 1.0 section 3.1) with PKCE (RFC 7636)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from pilotage.access.issuer_keys import CannotAsk, Discovered, client_of, discover, send
from pilotage.access.issuers import Issuer, safe_url

__all__ = ["Attempt", "begin", "exchange", "look_up"]

_ASK_S = 5.0
_WORDS = 32
_Found = TypeVar("_Found")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser that was sent to an issuer brings back: each is random, and known to it and us alone."""

    issuer: str
    state: str
    nonce: str
    verifier: str


class _Answer(msgspec.Struct, frozen=True):
    id_token: str


def look_up(issuer: Issuer) -> Discovered:
    """Where the issuer signs people in; blocks for up to five seconds. Raises CannotAsk."""

    async def ask() -> Discovered:
        async with client_of(issuer) as client:
            return await discover(client, issuer)

    found = asyncio.run(_bounded(ask()))
    if not safe_url(found.authorize) or not safe_url(found.token):
        raise CannotAsk("it signs nobody in, or not over https")
    return found


def begin(issuer: Issuer, found: Discovered, back: str) -> tuple[str, Attempt]:
    """The address to send a browser to, and what it must bring back to `back`."""
    words = (secrets.token_urlsafe(_WORDS) for _ in range(3))
    attempt = Attempt(issuer=issuer.name, state=next(words), nonce=next(words), verifier=next(words))
    challenge = urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": issuer.client,
        "redirect_uri": back,
        "scope": "openid profile email",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{found.authorize}?{urlencode(asked)}", attempt


def exchange(issuer: Issuer, found: Discovered, attempt: Attempt, code: str, back: str, secret: str) -> bytes:
    """The ID token for a code, not verified yet; blocks for up to five seconds. Raises CannotAsk."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": back,
        "code_verifier": attempt.verifier,
        "client_id": issuer.client,
    }

    async def ask() -> bytes:
        async with client_of(issuer) as client:
            auth = httpx.BasicAuth(issuer.client, secret) if secret else None
            return await send(client, "POST", found.token, data=form, auth=auth)

    try:
        return msgspec.json.decode(asyncio.run(_bounded(ask())), type=_Answer).id_token.encode()
    except (msgspec.DecodeError, UnicodeError):
        raise CannotAsk("its answer holds no ID token") from None


async def _bounded(work: Awaitable[_Found]) -> _Found:
    try:
        async with asyncio.timeout(_ASK_S):
            return await work
    except TimeoutError:
        raise CannotAsk("it does not answer in time") from None
    except (OSError, httpx.HTTPError) as error:
        raise CannotAsk(f"it cannot be reached: {type(error).__name__}") from error

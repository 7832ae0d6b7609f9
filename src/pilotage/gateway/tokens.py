"""Tokens of trusted issuers at one worker: verified once, then known by their digest as keys are.

What they need is loaded once an issuer is trusted; a worker without one pays nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pilotage.access.issuers import Issuer, rights_of
from pilotage.access.unknown_key import UnknownKey
from pilotage.errors import Unauthenticated
from pilotage.gateway.authenticate import Principal, scopes_of
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.digests import digest

if TYPE_CHECKING:
    from pilotage.access.bearer import Verified
    from pilotage.access.issuer_keys import IssuerKeys
    from pilotage.access.trusted import Trusted

__all__ = ["Tokens", "is_token"]

_KNOWN_US = 300_000_000
"""How long a token is believed after it was verified: then the issuer's keys are looked at again."""

_WAITING = 32
"""How many requests wait for an issuer that is asked about an unknown key; the others are refused at once."""

_LOOK_S = 0.5


def is_token(key: bytes) -> bool:
    """Whether a bearer's credential has the form of a JSON Web Token: no API key begins like one."""
    return key.startswith(b"eyJ")


class Tokens:
    """Verifies tokens for one event loop. `folder` keeps issuers' keys; `forget` drops what was verified."""

    def __init__(self, folder: Path, forget: Callable[[], None], clock: Clock = now_us) -> None:
        self._folder, self._forget, self._clock = folder, forget, clock
        self._trusted: Trusted | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="issuers")
        self._suspended: frozenset[str] = frozenset()
        self._asking: dict[int, asyncio.Future[None]] = {}
        self._waiting = 0

    def adopt(self, issuers: Sequence[Issuer]) -> None:
        """Trust these issuers from the next request on."""
        if self._trusted is not None:
            self._trusted.adopt(issuers)
        elif issuers:
            # The library of tokens costs tens of milliseconds and megabytes: only who trusts an issuer loads it.
            from pilotage.access.trusted import Trusted

            self._trusted = Trusted(self._folder, issuers, self._clock)

    def suspend_here(self, identities: frozenset[str]) -> None:
        """Refuse these identities on this node, whatever the plan says, from the next request on."""
        if identities != self._suspended:
            self._suspended = identities
            self._forget()

    async def principal(self, token: bytes, at: int) -> Principal:
        """Who bears a token at a moment (Unix microseconds). Raises Unauthenticated, Unavailable."""
        trusted = self._trusted
        if trusted is None:
            raise Unauthenticated(
                "this gateway trusts no issuer of tokens",
                mend="send an API key, or let an admin trust the issuer: pilotage oidc add",
                code="token_invalid",
            )
        try:
            return self._let_in(trusted.verify(token, at), at)
        except UnknownKey as unknown:
            await self._ask(unknown.keys)
            try:
                return self._let_in(trusted.verify(token, at), at)
            except UnknownKey:
                raise unknown.keys.refusal() from None

    def _let_in(self, token: Verified, at: int) -> Principal:
        found = _principal(token, at)
        if found.id in self._suspended:
            # As in `adopt`.
            from pilotage.access.bearer import suspended

            raise suspended()
        return found

    async def run(self) -> None:
        """Read the issuers' keys again in time, for ever."""
        while True:
            for keys in self._trusted.keys if self._trusted is not None else ():
                if keys.due:
                    self._later(keys)
            await asyncio.sleep(_LOOK_S)

    async def _ask(self, keys: IssuerKeys) -> None:
        """Wait until the issuer was asked, where it may be; strangers' tokens must not fill the worker with waiting."""
        asking = self._asking.get(id(keys)) or (self._later(keys) if keys.may_ask else None)
        if asking is None or self._waiting >= _WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.shield(asking)
        finally:
            self._waiting -= 1

    def _later(self, keys: IssuerKeys) -> asyncio.Future[None]:
        """Ask an issuer in the thread, once at a time; when its keys changed nothing verified before stands."""
        running = self._asking.get(id(keys))
        if running is not None:
            return running
        before = keys.version
        asking = self._asking[id(keys)] = asyncio.get_running_loop().run_in_executor(self._thread, keys.refresh)

        def done(_: asyncio.Future[None]) -> None:
            del self._asking[id(keys)]
            if keys.version != before:
                self._forget()

        asking.add_done_callback(done)
        return asking


def _principal(token: Verified, at: int) -> Principal:
    """The holder of a token, for at most five minutes, and never beyond its end or that of its issuer's keys.

    Limits and rates know them by a digest; records by issuer and subject, encrypted.
    """
    decide, outcome, drill = scopes_of(rights_of(token.claims, token.issuer.grants).scopes)
    return Principal(
        id=digest(token.name.encode()),
        name=token.name,
        expires=min(token.expires, at + _KNOWN_US),
        systems=decide,
        outcomes=outcome,
        drills=drill,
    )

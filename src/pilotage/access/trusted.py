"""The issuers that are trusted now, each with its keys; a token finds its own among them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from pilotage.access.bearer import Tell, Verified, issuer_in, verify
from pilotage.access.issuer_keys import IssuerKeys
from pilotage.access.issuers import Issuer
from pilotage.access.unknown_key import UnknownKey
from pilotage.errors import Unauthenticated
from pilotage.kernel.clock import Clock, now_us

__all__ = ["Trusted"]


class Trusted:
    """Verifies tokens. `folder` keeps the issuers' keys over a restart, and shares them among the processes here."""

    def __init__(self, folder: Path, issuers: Iterable[Issuer] = (), clock: Clock = now_us) -> None:
        self._folder, self._clock = folder, clock
        self._known: dict[str, tuple[Issuer, IssuerKeys]] = {}
        self.adopt(issuers)

    def adopt(self, issuers: Iterable[Issuer]) -> None:
        """Trust these from now on. One that did not change keeps its keys."""
        old = self._known
        self._known = {
            each.issuer: (each, old[each.issuer][1])
            if each.issuer in old and _where(old[each.issuer][0]) == _where(each)
            else (each, IssuerKeys(each, self._folder, self._clock))
            for each in issuers
        }

    @property
    def keys(self) -> list[IssuerKeys]:
        """The keys of every issuer."""
        return [keys for _, keys in self._known.values()]

    @property
    def version(self) -> object:
        """Something that differs once any key came or went."""
        return [(id(keys), keys.version) for keys in self.keys]

    def find(self, token: bytes) -> tuple[Issuer, IssuerKeys]:
        """The issuer that a token names. Raises Unauthenticated."""
        found = self._known.get(issuer_in(token))
        if found is None:
            raise Unauthenticated(
                "the token is not accepted: nobody here trusts its issuer",
                expected=", ".join(sorted(self._known)) or "no issuer is trusted",
                mend="get a token of a trusted issuer, or let an admin trust this one: pilotage oidc add",
                code="token_invalid",
            )
        return found

    def verify(
        self, token: bytes, at: int, *, kind: Literal["access", "id"] = "access", tell: Tell = lambda _: None
    ) -> Verified:
        """A token by the keys as they are. Raises Unauthenticated, UnknownKey."""
        issuer, keys = self.find(token)
        return verify(token, issuer, keys, at, kind=kind, tell=tell)

    def verify_asking(
        self, token: bytes, at: int, *, kind: Literal["access", "id"] = "access", tell: Tell = lambda _: None
    ) -> Verified:
        """The same for a thread that may wait: of an unknown key the issuer is asked, if it was not just now.

        Keys that are old are read again beside. Raises Unauthenticated, Unavailable.
        """
        try:
            found = self.verify(token, at, kind=kind, tell=tell)
        except UnknownKey as unknown:
            unknown.keys.refresh()
            try:
                return self.verify(token, at, kind=kind, tell=tell)
            except UnknownKey:
                raise unknown.keys.refusal() from None
        _, keys = self._known[found.issuer.issuer]
        if keys.due:
            threading.Thread(target=keys.refresh, daemon=True).start()
        return found


def _where(issuer: Issuer) -> Issuer:
    """An issuer but for whose tokens are refused: that changes nothing about its keys."""
    return msgspec.structs.replace(issuer, not_before=0, suspended=())

"""Who asks: an API key, or a token that was verified, looked up by its SHA-256.

The lookup is a dict of full SHA-256 digests. Its timing depends on the digest of what was sent, and nobody can steer
a digest towards that of an unknown 256-bit random key, so nothing about a key can be learnt from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilotage.errors import Forbidden, Unauthenticated
from pilotage.gateway.plan import Key
from pilotage.gateway.tls import Certificate
from pilotage.kernel.networks import Network, parse_networks

__all__ = ["Principal", "Principals", "authorize", "principal_of", "scopes_of"]

_MOST_TOKENS = 10_000
_BRING = "send `Authorization: Bearer <key>` or `X-API-Key: <key>` with a key that is live"


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """The holder of a key or a token. `systems` are those it may ask for decisions, `outcomes` those whose outcomes it
    may tell, `drills` those it may ask in a drill; `*` in one stands for every system. `name` is how records name it;
    `networks` are where it may be used from, none for anywhere.
    """

    id: str
    name: str
    expires: int
    systems: frozenset[str]
    outcomes: frozenset[str] = frozenset()
    drills: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def may_decide(self, system: str) -> bool:
        """Whether its scopes cover decisions of this system."""
        return system in self.systems or "*" in self.systems

    def only_drills(self, system: str) -> bool:
        """Whether what it asks of this system is a drill: its scopes cover drills, and no decisions that count."""
        return (system in self.drills or "*" in self.drills) and not self.may_decide(system)


class Principals:
    """The principals of one serving plan: of its keys, and of the last 10,000 tokens that were verified under it."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._by_digest = {bytes.fromhex(key.sha256.removeprefix("sha256:")): principal_of(key) for key in keys}
        self._tokens: dict[bytes, None] = {}
        self._by_certificate = {name: principal_of(key) for key in keys for name in key.certificates}

    def find(self, key: bytes) -> Principal | None:
        """The principal of a key or verified token, expired or not; None when it is unknown."""
        return self._by_digest.get(hashlib.sha256(key).digest())

    def certified(self, certificate: Certificate, at: int) -> Principal | None:
        """Whom a client certificate stands for at a moment; None where no name of it was declared.

        Raises Unauthenticated when it, or the key it stands for, is over, and when its names stand for several.
        """
        found = {each.id: each for name in certificate.names if (each := self._by_certificate.get(name)) is not None}
        if not found:
            return None
        principal = next(iter(found.values()))
        if len(found) > 1:
            raise Unauthenticated(
                "the names of the client certificate stand for several keys",
                got=", ".join(sorted(found)),
                mend="let one name of it stand for a key: pilotage key unname NAME; or send an API key",
                code="certificate_ambiguous",
            )
        if at >= certificate.until or (principal.expires and at >= principal.expires):
            raise Unauthenticated("the certificate, or its key, has expired", mend=_BRING, code="key_expired")
        return principal

    def learn(self, token: bytes, principal: Principal) -> None:
        """Know the bearer of a token that was verified, until the principal's end."""
        known = hashlib.sha256(token).digest()
        if known not in self._tokens and len(self._tokens) >= _MOST_TOKENS:
            oldest = next(iter(self._tokens))
            del self._tokens[oldest], self._by_digest[oldest]
        self._tokens[known] = None
        self._by_digest[known] = principal

    def forget(self) -> None:
        """Know no token any more: each is verified again."""
        for known in self._tokens:
            del self._by_digest[known]
        self._tokens.clear()

    def authenticate(self, key: bytes, at: int) -> Principal:
        """The principal of a key at a moment (Unix microseconds). Raises Unauthenticated."""
        if not key:
            raise Unauthenticated("no API key in the request", mend=_BRING)
        principal = self.find(key)
        if principal is None:
            raise Unauthenticated("the API key is unknown or was revoked", mend=_BRING)
        if principal.expires and at >= principal.expires:
            raise Unauthenticated("the API key has expired", mend=_BRING, code="key_expired")
        return principal

    def usual(self, key: bytes, at: int, system: str) -> Principal | None:
        """Who may ask this system for decisions, where nothing but the key decides; None for everybody else.

        Whatever else is asked of a principal belongs here as well, as a reason for None: the short way of a request
        lets it in by this door alone.
        """
        found = self.find(key)
        if found is None or found.networks or (found.expires and at >= found.expires) or not found.may_decide(system):
            return None
        return found


def authorize(principal: Principal, system: str) -> None:
    """Raises Forbidden when the key's scopes do not cover the system, whether or not such a system exists."""
    if not (principal.may_decide(system) or principal.only_drills(system)):
        raise Forbidden(
            "this API key or token may not ask the system for decisions",
            got=", ".join(sorted(f"decide:{name}" for name in principal.systems)) or "no scope",
            expected=f"decide:{system}",
            mend="ask an administrator for a key with this scope, or for a grant of the token's claims",
        )


def principal_of(key: Key) -> Principal:
    """The principal that a key of a plan stands for."""
    decide, outcome, drill = scopes_of(key.scopes)
    return Principal(
        id=key.id,
        name=f"key:{key.id}",
        expires=key.expires,
        systems=decide,
        outcomes=outcome,
        drills=drill,
        networks=parse_networks(key.networks),
    )


def scopes_of(scopes: Iterable[str]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The systems that scopes let ask for decisions, those to tell outcomes of, and those to ask in a drill."""
    parts = [scope.partition(":") for scope in scopes]
    decide = frozenset(system for action, _, system in parts if action in ("decide", "*"))
    outcome = frozenset(system for action, _, system in parts if action in ("outcome", "*"))
    return decide, outcome, frozenset(system for action, _, system in parts if action == "drill")

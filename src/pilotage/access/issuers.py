"""Issuers of OpenID Connect tokens that this installation trusts, and what the claims of a token give.

Declared here, on record; they travel in the serving plan. `rollout.service` changes them and publishes at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection

from pilotage.access import store
from pilotage.access.keys import SCOPE
from pilotage.access.model import ROLES, Person, require
from pilotage.errors import Conflict, InputError, NotFound
from pilotage.kernel.digests import digest
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest, attest_removal

__all__ = [
    "ALGORITHMS",
    "STANDARD",
    "Grant",
    "Issuer",
    "Rights",
    "add_issuer",
    "find_issuer",
    "identity_id",
    "list_issuers",
    "remove_issuer",
    "resume_person",
    "revoke_tokens",
    "rights_of",
    "safe_url",
    "suspend_person",
]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Every algorithm that may be allowed: signatures by a private key alone."""

STANDARD = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""The algorithms that are allowed unless an issuer's declaration says others."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MOST_VALUES = 1_000
_MOST_SUBJECT, _MOST_REASON, _MOST_SUSPENDED = 255, 500, 10_000


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Whose `claim` has, or holds, `value` gets `right`: `decide:SYSTEM`, `outcome:SYSTEM`, `role:ROLE` or `service`.

    `claim` is a claim's name, or a path with dots into it (`realm_access.roles`). `service` says that no human acts.
    """

    claim: str
    value: str
    right: str


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs tokens, and what is held against them.

    `issuer` is the exact `iss`; a token's `aud` must name one of `audiences`. `keys` is a JWK set in JSON for nodes
    that cannot reach the issuer; without it the keys are discovered, read again each `refresh_s`, and good for `keep_s`
    after they were last read. `skew_s` is what clocks may differ, `life_s` the longest life of a token, `not_before`
    (Unix microseconds) the moment before which no token may be issued. `client` is the console's own id at the issuer,
    and `console` its address as browsers know it, for signing in there. `suspended` are the identities (`identity_id`)
    whose tokens are refused, sorted.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    grants: tuple[Grant, ...]
    algorithms: tuple[str, ...] = STANDARD
    keys: str = ""
    skew_s: int = 60
    life_s: int = 86_400
    refresh_s: int = 300
    keep_s: int = 86_400
    not_before: int = 0
    client: str = ""
    console: str = ""
    suspended: tuple[str, ...] = ()


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What a token gives: scopes at the gateway, roles in console and API; `service` when no human acts by it."""

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    service: bool = False


def identity_id(issuer: str, subject: str) -> str:
    """How a person of an issuer (its URL) is kept and compared: the digest of `issuer|sub`."""
    return digest(f"{issuer}|{subject}".encode())


def rights_of(claims: Mapping[str, Any], grants: Sequence[Grant]) -> Rights:
    """What the grants give to whoever has these claims; nothing where none fits."""
    given = {grant.right for grant in grants if grant.value in _values(claims, grant.claim)}
    roles = tuple(role for role in ROLES if f"role:{role}" in given)
    scopes = tuple(sorted(right for right in given if SCOPE.fullmatch(right)))
    return Rights(scopes=scopes, roles=roles, service="service" in given or _of_a_client(claims))


def _of_a_client(claims: Mapping[str, Any]) -> bool:
    """Whether a client speaks for itself: RFC 9068 section 2.2 names it as the subject, Entra says `idtyp`."""
    return claims.get("idtyp") == "app" or claims["sub"] in (claims.get("client_id"), claims.get("azp"))


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts at a claim; a scope's text is a list with spaces (RFC 8693 section 4.2)."""
    found: Any = claims.get(path)
    if found is None and "." in path:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split(" ") if path in ("scope", "scp") else [found]
    return [each for each in found[:_MOST_VALUES] if isinstance(each, str)] if isinstance(found, list) else []


def add_issuer(connection: Connection, person: Person, issuer: Issuer, *, replace: bool = False, at: int) -> Issuer:
    """Trust an issuer, in the caller's transaction, with its event `issuer.added`.

    With `replace`, change the one of that name; what was revoked stays so, and who is suspended too. Raises Forbidden,
    InputError, Conflict.
    """
    require(person, "issuer.edit")
    _check(issuer)
    others = list_issuers(connection)
    old = next((each for each in others if each.name == issuer.name), None)
    if old is not None and not replace:
        raise Conflict("an issuer of this name is trusted already", got=issuer.name, mend="add --replace to change it")
    if any(each.issuer == issuer.issuer and each.name != issuer.name for each in others):
        raise Conflict("this issuer is trusted under another name", got=issuer.issuer, mend="change that one")
    kept = msgspec.structs.replace(
        issuer,
        not_before=max(issuer.not_before, old.not_before if old else 0),
        suspended=old.suspended if old else (),
    )
    _write(connection, person, kept, "issuer.added", at)
    return kept


def revoke_tokens(connection: Connection, person: Person, name: str, *, at: int) -> Issuer:
    """Refuse every token that an issuer issued until now, with the event `issuer.tokens_revoked`.

    Raises Forbidden, NotFound.
    """
    require(person, "issuer.edit")
    kept = msgspec.structs.replace(find_issuer(connection, name), not_before=at)
    _write(connection, person, kept, "issuer.tokens_revoked", at)
    return kept


def suspend_person(connection: Connection, person: Person, name: str, *, subject: str, reason: str, at: int) -> Issuer:
    """Refuse the tokens of one person of an issuer (its `sub`), and end what they began here, until they are resumed.

    Their sessions and sign-in links end, and the personal tokens of who came by the issuer alone. Event
    `person.suspended`; who and why is encrypted. Raises Forbidden, NotFound, InputError, Conflict (it is so already).
    """
    require(person, "issuer.edit")
    issuer, reason = find_issuer(connection, name), reason.strip()
    _check_suspension(issuer, subject, reason)
    id = identity_id(issuer.issuer, subject)
    if id in issuer.suspended:
        raise Conflict("this person is suspended already", got=subject, mend="nothing is left to do")
    kept = msgspec.structs.replace(issuer, suspended=tuple(sorted({*issuer.suspended, id})))
    store.end_access(connection, id, at)
    _keep(connection, person, kept, "person.suspended", at, {"subject": subject, "identity": id, "reason": reason})
    return kept


def resume_person(connection: Connection, person: Person, name: str, *, subject: str, at: int) -> Issuer:
    """Take the tokens of a suspended person (its `sub`, or the identity's digest) again. Event `person.resumed`.

    Raises Forbidden, NotFound (no such issuer, or that person is not suspended).
    """
    require(person, "issuer.edit")
    issuer = find_issuer(connection, name)
    id = subject if subject in issuer.suspended else identity_id(issuer.issuer, subject)
    if id not in issuer.suspended:
        raise NotFound("this person is not suspended", got=subject[:80], mend="see who is: pilotage oidc suspended")
    kept = msgspec.structs.replace(issuer, suspended=tuple(each for each in issuer.suspended if each != id))
    _keep(connection, person, kept, "person.resumed", at, {"subject": "" if id == subject else subject, "identity": id})
    return kept


def remove_issuer(connection: Connection, person: Person, name: str, *, at: int) -> None:
    """Trust an issuer no longer, with the event `issuer.removed`. Raises Forbidden, NotFound."""
    require(person, "issuer.edit")
    store.end_sessions(connection, find_issuer(connection, name).issuer, at)
    row = store.drop_issuer(connection, name)
    facts = {"issuer": name, "rows": attest_removal(store.issuers, row)}
    emit(connection, "issuer.removed", facts=facts, private={"by": person.id}, at=at)


def list_issuers(connection: Connection) -> list[Issuer]:
    """Every trusted issuer, by name."""
    return [msgspec.convert(document, Issuer) for document in store.issuer_documents(connection)]


def find_issuer(connection: Connection, name: str) -> Issuer:
    """The issuer of a name. Raises NotFound."""
    for issuer in list_issuers(connection):
        if issuer.name == name:
            return issuer
    raise NotFound("no such issuer is trusted", got=name, mend="list them: pilotage oidc list")


def safe_url(url: str) -> bool:
    """Whether an address is https, or http on this machine, without user, query or fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment or "|" in url or url != url.strip():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)


def _write(connection: Connection, person: Person, issuer: Issuer, kind: str, at: int) -> None:
    # Whoever came by it signs in again, under what holds now.
    store.end_sessions(connection, issuer.issuer, at)
    _keep(connection, person, issuer, kind, at, {})


def _keep(
    connection: Connection, person: Person, issuer: Issuer, kind: str, at: int, private: Mapping[str, str]
) -> None:
    store.drop_issuer(connection, issuer.name)
    row = {"name": issuer.name, "document": msgspec.to_builtins(issuer), "changed": at}
    store.add(connection, store.issuers, row)
    facts: dict[str, Any] = {"issuer": issuer.name, "rows": attest(store.issuers, row)}
    emit(connection, kind, facts=facts, private={"by": person.id, **private}, at=at)


def _check_suspension(issuer: Issuer, subject: str, reason: str) -> None:
    faults: list[dict[str, object]] = []
    if not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable():
        faults.append({"path": "subject", "message": "the sub of the person's tokens", "got": subject[:80]})
    if not 0 < len(reason) <= _MOST_REASON:
        faults.append({"path": "reason", "message": f"why, in at most {_MOST_REASON} characters", "got": reason[:80]})
    if len(issuer.suspended) >= _MOST_SUSPENDED:
        what = f"{_MOST_SUSPENDED:,} people are suspended: trust the issuer no longer, or grant a narrower claim"
        faults.append({"path": "issuer", "message": what, "got": issuer.name})
    if faults:
        raise InputError("nobody can be suspended so", mend="mend what is listed", faults=faults)


def _check(issuer: Issuer) -> None:
    faults = [{"path": path, "message": message, "got": got} for path, message, got in _faults(issuer)]
    if faults:
        raise InputError("the issuer cannot be trusted", mend="mend every fault listed", faults=faults)


def _faults(issuer: Issuer) -> Iterator[tuple[str, str, object]]:
    if not _NAME.fullmatch(issuer.name):
        yield "name", "1 to 32 of a-z, 0-9 and -", issuer.name
    if not safe_url(issuer.issuer):
        yield "issuer", "the exact iss: https, without query or fragment (http only on this machine)", issuer.issuer
    if not issuer.audiences or not all(issuer.audiences):
        yield "audience", "at least one: a token for somebody else must not be good here", list(issuer.audiences)
    for algorithm in issuer.algorithms or ("none",):
        if algorithm not in ALGORITHMS:
            yield "algorithm", "one of " + ", ".join(ALGORITHMS), algorithm
    if not issuer.grants:
        yield "grant", "at least one: without it a token gives nothing", None
    for grant in issuer.grants:
        if not grant.claim or not grant.value:
            yield "grant", "CLAIM=VALUE before the right", f"{grant.claim}={grant.value}"
        role = grant.right.removeprefix("role:") if grant.right.startswith("role:") else ""
        if role not in ROLES and grant.right != "service" and not SCOPE.fullmatch(grant.right):
            yield (
                "grant",
                "decide:SYSTEM, outcome:SYSTEM, service, or role: and one of " + ", ".join(ROLES),
                grant.right,
            )
    if bool(issuer.client) != bool(issuer.console) or (issuer.console and not safe_url(issuer.console)):
        yield (
            "console",
            "--client and --console together: the console's id there, its own https address",
            issuer.console,
        )
    for path, value, least, most in (
        ("skew", issuer.skew_s, 0, 600),
        ("life", issuer.life_s, 60, 31_536_000),
        ("refresh", issuer.refresh_s, 1, 86_400),
        ("keep", issuer.keep_s, 1, 31_536_000),
    ):
        if not least <= value <= most:
            yield path, f"{least} to {most:,} seconds", value

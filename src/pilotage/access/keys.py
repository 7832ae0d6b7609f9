"""API keys of client systems. Every change must reach the serving plan: `rollout.service` does both at once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection

from pilotage.access import store
from pilotage.access.model import ApiKey, Person, Secret, require
from pilotage.access.secrets import new_secret
from pilotage.errors import Conflict, InputError, NotFound
from pilotage.kernel.networks import parse_networks
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest, attest_removal

__all__ = [
    "SCOPE",
    "active_keys",
    "find_key",
    "issue_key",
    "name_certificate",
    "revoke_key",
    "rotate_key",
    "unname_certificate",
]

_LONGEST_OVERLAP = 90 * 86_400_000_000
SCOPE = re.compile(r"(?:decide|outcome|drill):(\*|[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)")
"""What may be asked of the gateway: an action and a system, or `*` for every system."""


def issue_key(
    connection: Connection,
    person: Person,
    *,
    name: str,
    scopes: Iterable[str],
    expires: int = 0,
    networks: Iterable[str] = (),
    at: int,
) -> Secret:
    """A new API key in the caller's transaction, with its event `key.issued`.

    `scopes` are `decide:<system>` (ask it), `outcome:<system>` (tell what became of its decisions) and
    `drill:<system>` (ask it in a drill: nothing that is answered counts), `*` for all;
    `expires` is Unix microseconds, 0 for never; `networks` are where it may be used from, in CIDR form, none for
    anywhere. Raises Forbidden, InputError.
    """
    require(person, "key.issue")
    asked, places = list(dict.fromkeys(scopes)), [str(network) for network in parse_networks(networks)]
    _check(name, asked, expires, at)
    return _add(connection, person, name=name, scopes=asked, expires=expires, networks=places, replaces="", at=at)


def rotate_key(connection: Connection, person: Person, id: str, *, overlap: int, at: int) -> Secret:
    """A new key with the name, scopes, end and networks of another, in the caller's transaction.

    Names of certificates stand for the new one at once. The old key goes on for `overlap` microseconds, or to its own
    end if that is earlier; 0 ends it now. Events `key.issued` and `key.superseded`. Raises Forbidden, NotFound,
    Conflict (the key is over already), InputError.
    """
    require(person, "key.issue")
    require(person, "key.revoke")
    old = _held(connection, id)
    if old.revoked or (old.expires and at >= old.expires):
        raise Conflict("this API key is over already", got=id, mend="issue a new one: pilotage key issue")
    if not 0 <= overlap <= _LONGEST_OVERLAP:
        raise InputError("the overlap is too long", got=overlap, expected="at most 90 days", mend="shorten it")
    new = _add(
        connection,
        person,
        name=old.name,
        scopes=list(old.scopes),
        expires=old.expires,
        networks=list(old.networks),
        replaces=id,
        at=at,
    )
    until = min(at + overlap, old.expires or at + overlap)
    rows = attest(store.api_keys, store.change(connection, store.api_keys, id, expires=until))
    for name in old.certificates:
        store.drop_certificate(connection, name)
        certificate = {"name": name, "key": new.id}
        store.add(connection, store.key_certificates, certificate)
        rows += attest(store.key_certificates, certificate)
    facts = {"key": id, "successor": new.id, "expires": until, "rows": rows}
    emit(connection, "key.superseded", facts=facts, private={"by": person.id}, at=at)
    return new


def find_key(connection: Connection, id: str) -> ApiKey:
    """The key with an id, revoked and expired ones too. Raises NotFound."""
    for key in store.keys(connection):
        if key.id == id:
            return key
    raise NotFound("no such API key", got=id, mend="its id is the 16 digits after pk_; see: pilotage key list")


def _held(connection: Connection, id: str) -> ApiKey:
    """The key, which nobody else changes until the transaction ends."""
    store.row(connection, store.api_keys, id, hold=True)
    return find_key(connection, id)


def _add(
    connection: Connection,
    person: Person,
    *,
    name: str,
    scopes: list[str],
    expires: int,
    networks: list[str],
    replaces: str,
    at: int,
) -> Secret:
    new = new_secret("pk")
    row = {"id": new.id, "name": name, "sha256": new.sha256, "scopes": scopes, "created": at, "expires": expires}
    row["revoked"] = 0
    store.add(connection, store.api_keys, row)
    rows = attest(store.api_keys, row)
    facts: dict[str, object] = {"key": new.id, "scopes": scopes, "expires": expires}
    if networks or replaces:
        bounds = {"key": new.id, "networks": networks, "replaces": replaces}
        store.add(connection, store.key_bounds, bounds)
        rows += attest(store.key_bounds, bounds)
        facts |= {"networks": networks, "replaces": replaces}
    emit(connection, "key.issued", facts=facts | {"rows": rows}, private={"by": person.id, "name": name}, at=at)
    return Secret(id=new.id, text=new.text, expires=expires)


def revoke_key(connection: Connection, person: Person, id: str, *, at: int) -> None:
    """End an API key in the caller's transaction, with its event `key.revoked`.

    Raises Forbidden, NotFound, Conflict (revoked already).
    """
    require(person, "key.revoke")
    if _held(connection, id).revoked:
        raise Conflict("this API key is revoked already", got=id, mend="nothing is left to do")
    row = store.change(connection, store.api_keys, id, revoked=at)
    facts = {"key": id, "rows": attest(store.api_keys, row)}
    emit(connection, "key.revoked", facts=facts, private={"by": person.id}, at=at)


def name_certificate(connection: Connection, person: Person, id: str, name: str, *, at: int) -> None:
    """Let a client certificate of this name stand for a key, in the caller's transaction.

    `name` is `URI:` or `DNS:` and a subject alternative name, or `subject:` and the subject as RFC 4514 writes it.
    Event `key.certificate_named`. Raises Forbidden, NotFound, InputError, Conflict (the key is over, the name taken).
    """
    require(person, "key.issue")
    found = _held(connection, id)
    if found.revoked or (found.expires and at >= found.expires):
        raise Conflict("this API key is over already", got=id, mend="name another")
    kind, sign, rest = name.partition(":")
    if kind not in ("URI", "DNS", "subject") or not sign or not rest or len(name) > 512 or not name.isprintable():
        raise InputError(
            "no name of a certificate",
            got=name[:200],
            expected="URI:spiffe://corp/shop, DNS:shop.corp.example or subject:CN=shop,O=Corp",
            mend="write it so; openssl x509 -noout -subject -ext subjectAltName -nameopt RFC2253 shows them",
        )
    other = next((each.id for each in store.keys(connection) if name in each.certificates), None)
    if other is not None:
        raise Conflict("this name stands for a key already", got=other, mend=f"pilotage key unname '{name}'")
    row = {"name": name, "key": id}
    store.add(connection, store.key_certificates, row)
    facts = {"key": id, "rows": attest(store.key_certificates, row)}
    emit(connection, "key.certificate_named", facts=facts, private={"by": person.id, "certificate": name}, at=at)


def unname_certificate(connection: Connection, person: Person, name: str, *, at: int) -> None:
    """Let a certificate's name stand for no key any more, with its event `key.certificate_unnamed`.

    Raises Forbidden, NotFound.
    """
    require(person, "key.revoke")
    row = store.drop_certificate(connection, name)
    if row is None:
        raise NotFound("no key has a certificate of this name", got=name[:200], mend="see: pilotage key list --json")
    facts = {"key": row["key"], "rows": attest_removal(store.key_certificates, dict(row))}
    emit(connection, "key.certificate_unnamed", facts=facts, private={"by": person.id, "certificate": name}, at=at)


def active_keys(connection: Connection, at: int) -> list[ApiKey]:
    """The keys that may be used at a moment, by id."""
    return [key for key in store.keys(connection) if not key.revoked and (not key.expires or at < key.expires)]


def _check(name: str, scopes: list[str], expires: int, at: int) -> None:
    faults: list[dict[str, object]] = []
    if not name.strip() or len(name) > 128:
        faults.append({"path": "name", "message": "a key needs a name of at most 128 characters", "got": name})
    if not scopes:
        faults.append({"path": "scopes", "message": "a key without scopes can do nothing"})
    for scope in scopes:
        if not SCOPE.fullmatch(scope):
            faults.append({"path": "scopes", "message": f"{scope} is no scope", "got": scope})
    if expires and expires <= at:
        faults.append({"path": "expires", "message": "the key would have expired already", "got": expires})
    if faults:
        mend = "name it, and give scopes such as decide:credit-default, outcome:credit-default or decide:*"
        raise InputError("the API key cannot be issued", mend=mend, faults=faults)

"""API keys of client systems. Every change must reach the serving plan: `rollout.service` does both at once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection

from pilotage.access import store
from pilotage.access.model import ApiKey, Person, Secret, require
from pilotage.access.secrets import new_secret
from pilotage.errors import Conflict, InputError, NotFound
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

__all__ = ["active_keys", "issue_key", "revoke_key"]

_SCOPE = re.compile(r"(?:decide|outcome):(\*|[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)")


def issue_key(
    connection: Connection, person: Person, *, name: str, scopes: Iterable[str], expires: int = 0, at: int
) -> Secret:
    """A new API key in the caller's transaction, with its event `key.issued`.

    `scopes` are `decide:<system>` (ask it) and `outcome:<system>` (tell what became of its decisions), `*` for all;
    `expires` is Unix microseconds, 0 for never. Raises Forbidden, InputError.
    """
    require(person, "key.issue")
    asked = list(dict.fromkeys(scopes))
    _check(name, asked, expires, at)
    new = new_secret("pk")
    row = {"id": new.id, "name": name, "sha256": new.sha256, "scopes": asked, "created": at, "expires": expires}
    row["revoked"] = 0
    store.add(connection, store.api_keys, row)
    facts = {"key": new.id, "scopes": asked, "expires": expires, "rows": attest(store.api_keys, row)}
    emit(connection, "key.issued", facts=facts, private={"by": person.id, "name": name}, at=at)
    return Secret(id=new.id, text=new.text, expires=expires)


def revoke_key(connection: Connection, person: Person, id: str, *, at: int) -> None:
    """End an API key in the caller's transaction, with its event `key.revoked`.

    Raises Forbidden, NotFound, Conflict (revoked already).
    """
    require(person, "key.revoke")
    found = store.row(connection, store.api_keys, id, hold=True)
    if found is None:
        raise NotFound("no such API key", got=id, mend="its id is the 16 digits after pk_; see: pilotage key list")
    if found["revoked"]:
        raise Conflict("this API key is revoked already", got=id, mend="nothing is left to do")
    row = store.change(connection, store.api_keys, id, revoked=at)
    facts = {"key": id, "rows": attest(store.api_keys, row)}
    emit(connection, "key.revoked", facts=facts, private={"by": person.id}, at=at)


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
        if not _SCOPE.fullmatch(scope):
            faults.append({"path": "scopes", "message": f"{scope} is no scope", "got": scope})
    if expires and expires <= at:
        faults.append({"path": "expires", "message": "the key would have expired already", "got": expires})
    if faults:
        mend = "name it, and give scopes such as decide:credit-default, outcome:credit-default or decide:*"
        raise InputError("the API key cannot be issued", mend=mend, faults=faults)

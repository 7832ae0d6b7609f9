"""People who come by a token: who they are here, and which roles the token gives them now."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access import store
from pilotage.access.issuers import Rights, find_issuer, list_issuers, rights_of
from pilotage.access.model import Person, require
from pilotage.errors import Conflict, Forbidden, InputError, NotFound, Unauthenticated
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

if TYPE_CHECKING:
    from pilotage.access.bearer import Verified
    from pilotage.access.trusted import Trusted

__all__ = ["Bearers", "link_person", "person_of_token"]

_NAMES = ("preferred_username", "email", "name")
_MOST_NAME = 80


class Bearers:
    """Finds who bears a token, for any number of threads. `folder` keeps issuers' keys over a restart."""

    def __init__(self, control: Engine, folder: Path) -> None:
        self._control, self._folder = control, folder
        self._lock = threading.Lock()
        self._trusted: Trusted | None = None

    def person(self, token: str, *, at: int | None = None) -> Person:
        """The person who bears an access token. Raises Unauthenticated, Unavailable, Forbidden (no role by it)."""
        moment = now_us() if at is None else at
        return person_of_token(self._control, self.trusted().verify_asking(token.encode(), moment), at=moment)

    def trusted(self) -> Trusted:
        """The issuers as they are declared at this moment. Raises Unauthenticated where there is none."""
        with reading(self._control) as connection:
            issuers = list_issuers(connection)
        if not issuers:
            raise Unauthenticated(
                "no issuer of tokens is trusted here", mend="send a token pt_...", code="token_invalid"
            )
        # The library of tokens is for those who trust an issuer.
        from pilotage.access.trusted import Trusted

        with self._lock:
            if self._trusted is None:
                self._trusted = Trusted(self._folder)
            self._trusted.adopt(issuers)
            return self._trusted


def person_of_token(control: Engine, token: Verified, *, at: int) -> Person:
    """The person whom a verified token speaks for; a new one at their first, under a name of the issuer's.

    The roles are the token's, and kept as the person's, with an event where they changed; those of a linked person are
    given here. Raises Forbidden (no role), Unauthenticated (the person has left).
    """
    rights, id = rights_of(token.claims, token.issuer.grants), _id(token.issuer.issuer, token.subject)
    with reading(control) as connection:
        found = _known(connection, id)
    if found is not None and found[0].left:
        raise Unauthenticated("this person has left", mend="ask an admin", code="token_invalid")
    if found is not None and (found[1] or (rights.roles and found[0].roles == rights.roles)):
        return found[0]
    if rights.roles or (found is not None and found[0].roles):
        with writing(control) as connection:
            store.lock(connection, store.people)
            now = _known(connection, id)
            person = _add(connection, token, rights, id, at) if now is None else _follow(connection, now[0], rights, at)
    if not rights.roles:
        raise Forbidden(
            "the token gives no role here",
            expected="a claim that a grant role:... of its issuer names",
            mend="ask an admin for a grant, or to link you to a person of this installation: pilotage oidc link",
        )
    return person


def link_person(
    control: Engine, by: Person, person: str, *, issuer: str, subject: str, at: int | None = None
) -> Person:
    """Let a person (id or name) of this installation come by an issuer's tokens with this `sub`, with their roles here.

    Event `person.linked`. Raises Forbidden, NotFound, InputError, Conflict (the subject is somebody already).
    """
    require(by, "people.edit")
    moment = now_us() if at is None else at
    if not 0 < len(subject) <= 255 or not subject.isprintable():
        raise InputError("no subject of a token", got=subject[:80], expected="the sub of their tokens", mend="mend it")
    with writing(control) as connection:
        store.lock(connection, store.people)
        trusted = find_issuer(connection, issuer)
        found = store.find_person(connection, person) or store.person_named(connection, person)
        if found is None or found.left:
            raise NotFound("no such person", got=person, mend="list them: pilotage people list")
        if store.identity_of(connection, _id(trusted.issuer, subject)) is not None:
            raise Conflict("this subject is somebody here already", got=subject, mend="remove that person first")
        rows = _identify(connection, found.id, trusted.issuer, subject, linked=1, at=moment)
        private = {"person": found.id, "by": by.id, "issuer": trusted.issuer, "subject": subject}
        emit(connection, "person.linked", facts={"issuer": issuer, "rows": rows}, private=private, at=moment)
        return found


def _known(connection: Connection, id: str) -> tuple[Person, bool] | None:
    """The person behind an identity, and whether their roles are given here."""
    identity = store.identity_of(connection, id)
    person = None if identity is None else store.find_person(connection, identity["person"])
    return None if identity is None or person is None else (person, bool(identity["linked"]))


def _add(connection: Connection, token: Verified, rights: Rights, id: str, at: int) -> Person:
    kind = "service" if rights.service else "human"
    row: dict[str, Any] = {"id": uuid7(), "name": _name(connection, token, id), "kind": kind}
    row |= {"roles": list(rights.roles), "created": at, "left": 0}
    store.add(connection, store.people, row)
    rows = attest(store.people, row)
    rows += _identify(connection, str(row["id"]), token.issuer.issuer, token.subject, linked=0, at=at)
    private = {"person": row["id"], "by": "", "roles": list(rights.roles)}
    private |= {"issuer": token.issuer.issuer, "subject": token.subject}
    emit(connection, "person.added", facts={"issuer": token.issuer.name, "rows": rows}, private=private, at=at)
    return msgspec.convert(row, Person)


def _follow(connection: Connection, person: Person, rights: Rights, at: int) -> Person:
    row = store.change(connection, store.people, person.id, roles=list(rights.roles))
    private = {"person": person.id, "by": "", "roles": list(rights.roles)}
    emit(connection, "person.roles_changed", facts={"rows": attest(store.people, row)}, private=private, at=at)
    return msgspec.structs.replace(person, roles=rights.roles)


def _identify(
    connection: Connection, person: str, issuer: str, subject: str, *, linked: int, at: int
) -> list[dict[str, str]]:
    row: Mapping[str, Any] = {
        "id": _id(issuer, subject),
        "person": person,
        "issuer": issuer,
        "subject": subject,
        "linked": linked,
        "created": at,
    }
    store.add(connection, store.identities, row)
    return attest(store.identities, row)


def _id(issuer: str, subject: str) -> str:
    return digest(f"{issuer}|{subject}".encode())


def _name(connection: Connection, token: Verified, id: str) -> str:
    """A name that says where it comes from, so that nobody can come by the name of somebody else here."""
    said = (token.claims.get(name) for name in _NAMES)
    own = next((each for each in said if isinstance(each, str) and each.strip()), token.subject)
    name = "".join(c for c in own if c.isprintable()).strip()[:_MOST_NAME]
    full = f"{name} ({token.issuer.name})"
    # The issuer may give the same name to two people, or let them choose it.
    return full if store.person_named(connection, full) is None else f"{name} {id[7:15]} ({token.issuer.name})"

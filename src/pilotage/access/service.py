"""Use cases of access: people, tokens, one-time sign-in links, console sessions. Each change writes its event.

Times are Unix microseconds. People's ids and names go to the encrypted part of events only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import Connection, Engine, Table

from pilotage.access import store
from pilotage.access.model import Person, Secret, require, roles_of
from pilotage.access.secrets import id_in, matches, new_secret
from pilotage.errors import Conflict, InputError, NotFound, Refused, Unauthenticated
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

__all__ = [
    "ISSUER_SESSION_LIFE",
    "LINK_LIFE",
    "SESSION_LIFE",
    "TOKEN_LIFE",
    "add_person",
    "authenticate",
    "begin_session",
    "create_first_admin",
    "end_session",
    "exchange_link",
    "find_person",
    "issue_token",
    "list_people",
    "one_time_link",
    "remove_person",
    "revoke_token",
    "session_person",
    "set_roles",
]

MINUTE = 60_000_000
LINK_LIFE = 15 * MINUTE
SESSION_LIFE = 12 * 60 * MINUTE
ISSUER_SESSION_LIFE = 4 * 60 * MINUTE
TOKEN_LIFE = 90 * 24 * 60 * MINUTE
_NOBODY = "0" * 64
_EVENT = {"pt": "token.issued", "pl": "link.issued", "ps": "person.signed_in"}


def create_first_admin(control: Engine, name: str = "admin", *, at: int | None = None) -> Person:
    """The first person of an installation, an admin. Raises Refused once there are people."""
    with writing(control) as connection:
        store.lock(connection, store.people)
        if store.people_count(connection):
            raise Refused("there are people already", mend="ask an admin to add you: pilotage people add")
        return _add(connection, name, ("admin",), "human", by="", at=_moment(at))


def add_person(
    control: Engine,
    by: Person,
    *,
    name: str,
    roles: Iterable[str],
    kind: Literal["human", "service"] = "human",
    at: int | None = None,
) -> Person:
    """A new person. Raises Forbidden, InputError (unknown role), Conflict (the name is taken)."""
    require(by, "people.edit")
    checked = roles_of(roles)
    with writing(control) as connection:
        store.lock(connection, store.people)
        return _add(connection, name, checked, kind, by=by.id, at=_moment(at))


def set_roles(control: Engine, by: Person, person: str, roles: Iterable[str], *, at: int | None = None) -> Person:
    """Give a person (id or name) other roles. Raises Forbidden, InputError, NotFound, Refused (the last admin)."""
    require(by, "people.edit")
    checked = roles_of(roles)
    with writing(control) as connection:
        store.lock(connection, store.people)
        found = _known(connection, person)
        if "admin" not in checked:
            _keep_an_admin(connection, found)
        row = store.change(connection, store.people, found.id, roles=list(checked))
        private = {"person": found.id, "by": by.id, "roles": list(checked)}
        facts = {"rows": attest(store.people, row)}
        emit(connection, "person.roles_changed", facts=facts, private=private, at=_moment(at))
        return _known(connection, found.id)


def remove_person(control: Engine, by: Person, person: str, *, at: int | None = None) -> None:
    """A person leaves: tokens, links and sessions end at once, approvals of theirs die. Raises as `set_roles`."""
    require(by, "people.edit")
    moment = _moment(at)
    with writing(control) as connection:
        store.lock(connection, store.people)
        found = _known(connection, person)
        _keep_an_admin(connection, found)
        row = store.change(connection, store.people, found.id, left=moment)
        private = {"person": found.id, "by": by.id}
        emit(connection, "person.left", facts={"rows": attest(store.people, row)}, private=private, at=moment)


def find_person(control: Engine, person: str) -> Person:
    """The person with an id or a name. Raises NotFound."""
    with reading(control) as connection:
        return _known(connection, person)


def list_people(control: Engine) -> list[Person]:
    """Everybody, by name; `left` tells who left."""
    with reading(control) as connection:
        return store.all_people(connection)


def issue_token(
    control: Engine, person: Person, *, by: Person, life: int = TOKEN_LIFE, at: int | None = None
) -> Secret:
    """A new token `pt_...` for a person, of `life` microseconds. Issuing for another needs `people.edit`.

    Raises Forbidden, NotFound, InputError.
    """
    if by.id != person.id:
        require(by, "people.edit")
    if life <= 0:
        raise InputError("a token must live some time", got=life, expected="microseconds > 0", mend="leave it out")
    with writing(control) as connection:
        return _issue(connection, store.tokens, "pt", _known(connection, person.id), by.id, life, _moment(at))


def revoke_token(control: Engine, by: Person, id: str, *, at: int | None = None) -> None:
    """End a token; one's own, or anybody's with `people.edit`. Raises Forbidden, NotFound."""
    moment = _moment(at)
    with writing(control) as connection:
        found = store.row(connection, store.tokens, id, hold=True)
        if found is None:
            raise NotFound("no such token", got=id, mend="its id is the 16 digits after pt_")
        if by.id != found["person"]:
            require(by, "people.edit")
        if not found["revoked"]:
            row = store.change(connection, store.tokens, id, revoked=moment)
            facts = {"id": id, "rows": attest(store.tokens, row)}
            emit(connection, "token.revoked", facts=facts, private={"by": by.id}, at=moment)


def authenticate(control: Engine, token: str, *, at: int | None = None) -> Person:
    """The person whose token it is. Raises Unauthenticated, with the same words whatever was wrong."""
    with reading(control) as connection:
        return _holder(connection, store.tokens, "pt", token, _moment(at))[1]


def one_time_link(control: Engine, person: Person, *, by: Person, at: int | None = None) -> Secret:
    """A one-time sign-in code `pl_...` for the console, for 15 minutes. Raises Forbidden, NotFound."""
    if by.id != person.id:
        require(by, "people.edit")
    with writing(control) as connection:
        return _issue(connection, store.links, "pl", _known(connection, person.id), by.id, LINK_LIFE, _moment(at))


def exchange_link(control: Engine, code: str, *, at: int | None = None) -> Secret:
    """A console session `ps_...` of 12 hours for a sign-in code, which is then used up. Raises Unauthenticated."""
    moment = _moment(at)
    with writing(control) as connection:
        id, person = _holder(connection, store.links, "pl", code, moment, hold=True)
        store.change(connection, store.links, id, used=moment)
        return _issue(connection, store.sessions, "ps", person, person.id, SESSION_LIFE, moment)


def begin_session(control: Engine, person: Person, *, at: int | None = None) -> Secret:
    """A console session `ps_...` of four hours for somebody whom an issuer signed in. Raises NotFound (has left)."""
    with writing(control) as connection:
        found = _known(connection, person.id)
        return _issue(connection, store.sessions, "ps", found, found.id, ISSUER_SESSION_LIFE, _moment(at))


def session_person(control: Engine, session: str, *, at: int | None = None) -> Person:
    """The person who is signed in with a console session. Raises Unauthenticated."""
    with reading(control) as connection:
        return _holder(connection, store.sessions, "ps", session, _moment(at))[1]


def end_session(control: Engine, session: str, *, at: int | None = None) -> None:
    """Sign out. Raises Unauthenticated."""
    moment = _moment(at)
    with writing(control) as connection:
        id, person = _holder(connection, store.sessions, "ps", session, moment, hold=True)
        store.change(connection, store.sessions, id, ended=moment)
        emit(connection, "person.signed_out", facts={"id": id}, private={"person": person.id}, at=moment)


def _issue(connection: Connection, table: Table, kind: str, person: Person, by: str, life: int, at: int) -> Secret:
    if person.left:
        raise NotFound("this person has left", got=person.name, mend="add them again under a new name")
    new = new_secret(kind)
    row: dict[str, object] = {"id": new.id, "person": person.id, "sha256": new.sha256, "created": at}
    row |= {"expires": at + life, _ended(table): 0}
    store.add(connection, table, row)
    facts: dict[str, object] = {"id": new.id, "expires": at + life}
    if table is store.tokens:
        facts["rows"] = attest(table, row)
    emit(connection, _EVENT[kind], facts=facts, private={"person": person.id, "by": by}, at=at)
    return Secret(id=new.id, text=new.text, expires=at + life)


def _holder(
    connection: Connection, table: Table, kind: str, text: str, at: int, *, hold: bool = False
) -> tuple[str, Person]:
    """The id of a live secret and its person; the comparison runs also when there is no such id."""
    id = id_in(text, kind)
    found = store.row(connection, table, id, hold=hold) if id else None
    same = matches(text, _NOBODY if found is None else found["sha256"])
    if found is not None and same and not found[_ended(table)] and at < found["expires"]:
        person = store.find_person(connection, found["person"])
        if person is not None and not person.left:
            return id, person
    raise Unauthenticated(
        "nobody we know: it is unknown, expired, used or revoked", mend="sign in again, or ask for a new token"
    )


def _ended(table: Table) -> str:
    return str(table.columns.keys()[-1])


def _add(connection: Connection, name: str, roles: tuple[str, ...], kind: str, *, by: str, at: int) -> Person:
    name = name.strip()
    if not 0 < len(name) <= 128:
        raise InputError("a person needs a name", got=name, expected="1 to 128 characters", mend="give one")
    if store.person_named(connection, name) is not None:
        raise Conflict("the name is taken", got=name, mend="choose another: approvals must tell people apart")
    row = {"id": uuid7(), "name": name, "kind": kind, "roles": list(roles), "created": at, "left": 0}
    store.add(connection, store.people, row)
    private = {"person": row["id"], "by": by, "roles": list(roles)}
    emit(connection, "person.added", facts={"rows": attest(store.people, row)}, private=private, at=at)
    return _known(connection, str(row["id"]))


def _known(connection: Connection, person: str) -> Person:
    found = store.find_person(connection, person) or store.person_named(connection, person)
    if found is None:
        raise NotFound("no such person", got=person, mend="list them: pilotage people list")
    return found


def _keep_an_admin(connection: Connection, person: Person) -> None:
    """One who is admin by a token does not count: their issuer may take that away, or be away itself."""
    apart = {person.id, *store.linked(connection, 0)}
    others = [p for p in store.all_people(connection) if "admin" in p.roles and not p.left and p.id not in apart]
    if "admin" in person.roles and not others:
        raise Refused("this is the last admin", got=person.name, mend="make somebody else an admin first")


def _moment(at: int | None) -> int:
    return now_us() if at is None else at

"""People who come by a token: who they are here, and which roles the token gives them now."""

from __future__ import annotations

import os
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access import store
from pilotage.access.issuers import Issuer, Rights, find_issuer, identity_id, list_issuers, rights_of
from pilotage.access.model import Person, require
from pilotage.errors import Conflict, Forbidden, InputError, NotFound, Unauthenticated, Unavailable
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

if TYPE_CHECKING:
    from pilotage.access.bearer import Verified
    from pilotage.access.code_flow import Attempt
    from pilotage.access.issuer_keys import Discovered
    from pilotage.access.trusted import Trusted

__all__ = ["Bearers", "link_person", "person_of_token"]

_NAMES = ("preferred_username", "email", "name")
_MOST_NAME = 80
_FOUND_US = 300_000_000


class Bearers:
    """Finds who bears a token, for any number of threads. `folder` keeps issuers' keys over a restart."""

    def __init__(self, control: Engine, folder: Path) -> None:
        self._control, self._folder = control, folder
        self._lock = threading.Lock()
        self._trusted: Trusted | None = None
        self._found: dict[str, tuple[int, Discovered]] = {}
        self._room = threading.BoundedSemaphore(4)

    def person(self, token: str, *, at: int | None = None) -> Person:
        """The person who bears an access token. Raises Unauthenticated, Unavailable, Forbidden (no role by it)."""
        moment = now_us() if at is None else at
        return person_of_token(self._control, self.trusted().verify_asking(token.encode(), moment), at=moment)

    def begin(self, name: str) -> tuple[str, str]:
        """The address at which an issuer signs people in, and what the browser keeps until it is back.

        Raises NotFound, Unavailable.
        """
        # As in `trusted`.
        from pilotage.access.code_flow import begin

        issuer = self._signing(name)
        address, attempt = begin(issuer, self._discovered(issuer), _back(issuer))
        return address, urlsafe_b64encode(msgspec.json.encode(attempt)).decode()

    def finish(self, name: str, kept: str, code: str, said: str | None) -> Person:
        """The person whom the issuer signed in, for the code that it sent back with the browser.

        `kept` is what `begin` gave, `said` the issuer's own name of itself (RFC 9207) where it sent one. Raises
        NotFound, Unauthenticated, Unavailable, Forbidden (no role).
        """
        from pilotage.access.code_flow import exchange
        from pilotage.access.issuer_keys import CannotAsk

        issuer, attempt, now = self._signing(name), _attempt(kept), now_us()
        if attempt is None or attempt.issuer != name or said not in (None, issuer.issuer):
            raise Unauthenticated("the answer is another issuer's", mend="sign in again", code="token_invalid")
        secret = os.environ.get(f"PILOTAGE_OIDC_SECRET_{name.upper().replace('-', '_')}", "")
        found = self._discovered(issuer)
        with self._asking():
            try:
                token = exchange(issuer, found, attempt, code, _back(issuer), secret)
            except CannotAsk as error:
                raise _cannot_sign_in(error) from error
        verified = self.trusted().verify_asking(token, now, kind="id")
        nonce = verified.claims.get("nonce")
        if verified.issuer.name != name or not isinstance(nonce, str) or not compare_digest(nonce, attempt.nonce):
            raise Unauthenticated("the token is for another sign-in", mend="sign in again", code="token_invalid")
        return person_of_token(self._control, verified, at=now)

    def state_of(self, kept: str) -> str:
        """The state that the browser must bring back with what `begin` gave it; empty when that is none."""
        attempt = _attempt(kept)
        return attempt.state if attempt is not None else ""

    def secure(self, name: str) -> bool:
        """Whether browsers reach the console over TLS, as an issuer's declaration says. Raises NotFound."""
        return self._signing(name).console.startswith("https:")

    def offered(self) -> list[str]:
        """The names of the issuers at which people sign in to the console."""
        with reading(self._control) as connection:
            return [each.name for each in list_issuers(connection) if each.client]

    def _signing(self, name: str) -> Issuer:
        with reading(self._control) as connection:
            issuer = find_issuer(connection, name)
        if not issuer.client:
            raise NotFound(
                "nobody signs in to the console there", got=name, mend="pilotage oidc add --client --console"
            )
        return issuer

    def _discovered(self, issuer: Issuer) -> Discovered:
        """Where the issuer signs people in, read at most every five minutes. Raises Unavailable."""
        from pilotage.access.code_flow import look_up
        from pilotage.access.issuer_keys import CannotAsk

        kept = self._found.get(issuer.issuer)
        if kept is not None and now_us() < kept[0]:
            return kept[1]
        with self._asking():
            try:
                found = look_up(issuer)
            except CannotAsk as error:
                raise _cannot_sign_in(error) from error
        self._found[issuer.issuer] = (now_us() + _FOUND_US, found)
        return found

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One of the few who ask an issuer at once: strangers begin sign-ins too. Raises Unavailable."""
        if not self._room.acquire(blocking=False):
            raise Unavailable("too many are signing in", mend="try again in a moment", code="issuer_unavailable")
        try:
            yield
        finally:
            self._room.release()

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
    rights, id = rights_of(token.claims, token.issuer.grants), identity_id(token.issuer.issuer, token.subject)
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
        if store.identity_of(connection, identity_id(trusted.issuer, subject)) is not None:
            raise Conflict("this subject is somebody here already", got=subject, mend="remove that person first")
        rows = _identify(connection, found.id, trusted.issuer, subject, linked=1, at=moment)
        private = {"person": found.id, "by": by.id, "issuer": trusted.issuer, "subject": subject}
        emit(connection, "person.linked", facts={"issuer": issuer, "rows": rows}, private=private, at=moment)
        return found


def _back(issuer: Issuer) -> str:
    return f"{issuer.console.rstrip('/')}/sign-in/back/{issuer.name}"


def _attempt(kept: str) -> Attempt | None:
    from pilotage.access.code_flow import Attempt

    try:
        return msgspec.json.decode(urlsafe_b64decode(kept.encode()), type=Attempt)
    except (ValueError, RecursionError):
        return None


def _cannot_sign_in(error: Exception) -> Unavailable:
    return Unavailable(
        f"the issuer cannot sign anybody in: {error}", mend="try again; pilotage oidc check", code="issuer_unavailable"
    )


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
        "id": identity_id(issuer, subject),
        "person": person,
        "issuer": issuer,
        "subject": subject,
        "linked": linked,
        "created": at,
    }
    store.add(connection, store.identities, row)
    return attest(store.identities, row)


def _name(connection: Connection, token: Verified, id: str) -> str:
    """A name that says where it comes from, so that nobody can come by the name of somebody else here."""
    said = (token.claims.get(name) for name in _NAMES)
    own = next((each for each in said if isinstance(each, str) and each.strip()), token.subject)
    name = "".join(c for c in own if c.isprintable()).strip()[:_MOST_NAME]
    full = f"{name} ({token.issuer.name})"
    # The issuer may give the same name to two people, or let them choose it.
    return full if store.person_named(connection, full) is None else f"{name} {id[7:15]} ({token.issuer.name})"

"""People and their secrets: shown once, kept as digests, ended at once; roles are closed; events name nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from pilotage.access import keys, service, store
from pilotage.access.model import PERMISSIONS, ROLES, Person, may, require, roles_of
from pilotage.access.secrets import id_in, matches, new_secret
from pilotage.errors import Conflict, Forbidden, InputError, NotFound, Refused, Unauthenticated
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows

T0 = 1_800_000_000_000_000
MINUTE = 60_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def admin(engine: Engine) -> Person:
    return service.create_first_admin(engine, at=T0)


def test_the_first_admin_is_made_once(engine: Engine, admin: Person) -> None:
    assert admin.roles == ("admin",)
    with pytest.raises(Refused):
        service.create_first_admin(engine, "another")


def test_an_unknown_role_lists_the_roles(engine: Engine, admin: Person) -> None:
    with pytest.raises(InputError, match="business_owner") as caught:
        service.add_person(engine, admin, name="x", roles=["boss", "auditor", "king"])
    assert [fault["got"] for fault in caught.value.faults] == ["boss", "king"]
    with pytest.raises(InputError, match="needs a role"):
        roles_of([])
    assert roles_of(["auditor", " admin", "auditor"]) == ("admin", "auditor")


def test_names_tell_people_apart_and_only_an_admin_adds(engine: Engine, admin: Person) -> None:
    auditor = service.add_person(engine, admin, name=" Auditor ", roles=["auditor"])
    assert service.find_person(engine, "Auditor") == auditor == service.find_person(engine, auditor.id)
    with pytest.raises(Conflict):
        service.add_person(engine, admin, name="Auditor", roles=["admin"])
    with pytest.raises(InputError):
        service.add_person(engine, admin, name="  ", roles=["admin"])
    with pytest.raises(Forbidden, match="one of: admin"):
        service.add_person(engine, auditor, name="x", roles=["admin"])
    with pytest.raises(NotFound):
        service.find_person(engine, "nobody")
    assert [person.name for person in service.list_people(engine)] == ["Auditor", "admin"]


def test_permissions_keep_duties_apart() -> None:
    assert set(PERMISSIONS) == set(ROLES)
    with pytest.raises(TypeError):
        PERMISSIONS["admin"] = frozenset()  # type: ignore[index]
    approvers = {role for role in ROLES if "release.approve" in PERMISSIONS[role]}
    assert approvers == {"model_validator", "risk_officer", "business_owner"}
    assert not approvers & {role for role in ROLES if PERMISSIONS[role] & {"system.promote", "release.build"}}
    nobody = Person(id="1", name="x", roles=("unknown",))
    assert not may(nobody, "system.read")
    gone = Person(id="1", name="x", roles=("admin",), left=1)
    with pytest.raises(Forbidden):
        require(gone, "people.edit")


def test_a_token_is_shown_once_and_kept_as_a_digest(engine: Engine, admin: Person, tmp_path: Path) -> None:
    token = service.issue_token(engine, admin, by=admin, at=T0)
    assert service.authenticate(engine, token.text, at=T0) == admin
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert token.text[-20:].encode() not in (tmp_path / "control.db").read_bytes()


@pytest.mark.parametrize("text", ["", "pt_", "pt_0123456789abcdef_" + "a" * 43, "é\ud800", "pt_" + "a" * 10_000])
def test_nobody_is_let_in(engine: Engine, admin: Person, text: str) -> None:
    for sign_in in (service.authenticate, service.session_person, service.exchange_link):
        with pytest.raises(Unauthenticated):
            sign_in(engine, text)


def test_one_changed_character_is_another_token(engine: Engine, admin: Person) -> None:
    token = service.issue_token(engine, admin, by=admin).text
    for place in (5, len(token) - 1):
        other = token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
        with pytest.raises(Unauthenticated):
            service.authenticate(engine, other)
    with pytest.raises(Unauthenticated):
        service.session_person(engine, "ps" + token[2:])


def test_a_token_ends_by_time_by_revocation_and_with_its_person(engine: Engine, admin: Person) -> None:
    user = service.add_person(engine, admin, name="u", roles=["operator"])
    short = service.issue_token(engine, user, by=user, life=MINUTE, at=T0)
    service.authenticate(engine, short.text, at=T0 + MINUTE - 1)
    with pytest.raises(Unauthenticated):
        service.authenticate(engine, short.text, at=T0 + MINUTE)
    second, third = (service.issue_token(engine, user, by=admin) for _ in range(2))
    service.revoke_token(engine, user, second.id)
    service.revoke_token(engine, user, second.id)
    with pytest.raises(Unauthenticated):
        service.authenticate(engine, second.text)
    service.authenticate(engine, third.text)
    service.remove_person(engine, admin, "u")
    with pytest.raises(Unauthenticated):
        service.authenticate(engine, third.text)
    with pytest.raises(NotFound, match="left"):
        service.issue_token(engine, user, by=admin)


def test_others_tokens_are_for_admins(engine: Engine, admin: Person) -> None:
    user = service.add_person(engine, admin, name="u", roles=["operator"])
    other = service.add_person(engine, admin, name="v", roles=["operator"])
    token = service.issue_token(engine, user, by=admin)
    for act in (
        lambda: service.issue_token(engine, user, by=other),
        lambda: service.one_time_link(engine, user, by=other),
        lambda: service.revoke_token(engine, other, token.id),
    ):
        with pytest.raises(Forbidden):
            act()
    with pytest.raises(NotFound):
        service.revoke_token(engine, admin, "0" * 16)
    with pytest.raises(InputError):
        service.issue_token(engine, user, by=user, life=0)


def test_a_sign_in_link_works_once_for_fifteen_minutes(engine: Engine, admin: Person) -> None:
    late = service.one_time_link(engine, admin, by=admin, at=T0)
    with pytest.raises(Unauthenticated):
        service.exchange_link(engine, late.text, at=T0 + 15 * MINUTE)
    link = service.one_time_link(engine, admin, by=admin, at=T0)
    session = service.exchange_link(engine, link.text, at=T0 + 14 * MINUTE)
    with pytest.raises(Unauthenticated):
        service.exchange_link(engine, link.text, at=T0 + 14 * MINUTE)
    ends = T0 + (14 + 12 * 60) * MINUTE
    assert service.session_person(engine, session.text, at=ends - 1) == admin
    with pytest.raises(Unauthenticated):
        service.session_person(engine, session.text, at=ends)
    service.end_session(engine, session.text, at=ends - 1)
    with pytest.raises(Unauthenticated):
        service.session_person(engine, session.text, at=ends - 1)


def test_roles_change_at_once_and_an_admin_remains(engine: Engine, admin: Person) -> None:
    user = service.add_person(engine, admin, name="u", roles=["operator"])
    token = service.issue_token(engine, user, by=user)
    service.set_roles(engine, admin, "u", ["auditor"])
    assert service.authenticate(engine, token.text).roles == ("auditor",)
    with pytest.raises(Refused, match="last admin"):
        service.set_roles(engine, admin, "admin", ["auditor"])
    with pytest.raises(Refused, match="last admin"):
        service.remove_person(engine, admin, "admin")
    service.set_roles(engine, admin, "u", ["admin"])
    service.remove_person(engine, admin, "admin")


def test_api_keys_carry_checked_scopes_and_end(engine: Engine, admin: Person) -> None:
    auditor = service.add_person(engine, admin, name="a", roles=["auditor"])
    with writing(engine) as connection:
        key = keys.issue_key(connection, admin, name="app", scopes=["decide:credit", "decide:credit"], at=T0)
        short = keys.issue_key(connection, admin, name="app", scopes=["decide:*"], expires=T0 + 5, at=T0)
        assert [k.scopes for k in keys.active_keys(connection, T0) if k.id == key.id] == [("decide:credit",)]
        (kept,) = (k for k in store.keys(connection) if k.id == key.id)
        assert matches(key.text, kept.sha256) and not matches(short.text, kept.sha256)
        assert {k.id for k in keys.active_keys(connection, T0 + 5)} == {key.id}
        keys.revoke_key(connection, admin, key.id, at=T0 + 6)
        assert not keys.active_keys(connection, T0 + 6)
        with pytest.raises(Conflict):
            keys.revoke_key(connection, admin, key.id, at=T0)
        with pytest.raises(NotFound):
            keys.revoke_key(connection, admin, "f" * 16, at=T0)
        with pytest.raises(InputError) as caught:
            keys.issue_key(connection, admin, name="", scopes=["decide", "read:*"], expires=T0, at=T0)
        assert [fault["path"] for fault in caught.value.faults] == ["name", "scopes", "scopes", "expires"]
        with pytest.raises(InputError):
            keys.issue_key(connection, admin, name="x", scopes=[], at=T0)
        for act in (
            lambda: keys.issue_key(connection, auditor, name="x", scopes=["decide:*"], at=T0),
            lambda: keys.revoke_key(connection, auditor, short.id, at=T0),
        ):
            with pytest.raises(Forbidden):
                act()


def test_secrets_are_256_random_bits_of_their_kind() -> None:
    made = {new_secret("pk") for _ in range(100)}
    assert len({secret.text for secret in made}) == len({secret.id for secret in made}) == 100
    secret = made.pop()
    assert id_in(secret.text, "pk") == secret.id and id_in(secret.text, "pt") == ""
    assert len(secret.text) == 3 + 16 + 1 + 43


def test_kept_facts_name_nobody_and_an_edit_in_sql_is_found(engine: Engine, admin: Person) -> None:
    user = service.add_person(engine, admin, name="Model validator", roles=["model_validator"], at=T0)
    service.issue_token(engine, user, by=user, at=T0)
    service.exchange_link(engine, service.one_time_link(engine, user, by=user).text)
    service.set_roles(engine, admin, user.id, ["auditor"], at=T0 + 1)
    tables = [store.people, store.tokens, store.api_keys]
    with writing(engine) as connection:
        events = waiting(connection)
        facts = str([event.facts for event in events])
        assert not any(word in facts for word in (user.id, user.name, admin.id, "'admin'", "auditor"))
        assert not list(changed_rows(connection, tables, events))
        connection.execute(update(store.people).where(store.people.c.id == user.id).values(roles=["risk_officer"]))
        (changed,) = changed_rows(connection, tables, events)
        assert (changed.table, changed.what) == ("people", "changed")
        # the roles of yesterday, put back by hand, are found too
        connection.execute(update(store.people).where(store.people.c.id == user.id).values(roles=["model_validator"]))
        assert len(list(changed_rows(connection, tables, events))) == 1
    with reading(engine) as connection:
        assert {event.kind for event in waiting(connection)} >= {"person.added", "token.issued", "person.signed_in"}

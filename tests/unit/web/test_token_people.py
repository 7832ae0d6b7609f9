"""People who come to the API by a token of a trusted issuer: who they are, what they may, and when no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pilotage.access import store
from pilotage.access.identities import link_person
from pilotage.access.issuers import Grant, Issuer
from pilotage.access.model import Person
from pilotage.access.service import list_people, remove_person, set_roles
from pilotage.errors import Conflict, NotFound, Refused
from pilotage.gates.service import ATTESTED
from pilotage.storage.database import reading
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world
from tests.issuer_twin import AUDIENCE, IssuerTwin, SigningKey, issuer_twin


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("tokens"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def twin(world: ConsoleWorld) -> Iterator[IssuerTwin]:
    with issuer_twin() as made:
        yield made


@pytest.fixture
def client(world: ConsoleWorld, twin: IssuerTwin) -> Iterator[TestClient]:
    twin.away = False
    trust(world, twin)
    with TestClient(create_app(world.installation), follow_redirects=False, raise_server_exceptions=False) as made:
        yield made


def trust(world: ConsoleWorld, twin: IssuerTwin, **changes: Any) -> None:
    grants = (
        Grant(claim="groups", value="auditors", right="role:auditor"),
        Grant(claim="groups", value="operators", right="role:operator"),
        Grant(claim="groups", value="admins", right="role:admin"),
        Grant(claim="groups", value="owners", right="role:business_owner"),
    )
    facts: dict[str, Any] = {"name": "corp", "issuer": twin.url, "audiences": (AUDIENCE,), "grants": grants}
    world.installation.rollout.add_issuer(world.governed.admin, Issuer(**(facts | changes)), replace=True)


def ask(client: TestClient, token: str, path: str = "/api/v1/systems") -> Any:
    return client.get(path, headers={"authorization": f"Bearer {token}"})


def person_of(world: ConsoleWorld, subject: str) -> Person:
    with reading(world.installation.control) as connection:
        id_ = connection.execute(
            select(store.identities.c.person).where(store.identities.c.subject == subject)
        ).scalar_one()
        found = store.find_person(connection, id_)
    assert found is not None
    return found


def events(world: ConsoleWorld, kind: str) -> int:
    with reading(world.installation.control) as connection:
        return sum(event.kind == kind for event in waiting(connection))


def test_roles_are_the_tokens_and_follow_it(world: ConsoleWorld, twin: IssuerTwin, client: TestClient) -> None:
    claims: dict[str, Any] = {"sub": "u-1", "preferred_username": "ada"}
    assert ask(client, twin.token(**claims, groups=["auditors"])).status_code == 200
    assert person_of(world, "u-1").name == "ada (corp)"
    assert person_of(world, "u-1").roles == ("auditor",)
    changed = events(world, "person.roles_changed")
    assert ask(client, twin.token(**claims, groups=["auditors"])).status_code == 200
    assert events(world, "person.roles_changed") == changed, "the same roles are not written again"
    assert ask(client, twin.token(**claims, groups=["operators"]), "/api/v1/retention").status_code == 403
    assert person_of(world, "u-1").roles == ("operator",)
    assert events(world, "person.roles_changed") == changed + 1
    assert ask(client, twin.token(**claims, groups=["none"])).status_code == 403
    assert person_of(world, "u-1").roles == ()
    assert ask(client, twin.token(**claims, groups=["operators"])).status_code == 200
    # Another of the same name is another person.
    assert ask(client, twin.token(sub="u-2", preferred_username="ada", groups=["auditors"])).status_code == 200
    assert person_of(world, "u-2").name != "ada (corp)"
    with reading(world.installation.control) as connection:
        told = [*world.installation.ledger().events(), *waiting(connection)]
        assert (
            list(changed_rows(connection, [t for t in ATTESTED if t.name in ("people", "identities", "issuers")], told))
            == []
        )


def test_nobody_comes_in_by_a_token_that_is_not_good(world: ConsoleWorld, twin: IssuerTwin, client: TestClient) -> None:
    people = len(list_people(world.installation.control))
    stranger = SigningKey("k1", "ES256")
    now = int(time.time())
    for token in (
        twin.token(sub="bad", groups=["admins"], aud="mail"),
        twin.token(sub="bad", groups=["admins"], exp=now - 120, iat=now - 300),
        twin.token(stranger, sub="bad", groups=["admins"]),
        twin.token(sub="bad", groups=["admins"], iss="https://evil.example"),
        twin.token(sub="bad", groups=["admins"], nonce="n"),
        "eyJ",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJiYWQifQ.",
    ):
        reply = ask(client, token)
        assert (reply.status_code, reply.json()["error"]["code"][:6]) == (401, "token_"), reply.text
    assert ask(client, twin.token(sub="bad", groups=["desk"])).status_code == 403
    assert len(list_people(world.installation.control)) == people


def test_a_service_is_a_service_and_can_approve_nothing(
    world: ConsoleWorld, twin: IssuerTwin, client: TestClient
) -> None:
    token = twin.token(sub="robot", azp="robot", groups=["owners"])
    body = {"release": world.release.digest, "stage": "limited"}
    reply = client.post("/api/v1/approvals", json=body, headers={"authorization": f"Bearer {token}"})
    assert "service account cannot approve" in reply.text
    assert person_of(world, "robot").kind == "service"


def test_who_has_left_and_who_is_linked(world: ConsoleWorld, twin: IssuerTwin, client: TestClient) -> None:
    control, admin = world.installation.control, world.governed.admin
    assert ask(client, twin.token(sub="leaves", groups=["auditors"])).status_code == 200
    remove_person(control, admin, person_of(world, "leaves").id)
    assert ask(client, twin.token(sub="leaves", groups=["auditors"])).status_code == 401
    auditor = world.governed.people["auditor"]
    link_person(control, admin, auditor.id, issuer="corp", subject="audrey")
    assert ask(client, twin.token(sub="audrey", groups=["admins"])).status_code == 200
    assert person_of(world, "audrey").roles == auditor.roles, "a linked person's roles are given here"
    with pytest.raises(Conflict):
        link_person(control, admin, admin.id, issuer="corp", subject="audrey")
    with pytest.raises(NotFound):
        link_person(control, admin, admin.id, issuer="none", subject="x")


def test_an_admin_by_token_is_no_last_admin(world: ConsoleWorld, twin: IssuerTwin, client: TestClient) -> None:
    assert ask(client, twin.token(sub="boss", groups=["admins"])).status_code == 200
    with pytest.raises(Refused):
        set_roles(world.installation.control, world.governed.admin, world.governed.admin.id, ["auditor"])


def test_revoked_removed_and_away(world: ConsoleWorld, twin: IssuerTwin, client: TestClient, tmp_path: Path) -> None:
    rollout, admin = world.installation.rollout, world.governed.admin
    token = twin.token(sub="u-9", groups=["auditors"])
    assert ask(client, token).status_code == 200
    twin.away = True
    assert ask(client, token).status_code == 200, "the keys that were read go on"
    time.sleep(1.0)
    rollout.revoke_tokens(admin, "corp")
    assert ask(client, token).status_code == 401
    trust(world, twin)
    assert ask(client, token).status_code == 401, "a change of the issuer does not undo what was revoked"
    rollout.remove_issuer(admin, "corp")
    assert ask(client, token).json()["error"]["code"] == "token_invalid"
    trust(world, twin)
    assert ask(client, twin.token(sub="u-9", groups=["auditors"])).status_code == 200

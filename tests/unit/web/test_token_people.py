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
from pilotage.access.issuers import Grant, Issuer, identity_id
from pilotage.access.model import Person
from pilotage.access.service import begin_session, issue_token, list_people, remove_person, set_roles
from pilotage.errors import Conflict, NotFound, Refused
from pilotage.gates.service import ATTESTED
from pilotage.gateway.plan import ServingPlan, decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.stops import people_stopped, read_stops
from pilotage.storage.database import reading
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows
from pilotage.web.console.app import create_app
from pilotage.web.session import COOKIE
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld, make_console_world
from tests.issuer_twin import AUDIENCE, IssuerTwin, SigningKey, issuer_twin

SAME = {"sec-fetch-site": "same-origin"}


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


def test_a_suspended_person_is_out_everywhere_until_resumed(
    world: ConsoleWorld, twin: IssuerTwin, client: TestClient
) -> None:
    token, other = (twin.token(sub=sub, preferred_username=sub, groups=["auditors"]) for sub in ("s-10", "s-11"))
    assert ask(client, token).status_code == 200 and ask(client, other).status_code == 200
    person, installation = person_of(world, "s-10"), world.installation
    own = issue_token(installation.control, person, by=world.governed.admin)
    session = begin_session(installation.control, person)
    cookie = {"cookie": f"{COOKIE}={session.text}"}
    assert client.get("/api/v1/systems", headers=cookie).status_code == 200 == ask(client, own.text).status_code

    admin = {"authorization": f"Bearer {world.token('admin')}"}
    address = "/api/v1/issuers/corp"
    for body, path in (({"subject": "s-10", "reason": " "}, "reason"), ({"subject": "", "reason": "x"}, "subject")):
        answer = client.post(f"{address}/suspend", json=body, headers=admin)
        assert (answer.status_code, answer.json()["error"]["faults"][0]["path"]) == (422, path)
    body = {"subject": "s-10", "reason": "laptop stolen"}
    assert client.post(f"{address}/suspend", json=body, headers=admin).status_code == 200
    assert client.post(f"{address}/suspend", json=body, headers=admin).status_code == 409
    assert client.post("/api/v1/issuers/none/suspend", json=body, headers=admin).status_code == 404

    assert ask(client, token).json()["error"]["code"] == "person_suspended"
    assert ask(client, own.text).status_code == 401 == client.get("/api/v1/systems", headers=cookie).status_code
    assert ask(client, other).status_code == 200
    [plan] = [each for each in planned(world).issuers if each.name == "corp"]
    assert plan.suspended == (identity_id(twin.url, "s-10"),) and "s-10" not in str(planned(world))
    trust(world, twin)
    assert ask(client, token).status_code == 401, "another declaration of the issuer lets nobody in again"

    told = client.get("/api/v1/issuers", headers=admin).json()[0]["people"]
    assert [(each["subject"], each["where"]) for each in told if each["where"]] == [("s-10", "everywhere")]
    assert client.post(f"{address}/resume", json={"subject": "s-10"}, headers=admin).status_code == 200
    assert client.post(f"{address}/resume", json={"subject": "s-10"}, headers=admin).status_code == 404
    assert ask(client, token).status_code == 200
    assert ask(client, own.text).status_code == 401, "what ended stays ended"
    assert events(world, "person.suspended") == events(world, "person.resumed") == 1
    with reading(installation.control) as connection:
        facts = [str(event.facts) for event in waiting(connection) if event.kind.startswith("person.")]
    assert not any("s-10" in text or "stolen" in text for text in facts)


def test_who_never_came_is_suspended_by_forms_here_and_resumed_by_identity(
    world: ConsoleWorld, twin: IssuerTwin, client: TestClient
) -> None:
    client.post("/sign-in", data={"token": world.token("admin")}, headers=SAME)
    sent = {"issuer": "corp", "subject": "u-unseen", "reason": "x", "confirm": "yes"}
    for where in ("here", "all"):
        answer = client.post("/access/suspend", data=sent | {"where": where}, headers=SAME)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/access?done=suspended")
    id_ = identity_id(twin.url, "u-unseen")
    assert people_stopped(read_stops(world.installation.home.stops)) == {id_}
    page = client.get("/access?done=suspended").text
    assert "suspended everywhere" in page and id_[7:19] in page and "u-unseen" not in page
    for where in ("everywhere", "here"):
        fields = {"who": f"{where} corp {id_}", "confirm": "yes"}
        assert client.post("/access/resume", data=fields, headers=SAME).status_code == 303
    assert people_stopped(read_stops(world.installation.home.stops)) == frozenset()
    assert all(not each.suspended for each in planned(world).issuers)
    assert client.post("/access/resume", data={"who": "", "confirm": "yes"}, headers=SAME).status_code == 404


def planned(world: ConsoleWorld) -> ServingPlan:
    stored = read_plan_file(world.installation.home.plan_file)
    assert stored is not None
    return decode_plan(stored.body)

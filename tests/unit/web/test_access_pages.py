"""Keys, limits and stops in console and API: shown once, on record, in the plan at once, nothing without a tick."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pilotage.gateway.authenticate import Principals
from pilotage.gateway.plan import ServingPlan, decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.stops import read_stops
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

SAME = {"sec-fetch-site": "same-origin"}
KEY = re.compile(r"pk_[0-9a-f]{16}_[\w-]+")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """One of its own: keys and limits are counted."""
    made = make_console_world(tmp_path_factory.mktemp("access"))
    yield made
    made.close()


@pytest.fixture
def operator(world: ConsoleWorld) -> Iterator[TestClient]:
    with TestClient(create_app(world.installation), follow_redirects=True, raise_server_exceptions=False) as made:
        made.post("/sign-in", data={"token": world.token("operator")}, headers=SAME)
        yield made


@pytest.fixture
def api(world: ConsoleWorld) -> Iterator[TestClient]:
    with TestClient(create_app(world.installation), raise_server_exceptions=False) as made:
        made.headers["authorization"] = f"Bearer {world.token('operator')}"
        yield made


def plan(world: ConsoleWorld) -> ServingPlan:
    stored = read_plan_file(world.installation.home.plan_file)
    assert stored is not None
    return decode_plan(stored.body)


def send(client: TestClient, path: str, confirm: str = "yes", **fields: str) -> tuple[int, str]:
    answer = client.post(path, data={**fields, "confirm": confirm}, headers={**SAME, "accept": "text/html"})
    return answer.status_code, answer.text


def test_a_key_is_issued_shown_once_rotated_and_revoked_by_forms(operator: TestClient, world: ConsoleWorld) -> None:
    facts = {
        "name": "<b>shop</b>",
        "system": SYSTEM,
        "decide": "yes",
        "days": "30",
        "networks": "10.0.0.0/8, 192.0.2.1",
    }
    assert send(operator, "/access/keys", confirm="", **facts)[0] == 422
    assert plan(world).keys == [] or all(key.networks == [] for key in plan(world).keys)
    status, page = send(operator, "/access/keys", **facts)
    assert status == 200
    (text,) = set(KEY.findall(page))
    principal = Principals(plan(world).keys).authenticate(text.encode(), 1)
    assert principal.systems == {SYSTEM}
    assert [str(each) for each in principal.networks] == ["10.0.0.0/8", "192.0.2.1/32"]
    assert principal.expires > 0
    again = operator.get("/access").text
    assert text not in again, "it is shown once"
    assert "&lt;b&gt;shop" in again
    _, page = send(operator, "/access/keys/rotate", key=principal.id, overlap="1h")
    (new,) = set(KEY.findall(page))
    assert f"replaced by {new.split('_')[1]}" in operator.get("/access").text
    assert "revoked" in send(operator, "/access/keys/revoke", key=new.split("_")[1])[1]
    assert Principals(plan(world).keys).find(new.encode()) is None
    for wrong in ({"decide": ""}, {"days": "soon"}, {"networks": "home"}, {"system": "nosuch"}, {"name": ""}):
        assert send(operator, "/access/keys", **(facts | wrong))[0] in (404, 422), wrong


def test_limits_are_set_shown_and_removed_by_forms(operator: TestClient, world: ConsoleWorld) -> None:
    facts = {"scope": f"system:{SYSTEM}", "unit": "rows", "per": "day", "amount": "5000"}
    assert "The limit is set" in send(operator, "/access/limits", **facts)[1]
    assert "5,000" in operator.get("/access").text
    assert [each.id for each in plan(world).limits] == [f"system:{SYSTEM}/rows/day"]
    for wrong in ({"per": "week"}, {"amount": "many"}, {"scope": "everything"}, {"scope": "system:nosuch"}):
        assert send(operator, "/access/limits", **(facts | wrong))[0] in (404, 422), wrong
    assert send(operator, "/access/limits/remove", limit=f"system:{SYSTEM}/rows/day")[0] == 200
    assert plan(world).limits == []


def test_a_system_is_stopped_here_and_everywhere_and_started_by_forms(
    operator: TestClient, world: ConsoleWorld
) -> None:
    page, stops = f"/systems/{SYSTEM}", world.installation.home.stops
    assert "Stop it" in operator.get(page).text
    assert send(operator, f"{page}/stop", where="here", reason=" ")[0] == 422
    assert (
        "Every worker of this node follows" in send(operator, f"{page}/stop", where="here", reason="odd <answers>")[1]
    )
    stop = read_stops(stops)[SYSTEM]
    assert (stop.reason, stop.by) == ("odd <answers>", world.governed.people["operator"].id)
    assert plan(world).routes[0].stopped == "", "the plan of all nodes is untouched"
    assert "odd &lt;answers&gt;" in operator.get(page).text
    assert send(operator, f"{page}/stop", where="here", reason="again")[0] == 409
    assert send(operator, f"{page}/stop", where="all", reason="everywhere")[0] == 200
    assert plan(world).routes[0].stopped == "everywhere"
    assert send(operator, f"{page}/start", where="here")[0] == 200
    assert read_stops(stops) == {}
    assert send(operator, f"{page}/start", where="all")[0] == 200
    assert plan(world).routes[0].stopped == ""
    assert send(operator, f"{page}/stop", where="", reason="x")[0] == 422
    assert send(operator, "/systems/nosuch/stop", where="here", reason="x")[0] == 404


def test_an_auditor_sees_and_has_no_form(operator: TestClient, world: ConsoleWorld) -> None:
    operator.post("/sign-in", data={"token": world.token("auditor")}, headers=SAME)
    page = operator.get("/access").text
    assert "API keys" in page
    assert re.findall(r'action="([^"]+)"', page) == ["/sign-out"]
    assert "Stop it" not in operator.get(f"/systems/{SYSTEM}").text


def test_the_same_by_the_api(api: TestClient, world: ConsoleWorld) -> None:
    made = api.post("/api/v1/keys", json={"name": "till", "scopes": [f"decide:{SYSTEM}"], "networks": ["10.0.0.0/8"]})
    assert made.status_code == 201
    key = made.json()
    listed = {each["id"]: each for each in api.get("/api/v1/keys").json()}
    assert listed[key["id"]]["state"] == "good"
    assert not {"sha256", "key"} & set(listed[key["id"]])
    assert key["key"] not in json.dumps(listed)
    new = api.post(f"/api/v1/keys/{key['id']}/rotate", json={"overlap": "2h"}).json()
    assert Principals(plan(world).keys).find(new["key"].encode()) is not None
    assert api.post(f"/api/v1/keys/{new['id']}/revoke").json() == {"id": new["id"], "revoked": True}
    assert api.post(f"/api/v1/keys/{new['id']}/revoke").status_code == 409
    assert {each["id"]: each["state"] for each in api.get("/api/v1/keys").json()}[new["id"]] == "revoked"
    limit = api.post("/api/v1/limits", json={"scope": "installation", "per": "second", "amount": 7, "burst": 9}).json()
    assert limit["id"] == "installation/rows/second"
    assert [(each["amount"], each["given_out"]) for each in api.get("/api/v1/limits").json()] == [(7, None)]
    assert api.post("/api/v1/limits", json={"scope": "x", "per": "week", "amount": -1}).status_code == 422
    assert api.post("/api/v1/limits/remove", json={"id": limit["id"]}).status_code == 200
    here = api.post(f"/api/v1/systems/{SYSTEM}/stop", json={"reason": "odd", "here": True}).json()
    assert here == {"system": SYSTEM, "stopped": True, "followed": 0, "workers": 0}
    assert api.post(f"/api/v1/systems/{SYSTEM}/start", json={"here": True}).json()["stopped"] is False
    assert api.post(f"/api/v1/systems/{SYSTEM}/start", json={"here": True}).status_code == 409
    assert api.post("/api/v1/keys", json={"name": "x", "scopes": ["all"], "more": 1}).status_code == 422

"""Retention, erasure and holds in console and API: what they show, who may change what, nothing without a tick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilotage.kernel.clock import now_us
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world
from tests.ledger_world import event

DAY = 86_400_000_000
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """A home of its own: decisions of five hundred days ago, enough for a whole bundle, and some of now."""
    made = make_console_world(tmp_path_factory.mktemp("retention"))
    made.seal(made.answered(300, at=now_us() - 500 * DAY))
    made.seal(made.answered(3, seed=8))
    yield made
    made.close()


@pytest.fixture
def officer(old: ConsoleWorld) -> Iterator[TestClient]:
    with TestClient(create_app(old.installation), follow_redirects=True, raise_server_exceptions=False) as made:
        made.post("/sign-in", data={"token": old.token("risk_officer")}, headers=SAME)
        yield made


@pytest.fixture
def api(old: ConsoleWorld) -> Iterator[TestClient]:
    with TestClient(create_app(old.installation), raise_server_exceptions=False) as made:
        made.headers["authorization"] = f"Bearer {old.token('risk_officer')}"
        yield made


def send(client: TestClient, path: str, **fields: str) -> tuple[int, str]:
    answer = client.post(path, data=fields, headers={**SAME, "accept": "text/html"})
    return answer.status_code, answer.text


def period(of: str, days: str, confirm: str = "yes") -> dict[str, str]:
    return {
        "system": SYSTEM,
        "class": of,
        "mode": "span",
        "months": "",
        "days": days,
        "reason": "x",
        "confirm": confirm,
    }


def test_a_period_is_set_by_form_and_what_is_over_goes(officer: TestClient, old: ConsoleWorld, api: TestClient) -> None:
    assert officer.get("/retention").text.count("without end") >= 2
    status, page = send(officer, "/retention/set", **period("payloads", "100", confirm=""))
    assert status == 422 and "not confirmed" in page
    [kept] = api.get("/api/v1/retention").json()["systems"]
    assert (kept["payloads"], kept["payloads_set"], kept["due"]) == ("without end", 0, 0)
    assert send(officer, "/retention/set", **period("payloads", "soon"))[0] == 422
    assert send(officer, "/retention/set", **period("entries", "200"))[0] == 422, "payloads have no end"
    status, page = send(officer, "/retention/set", **period("payloads", "100"))
    assert status == 200 and "The period was set" in page and "100 days" in page
    answer = api.post("/api/v1/retention", json={"system": SYSTEM, "class": "entries", "days": 200, "reason": "x"})
    assert answer.json() == {"system": SYSTEM, "payloads": "100 days", "entries": "200 days"}
    [kept] = api.get("/api/v1/retention").json()["systems"]
    assert kept["due_records"] == 300 and kept["payloads_set"] > 0 and kept["bundles_held"] == 1

    status, page = send(officer, "/retention/enforce", confirm="yes")
    assert status == 200 and "What was due was deleted" in page
    assert "300 payloads" in page and "256 entries" in page
    assert "Nothing was due" in send(officer, "/retention/enforce", confirm="yes")[1]

    gone = api.get("/api/v1/decisions?outcome=past_retention&limit=1000").json()
    assert len(gone) == 256
    id_ = gone[-1]["id"]
    page = officer.get(f"/decisions/{id_}").text
    assert "Past retention." in page and "its system keeps such records 200 days" in page and "Replay now" not in page
    assert officer.get(f"/decisions/{id_}/proof").text.startswith("c2sp.org/tlog-proof@v1")
    shown = api.get(f"/api/v1/decisions/{id_}").json()
    assert shown["past_retention"]["rule"] == "200 days" and shown["payload"] is None
    replayed = api.post(f"/api/v1/decisions/{id_}/replay").json()
    assert replayed["verdict"] == "unreplayable" and "past retention (kept 200 days)" in replayed["reason"]
    record = officer.get(f"/decisions/{id_}/record", headers={"accept": "application/json"})
    assert (record.status_code, record.json()["error"]["code"]) == (410, "past_retention")
    assert api.get("/log/tile/entries/000").status_code == 410 and api.get("/log/tile/0/000").status_code == 200
    exported = api.get("/api/v1/decisions/export?format=jsonl&payload=yes").text.splitlines()
    assert sum("past retention (kept 200 days)" in line for line in exported) == 256 and len(exported) == 303
    assert "past retention" in officer.get("/decisions?outcome=past_retention").text


def test_classes_of_the_installation_are_shown_set_and_enforced(
    officer: TestClient, old: ConsoleWorld, api: TestClient
) -> None:
    def stands(name: str) -> dict[str, Any]:
        return next(each for each in api.get("/api/v1/retention").json()["classes"] if each["name"] == name)

    old.seal([event(code="forbidden", count=2)])
    assert (stands("denials")["kept"], stands("denials")["number"]) == ("13 months", 1)
    assert stands("evidence")["number"] > 0 and stands("evidence")["next"] == 0
    wide = {"class": "denials", "mode": "span", "months": "", "days": "1", "reason": "x", "confirm": "yes"}
    status, page = send(officer, "/retention/set", **wide, system=SYSTEM)
    assert status == 422 and "kept by the whole installation" in page
    status, page = send(officer, "/retention/set", **wide, system="")
    assert status == 200 and "whom gateways turned away" in page
    made = api.post("/api/v1/retention", json={"class": "evidence", "days": 1, "reason": "x"})
    assert made.json() == {"class": "evidence", "kept": "1 day"}
    assert stands("denials")["due"] == 1 and stands("denials")["set"] > 0
    done = api.post("/api/v1/retention/enforce").json()
    assert (done["records"], done["evidence"]) == (1, 0), "an approval binds all the evidence there is"
    assert stands("denials")["number"] == 0 and stands("tree")["number"] > 300
    assert "1 payloads" in officer.get("/retention").text


def test_a_person_is_erased_by_form_and_a_hold_forbids_it(
    officer: TestClient, api: TestClient, old: ConsoleWorld
) -> None:
    [row] = old.installation.ledger().decisions(limit=1)
    payload = old.installation.ledger().decision(row.id).payload
    assert payload is not None and payload.subject
    person = {"subject": payload.subject, "reason": "request", "confirm": "yes"}
    hold = {"covers": "subject", "subject": payload.subject, "reason": "file <b>12", "confirm": "yes"}
    assert send(officer, "/erasure/holds", **{**hold, "subject": ""})[0] == 422
    status, page = send(officer, "/erasure/holds", **hold)
    assert status == 200 and "file &lt;b&gt;12" in page and "one person" in page and payload.subject not in page
    status, page = send(officer, "/erasure", **person)
    assert status == 409 and "legal hold" in page
    id_ = page_id = officer.get("/erasure").text.split('name="id" value="')[1].split('"')[0]
    assert send(officer, "/erasure/holds/release", id=id_)[0] == 422
    assert "released" in send(officer, "/erasure/holds/release", id=page_id, confirm="yes")[1]
    assert send(officer, "/erasure", **{**person, "confirm": ""})[0] == 422
    assert send(officer, "/erasure", **{**person, "subject": "  "})[0] == 422
    assert old.installation.ledger().decision(row.id).payload is not None
    status, page = send(officer, "/erasure", **person)
    assert status == 200 and "is unreadable for ever" in page and payload.subject not in page
    assert old.installation.ledger().decision(row.id).unreadable == "erased"
    assert [each["state"] for each in api.get("/api/v1/erasures").json()] == ["erased"]


def test_who_may_only_read_gets_no_form_and_others_no_page(old: ConsoleWorld) -> None:
    app = create_app(old.installation)
    with TestClient(app, raise_server_exceptions=False) as client:
        for role, status in (("auditor", 200), ("operator", 403), ("witness", 403)):
            client.headers["authorization"] = f"Bearer {old.token(role)}"
            for path in ("/retention", "/erasure"):
                page = client.get(path)
                assert page.status_code == status, (role, path)
                assert "<form class=" not in page.text
            for path in ("/retention/set", "/retention/enforce", "/erasure", "/erasure/holds"):
                assert client.post(path, data={"confirm": "yes"}).status_code == 403, (role, path)
        assert "/retention" not in client.get("/systems").text
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as client:
        client.post("/sign-in", data={"token": old.token("risk_officer")}, headers=SAME)
        other = client.post("/erasure", data={"confirm": "yes"}, headers={"sec-fetch-site": "cross-site"})
        assert other.status_code == 403

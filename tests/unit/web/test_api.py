"""The API: who may do what, what a bad request is told, and that each act is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pilotage.ledger.notes import Signer
from pilotage.ledger.outcome_file import upload_file
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.proofs import verify_proof
from pilotage.storage.scratch import PREFIX
from pilotage.web.console.app import create_app
from pilotage.web.security import POLICY
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world


def as_(world: ConsoleWorld, role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {world.token(role)}"}


def first(client: TestClient, outcome: str) -> str:
    return str(client.get("/api/v1/decisions", params={"outcome": outcome, "limit": 1}).json()[0]["id"])


class TestWhoMay:
    @pytest.mark.parametrize(
        "header",
        [
            {},
            {"authorization": "Bearer pt_unknown"},
            {"authorization": "Basic YTpi"},
            {"cookie": "pilotage_session=ps_x"},
        ],
    )
    def test_nobody_known_is_refused(self, client: TestClient, header: dict[str, str]) -> None:
        answer = client.get("/api/v1/systems", headers=header)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthenticated"

    def test_an_unknown_writer_is_refused_before_the_body_is_read(self, client: TestClient) -> None:
        assert client.post("/api/v1/approvals", content=b"{broken").status_code == 401

    def test_a_role_without_the_permission_is_refused_and_told_who_may(
        self, client: TestClient, world: ConsoleWorld
    ) -> None:
        answer = client.post(f"/api/v1/systems/{SYSTEM}/stop", json={"reason": "x"}, headers=as_(world, "auditor"))
        assert answer.status_code == 403
        assert "operator" in answer.json()["error"]["expected"]

    def test_the_payload_is_for_those_who_may_read_it(self, client: TestClient, world: ConsoleWorld) -> None:
        reader, operator = as_(world, "auditor"), as_(world, "operator")
        id_ = client.get("/api/v1/decisions?limit=1&outcome=answered", headers=reader).json()[0]["id"]
        assert client.get(f"/api/v1/decisions/{id_}", headers=reader).json()["payload"]["features"]
        assert client.get(f"/api/v1/decisions/{id_}", headers=operator).json()["payload"] is None
        assert client.get(f"/api/v1/decisions/{id_}/explanation", headers=operator).status_code == 403


class TestBadRequests:
    @pytest.mark.parametrize(
        "content",
        [
            b"{broken",
            b"[1]",
            b'"text"',
            b"[" * 100_000,
            b"\xff",
            b'{"release": "\\ud800", "stage": "x"}',
            b'{"release": "a\\u0000", "stage": "x"}',
            b'{"release": NaN}',
        ],
    )
    def test_a_body_that_is_no_object(self, client: TestClient, world: ConsoleWorld, content: bytes) -> None:
        answer = client.post("/api/v1/approvals", content=content, headers=as_(world, "risk_officer"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "malformed_body")

    def test_an_escaped_backslash_before_u0000_is_text(self, client: TestClient, world: ConsoleWorld) -> None:
        body = {"release": "a\\u0000", "stage": "internal"}
        answer = client.post("/api/v1/approvals", json=body, headers=as_(world, "risk_officer"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")

    def test_a_character_nul_in_an_address_is_named(self, auditor: TestClient) -> None:
        assert auditor.get("/api/v1/systems/a%00b").status_code == 404
        answer = auditor.get("/api/v1/outcomes/export?system=%00&state=current")
        assert answer.status_code == 422
        assert [fault["path"] for fault in answer.json()["error"]["faults"]] == ["system"]

    @pytest.mark.parametrize("limit", ["9" * 5_000, "٣", "0", "1001", "x"])
    def test_a_limit_that_is_none_is_named(self, auditor: TestClient, limit: str) -> None:
        for path in ("backtests", "pipelines", "decisions"):
            answer = auditor.get(f"/api/v1/{path}", params={"limit": limit})
            assert (answer.status_code, answer.json()["error"]["faults"][0]["path"]) == (422, "limit"), path

    def test_every_fault_of_a_body_is_named(self, client: TestClient, world: ConsoleWorld) -> None:
        body = {"release": 7, "nonsense": 1}
        answer = client.post("/api/v1/approvals", json=body, headers=as_(world, "risk_officer"))
        assert answer.status_code == 422
        found = {fault["path"]: fault["code"] for fault in answer.json()["error"]["faults"]}
        assert found == {"release": "wrong_type", "stage": "missing", "nonsense": "unknown_field"}

    def test_an_unknown_system_or_decision(self, auditor: TestClient) -> None:
        for path in ("/systems/none", "/systems/none/drift", "/decisions/none", "/decisions/none/proof", "/nothing"):
            assert auditor.get(f"/api/v1{path}").status_code == 404, path

    def test_a_method_that_is_not_there(self, auditor: TestClient) -> None:
        assert auditor.delete(f"/api/v1/systems/{SYSTEM}").status_code == 405

    @pytest.mark.parametrize(
        ("query", "wrong"),
        [
            ("since=yesterday&score_min=nan&score_max=x", {"since", "score_min", "score_max"}),
            ("outcome=lost&stage=9&mode=x", {"outcome", "stage", "mode"}),
            ("release=none@9", {"release"}),
            ("subject=a%00b", {"subject"}),
            ("limit=0", {"limit"}),
            ("limit=1001&before=99999999999999999999", {"limit", "before"}),
            ("before=%C2%B2", {"before"}),
        ],
    )
    def test_every_fault_of_a_filter_is_named(self, auditor: TestClient, query: str, wrong: set[str]) -> None:
        answer = auditor.get(f"/api/v1/decisions?{query}")
        assert answer.status_code == 422
        assert {fault["path"] for fault in answer.json()["error"]["faults"]} == wrong

    def test_a_body_too_large(self, client: TestClient, world: ConsoleWorld) -> None:
        headers = as_(world, "risk_officer")
        answer = client.post("/api/v1/approvals", content=b" " * 1_048_577, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        pieces = iter([b"{", b"}"])
        assert client.post("/api/v1/approvals", content=pieces, headers=headers).status_code == 413


class TestOtherSites:
    @pytest.mark.parametrize(
        "header",
        [
            {},
            {"origin": "https://other.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": "http://testserver"},
        ],
    )
    def test_no_write_by_cookie_from_another_site(
        self, client: TestClient, world: ConsoleWorld, header: dict[str, str]
    ) -> None:
        signed_in = client.post(
            "/sign-in", data={"token": world.token("operator")}, headers={"origin": "http://testserver"}
        )
        assert signed_in.status_code == 303
        answer = client.post(f"/api/v1/systems/{SYSTEM}/stop", json={"reason": "x"}, headers=header)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")

    def test_nobody_is_signed_in_from_another_site(self, client: TestClient, world: ConsoleWorld) -> None:
        answer = client.post(
            "/sign-in", data={"token": world.token("operator")}, headers={"sec-fetch-site": "cross-site"}
        )
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


class TestHeaders:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/live", 200),
            ("GET", "/sign-in", 200),
            ("GET", "/static/console.css", 200),
            ("GET", "/static/none", 404),
            ("GET", "/nothing", 404),
            ("GET", "/api/v1/systems", 401),
            ("POST", "/sign-in", 403),
            ("GET", "/api/v1/broken", 500),
        ],
    )
    def test_every_answer_is_guarded(
        self, world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int
    ) -> None:
        if status == 500:
            monkeypatch.setattr("pilotage.web.api.person_of", lambda *_: 1 / 0)
            path = "/api/v1/systems"
        client = TestClient(create_app(world.installation), raise_server_exceptions=False)
        answer = client.request(method, path, headers={"accept": "text/html"})
        assert answer.status_code == status
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")

    def test_an_unforeseen_error_tells_nothing(self, world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pilotage.web.api.person_of", lambda *_: {}["secret-place"])
        client = TestClient(create_app(world.installation), raise_server_exceptions=False)
        answer = client.get("/api/v1/systems")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert "secret-place" not in answer.text


class TestReading:
    def test_systems_and_one(self, auditor: TestClient, world: ConsoleWorld) -> None:
        (system,) = auditor.get("/api/v1/systems").json()
        assert (system["id"], system["stage"], system["release"]) == (SYSTEM, "internal", world.release.digest)
        assert auditor.get(f"/api/v1/systems/{SYSTEM}").json()["live"]["deployment"]["release"] == world.release.digest

    def test_stats_count_what_is_sealed(self, auditor: TestClient) -> None:
        found = auditor.get("/api/v1/stats").json()
        assert found["decisions"] >= 32
        assert found["outcomes"]["rejected"] >= 2

    def test_filters_choose(self, auditor: TestClient, world: ConsoleWorld) -> None:
        def ids(query: str) -> list[str]:
            return [row["id"] for row in auditor.get(f"/api/v1/decisions?limit=1000&{query}").json()]

        everything = ids("")
        rejected = ids("outcome=rejected")
        # Others may have sealed more than one page meanwhile.
        assert rejected and set(ids("fault=unseen_category")) == set(rejected) != set(everything)
        low, high = ids("score_max=0.5"), ids("score_min=0.5")
        assert low and high and set(low) | set(high) | set(rejected) >= set(everything)
        assert len(ids("subject=c-7-3")) == 1 and ids("subject=nobody") == []
        by_short = ids(f"release={world.release.digest[7:19]}")
        assert by_short == ids(f"release={SYSTEM}@1") == ids(f"release={world.release.digest}") == everything
        assert ids("until=2001-01-01") == [] and ids("since=2001-01-01T00:00Z") == everything

    def test_pages_meet_without_gap_or_overlap(self, auditor: TestClient) -> None:
        whole = [row["leaf"] for row in auditor.get("/api/v1/decisions?limit=20").json()]
        head = [row["leaf"] for row in auditor.get("/api/v1/decisions?limit=7").json()]
        rest = [row["leaf"] for row in auditor.get(f"/api/v1/decisions?limit=13&before={head[-1]}").json()]
        assert head + rest == whole

    def test_gate_and_drift(self, auditor: TestClient, world: ConsoleWorld) -> None:
        query = {"release": world.release.digest, "to": "internal"}
        assert auditor.get(f"/api/v1/systems/{SYSTEM}/gate", params=query).json()["go"] is True
        drift = auditor.get(f"/api/v1/systems/{SYSTEM}/drift").json()
        assert drift["rows"] >= 30 and drift["release"] == world.release.digest

    def test_a_proof_verifies_with_nothing_but_the_key(self, auditor: TestClient, world: ConsoleWorld) -> None:
        id_ = first(auditor, "answered")
        proof = auditor.get(f"/api/v1/decisions/{id_}/proof")
        assert proof.headers["content-disposition"] == f'attachment; filename="{id_}.tlog-proof"'
        entry = world.installation.ledger().decision(id_).entry
        keyring = world.installation.keyring
        vkey = Signer(keyring.origin, keyring.signing).vkey()
        assert verify_proof(proof.text, entry, vkey).origin == keyring.origin
        assert auditor.get("/api/v1/checkpoint").text.startswith(keyring.origin)

    def test_explanation_adds_up_and_replay_is_exact(self, auditor: TestClient) -> None:
        id_ = first(auditor, "answered")
        found = auditor.get(f"/api/v1/decisions/{id_}/explanation").json()
        assert found["exact"] and set(found["attributions"]) == {"income", "late_payments", "home", "age"}
        assert found["fresh"] and found["event"] and found["made"]
        again = auditor.get(f"/api/v1/decisions/{id_}/explanation").json()
        assert again == found | {"fresh": False}
        assert auditor.post(f"/api/v1/decisions/{id_}/replay").json()["verdict"] == "bit_exact"


class TestActing:
    """Acts change what is live, so each works on a home of its own."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[ConsoleWorld]:
        made = make_console_world(tmp_path)
        yield made
        made.close()

    def test_a_release_is_approved_promoted_stopped_started_and_rolled_back(self, own: ConsoleWorld) -> None:
        client = TestClient(create_app(own.installation), raise_server_exceptions=False)

        def ask(role: str, path: str, **body: str) -> tuple[int, Any]:
            answer = client.post(f"/api/v1{path}", json=body, headers=as_(own, role))
            return answer.status_code, answer.json()

        second = own.governed.release(0.5, system=SYSTEM)
        wanted = {"release": second.digest, "stage": "internal"}
        status, body = ask("ml_engineer", "/approvals", **wanted)
        assert status in (403, 409), "the author approved"
        status, body = ask("operator", f"/systems/{SYSTEM}/promote", **wanted)
        assert (status, body["error"]["code"]) == (409, "gate_closed")
        assert ask("model_validator", "/approvals", **wanted, system="other")[0] == 422
        statuses = {
            role: ask(role, "/approvals", **wanted)[0] for role in ("model_validator", "business_owner", "risk_officer")
        }
        assert statuses == {"model_validator": 201, "business_owner": 201, "risk_officer": 403}
        assert ask("model_validator", "/approvals", **wanted)[0] == 409, "the same person approved twice"
        status, body = ask("operator", f"/systems/{SYSTEM}/promote", **wanted)
        assert status == 200, body
        assert ask("operator", f"/systems/{SYSTEM}/promote", **wanted)[0] == 409, "it is live already"
        assert ask("operator", f"/systems/{SYSTEM}/stop")[0] == 422, "a stop needs a reason"
        assert ask("operator", f"/systems/{SYSTEM}/stop", reason="a drill")[0] == 200
        assert ask("operator", f"/systems/{SYSTEM}/stop", reason="a drill")[0] == 409
        assert ask("operator", f"/systems/{SYSTEM}/start")[0] == 200
        status, body = ask("operator", f"/systems/{SYSTEM}/rollback", reason="a drill")
        assert (status, body["to_release"]) == (200, own.release.digest)
        assert ask("operator", f"/systems/{SYSTEM}/rollback")[0] == 409, "nothing is left to go back to"
        assert ask("operator", "/systems/none/promote", **wanted)[0] == 404


class TestExport:
    def test_formats_filters_and_record(self, client: TestClient, world: ConsoleWorld) -> None:
        reader = as_(world, "operator")
        answer = client.get("/api/v1/decisions/export?format=jsonl&outcome=rejected", headers=reader)
        assert answer.status_code == 200 and answer.headers["pilotage-rows"] == str(len(answer.text.splitlines()))
        assert "decisions.jsonl" in answer.headers["content-disposition"]
        listed = client.get("/api/v1/decisions?outcome=rejected", headers=reader).json()
        assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [row["id"] for row in listed]
        assert client.get("/api/v1/decisions/export?outcome=rejected", headers=reader).json()
        assert client.get("/api/v1/decisions/export?format=parquet", headers=reader).content[:4] == b"PAR1"
        assert list(world.installation.home.run.glob(f"{PREFIX}*")) == []
        world.steward.seal_all()
        event = world.installation.ledger().events(kind="decisions.exported")[0]
        assert event.facts["format"] == "parquet" and event.facts["decisions"] > 0
        recorded = world.installation.ledger().event(event.id)
        assert recorded.private is not None and recorded.private["by"]

    def test_who_may_and_what_is_refused(self, client: TestClient, world: ConsoleWorld) -> None:
        path = "/api/v1/decisions/export"
        assert client.get(path).status_code == 401
        assert client.get(f"{path}?payload=yes", headers=as_(world, "operator")).status_code == 403
        assert "person" in client.get(f"{path}?payload=yes&format=csv", headers=as_(world, "auditor")).text
        for query in ("format=xml", "payload=maybe", "since=yesterday", "kind=nobody", "trace=%00"):
            assert client.get(f"{path}?{query}", headers=as_(world, "auditor")).status_code == 422, query

    def test_outcomes_stream_in_every_format(self, client: TestClient, world: ConsoleWorld, tmp_path: Path) -> None:
        reader, path = as_(world, "operator"), "/api/v1/outcomes/export"
        some, told = world.installation.ledger().decisions(limit=2), tmp_path / "truth.csv"
        told.write_text("decision,value\n" + "".join(f"{row.id},paid\n" for row in some))
        outcomes, keyring = Outcomes(world.installation.ledger_engine), world.installation.keyring
        given = {"control": world.installation.control, "outcomes": outcomes, "by": "tests"}
        upload_file(told, SYSTEM, steward_public=keyring.steward_public, **given)
        world.steward.seal_all()
        assert client.get(path).status_code == 401
        assert client.get(path, headers=as_(world, "witness")).status_code == 403
        listed = outcomes.list(system=SYSTEM, limit=1_000)
        assert {row.decision for row in listed} >= {row.id for row in some}
        answer = client.get(f"{path}?system={SYSTEM}", headers=reader)
        assert [row["event"] for row in answer.json()] == [row.event for row in listed]
        assert "outcomes.json" in answer.headers["content-disposition"]
        lines = client.get(f"{path}?format=jsonl&state=current", headers=reader).text.splitlines()
        assert len(lines) == sum(row.state == "current" for row in listed)
        assert client.get(f"{path}?format=parquet", headers=reader).content[:4] == b"PAR1"
        for query, status in (("format=xml", 422), ("state=odd", 422), ("system=none", 404)):
            assert client.get(f"{path}?{query}", headers=reader).status_code == status, query
        world.steward.seal_all()
        assert world.installation.ledger().events(kind="outcomes.exported")[0].facts["format"] == "parquet"


def test_a_trace_is_a_tree(auditor: TestClient) -> None:
    id_ = first(auditor, "answered")
    found = auditor.get(f"/api/v1/traces/{id_}").json()
    assert [(node["depth"], node["row"]["id"]) for node in found["nodes"]] == [(0, id_)] and found["whole"]
    assert auditor.get("/api/v1/traces/nosuch").status_code == 404


class TestWhatWasInProduction:
    def test_then_now_and_before(self, auditor: TestClient, world: ConsoleWorld) -> None:
        now = auditor.get(f"/api/v1/systems/{SYSTEM}/at")
        assert now.status_code == 200
        found = now.json()
        assert found["release"] == world.release.digest
        assert {each["state"] for each in found["evidence_then"]} == {"fresh"}
        assert {each["digest"] for each in found["evidence_then"]} == set(found["evidence"].values())
        assert (found["contract"], found["rules"]) == (world.release.contract, world.release.policy)
        assert auditor.get(f"/api/v1/systems/{SYSTEM}/at?time=2001-01-01T00:00Z").json() is None

    def test_names_are_for_those_who_may_read_payloads(self, client: TestClient, world: ConsoleWorld) -> None:
        path = f"/api/v1/systems/{SYSTEM}/at"
        full, without = (client.get(path, headers=as_(world, role)).json() for role in ("auditor", "operator"))
        people = {person.name for person in world.governed.people.values()}
        assert full["by"] in people and full["by"] not in json.dumps(without)
        assert full["release"] == without["release"]

    def test_what_cannot_be_asked(self, auditor: TestClient, client: TestClient, world: ConsoleWorld) -> None:
        assert auditor.get("/api/v1/systems/none/at").status_code == 404
        assert auditor.get(f"/api/v1/systems/{SYSTEM}/at?time=yesterday").status_code == 422
        witness = client.get(f"/api/v1/systems/{SYSTEM}/at", headers=as_(world, "witness"))
        assert (witness.status_code, witness.json()["error"]["code"]) == (403, "forbidden")


class TestOverride:
    BODY: ClassVar[dict[str, str]] = {"answer": "favourable", "reason": "income proven"}

    def test_a_reviewer_answers_otherwise_and_it_is_sealed(self, tmp_path: Path) -> None:
        own = make_console_world(tmp_path)
        [id_] = own.seal(own.answered(1))
        with TestClient(create_app(own.installation)) as client:
            path, reviewer = f"/api/v1/decisions/{id_}", as_(own, "reviewer")
            answer = client.post(f"{path}/override", json=self.BODY, headers=reviewer)
            assert answer.status_code == 201 and answer.json()["decision"] == id_
            own.steward.seal_all()
            [said] = client.get(path, headers=reviewer).json()["said"]
            assert said["event"] == answer.json()["event"] and said["private"]["value"] == "favourable"
            assert client.get(path, headers=as_(own, "operator")).json()["said"][0]["private"] is None
        own.close()

    def test_who_may_and_what_is_refused(self, client: TestClient, world: ConsoleWorld) -> None:
        path, reviewer = f"/api/v1/decisions/{first(client_of(client, world), 'answered')}", as_(world, "reviewer")
        assert client.post(f"{path}/override", json=self.BODY, headers=as_(world, "operator")).status_code == 403
        unknown = client.post("/api/v1/decisions/none/override", json=self.BODY, headers=reviewer)
        assert unknown.status_code == 404
        for body in ({"answer": "x"}, {"answer": " ", "reason": "x"}, {"answer": "x", "reason": "y" * 2_001}):
            answer = client.post(f"{path}/override", json=body, headers=reviewer)
            assert answer.status_code == 422 and answer.json()["error"]["faults"], body


def client_of(client: TestClient, world: ConsoleWorld) -> TestClient:
    client.headers["authorization"] = as_(world, "auditor")["authorization"]
    return client

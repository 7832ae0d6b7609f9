"""Outcomes told to a real gateway: durable before the reply, checked whole, only with the scope, joined later."""

import hashlib
import time

import pytest

from pilotage.gateway.plan import Key
from pilotage.kernel.ids import uuid7
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.sealing import Steward
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import control, ledger, open_engine, url_of

from .conftest import KEY, OTHER, ROW, SYSTEM

TELLER = "pk_tell_" + "c" * 43
SEVERAL = "pk_many_" + "d" * 43


@pytest.fixture(scope="module")
def stand(shared):
    keys = shared.keys()
    for name, key, scopes in (
        ("teller", TELLER, [f"outcome:{SYSTEM}"]),
        ("several", SEVERAL, [f"outcome:{SYSTEM}", "outcome:elsewhere"]),
    ):
        keys.append(Key(id=name, sha256=hashlib.sha256(key.encode()).hexdigest(), scopes=scopes))
    version = shared.publish(max_rows=50, keys=tuple(keys))
    shared.workers[0].wait_for(version)
    return shared


def tell(stand, path, body, key=TELLER):
    with stand.workers[0].client(key) as client:
        return client.post(path, json=body)


def test_it_is_in_the_journal_before_the_reply_and_joined_when_sealed(stand):
    id_ = stand.workers[0].ask(ROW).json()["id"]
    before = time.time_ns() // 1_000
    reply = tell(
        stand, f"/v1/decisions/{id_}/outcome", {"value": "default", "at": "2026-01-05", "source": "collections"}
    )
    assert reply.status_code == 201, reply.text
    told = reply.json()
    [(event, private)] = [each for each in stand.events("outcome.recorded") if each[0].id == told["event"]]
    assert (event.system, event.facts) == (SYSTEM, {"decision": id_}) and event.at >= before
    assert private == {"value": "default", "at": 1_767_571_200_000_000, "source": "collections", "by": "key:teller"}
    [plain] = [plain for leaf, plain, _ in stand.frames() if leaf.id == event.id]
    assert (
        reply.headers["pilotage-receipt"]
        == told["receipt"]
        == f"{event.id} {hashlib.sha256(bytes(1) + plain).hexdigest()}"
    )
    assert b"collections" not in plain and b'"default"' not in plain

    unknown = uuid7()
    many = [{"decision": id_, "value": 0.25}, {"decision": unknown, "value": True}]
    reply = tell(stand, "/v1/outcomes", {"outcomes": many})
    assert (reply.status_code, reply.json()["recorded"]) == (201, 2), reply.text

    engines = {part: open_engine(url_of(stand.home, part)) for part in ("control", "ledger")}
    control.create_all(engines["control"])
    ledger.create_all(engines["ledger"])
    steward = Steward(home=stand.home, keyring=stand.keyring, holder="tests", **engines)
    assert steward.acquire()
    steward.seal_all()
    rows = {(row.decision, row.value): row for row in Outcomes(engines["ledger"]).list()}
    assert rows[id_, "default"].state == "superseded" and rows[id_, "0.25"].state == "current"
    assert (rows[id_, "0.25"].number, rows[id_, "0.25"].release) == (0.25, stand.releases[0].digest)
    assert rows[unknown, "true"].state == "unmatched"
    verdict = verify_ledger(stand.home, engines["ledger"], stand.keyring)
    assert verdict.ok, verdict.faults
    steward.release()
    for engine in engines.values():
        engine.dispose()


def test_the_key_needs_the_scope_of_the_system(stand):
    id_ = uuid7()
    path = f"/v1/decisions/{id_}/outcome"
    for key in (KEY, OTHER):
        assert tell(stand, path, {"value": 1}, key).status_code == 403
    assert tell(stand, path, {"value": 1}, "pk_nobody").status_code == 401
    assert tell(stand, path, {"value": 1, "system": "elsewhere"}).status_code == 403
    reply = tell(stand, path, {"value": 1}, SEVERAL)
    assert reply.status_code == 422 and "several systems" in reply.json()["error"]["message"]
    assert tell(stand, path, {"value": 1, "system": "elsewhere"}, SEVERAL).status_code == 201
    # A key that tells may not ask.
    assert stand.workers[0].ask(ROW, TELLER).status_code == 403


def test_every_fault_is_named_and_nothing_of_the_body_is_kept(stand):
    before = len(stand.events("outcome.recorded"))
    many = [{"decision": uuid7(), "value": "ok"}, {"decision": "x", "value": []}, "no object"]
    reply = tell(stand, "/v1/outcomes", {"outcomes": many})
    assert reply.status_code == 422 and reply.json()["error"]["code"] == "outcome_invalid"
    paths = {fault["path"] for fault in reply.json()["error"]["faults"]}
    assert paths == {"outcomes/1/decision", "outcomes/1/value", "outcomes/2/decision", "outcomes/2/value"}
    for body in ({}, {"outcomes": []}, {"outcomes": {}}, [], 7, {"outcomes": [{}], "more": 1}):
        assert tell(stand, "/v1/outcomes", body).status_code == 400
    assert tell(stand, f"/v1/decisions/{uuid7()}/outcome", {"value": 1, "at": "2999-01-01"}).status_code == 422
    too_many = tell(stand, "/v1/outcomes", {"outcomes": [{"decision": uuid7(), "value": 1}] * 1_001})
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (413, "too_many_outcomes")
    with stand.workers[0].client(TELLER) as client:
        assert client.get("/v1/outcomes").status_code == 405
        assert client.post("/v1/outcomes", content=b"{nonsense").json()["error"]["code"] == "malformed_body"
    assert len(stand.events("outcome.recorded")) == before

"""What a client sends and what it gets: answers with receipts; for a wrong request, all that is wrong with it."""

import hashlib
import json
import re
import socket
import time

import httpx
import pytest

from pilotage.ledger.record import commitment
from pilotage.runtimes.environment import environment_digest

SYSTEM = "example"
KEY = "pk_live_" + "a" * 43
OTHER = "pk_other_" + "b" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}
RECEIPT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12} [0-9a-f]{64}")


@pytest.fixture
def worker(shared):
    return shared.workers[0]


def post(worker, body, **headers):
    headers = {"authorization": f"Bearer {KEY}"} | headers
    return httpx.post(worker.decide, content=body, headers=headers, timeout=20)


def test_an_answer_comes_with_its_receipt_and_its_record_is_whole(shared, worker):
    before = time.time_ns() // 1_000
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = post(worker, json.dumps({"inputs": ROW}), traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert reply.status_code == 200
    body = reply.json()
    release = shared.releases[0]
    assert {name: body[name] for name in ("system", "release", "outcome")} == {
        "system": SYSTEM,
        "release": release.digest,
        "outcome": "answered",
    }
    assert 0 < body["answer"]["score"] < 1
    assert body["answer"]["label"] == ("refer" if body["answer"]["score"] >= 0.5 else "approve")
    assert reply.headers["pilotage-release"] == release.digest
    assert reply.headers["pilotage-answered-by"] == "champion"
    assert RECEIPT.fullmatch(reply.headers["pilotage-receipt"])

    plain, bytes_, payload, secret = shared.decisions()[body["id"]]
    leaf = hashlib.sha256(b"\0" + bytes_).hexdigest()
    assert reply.headers["pilotage-receipt"] == f"{body['id']} {leaf}"
    assert plain.commitment == commitment(secret[:32], secret[32:])
    assert (plain.request_id, plain.trace, plain.system, plain.release) == (
        body["request_id"],
        trace,
        SYSTEM,
        release.digest,
    )
    assert (plain.contract, plain.policy, plain.stage, plain.arm) == (
        release.contract.digest(),
        release.policy,
        "internal",
        "champion",
    )
    assert plain.environment == environment_digest()
    assert plain.plan.startswith("sha256:")
    assert (plain.outcome, plain.findings, plain.kind, plain.mode) == ("answered", [], "model", "live")
    (attempt,) = plain.attempts
    assert attempt.status == "ok"
    assert attempt.target.startswith("onnx@")
    assert 0 <= attempt.ms < 1_000
    assert before <= plain.times.received <= time.time_ns() // 1_000
    assert b"c-1" not in bytes_
    assert payload.subject == "c-1"
    assert payload.principal == "key:live"
    assert json.loads(payload.request) == ROW
    assert dict(zip(payload.names, payload.features, strict=True)) == {
        "income": 50_000.0,
        "late_payments": 2.0,
        "home": "rent",
        "age": 40.0,
    }
    assert payload.answer == body["answer"]
    assert payload.score == body["answer"]["score"]


def test_the_other_header_works_too(worker):
    body = json.dumps({"inputs": ROW})
    assert httpx.post(worker.decide, content=body, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"age": ...}, {("inputs.age", "missing")}),
        ({"age": 17}, {("inputs.age", "below_minimum")}),
        (
            {"age": 121, "late_payments": 13},
            {("inputs.age", "above_maximum"), ("inputs.late_payments", "above_maximum")},
        ),
        ({"home": "castle"}, {("inputs.home", "unseen_category")}),
        ({"income": "many"}, {("inputs.income", "wrong_type")}),
        ({"income": float("nan")}, {("inputs.income", "not_finite")}),
        ({"income": float("inf")}, {("inputs.income", "not_finite")}),
        ({"age": None}, {("inputs.age", "null")}),
        ({"Jane Doe": 1}, {("inputs.Jane Doe", "unknown_field")}),
        (
            {"age": 7, "home": 1, "income": -1, "late_payments": ..., "customer": None, "x": 1},
            {
                ("inputs.age", "below_minimum"),
                ("inputs.home", "wrong_type"),
                ("inputs.income", "below_minimum"),
                ("inputs.late_payments", "missing"),
                ("inputs.customer", "null"),
                ("inputs.x", "unknown_field"),
            },
        ),
    ],
)
def test_a_row_that_does_not_fit_hears_all_its_faults_and_is_a_recorded_decision(shared, worker, changes, faults):
    row = {name: value for name, value in (ROW | changes).items() if value is not ...}
    reply = post(worker, json.dumps({"inputs": row}))
    assert reply.status_code == 422
    body = reply.json()
    assert body["error"]["code"] == "contract"
    assert {(fault["path"], fault["code"]) for fault in body["error"]["faults"]} == faults
    assert all(fault["message"] and fault["expected"] and fault["mend"] for fault in body["error"]["faults"])
    assert RECEIPT.fullmatch(reply.headers["pilotage-receipt"])
    plain, bytes_, payload, _ = shared.decisions()[body["id"]]
    assert plain.outcome == "rejected"
    assert plain.attempts == []
    assert {finding.verdict for finding in plain.findings} == {code for _, code in faults}
    assert b"Jane" not in bytes_, "a caller's field name may be personal data"
    assert {(fault["path"], fault["code"]) for fault in payload.faults} == faults
    assert payload.score is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_body"),
        (b"{", 400, "malformed_body"),
        (b"\xff\xfe", 400, "malformed_body"),
        (b"[]", 400, "malformed_body"),
        (b'{"inputs": 1}', 400, "malformed_body"),
        (b'{"rows": []}', 400, "malformed_body"),
        (b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "malformed_body"),
        (json.dumps({"inputs": [ROW] * 51}).encode(), 413, "too_many_rows"),
        (b" " * 200_001, 413, "body_too_large"),
        (b" " * 10_000_000, 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_rows_is_turned_away_without_a_decision(shared, worker, body, status, code):
    before = len(shared.decisions())
    reply = post(worker, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["mend"]
    assert "pilotage-receipt" not in reply.headers
    assert len(shared.decisions()) == before


def test_a_body_without_a_length_is_cut_off_too(worker):
    def endless():
        for _ in range(2_000):
            yield b" " * 1_000

    assert post(worker, endless()).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "code"),
    [
        ("POST", f"/v1/systems/{SYSTEM}/decide", "", 401, "unauthenticated"),
        ("POST", f"/v1/systems/{SYSTEM}/decide", "pk_live_" + "c" * 43, 401, "unauthenticated"),
        ("POST", f"/v1/systems/{SYSTEM}/decide", "é" * 5_000, 401, "unauthenticated"),
        ("POST", f"/v1/systems/{SYSTEM}/decide", OTHER, 403, "forbidden"),
        ("GET", f"/v1/systems/{SYSTEM}/decide", OTHER, 403, "forbidden"),
        ("POST", "/v1/systems/unknown/decide", KEY, 403, "forbidden"),
        ("POST", "/v1/systems/elsewhere/decide", OTHER, 404, "unknown_system"),
        ("PUT", f"/v1/systems/{SYSTEM}/decide", KEY, 405, "method_not_allowed"),
        ("POST", "/v1/elsewhere", KEY, 404, "not_found"),
        ("GET", "/", KEY, 404, "not_found"),
    ],
)
def test_who_may_not_is_told_why(worker, method, path, key, status, code):
    headers = [(b"authorization", b"Bearer " + key.encode("latin-1"))] if key else []
    reply = httpx.request(method, worker.url + path, headers=headers, content=json.dumps({"inputs": ROW}))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["request_id"]
    assert reply.json()["error"]["mend"]


def test_rows_are_decided_one_by_one(shared, worker):
    rows = [ROW, ROW | {"age": 7}, ROW | {"customer": "c-2", "income": None}]
    reply = worker.ask(rows)
    assert reply.status_code == 200
    body = reply.json()
    assert [entry["outcome"] for entry in body["decisions"]] == ["answered", "rejected", "answered"]
    assert [fault["path"] for fault in body["decisions"][1]["faults"]] == ["inputs[1].age"]
    recorded = shared.decisions()
    assert {entry["receipt"] for entry in body["decisions"]} <= shared.receipts()
    assert {recorded[entry["id"]][0].request_id for entry in body["decisions"]} == {body["request_id"]}
    assert [recorded[entry["id"]][2].subject for entry in body["decisions"]] == ["c-1", "c-1", "c-2"]
    assert worker.ask([ROW | {"age": 7}]).status_code == 422
    assert "decisions" in worker.ask([ROW]).json()


def test_the_contract_can_be_read_and_its_example_is_answered(shared, worker):
    with worker.client() as client:
        told = client.get(f"/v1/systems/{SYSTEM}/decide").json()
        assert told["release"] == shared.releases[0].digest
        assert [column["name"] for column in told["contract"]["columns"]] == list(ROW)
        assert client.post(worker.decide, json=told["example"]).json()["outcome"] == "answered"


def test_pages_for_machines(worker):
    assert httpx.get(worker.url + "/live").status_code == 200
    assert httpx.get(worker.url + "/ready").json() == {"ready": True, "plan": 1}
    worker.ask(ROW)
    text = httpx.get(worker.url + "/metrics").text
    assert re.search(r'requests_total\{outcome="answered",status="200",system="example",worker="n1/0"\} \d', text)
    assert 'pilotage_gateway_plan_version{worker="n1/0"} 1.0' in text


def raw(worker, *pieces, pause=0.0):
    """What comes back for raw bytes on one connection, until it is closed."""
    host, _, port = worker.url.removeprefix("http://").partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            pass
    return received


def test_endless_headers_are_cut_off(worker):
    # Little more than the bound: what is still on its way when the server closes would take its answer with it.
    lines = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1_000) for n in range(33))
    assert raw(worker, b"POST / HTTP/1.1\r\n" + lines).startswith(b"HTTP/1.1 431")
    assert raw(worker, b"GET / HTTP/1.1\r\nx: " + b"y" * 33_000).startswith(b"HTTP/1.1 431")
    assert httpx.get(worker.url + "/live", headers={"x": "y" * 30_000}).status_code == 200


def test_a_request_that_drips_in_is_cut_off(stand):
    stand.publish()
    worker = stand.start(request_s=0.3)
    head = b"POST /v1/systems/example/decide HTTP/1.1\r\ncontent-length: 100\r\nauthorization: Bearer " + KEY.encode()
    assert raw(worker, b"POST / HT").startswith(b"HTTP/1.1 408")
    assert raw(worker, head + b"\r\n\r\n{").startswith(b"HTTP/1.1 408")
    assert worker.ask(ROW).status_code == 200
    assert worker.end() == 0
    assert len(stand.decisions()) == 1


def test_a_key_has_a_rate(stand):
    stand.publish()
    worker = stand.start(limits={"rate": 0.01, "burst": 5})
    assert worker.ask([ROW] * 4).status_code == 200
    assert worker.ask(ROW).status_code == 200
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limited")
    assert int(reply.headers["retry-after"]) > 50
    assert worker.end() == 0
    assert len(stand.decisions()) == 5


def test_what_was_denied_is_told_in_one_event_a_source_code_and_minute(stand):
    stand.publish()
    worker = stand.start()
    for _ in range(20):
        assert httpx.post(worker.decide).status_code == 401
    assert worker.ask(ROW, key=OTHER).status_code == 403
    assert worker.end() == 0
    events = stand.events("request.denied")
    counts = {(event.facts["code"], private["origin"]): 0 for event, private in events}
    for event, private in events:
        counts[event.facts["code"], private["origin"]] += event.facts["count"]
        assert "127.0.0.1" not in str(event)
    assert counts == {("unauthenticated", "127.0.0.1"): 20, ("forbidden", "key:other"): 1}
    assert len(events) <= 4, "more than one event a minute"


def test_more_than_a_worker_can_do_is_told_to_come_back(stand):
    stand.publish()
    worker = stand.start(limits={"in_flight": 0})
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"] == "1"
    assert worker.end() == 0
    assert stand.decisions() == {}


def test_a_key_bound_to_networks_works_from_them_only(shared, worker):
    body = json.dumps({"inputs": ROW})
    here, away = "pk_here_" + "d" * 43, "pk_away_" + "e" * 43
    assert post(worker, body, authorization=f"Bearer {here}").status_code == 200
    spoofed = {"authorization": f"Bearer {away}", "x-forwarded-for": "192.0.2.1"}
    reply = post(worker, body, **spoofed)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "address_not_allowed")
    assert httpx.get(worker.decide, headers=spoofed, timeout=20).status_code == 403


def test_no_label_of_a_metric_is_what_a_stranger_sent(shared):
    (worker,) = shared.workers
    with worker.client("pk_nobody") as stranger, worker.client() as known:
        for client in (stranger, known):
            for number in range(5):
                client.post(f"/v1/systems/unknown-{number}/decide", json={"inputs": {}})
                client.get(f"/elsewhere-{number}")
                client.get(f"/v2/models/unknown-{number}/versions/{number}")
                client.request(f"M{number}", "/v1/outcomes")
        text = known.get("/metrics").text
    assert set(re.findall(r'system="([^"]*)"', text)) <= {"", SYSTEM}
    assert "unknown-" not in text and "elsewhere" not in text and "M1" not in text


def test_a_scrape_of_one_worker_tells_of_the_other(stand):
    stand.publish()
    first, second = stand.start(), stand.start(number=1)
    assert first.ask(ROW).status_code == second.ask(ROW).status_code == 200
    wanted = {f'worker="n1/{number}"' for number in (0, 1)}
    for _ in range(100):
        with second.client() as client:
            lines = [line for line in client.get("/metrics").text.splitlines() if 'outcome="answered"' in line]
        if wanted <= {found for line in lines for found in re.findall(r'worker="[^"]*"', line)}:
            break
        time.sleep(0.05)
    else:
        raise AssertionError(lines)
    assert first.end() == 0
    with second.client() as client:
        assert 'worker="n1/0"' not in client.get("/metrics").text

"""Tokens of an issuer at a real worker: it rotates its keys, goes away, revokes; strangers cannot make it work."""

import http.client
import json
import threading
import time

import httpx
import msgspec
import pytest

from pilotage.access.issuer_keys import IssuerKeys
from pilotage.access.issuers import Grant, Issuer, identity_id
from pilotage.gateway.stops import PERSON, stop_here
from pilotage.kernel.clock import now_us
from tests.integration.gateway.conftest import ROW, SYSTEM
from tests.issuer_twin import AUDIENCE, SigningKey, issuer_twin

GRANTS = (
    Grant(claim="groups", value="desk", right=f"decide:{SYSTEM}"),
    Grant(claim="groups", value="elsewhere", right="decide:elsewhere"),
    Grant(claim="scope", value="tell", right=f"outcome:{SYSTEM}"),
)


@pytest.fixture
def twin():
    with issuer_twin() as made:
        yield made


def issuer(twin, **changes):
    facts = {"name": "corp", "issuer": twin.url, "audiences": (AUDIENCE,), "grants": GRANTS, "refresh_s": 1}
    return Issuer(**(facts | changes))


def answered(worker, token, seconds=0.0, status=200):
    """Ask until the status comes, for at most so long; the last reply."""
    end = time.monotonic() + seconds
    while True:
        reply = worker.ask(ROW, key=token)
        if reply.status_code == status or time.monotonic() > end:
            return reply
        time.sleep(0.05)


def test_a_token_is_a_key_with_the_rights_that_its_claims_give(stand, twin):
    stand.publish(issuers=[issuer(twin)])
    worker = stand.start()
    assert answered(worker, twin.token(), 10).status_code == 200
    assert worker.ask(ROW, key=twin.token(groups=["elsewhere"])).status_code == 403
    assert worker.ask(ROW, key=twin.token(groups=[])).status_code == 403
    refused = worker.ask(ROW, key=twin.token(aud="mail"))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert refused.json()["error"]["code"] == "token_invalid"
    with worker.client(twin.token(groups=None, scope="read tell")) as client:
        assert client.post(f"/v1/systems/{SYSTEM}/decide", json={"inputs": ROW}).status_code == 403
        told = client.post("/v1/outcomes", json={"outcomes": [{"decision": "x", "value": "good"}]})
        assert told.status_code == 422, "it may tell, but of no such decision"
    assert worker.end() == 0
    # The principal is in the encrypted payload alone; what a token says is nowhere.
    (_, plain, payload, _), *rest = stand.decisions().values()
    assert payload.principal == f"{twin.url}|s-1"
    assert not rest
    assert twin.url.encode() not in plain
    denied = stand.events("request.denied")
    assert {event.facts["code"] for event, _ in denied} == {"forbidden", "token_invalid", "outcome_invalid"}
    log = worker.log.read_text()
    assert "s-1" not in log
    assert "eyJ" not in log
    assert not any(b"eyJhbGciOi" in path.read_bytes() for path in stand.home.root.rglob("*") if path.is_file())


@pytest.mark.slow
def test_rotation_an_unknown_key_and_an_issuer_that_is_away(stand, twin):
    stand.publish(issuers=[issuer(twin, keep_s=4)])
    worker = stand.start()
    old = twin.token()
    assert answered(worker, old, 10).status_code == 200
    # A new key is published and used at once: the worker asks for it, or has it by then.
    twin.keys.append(SigningKey("k2", "ES256"))
    assert answered(worker, twin.token(twin.keys[1]), 5).status_code == 200
    # The old one is gone: what was verified by it does not stand.
    twin.keys.pop(0)
    assert answered(worker, old, 5, status=401).status_code == 401
    # Away: what was read goes on, to its bound; then a clear error, and the journal is fine.
    twin.away, good = True, twin.token()
    before = time.monotonic()
    assert worker.ask(ROW, key=good).status_code == 200
    gone = answered(worker, good, 10, status=503)
    assert gone.status_code == 503
    assert time.monotonic() - before > 2.0
    assert gone.json()["error"]["code"] == "issuer_unavailable"
    twin.away = False
    assert answered(worker, good, 5).status_code == 200
    assert worker.end() == 0


@pytest.mark.slow
def test_a_start_with_the_issuer_away_goes_on_from_what_was_read_before(stand, twin):
    stand.publish(issuers=[issuer(twin)])
    worker = stand.start()
    assert answered(worker, twin.token(), 10).status_code == 200
    assert worker.end() == 0
    twin.away = True
    again = stand.start(number=1)
    assert again.ask(ROW, key=twin.token()).status_code == 200
    assert again.end() == 0


def test_offline_keys_ask_nobody_and_an_issuer_that_was_never_reached_is_told_clearly(stand, twin):
    keys = json.dumps({"keys": [twin.keys[0].jwk()]})
    with issuer_twin() as away:
        away.away = True
        stand.publish(issuers=[issuer(twin, keys=keys), issuer(away, name="away")])
        worker = stand.start()
        assert worker.ask(ROW, key=twin.token()).status_code == 200
        assert worker.ask(ROW, key=twin.token(SigningKey("k9"))).status_code == 401
        assert worker.ask(ROW, key=away.token()).json()["error"]["code"] == "issuer_unavailable"
        assert worker.ask(ROW).status_code == 200
        assert worker.end() == 0
    assert not twin.asked


def test_strangers_with_unknown_keys_do_not_hammer_the_issuer_nor_hold_others_up(stand, twin):
    stand.publish(issuers=[issuer(twin, refresh_s=300)])
    worker = stand.start()
    good, stranger = twin.token(), SigningKey("stranger", "ES256")
    assert answered(worker, good, 10).status_code == 200
    twin.wait_s = 1.0
    statuses, slowest = [], []

    def ask(number):
        with httpx.Client(verify=False) as client:
            for each in range(5):
                token = twin.token(stranger, {"kid": f"x-{number}-{each}"})
                headers = {"authorization": f"Bearer {token}"}
                statuses.append(
                    client.post(worker.decide, json={"inputs": ROW}, headers=headers, timeout=20).status_code
                )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert worker.ask(ROW, key=good).status_code == 200
        slowest.append(time.monotonic() - began)
    assert statuses == [401] * 200
    assert twin.asked["/keys"] <= 2, "once at the start, and once for all of them"
    assert max(slowest) < 1.5
    assert worker.end() == 0


@pytest.mark.slow
def test_the_end_of_a_token_is_kept_to_on_an_open_connection(stand, twin):
    stand.publish(issuers=[issuer(twin, skew_s=0)])
    worker = stand.start()
    assert answered(worker, twin.token(), 10).status_code == 200
    token = twin.token(exp=int(time.time()) + 2)
    host, port = worker.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    seen = []
    while 401 not in seen and len(seen) < 200:
        headers = {"authorization": f"Bearer {token}"}
        connection.request("POST", f"/v1/systems/{SYSTEM}/decide", json.dumps({"inputs": ROW}), headers)
        reply = connection.getresponse()
        body = reply.read()
        seen.append(reply.status)
        time.sleep(0.05)
    connection.close()
    assert seen[0] == 200
    assert seen[-1] == 401
    assert json.loads(body)["error"]["code"] == "token_expired"
    assert worker.end() == 0


def test_what_is_revoked_or_removed_is_refused_within_a_second(stand, twin):
    told = issuer(twin)
    stand.publish(issuers=[told])
    worker = stand.start()
    token = twin.token()
    assert answered(worker, token, 10).status_code == 200
    stand.publish(issuers=[msgspec.structs.replace(told, not_before=(int(time.time()) + 1) * 1_000_000)])
    since = time.monotonic()
    assert answered(worker, token, 5, status=401).status_code == 401
    assert time.monotonic() - since < 3.0, "a second, and what a loaded machine adds"
    new = twin.token(iat=int(time.time()) + 2)
    assert answered(worker, new, 5).status_code == 200
    stand.publish()
    since = time.monotonic()
    assert answered(worker, new, 5, status=401).status_code == 401
    assert time.monotonic() - since < 3.0, "a second, and what a loaded machine adds"
    assert worker.end() == 0


@pytest.mark.parametrize(
    "fault", ["another issuer", "keys in clear", "no JSON", "no keys", "huge", "a redirect", "no document"]
)
def test_an_issuer_whose_documents_are_wrong_gives_no_keys(tmp_path, twin, fault):
    match fault:
        case "another issuer":
            twin.document["issuer"] = twin.url + "/"
        case "keys in clear":
            twin.document["jwks_uri"] = "http://192.0.2.1/keys"
        case "no JSON":
            twin.raw = b"<html>"
        case "no keys":
            twin.raw = b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'
        case "huge":
            twin.raw = b'{"keys": [' + b" " * 300_000 + b"]}"
        case "a redirect":
            twin.document["jwks_uri"] = twin.url + "/elsewhere"
        case "no document":
            twin.document = {"issuer": twin.url}
    keys = IssuerKeys(issuer(twin), tmp_path)
    keys.refresh()
    assert not keys.usable
    assert keys.refusal().code == "issuer_unavailable"
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_issuer_or_of_the_future_is_not_believed(tmp_path, twin):
    keys = [twin.keys[0].jwk()]
    for content in (
        {"issuer": "https://evil.example", "at": int(time.time() * 1e6), "keys": keys},
        {"issuer": twin.url, "at": int((time.time() + 900) * 1e6), "keys": keys},
        {"issuer": twin.url},
    ):
        (tmp_path / "corp.json").write_text(json.dumps(content))
        assert not IssuerKeys(issuer(twin), tmp_path).usable


def test_one_person_is_suspended_by_plan_and_here_and_the_others_go_on(stand, twin):
    one, other = identity_id(twin.url, "s-1"), identity_id(twin.url, "s-2")
    stand.publish(issuers=[issuer(twin)])
    worker = stand.start()
    token, colleague = twin.token(), twin.token(sub="s-2")
    assert answered(worker, token, 10).status_code == 200
    assert answered(worker, colleague).status_code == 200
    asked = len(twin.asked)

    stand.publish(issuers=[issuer(twin, suspended=(one,))])
    refused = answered(worker, token, 1, status=401)
    assert refused.json()["error"]["code"] == "person_suspended"
    assert worker.ask(ROW, key=twin.token(nbf=0)).status_code == 401, "a new token of theirs too"
    assert worker.ask(ROW, key=colleague).status_code == 200
    stand.publish(issuers=[issuer(twin)])
    assert answered(worker, token, 1).status_code == 200
    assert len(twin.asked) - asked <= 4, "its keys stay known: a suspension says nothing about them"

    # Here, without the database: at once, also for the short way of a connection that is open; over a restart.
    away = stand.home.root / "away.db"
    stand.home.control_database.rename(away)
    stop_here(stand.home.stops, f"{PERSON}corp {other}", "left his desk", now_us())
    assert answered(worker, colleague, 0.5, status=401).json()["error"]["code"] == "person_suspended"
    assert worker.ask(ROW, key=token).status_code == 200
    assert worker.ask(ROW).status_code == 200, "keys go on"
    away.rename(stand.home.control_database)
    assert worker.end() == 0
    again = stand.start(number=1)
    assert answered(again, token, 5).status_code == 200
    assert again.ask(ROW, key=colleague).status_code == 401
    stop_here(stand.home.stops, f"{PERSON}corp {other}", None, now_us())
    assert answered(again, colleague, 0.5).status_code == 200
    assert again.end() == 0

    told = stand.events("person.suspended_here")
    assert len(told) == 2, "once by each worker that followed it"
    assert told[0][1] == {"by": told[0][1]["by"], "reason": "left his desk", "identity": other}
    assert other not in str(told[0][0].facts)
    assert len(stand.events("person.resumed_here")) == 1

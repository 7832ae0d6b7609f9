"""Nonsense of every kind at the gateway's addresses: never a 5xx, an unhandled exception, or a word of its insides."""

import asyncio
import hashlib
import json
import logging
import random

import msgspec
import pytest

from pilotage.gateway.app import Gateway
from pilotage.gateway.limit import Limits
from pilotage.gateway.plan import Key
from pilotage.gateway.state import load_serving, start_serving
from pilotage.gateway.store import newest_plan
from pilotage.ledger.journal import JournalWriter
from pilotage.storage.database import open_engine, reading, url_of

from .conftest import KEY, ROW, SYSTEM

BODIES = 100_000
AT_ONCE = 64
INSIDES = (
    b"Traceback",
    b'File "',
    b"site-packages",
    b".py",
    b"pilotage.",
    b"msgspec",
    b"sqlite",
    b"onnx",
    KEY.encode(),
)
STATUSES = {200, 201, 400, 413, 422}
OUTCOME = {"outcomes": [{"decision": "01890000-0000-7000-8000-000000000000", "value": "x", "at": "2026-01-05"}]}
TENSORS = {
    "id": "q",
    "inputs": [
        {"name": "customer", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        {"name": "income", "shape": [2, 1], "datatype": "FP64", "data": [[1.0], [2.0]]},
        {"name": "late_payments", "shape": [2], "datatype": "INT32", "data": [1, 2]},
        {"name": "home", "shape": [2], "datatype": "BYTES", "data": ["own", "rent"]},
        {"name": "age", "shape": [2], "datatype": "UINT8", "data": [30, 40]},
    ],
    "outputs": [{"name": "score"}],
}
SEEDS = (
    (f"/v1/systems/{SYSTEM}/decide", {"inputs": ROW}),
    (f"/v1/systems/{SYSTEM}/decide", {"inputs": [ROW, ROW]}),
    (f"/v2/models/{SYSTEM}/infer", TENSORS),
    ("/v1/outcomes", OUTCOME),
    ("/v1/decisions/01890000-0000-7000-8000-000000000000/outcome", {"value": 1.5}),
)
ODD = (
    *("null", "true", "0", "-0.0", "1e400", "-1e308", "1.0", "18446744073709551616", "NaN", "Infinity", "-Infinity"),
    *("{}", "[]", "[[1]]", "[null]", "'x'", ",", "é"),
    *("9" * 400, "9" * 5_000, '""', '" "', '"\\ud800"', '"\\u0000"', '"' + "x" * 300 + '"', "", "\ufeff1"),
    *("[" * 3_000 + "]" * 3_000, '{"a":' * 500 + "1" + "}" * 500, '{"a":1,"a":2}'),
)


def mutated(chance, seed):
    """The bytes of a body with something wrong: a value, a name, or some bytes; sometimes nothing."""
    text = json.dumps(seed)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 5])):
        way = chance.randrange(4)
        if way == 0:
            values = list(_values(text))
            start, end = chance.choice(values) if values else (0, len(text))
            text = text[:start] + chance.choice(ODD) + text[end:]
        elif way == 1 and (at := text.find('"', chance.randrange(max(1, len(text))))) >= 0:
            text = text[:at] + chance.choice(['"x":1,', '"age":2,', '"inputs":3,', '"', "\\"]) + text[at:]
        elif way == 2:
            at, size = chance.randrange(len(text) + 1), chance.choice([1, 1, 8, 10_000])
            text = text[:at] + text[at + size :]
        else:
            at = chance.randrange(len(text) + 1)
            text = (
                text[:at] + chance.choice(['{"', "}", "[", "]", ":", "0", "\t", "\x00", "\x7f", text[:50]]) + text[at:]
            )
    body = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.2 and body:
        spoiled = bytearray(body)
        for _ in range(chance.choice([1, 2, 30])):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        body = bytes(spoiled)
    return body


def _values(text):
    """Where the scalars of a JSON text are, roughly."""
    at = 0
    for piece in text.replace("{", ",").replace("[", ",").replace(":", ",").split(","):
        word = piece.strip(" ]}")
        if word and (start := text.find(word, at)) >= 0:
            yield start, start + len(word)
            at = start + len(word)


async def ask(gateway, path, body):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + KEY.encode()), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
    await gateway(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def opened(stand):
    engine = open_engine(url_of(stand.home, "control"))
    with reading(engine) as connection:
        stored = newest_plan(connection)
    engine.dispose()
    serving = await start_serving(load_serving(stored, stand.home.releases))
    journal = JournalWriter(stand.home.journal / "n1", worker=0, steward_key=stand.keyring.steward_public)
    await journal.open()
    gateway = Gateway(node="n1", worker=0, limits=Limits(rate=1e9, burst=1e9))
    gateway.adopt(serving)
    gateway.record_in(journal)
    return gateway, journal


def look_at(body, reply, statuses):
    status, headers, content = reply
    assert status in STATUSES, (status, body[:300], content[:300])
    statuses[status] = statuses.get(status, 0) + 1
    assert int(headers[b"content-length"]) == len(content)
    told = msgspec.json.decode(content)
    # What the client sent may come back in a fault: only words that it did not send are the gateway's own.
    assert [word for word in INSIDES if word in content and word not in body] == [], (body[:300], content[:500])
    if status >= 400 and "error" not in told:
        assert all(each["faults"] for each in told["decisions"]), content[:300]
    elif status >= 400:
        error = told["error"]
        assert error if isinstance(error, str) else error["code"] and error["mend"], content[:300]


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_hundred_thousand_bodies_of_nonsense(stand, caplog):
    caplog.set_level(logging.ERROR)
    key = Key(id="live", sha256=hashlib.sha256(KEY.encode()).hexdigest(), scopes=[f"decide:{SYSTEM}", "outcome:*"])
    stand.publish(keys=(key,), max_rows=50)
    chance, statuses = random.Random(20_260_401), {}

    async def run():
        gateway, journal = await opened(stand)
        for _ in range(0, BODIES, AT_ONCE):
            asked = [(path, mutated(chance, seed)) for path, seed in chance.choices(SEEDS, k=AT_ONCE)]
            replies = await asyncio.gather(*(ask(gateway, path, body) for path, body in asked))
            for (_, body), reply in zip(asked, replies, strict=True):
                look_at(body, reply, statuses)
        assert not gateway.failed.is_set()
        await journal.close()

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == []
    assert sum(statuses.values()) >= BODIES
    assert all(statuses.get(status, 0) > 500 for status in (200, 201, 400, 422)), statuses

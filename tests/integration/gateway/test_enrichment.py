"""Features that a request does not bring, drawn from real sources: what is answered, recorded, and asked again.

All is the gateway as it ships: the plan, the release with its contract, the journal; SQLite, PostgreSQL, real sockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager
from time import perf_counter, time

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.enrichment import Drawn, Enrichment
from pilotage.gateway.app import Gateway
from pilotage.gateway.plan import Target
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.state import load_serving, start_serving
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.ledger.journal import JournalWriter
from pilotage.systems.serving import Breaker, Bulkhead, Retry
from pilotage.testing.releases import COLUMNS, make_release
from tests.remote_twin import SECRET
from tests.source_twin import KINDLY, MISDEEDS, SourceTwin

from .conftest import KEY, ROW, SYSTEM, make_stand

RULES = b'version: "1"\nrules:\n  - {name: late, when: late_payments > 6, answer: refer}\n'
BROUGHT = ("income", "home")
SENT = {name: value for name, value in ROW.items() if name not in BROUGHT}
DEADLINE_S, SLACK_S, AT_ONCE = 0.4, 0.75, 24


def columns(**on_fault):
    """The columns of the test's release, with what is done about the faults of income."""
    made = [msgspec.structs.replace(c, on_fault=on_fault, impute=1_000.0) if c.name == "income" else c for c in COLUMNS]
    return [msgspec.structs.replace(c, nullable=False) for c in made]


def enrichment(**changes):
    facts = {
        "source": "bureau",
        "key": {"customer": "id"},
        "columns": {name: name for name in BROUGHT},
        "table": "scores",
        "time": "updated_at",
        "max_age": "24h",
    }
    return Enrichment(**(facts | changes))


def sqlite_source(path, rows, time_type="TEXT"):
    """A table of (id, income, home, updated_at)."""
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE IF EXISTS scores")
        connection.execute(f"CREATE TABLE scores (id TEXT PRIMARY KEY, income REAL, home TEXT, updated_at {time_type})")
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def postgres_source(url, rows):
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS scores"))
        connection.execute(
            text("CREATE TABLE scores (id text PRIMARY KEY, income numeric, home varchar, updated_at timestamptz)")
        )
        for row in rows:
            connection.execute(
                text("INSERT INTO scores VALUES (:a, :b, :c, CAST(:d AS timestamptz))"),
                dict(zip("abcd", row, strict=True)),
            )
    return url


def age(seconds):
    return rfc3339(now_us() - round(seconds * 1e6))


@asynccontextmanager
async def gateway_of(root, release, **route):
    """(stand, gateway, enricher) in this process, with a real journal; the route's settings."""
    stand = make_stand(root, releases=0)
    made = make_release(stand.home, system=SYSTEM, **release)
    if route.pop("by_rules", False):
        contract = made.contract.digest()
        route["fallback"] = [Target(kind="rules", release=made.digest, contract=contract, policy="sha256:abc")]
    stand.publish(made, **route)
    stand.releases.append(made)
    serving = await start_serving(load_serving(read_plan_file(stand.home.plan_file), stand.home.releases))
    model = serving.systems[SYSTEM].model
    assert model is not None, serving.systems[SYSTEM].broken
    gateway = Gateway(node="n1", worker=0)
    gateway.adopt(serving)
    writer = JournalWriter(stand.home.journal / "n1", worker=0, steward_key=stand.keyring.steward_public)
    await writer.open()
    gateway.record_in(writer)
    try:
        yield stand, gateway, model.enricher
    finally:
        await writer.close()
        await model.close()


async def asked_of(gateway, inputs):
    """(seconds, status, body) of one request."""
    body, sent = json.dumps({"inputs": inputs}).encode(), []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event):
        sent.append(event)

    path, headers = f"/v1/systems/{SYSTEM}/decide", [(b"x-api-key", KEY.encode())]
    started = perf_counter()
    scope = {"type": "http", "path": path, "method": "POST", "headers": headers, "client": ("::1", 1)}
    await gateway(scope, receive, send)
    return perf_counter() - started, sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def source(request, tmp_path, monkeypatch):
    """Fills the source with rows, and tells the node where it is."""

    def fill(rows):
        if request.param == "sqlite":
            url = sqlite_source(tmp_path / "features.db", rows)
        else:
            url = postgres_source(request.getfixturevalue("postgres_url"), rows)
        monkeypatch.setenv("PILOTAGE_SOURCE_BUREAU", url)

    return fill


def test_a_row_is_answered_with_what_the_source_says_and_all_of_it_is_on_record(tmp_path, source):
    source([("c-1", 50_000, "rent", age(60)), ("c-2", 90_000, "own", age(90_000)), ("c-3", None, "rent", age(1))])

    async def ask():
        async with gateway_of(tmp_path / "home", {"columns": columns(), "enrichment": [enrichment()]}) as (s, g, e):
            ends = [await asked_of(g, SENT | {"customer": f"c-{n}"}) for n in (1, 2, 3, 4)]
            many = await asked_of(g, [SENT, SENT | {"customer": "c-4"}, SENT])
            return s, ends, many, e.sources[0], g.metrics.text().decode()

    stand, ends, many, counts, text_ = asyncio.run(ask())
    assert [(status, body["outcome"]) for _, status, body in ends] == [(200, "answered")] + [(422, "rejected")] * 3
    codes = [[fault["code"] for fault in body["error"]["faults"]] for _, _, body in ends[1:]]
    assert codes == [["stale", "stale"], ["null"], ["not_found", "not_found"]]
    assert "90000" not in json.dumps(ends[1][2]), "what a source says of a person is nothing for whoever asks"
    assert [each["outcome"] for each in many[2]["decisions"]] == ["answered", "rejected", "answered"]
    decisions = stand.decisions()
    plain, bytes_, payload, _ = decisions[ends[0][2]["id"]]
    whole = asyncio.run(_plain_score(tmp_path / "plain", ROW))
    assert payload.answer["score"] == whole == ends[0][2]["answer"]["score"]
    assert payload.request == json.dumps(SENT).encode(), "the request is kept as it came"
    assert dict(zip(payload.names, payload.features, strict=True)) == {k: v for k, v in ROW.items() if k != "customer"}
    drawn = {each.column: each for each in msgspec.convert(payload.enriched, list[Drawn])}
    assert {name: (each.value, each.source) for name, each in drawn.items()} == {
        "income": (50_000.0, "bureau"),
        "home": ("rent", "bureau"),
    }
    assert 59 < drawn["income"].age_s < 120 and abs(drawn["income"].at / 1e6 - (time() - 60)) < 60
    assert [(each.target, each.status) for each in plain.attempts][:1] == [("source:bureau", "ok")]
    assert b"50000" not in bytes_ and b'"rent"' not in bytes_, "nothing of it is in the plain part"
    stale = decisions[ends[1][2]["id"]][2]
    assert {each["fault"] for each in stale.enriched} == {"stale"} and stale.enriched[0]["value"] == 90_000.0
    for _, _, body in ends:
        _again(stand, body["id"])
    assert counts.results == {"ok": 7, "stale": 2, "null": 1, "not_found": 4}
    assert 'enrichment_values_total{result="stale",source="bureau",worker="n1/0"} 2.0' in text_
    assert 'upstream_calls_total{status="ok",upstream="source:bureau",worker="n1/0"} 5.0' in text_


def _again(stand, id_):
    """A record is judged again without its source, whenever that is, and ends the same way."""
    _, _, payload, _ = stand.decisions()[id_]
    drawn = {each.column: each for each in msgspec.convert(payload.enriched, list[Drawn])}
    row = compile_contract(stand.releases[0].contract).again(payload.request, drawn)
    faults = [(fault["path"], fault["code"]) for fault in payload.faults]
    assert [(fault.path, fault.code) for fault in row.faults] == faults
    assert list(row.values or []) == payload.features


async def _plain_score(root, row):
    """The score of the same model when the request brings everything."""
    async with gateway_of(root, {"columns": columns()}) as (_, gateway, _):
        return (await asked_of(gateway, row))[2]["answer"]["score"]


def test_a_source_that_fails_leaves_the_answer_to_the_rules_where_the_contract_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTAGE_SOURCE_BUREAU", sqlite_source(tmp_path / "features.db", []))
    declared = enrichment(columns={"income": "income"})
    release = {"columns": columns(source_failed="fallback", not_found="repair"), "enrichment": [declared]}

    async def ask():
        async with gateway_of(tmp_path / "home", release | {"rules": RULES}, by_rules=True) as (stand, gateway, _):
            sent = SENT | {"home": "own", "late_payments": 9}
            known = await asked_of(gateway, sent)
            (tmp_path / "features.db").write_bytes(b"no database any more, but something else" * 200)
            return stand, known, await asked_of(gateway, sent)

    stand, (_, status, body), (_, failed, marked) = asyncio.run(ask())
    assert (status, body["outcome"], body["repairs"][0]["used"]) == (200, "answered", 1_000.0)
    assert (failed, marked["outcome"], marked["answered_by"]) == (200, "fallback", "rules"), marked
    plain, _, payload, _ = stand.decisions()[marked["id"]]
    assert [(f.path, f.verdict, f.action) for f in plain.findings] == [("inputs.income", "source_failed", "fallback")]
    assert payload.enriched[0]["fault"] == "source_failed"
    assert plain.attempts[0].target == "source:bureau"


def test_a_request_may_bring_a_value_itself_only_where_that_was_declared(tmp_path, monkeypatch):
    url = sqlite_source(tmp_path / "features.db", [("c-1", 50_000, "rent", age(1))])
    monkeypatch.setenv("PILOTAGE_SOURCE_BUREAU", url)

    async def ask(override):
        release = {"columns": columns(), "enrichment": [enrichment(override=override)]}
        async with gateway_of(tmp_path / override, release) as (stand, gateway, enricher):
            one = await asked_of(gateway, SENT | {"income": 70_000})
            both = await asked_of(gateway, ROW)
            return stand, one, both, enricher.upstreams[0].calls

    stand, one, both, calls = asyncio.run(ask("refuse"))
    assert one[1] == 422 and "bureau brings it" in one[2]["error"]["faults"][0]["mend"] and calls == {}
    assert stand.decisions()[one[2]["id"]][2].enriched == []
    stand, one, both, calls = asyncio.run(ask("request"))
    assert (one[1], both[1], calls) == (200, 200, {"ok": 1}), "who brings all is not looked up"
    told = {each["column"]: (each["source"], each["value"]) for each in stand.decisions()[one[2]["id"]][2].enriched}
    assert told == {"income": ("request", 70_000.0), "home": ("bureau", "rent")}
    assert {each["source"] for each in stand.decisions()[both[2]["id"]][2].enriched} == {"request"}


def drawn(seed):
    """Seven in ten look-ups are answered; the rest meet every misdeed alike."""
    chance = random.Random(seed)
    return lambda: chance.choice(KINDLY if chance.random() < 0.7 else MISDEEDS)


async def storm(root, calls, monkeypatch):
    chance = random.Random(calls)
    async with SourceTwin(drawn(calls)) as twin:
        twin.knows = {"c-1": {"income": 50_000, "home": "rent", "updated_at": age(60)}}
        monkeypatch.setenv("PILOTAGE_SOURCE_BUREAU", f"{twin.url}/features")
        faults = {"source_failed": "fallback", "stale": "repair", "not_found": "review"}
        only = enrichment(table="", timeout=0.15, columns={"income": "income"})
        release = {"columns": columns(**faults), "enrichment": [only], "rules": RULES}
        settings = {
            "by_rules": True,
            "deadline_ms": round(DEADLINE_S * 1_000),
            "retry": Retry(attempts=3, budget=0.2, base=0.001, most=0.01),
            "breaker": Breaker(failures=0.5, calls=20, window=1.0, open=0.05),
            "bulkhead": Bulkhead(calls=16, wait=0.05),
        }
        async with gateway_of(root, release, **settings) as (stand, gateway, enricher):
            places = asyncio.Semaphore(AT_ONCE)

            async def ask():
                async with places:
                    sent = SENT | {"home": "own", "late_payments": chance.choice([1, 9])}
                    return await asked_of(gateway, sent | {"customer": chance.choice(["c-1"] * 9 + ["c-9"])})

            ends = await asyncio.gather(*(ask() for _ in range(calls)))
            upstream, protected = enricher.upstreams[0], enricher._lookups[0].protected
        for _ in range(300):
            if twin.tasks:
                await asyncio.sleep(0.01)
        return stand, ends, twin, upstream, protected.bulkhead.in_use, len(twin.tasks)


@pytest.mark.slow
def test_every_request_ends_in_time_whatever_the_source_does(tmp_path, caplog, monkeypatch):
    calls = 10_000
    with caplog.at_level(logging.DEBUG):
        stand, ends, twin, upstream, in_use, left = asyncio.run(storm(tmp_path / "home", calls, monkeypatch))
    decisions, outcomes = stand.decisions(), Counter()
    assert len({body["id"] for _, _, body in ends}) == len(ends) == len(decisions), "each call is on record, once"
    for seconds, status, body in ends:
        leaf, _, payload, _ = decisions[body["id"]]
        outcomes[body["outcome"]] += 1
        assert body["outcome"] == leaf.outcome and seconds < DEADLINE_S + SLACK_S, (seconds, body)
        assert SECRET not in json.dumps(body) and payload.enriched[0]["source"] == "bureau"
        verdicts = {finding.verdict for finding in leaf.findings}
        if body["outcome"] == "answered":
            assert status == 200 and (payload.features[0] == 50_000.0 or verdicts == {"stale"})
        elif body["outcome"] == "fallback":
            assert status == 200 and body["degraded"] and verdicts <= {"source_failed", "stale", "deadline"}
        elif body["outcome"] == "review":
            assert (status, verdicts) == (202, {"not_found"})
        elif body["outcome"] == "refused":  # a machine with much else to do leaves the model no time
            assert (status, body["error"]["code"]) == (503, "deadline") and "deadline" in verdicts
        else:
            assert status == 422 and verdicts <= {"source_failed", "wrong_type", "not_finite", "null"}, verdicts
    assert set(outcomes) - {"refused"} == {"answered", "fallback", "review", "rejected"}, outcomes
    assert outcomes["answered"] > calls / 8, "a breaker that never closes again would pass all else"
    assert set(twin.asked) == {*KINDLY, *MISDEEDS}, "the twin did all that it can"
    assert in_use == 0 and upstream.calls["unavailable"] and upstream.calls["timeout"]
    assert left == 0, "no connection is left behind"
    assert SECRET not in caplog.text and twin.url not in caplog.text and "c-1" not in caplog.text


def test_a_release_without_the_address_of_its_source_breaks_its_own_system_only(tmp_path):
    stand = make_stand(tmp_path / "home", releases=0)
    made = make_release(stand.home, system=SYSTEM, columns=columns(), enrichment=[enrichment()], rows=120)
    stand.publish(made)
    serving = load_serving(read_plan_file(stand.home.plan_file), stand.home.releases)
    assert "no address of the feature source bureau" in serving.systems[SYSTEM].broken

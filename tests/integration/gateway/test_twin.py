"""A model that hangs, fails, answers nonsense or dies: every request ends in time, marked, and on record.

The twin stands where a release's runtime does; all else is the gateway as it ships: the door, the chain, the journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import random
from collections import Counter
from time import perf_counter

import pytest

from pilotage.errors import Unavailable
from pilotage.gateway.app import Gateway
from pilotage.gateway.plan import Answering, Target
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.state import load_serving, start_serving
from pilotage.gateway.upstream import Upstream
from pilotage.ledger.journal import JournalWriter
from pilotage.runtimes.ports import CannotAnswer
from pilotage.systems.serving import Breaker, Bulkhead, Retry
from pilotage.testing.releases import make_release

from .conftest import ROW, SYSTEM, make_stand

KEY = b"pk_live_" + b"a" * 43
RULES = b'version: "1"\nrules:\n  - {name: late, when: late_payments > 6, answer: refer}\n'
DEADLINE_S = 0.25


class Twin:
    """Does one of many things with each row, drawn by chance."""

    name, inline = "twin", False

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.asked = Counter[str]()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def score(self, values):
        raise Unavailable("not inline", mend="await")

    async def score_async(self, values):
        does = self._chance.choices(
            ["well", "slow", "hang", "reset", "row", "raise", "nan", "huge"], [70, 5, 3, 6, 5, 5, 3, 3]
        )[0]
        self.asked[does] += 1
        match does:
            case "slow":
                await asyncio.sleep(self._chance.random() / 10)
            case "hang":
                await asyncio.sleep(3_600)
            case "reset":
                raise Unavailable("connection reset", mend="again")
            case "row":
                raise CannotAnswer("not this row", mend="mend it")
            case "raise":
                raise RecursionError("a library's own error")
            case "nan":
                return math.nan
            case "huge":
                return 1e400
        await asyncio.sleep(0)
        return 0.25


def twinned(live, twin):
    rules = Answering(
        deadline_ms=round(DEADLINE_S * 1_000),
        retry=Retry(attempts=3, budget=0.2, base=0.001, most=0.01),
        breaker=Breaker(failures=0.5, calls=20, window=1.0, open=0.05),
        bulkhead=Bulkhead(calls=16, wait=0.05),
    )
    model = dataclasses.replace(live.model, runtime=twin, upstream=Upstream("twin@1", rules), target="twin@1")
    return dataclasses.replace(live, model=model)


async def storm(stand, folder, calls, seed):
    chance = random.Random(seed)
    stored = read_plan_file(stand.home.plan_file)
    serving = await start_serving(load_serving(stored, stand.home.releases))
    live = twinned(serving.systems[SYSTEM], twin := Twin(chance))
    path = f"/v1/systems/{SYSTEM}/decide"
    serving = dataclasses.replace(serving, systems={SYSTEM: live}, paths={path: live}, direct={})
    gateway = Gateway(node="n1", worker=0)
    gateway.adopt(serving)
    writer = JournalWriter(folder / "n1", worker=0, steward_key=stand.keyring.steward_public)
    await writer.open()
    gateway.record_in(writer)
    ends, places = [], asyncio.Semaphore(24)

    async def ask(row):
        body = json.dumps({"inputs": row}).encode()
        sent: list = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(event):
            sent.append(event)

        scope = {"type": "http", "path": path, "method": "POST", "headers": [(b"x-api-key", KEY)], "client": ("::1", 1)}
        async with places:
            started = perf_counter()
            await gateway(scope, receive, send)
            ends.append((perf_counter() - started, sent[0]["status"], json.loads(sent[1]["body"])))

    rows = [ROW | {"late_payments": chance.choice([1, 9])} for _ in range(calls)]
    await asyncio.gather(*map(ask, rows))
    await writer.close()
    assert live.model.upstream.bulkhead.in_use == 0
    text = gateway.metrics.text().decode()
    assert 'pilotage_gateway_breaker_state{upstream="twin@1",worker="n1/0"}' in text
    assert 'pilotage_gateway_upstream_calls_total{status="timeout",upstream="twin@1",worker="n1/0"}' in text
    return ends, twin


def check(stand, ends, calls):
    recorded = {leaf.id: leaf for leaf, _, _ in stand.frames() if getattr(leaf, "outcome", "")}
    assert len(ends) == calls == len(recorded), "every call ended, and each is on record"
    outcomes = Counter()
    for seconds, status, body in ends:
        leaf = recorded[body["id"]]
        assert body["outcome"] == leaf.outcome and seconds < DEADLINE_S + 0.75, (seconds, body)
        outcomes[body["outcome"]] += 1
        if body["outcome"] == "fallback":
            assert status == 200 and body["degraded"] and leaf.attempts[-1].status == "ok" and len(leaf.attempts) > 1
        elif body["outcome"] == "refused":
            assert status == 503 and body["error"]["mend"] and leaf.findings[0].verdict == body["error"]["code"]
        else:
            assert (status, body["answer"]["score"], body["outcome"]) == (200, 0.25, "answered")
        assert "library's own" not in json.dumps(body)
    return outcomes


@pytest.fixture
def stand(tmp_path):
    made = make_stand(tmp_path / "home", releases=0)
    release = make_release(made.home, system=SYSTEM, rules=RULES)
    rules = Target(kind="rules", release=release.digest, contract=release.contract.digest(), policy="sha256:abc")
    made.publish(release, fallback=[rules], deadline_ms=round(DEADLINE_S * 1_000))
    return made


@pytest.mark.parametrize("calls", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_call_ends_in_time_in_an_answer_a_marked_fallback_or_a_clear_error(stand, calls):
    ends, twin = asyncio.run(storm(stand, stand.home.journal, calls, seed=calls))
    outcomes = check(stand, ends, calls)
    assert set(outcomes) == {"answered", "fallback", "refused"}, outcomes
    assert len(twin.asked) == 8, "the twin did all that it can"

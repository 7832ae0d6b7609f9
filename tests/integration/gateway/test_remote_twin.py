"""A remote model on a real socket that does all that a broken one may: every request ends in time, marked, on record.

All else is the gateway as it ships: the plan, the release with its remote model, the chain, the journal.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from time import perf_counter

import pytest

from pilotage.gateway.app import Gateway
from pilotage.gateway.plan import Target
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.state import load_serving, start_serving
from pilotage.ledger.journal import JournalWriter
from pilotage.runtimes.model import Remote
from pilotage.systems.serving import Breaker, Bulkhead, Retry
from pilotage.testing.releases import make_release
from tests.remote_twin import KINDLY, MISDEEDS, SECRET, RemoteTwin

from .conftest import KEY, ROW, SYSTEM, make_stand

RULES = b'version: "1"\nrules:\n  - {name: late, when: late_payments > 6, answer: refer}\n'
DEADLINE_S = 0.25
SLACK_S = 0.75
"""Client, gateway and model share one event loop here: what the others do in a turn is in what is measured."""
AT_ONCE = 24


def published(root, url, deadline_s=DEADLINE_S):
    """A stand whose system is answered by the remote model there, and by rules when it does not."""
    stand = make_stand(root, releases=0)
    remote = Remote(url=url, model="late", output="score")
    release = make_release(stand.home, system=SYSTEM, rules=RULES, remote=remote)
    rules = Target(kind="rules", release=release.digest, contract=release.contract.digest(), policy="sha256:abc")
    stand.publish(
        release,
        fallback=[rules],
        deadline_ms=round(deadline_s * 1_000),
        retry=Retry(attempts=3, budget=0.2, base=0.001, most=0.01),
        breaker=Breaker(failures=0.5, calls=20, window=1.0, open=0.05),
        bulkhead=Bulkhead(calls=16, wait=0.05),
    )
    return stand


def drawn(seed):
    """Seven in ten rows are answered; the rest meet every misdeed alike."""
    chance = random.Random(seed)
    return lambda: chance.choice(KINDLY if chance.random() < 0.7 else MISDEEDS)


async def asked_of(gateway, row):
    """(seconds, status, body) of one request."""
    body, sent = json.dumps({"inputs": row}).encode(), []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event):
        sent.append(event)

    path, headers = f"/v1/systems/{SYSTEM}/decide", [(b"x-api-key", KEY.encode())]
    started = perf_counter()
    await gateway(
        {"type": "http", "path": path, "method": "POST", "headers": headers, "client": ("::1", 1)}, receive, send
    )
    return perf_counter() - started, sent[0]["status"], json.loads(sent[1]["body"])


async def storm(root, calls):
    """(stand, how each request ended, twin, upstream, connections that are left when the runtime is closed)."""
    chance = random.Random(calls)
    async with RemoteTwin(drawn(calls)) as twin:
        stand = published(root, twin.url)
        serving = await start_serving(load_serving(read_plan_file(stand.home.plan_file), stand.home.releases))
        model = serving.systems[SYSTEM].model
        gateway = Gateway(node="n1", worker=0)
        gateway.adopt(serving)
        writer = JournalWriter(stand.home.journal / "n1", worker=0, steward_key=stand.keyring.steward_public)
        await writer.open()
        gateway.record_in(writer)
        places = asyncio.Semaphore(AT_ONCE)

        async def ask():
            async with places:
                return await asked_of(gateway, ROW | {"late_payments": chance.choice([1, 9])})

        ends = await asyncio.gather(*(ask() for _ in range(calls)))
        await writer.close()
        await model.runtime.close()
        # One that drips sees at its next byte that nobody listens.
        for _ in range(300):
            if twin.tasks:
                await asyncio.sleep(0.01)
        left = len(twin.tasks)
        return stand, ends, twin, model.upstream, left


def counted(stand, ends):
    """How often each outcome; every end is held to its record."""
    recorded = {leaf.id: leaf for leaf, _, _ in stand.frames() if getattr(leaf, "outcome", "")}
    assert len({body["id"] for _, _, body in ends}) == len(ends) == len(recorded), "each call is on record, once"
    outcomes = Counter()
    for seconds, status, body in ends:
        leaf = recorded[body["id"]]
        outcomes[body["outcome"]] += 1
        assert body["outcome"] == leaf.outcome and seconds < DEADLINE_S + SLACK_S, (seconds, body)
        assert SECRET not in json.dumps(body)
        if body["outcome"] == "fallback":
            assert status == 200 and body["degraded"] and leaf.attempts[-1].status == "ok" and len(leaf.attempts) > 1
        elif body["outcome"] == "refused":
            assert status == 503 and body["error"]["mend"] and leaf.findings[0].verdict == body["error"]["code"]
        else:
            assert (status, body["outcome"], body["answer"]["score"]) == (200, "answered", 0.25)
    return outcomes


@pytest.mark.parametrize("calls", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_call_of_a_remote_model_ends_in_time_in_an_answer_a_marked_fallback_or_a_clear_error(
    tmp_path, caplog, calls
):
    with caplog.at_level(logging.DEBUG):
        stand, ends, twin, upstream, left = asyncio.run(storm(tmp_path / "home", calls))
    outcomes = counted(stand, ends)
    assert set(outcomes) == {"answered", "fallback", "refused"}, outcomes
    if calls > 1_000:  # of few calls most may fall into one pause of the breaker, where the machine is busy
        assert outcomes["answered"] > calls / 4, "a breaker that never closes again would pass all else"
        assert set(twin.asked) == {*KINDLY, *MISDEEDS}, "the twin did all that it can"
    assert upstream.bulkhead.in_use == 0 and upstream.calls["unavailable"] and upstream.calls["timeout"]
    assert left == 0, "no connection is left behind"
    assert SECRET not in caplog.text and twin.url not in caplog.text


def test_rows_of_one_request_are_asked_side_by_side_and_leave_places_for_others(tmp_path):
    async def scene():
        async with RemoteTwin(lambda: "slow") as twin:
            stand = published(tmp_path / "home", twin.url, deadline_s=10)
            serving = await start_serving(load_serving(read_plan_file(stand.home.plan_file), stand.home.releases))
            gateway, upstream = Gateway(node="n1", worker=0), serving.systems[SYSTEM].model.upstream
            gateway.adopt(serving)
            writer = JournalWriter(stand.home.journal / "n1", worker=0, steward_key=stand.keyring.steward_public)
            await writer.open()
            gateway.record_in(writer)
            most = []

            async def look():
                while True:
                    most.append(upstream.bulkhead.in_use)
                    await asyncio.sleep(0.002)

            looking = asyncio.create_task(look())
            _, status, body = await asked_of(gateway, [ROW] * 20)
            looking.cancel()
            await writer.close()
            await serving.systems[SYSTEM].model.runtime.close()
            return status, body, max(most), twin.asked["slow"]

    status, body, most, asked = asyncio.run(scene())
    assert (status, asked) == (200, 20) and {each["outcome"] for each in body["decisions"]} == {"answered"}
    assert most == 8, "half of its sixteen places"

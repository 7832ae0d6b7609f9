"""The Python client against real gateways: typed answers, one decision however often it is sent, errors with a mend."""

import asyncio
import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import pilotage
from pilotage import AsyncClient, Client
from pilotage.client.errors import BadRequest, Busy, NotAllowed, Rejected
from pilotage.gateway.plan import Key

from .conftest import KEY, OTHER, ROW, SYSTEM

README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.fixture
def client(shared):
    with Client(shared.workers[0].url, KEY, verify=False) as made:
        yield made


def test_it_decides_one_row_with_everything_that_is_on_record(client, shared):
    decision = client.decide(SYSTEM, ROW)
    leaf, _, payload, _ = shared.decisions()[decision.id]
    assert (decision.outcome, decision.system, decision.release) == ("answered", SYSTEM, leaf.release)
    assert (decision.label, decision.score) == (payload.answer["label"], payload.score)
    assert decision.receipt in shared.receipts()
    assert (decision.answered_by, decision.request_id, decision.replayed) == ("champion", leaf.request_id, False)


def test_it_takes_the_numbers_of_numpy_and_the_example_of_the_contract(client):
    numbers = ROW | {"income": np.float32(50_000), "late_payments": np.int64(2)}
    assert client.decide(SYSTEM, numbers).score == client.decide(SYSTEM, ROW).score
    described = client.describe(SYSTEM)
    assert described.contract is not None and described.example is not None
    assert client.decide(SYSTEM, described.example).outcome == "answered"
    with pytest.raises(TypeError, match="object is no JSON value"):
        client.decide(SYSTEM, ROW | {"age": object()})


def test_of_many_rows_each_says_how_it_ended(client):
    good, bad = client.decide_many(SYSTEM, [ROW, ROW | {"age": 7}])
    assert (good.outcome, good.label is not None, good.faults) == ("answered", True, [])
    assert (bad.outcome, bad.answer, [fault["path"] for fault in bad.faults]) == ("rejected", None, ["inputs[1].age"])
    assert good.request_id == bad.request_id
    (alone,) = client.decide_many(SYSTEM, [ROW | {"age": float("nan")}])
    assert [fault["code"] for fault in alone.faults] == ["not_finite"]


def test_what_is_wrong_comes_with_its_faults_and_its_mend(client, shared):
    with pytest.raises(Rejected) as rejected:
        client.decide(SYSTEM, ROW | {"age": 7, "home": "castle"})
    assert {fault["path"] for fault in rejected.value.faults} == {"inputs.age", "inputs.home"}
    assert rejected.value.receipt in shared.receipts()
    assert rejected.value.receipt.startswith(rejected.value.decision)
    with Client(shared.workers[0].url, OTHER, verify=False) as other, pytest.raises(NotAllowed, match="scope"):
        other.decide(SYSTEM, ROW)
    with pytest.raises(NotAllowed):
        client.decide("nosuch", ROW)
    with pytest.raises(BadRequest) as reused:
        client.decide(SYSTEM, ROW, idempotency_key="k" * 20)
        client.decide(SYSTEM, ROW | {"age": 41}, idempotency_key="k" * 20)
    assert reused.value.code == "idempotency_key_reused"


def test_the_asynchronous_client_does_the_same(shared):
    async def run():
        async with AsyncClient(shared.workers[0].url, KEY, verify=False) as client:
            assert await client.ready()
            described = await client.describe(SYSTEM)
            one = await client.decide(SYSTEM, described.example, idempotency_key="a" * 16)
            again = await client.decide(SYSTEM, described.example, idempotency_key="a" * 16)
            assert (one.id, one.replayed, again.id, again.replayed) == (one.id, False, one.id, True)
            assert [each.outcome for each in await client.decide_many(SYSTEM, [ROW, ROW])] == ["answered"] * 2
            with pytest.raises(Rejected):
                await client.decide(SYSTEM, {})
            with pytest.raises(NotAllowed):
                await client.outcome(one.id, True)

    asyncio.run(run())


def test_outcomes_are_told(shared):
    keys = [*shared.keys(), Key(id="teller", sha256=_digest("pk_t"), scopes=[f"outcome:{SYSTEM}"])]
    shared.workers[0].wait_for(shared.publish(max_rows=50, keys=tuple(keys)))
    with Client(shared.workers[0].url, KEY, verify=False) as client:
        id_ = client.decide(SYSTEM, ROW).id
    with Client(shared.workers[0].url, "pk_t", verify=False) as client:
        told = client.outcome(id_, "default", at="2026-01-05", source="collections")
    assert told.decision == id_
    assert [event.id for event, _ in shared.events("outcome.recorded")] == [told.event]


def _digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


class Weather(httpx.BaseTransport):
    """A network on which the first requests do not get through, or their answers do not come back."""

    def __init__(self, *troubles):
        self.troubles, self.keys = list(troubles), []
        self.inner = httpx.HTTPTransport(verify=False)

    def handle_request(self, request):
        self.keys.append(request.headers.get("idempotency-key"))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "lost answer":
            answered = self.inner.handle_request(request)
            answered.read()
            answered.close()
            raise httpx.ReadError("connection reset", request=request)
        if isinstance(trouble, httpx.Response):
            return trouble
        if trouble is not None:
            raise trouble
        return self.inner.handle_request(request)

    def close(self):
        self.inner.close()


def busy():
    return httpx.Response(503, headers={"retry-after": "0"}, json={"error": {"code": "overloaded", "message": "busy"}})


def test_an_answer_that_was_lost_is_given_again_not_decided_again(shared):
    before = set(shared.decisions())
    weather = Weather(httpx.ConnectError("refused"), "lost answer", busy())
    with Client(shared.workers[0].url, KEY, transport=weather) as client:
        decision = client.decide(SYSTEM, ROW)
    assert decision.replayed
    assert set(shared.decisions()) - before == {decision.id}
    assert len(weather.keys) == 4
    assert len(set(weather.keys)) == 1 and weather.keys[0]


def test_without_a_key_only_what_was_surely_not_decided_is_repeated(shared):
    refused = Weather(httpx.ConnectError("refused"))
    with Client(shared.workers[0].url, KEY, transport=refused, idempotent=False) as client:
        assert client.decide(SYSTEM, ROW).outcome == "answered"
    assert refused.keys == [None, None]
    for trouble in ("lost answer", busy()):
        weather = Weather(trouble)
        with Client(shared.workers[0].url, KEY, transport=weather, idempotent=False) as client, pytest.raises(Busy):
            client.decide(SYSTEM, ROW)
        assert weather.keys == [None]


def test_nobody_there_is_told_within_the_time_of_the_call():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with Client(url, KEY, timeout_s=1.0, retries=50, verify=False) as client:
        with pytest.raises(Busy) as nobody:
            client.decide(SYSTEM, ROW)
        assert not client.ready()
    assert (nobody.value.code, nobody.value.status) == ("unreachable", 0)
    assert time.monotonic() - started < 4


@pytest.mark.slow
def test_a_gateway_that_is_killed_and_started_again_loses_no_call(stand):
    stand.publish()
    worker = stand.start()
    port = int(worker.url.rpartition(":")[2])
    threading.Timer(0.3, worker.end, (signal.SIGKILL,)).start()
    found = []
    with Client(worker.url, KEY, timeout_s=20, retries=100, verify=False) as client:
        again = threading.Timer(0.8, stand.start, kwargs={"port": port})
        again.start()
        while time.monotonic() and len(found) < 3_000 and (worker.process.poll() is None or again.is_alive()):
            found.append(client.decide(SYSTEM, ROW))
        again.join()
        found.append(client.decide(SYSTEM, ROW))
    ids = [decision.id for decision in found]
    assert len(set(ids)) == len(ids) > 1
    assert set(ids) <= set(stand.decisions())


def test_the_readme_shows_a_client_that_works(shared, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    snippet = snippet.replace("http://127.0.0.1:8700", shared.workers[0].url).replace("my-system", SYSTEM)
    assert shared.workers[0].url in snippet
    exec(snippet, {"KEY": KEY})
    label, score, id_, leaf = capsys.readouterr().out.split()
    assert label in ("approve", "refer") and 0 < float(score) < 1
    assert f"{id_} {leaf}" in shared.receipts()


def test_naming_the_package_loads_no_http_library():
    code = "import sys, pilotage; print('httpx' in sys.modules); pilotage.Client; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="Nothing"):
        _ = pilotage.Nothing

"""A request that is sent again with its key, to real workers: one recorded answer, whatever is restarted or killed."""

import asyncio
import json
import random
import signal
import time
from collections import Counter, defaultdict
from uuid import uuid4

import aiohttp
import pytest

from .conftest import KEY, ROW, SYSTEM

PATH = f"/v1/systems/{SYSTEM}/decide"


def send(worker, key, inputs=ROW, path=PATH, body=None):
    with worker.client() as client:
        return client.post(path, json=body or {"inputs": inputs}, headers={"idempotency-key": key})


def test_the_recorded_answer_comes_again_from_every_worker_after_a_kill_and_under_a_new_release(stand):
    stand.publish()
    one, other = stand.start(number=0), stand.start(number=1)
    key = str(uuid4())
    first = send(one, key)
    assert (first.status_code, "idempotency-replayed" in first.headers) == (200, False)
    one.end(signal.SIGKILL)
    stand.publish(stand.releases[1])
    other.wait_for(stand.version)
    one = stand.start(number=0)
    for worker in (other, one):
        again = send(worker, key)
        assert again.headers["idempotency-replayed"] == "true"
        assert (again.content, again.headers["pilotage-receipt"]) == (first.content, first.headers["pilotage-receipt"])
    assert send(one, str(uuid4())).json()["release"] == stand.releases[1].digest != first.json()["release"]
    changed = send(one, key, ROW | {"age": 41})
    assert (changed.status_code, changed.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert Counter(leaf.request_id for leaf, *_ in stand.decisions().values())[first.json()["request_id"]] == 1
    with one.client() as client:
        assert 'outcome="replayed",status="200"' in client.get("/metrics").text


def test_rejections_and_inferences_come_again_too_and_what_was_turned_away_does_not(shared):
    worker = shared.workers[0]
    key = str(uuid4())
    wrong = send(worker, key, ROW | {"age": 7})
    assert wrong.status_code == 422
    assert send(worker, key, ROW | {"age": 7}).json() == wrong.json()

    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "INT64", "data": [value]}
        for name, value in ROW.items()
    ]
    infer = {"path": f"/v2/models/{SYSTEM}/infer", "body": {"inputs": tensors}}
    key = str(uuid4())
    assert send(worker, key, **infer).json() == send(worker, key, **infer).json()

    key = str(uuid4())
    assert [send(worker, key, body={"no": 1}).status_code for _ in range(2)] == [400, 400]
    assert send(worker, key).status_code == 200
    assert send(worker, "short").json()["error"]["code"] == "idempotency_key_invalid"


def test_requests_without_a_key_never_touch_the_file(stand):
    stand.publish()
    worker = stand.start()
    assert worker.ask(ROW).status_code == 200
    assert not stand.home.idempotency.exists()


@pytest.mark.slow
def test_under_kills_nobody_ever_hears_two_answers_to_one_key(stand):
    stand.publish()
    workers = [stand.start(number=number) for number in range(2)]
    heard: dict[str, Counter[bytes]] = defaultdict(Counter)
    until = time.monotonic() + 20

    async def client(session, seed):
        chance = random.Random(seed)
        while time.monotonic() < until:
            key = str(uuid4())
            row = ROW | {"age": chance.randint(18, 90)}
            for _ in range(chance.randint(2, 4)):
                worker = chance.choice(workers)
                try:
                    headers = {"idempotency-key": key, "authorization": f"Bearer {KEY}"}
                    async with session.post(worker.decide, json={"inputs": row}, headers=headers) as reply:
                        if reply.status == 200:
                            heard[key][await reply.read()] += 1
                        else:
                            assert reply.status in (409, 503), await reply.text()
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.02)

    async def killer():
        number = 0
        while time.monotonic() < until - 3:
            await asyncio.sleep(1.2)
            await asyncio.to_thread(workers[number].end, signal.SIGKILL)
            stand.publish(stand.releases[number % 2])
            workers[number] = await asyncio.to_thread(stand.start, number=number)
            number = 1 - number

    async def run():
        timeout = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(killer(), *(client(session, seed) for seed in range(16)))

    asyncio.run(run())
    assert len(heard) > 200
    assert sum(sum(each.values()) > 1 for each in heard.values()) > 100, "keys were answered again"
    assert [key for key, bodies in heard.items() if len(bodies) > 1] == []
    recorded = stand.decisions()
    answered = {body for bodies in heard.values() for body in bodies}
    ids = {json.loads(body)["id"] for body in answered}
    assert ids <= set(recorded), "all that was answered is on record"

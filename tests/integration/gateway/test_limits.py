"""Limits over real workers on one port: together they answer exactly as many rows as the quota has."""

import asyncio
import json

import aiohttp
import pytest

from pilotage.access.limits import Limit

KEY = "pk_live_" + "a" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}
QUOTA = Limit(scope="system:example", unit="rows", per="month", amount=500)


async def ask(session, url, rows):
    inputs = ROW if rows == 1 else [ROW] * rows
    async with session.post(url, data=json.dumps({"inputs": inputs})) as reply:
        return reply.status, reply.headers, await reply.json()


async def ask_until_denied(session, url, rows, denials):
    answered = 0
    for _ in range(1_000):
        status, headers, body = await ask(session, url, rows)
        if status == 429:
            denials.append((headers, body["error"]))
            return answered
        assert status == 200, body
        answered += rows
    raise AssertionError("never denied")


@pytest.mark.parametrize("rows", [1, 3])
def test_two_workers_answer_exactly_the_quota(stand, rows):
    stand.publish(limits=[QUOTA])
    workers = [stand.start(number=number) for number in (0, 1)]

    async def run():
        denials = []
        async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
            clients = [ask_until_denied(session, worker.decide, rows, denials) for worker in workers for _ in range(4)]
            answered = sum(await asyncio.gather(*clients))
            status, _, _ = await ask(session, workers[0].decide, 1_000)
            return answered, denials, status

    answered, denials, status = asyncio.run(run())
    assert 500 - 8 * (rows - 1) <= answered <= 500 and (rows > 1 or answered == 500)
    assert status == 429, "more rows at once than there are"
    for headers, error in denials:
        assert error["code"] == "quota_exceeded" and headers["pilotage-limit"] == QUOTA.id
        assert int(headers["retry-after"]) > 0 and "500 rows a month" in error["expected"]
    for worker in workers:
        assert worker.end() == 0
    assert len(stand.decisions()) == answered, "a denied request makes no decision"
    assert {event.facts["code"] for event, _ in stand.events("request.denied")} == {"quota_exceeded"}


def test_a_limit_comes_and_goes_with_the_plan(stand):
    stand.publish()
    worker = stand.start()
    assert worker.ask([ROW] * 10).status_code == 200
    worker.wait_for(stand.publish(limits=[Limit(scope="key:live", unit="requests", per="hour", amount=2)]))
    assert [worker.ask(ROW).status_code for _ in range(3)] == [200, 200, 429]
    malformed = worker.ask([])
    assert malformed.status_code == 429, "what is denied is not even read"
    worker.wait_for(stand.publish())
    assert worker.ask(ROW).status_code == 200


def test_a_request_that_decides_nothing_costs_no_rows(stand):
    stand.publish(limits=[Limit(scope="installation", unit="rows", per="month", amount=20)])
    worker = stand.start()
    with worker.client() as client:
        for _ in range(30):
            assert client.post(worker.decide, content=b"{broken").status_code == 400
            assert client.post(worker.decide, content=b" " * 300_000).status_code == 413
    assert worker.ask([ROW] * 20).status_code == 200
    assert worker.ask(ROW).status_code == 429


def test_the_open_inference_protocol_counts_alike(stand):
    stand.publish(limits=[Limit(scope="system:example", unit="requests", per="month", amount=3)])
    worker = stand.start()
    with worker.client() as client:
        for _ in range(2):
            assert client.post("/v2/models/example/infer", content=b"{}").status_code == 400
        assert worker.ask(ROW).status_code == 200
        denied = client.post("/v2/models/example/infer", content=b"{}")
    assert denied.status_code == 429 and denied.headers["pilotage-limit"] == "system:example/requests/month"

"""A worker that has no room: what is shed, what is not, in which order, and how it is counted."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.conftest import KEY, ROW, SYSTEM
from tests.integration.gateway.test_tls import write_certificate

PATH = f"/v1/systems/{SYSTEM}/decide"
BODY = json.dumps({"inputs": ROW}).encode()
FLOOD = Path(__file__).parents[3] / "bench" / "flood.py"


def request(method: str = "POST", path: str = PATH, body: bytes = BODY, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"x-api-key: {KEY}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    def __init__(self, worker) -> None:
        host, port = worker.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.said = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self, *, bare: bool = False) -> tuple[int, bytes, bytes]:
        """(status, head, body) of the next answer; `bare` when it has no body in spite of its length."""
        while b"\r\n\r\n" not in self.said:
            self.said += self.more()
        head, _, rest = self.said.partition(b"\r\n\r\n")
        length = 0 if bare else int(re.search(rb"content-length: (\d+)", head).group(1))
        while len(rest) < length:
            rest += self.more()
        self.said = rest[length:]
        return int(head[9:12]), head, rest[:length]

    def more(self) -> bytes:
        piece = self.socket.recv(65_536)
        assert piece, "the connection was closed"
        return piece


@pytest.fixture
def connect():
    with ExitStack() as stack:
        yield lambda worker: stack.enter_context(Client(worker))


def total(worker, name: str, *labels: str, none: bool = False) -> float:
    """What this worker has counted; a scrape tells of the node's others too. `none`: it may not have counted yet."""
    lines = httpx.get(f"{worker.url}/metrics", verify=False).text.splitlines()
    wanted = (f'/{worker.number}"', *labels)
    found = [
        float(line.split()[-1]) for line in lines if line.startswith(name + "{") and all(x in line for x in wanted)
    ]
    assert found or none, name
    return sum(found)


@pytest.fixture
def full(stand):
    stand.publish()
    return stand.start(limits={"in_flight": 0})


def test_all_but_the_open_addresses_is_shed_and_the_connection_stays(stand, full, connect):
    client = connect(full)
    for content in (request(), request(body=b"{"), request("GET", body=b""), request(path="/v1/outcomes")):
        client.ask(content)
        status, head, body = client.answer()
        assert status == 503 and b"\r\nretry-after: 1" in head and b"connection: close" not in head
        assert json.loads(body)["error"]["code"] == "overloaded"
    client.ask(request(path=f"/v2/models/{SYSTEM}/infer"))
    told = json.loads(client.answer()[2])
    assert told["code"] == "overloaded" and isinstance(told["error"], str)
    client.ask(request("HEAD", body=b""))
    assert client.answer(bare=True)[0] == 503 and not client.said
    for path in ("/live", "/ready", "/metrics", "/v2/health/ready"):
        client.ask(request("GET", path, b""))
        assert client.answer()[0] == 200
    assert total(full, "pilotage_gateway_denials_total", 'code="overloaded"') == 6
    assert total(full, "pilotage_gateway_requests_total", 'status="503"') == 6
    assert full.end() == 0
    assert not stand.decisions()
    [(event, private)] = stand.events("request.denied")
    assert (event.facts["code"], event.facts["count"], private["origin"]) == ("overloaded", 6, "127.0.0.1")


def test_a_body_that_comes_later_is_dropped_and_framing_is_kept(full, connect):
    client = connect(full)
    client.ask(request()[:-20])
    assert client.answer()[0] == 503, "told before the body is whole"
    client.ask(request()[-20:] + request("GET", "/live", b""))
    assert client.answer()[0] == 200
    client.ask(request(body=request())[: -len(request())])
    assert client.answer()[0] == 503
    client.ask(request() + request("GET", "/live", b""))
    assert client.answer()[0] == 200, "a body that reads as a request is none"
    client.ask(request(path="/live"))
    assert client.answer()[0] == 405, "never shed, whatever is asked there"
    chunked = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % PATH.encode()
    client.ask(chunked + request("GET", "/live", b"") + request())
    assert [client.answer()[0] for _ in range(3)] == [503, 200, 503]
    client.ask(request("POST", PATH, BODY, "expect: 100-continue"))
    status, head, _ = client.answer()
    assert status == 503 and b"connection: close" in head, "whoever waits to be told to go on is let go"
    assert client.socket.recv(1) == b""


def test_answers_leave_in_the_order_of_their_requests(stand, connect):
    stand.publish()
    worker = stand.start(limits={"in_flight": 1})
    client = connect(worker)
    client.ask(request() * 4 + request("GET", "/live", b""))
    assert [client.answer()[0] for _ in range(5)] == [200, 503, 503, 503, 200]
    client.ask(request())
    assert client.answer()[0] == 200, "there is room again"
    assert worker.end() == 0
    assert len(stand.decisions()) == 2


def test_pipelined_requests_are_decided_side_by_side_and_answered_in_order(stand, connect):
    stand.publish()
    worker = stand.start()
    client = connect(worker)
    rows = [{**ROW, "age": 20 + number} for number in range(60)]
    bodies = [json.dumps({"inputs": row}).encode() for row in rows]
    client.ask(b"".join(request(body=body) for body in bodies))
    ids = [json.loads(client.answer()[2])["id"] for _ in rows]
    assert total(worker, "pilotage_gateway_journal_groups_total") < len(rows) / 2
    client.ask(request() + request("POST", PATH, BODY, "connection: close"))
    assert [client.answer()[0] for _ in range(2)] == [200, 200]
    assert client.socket.recv(1) == b""
    assert worker.end() == 0
    decisions = stand.decisions()
    assert [json.loads(decisions[id_][2].request)["age"] for id_ in ids] == [row["age"] for row in rows]


@pytest.mark.slow
def test_a_flood_over_two_workers_loses_nothing_and_both_stay_ready(stand, tmp_path):
    stand.publish()
    workers = [stand.start(number=number, limits={"queue_delay_s": 0.005}) for number in (0, 1)]
    (tmp_path / "row.json").write_bytes(BODY)
    floods = [
        subprocess.Popen(
            [sys.executable, FLOOD, worker.decide, tmp_path / "row.json", KEY, "30000", "128", "5", behind],
            stdout=subprocess.PIPE,
        )
        for worker, behind in zip(workers, ("64", "1"), strict=True)
    ]
    threads = [threading.Thread(target=flood.wait) for flood in floods]
    for thread in threads:
        thread.start()
    asked = 0
    while any(thread.is_alive() for thread in threads):
        for worker in workers:
            assert httpx.get(f"{worker.url}/ready", timeout=20, verify=False).status_code == 200
            asked += 1
        time.sleep(0.1)
    met = [json.loads(flood.communicate()[0].splitlines()[-1]) for flood in floods]
    assert asked > 2
    for each in met:
        assert set(each["statuses"]) <= {"200", "503"} and not each["bare"] and not each["unanswered"]
    answered, shed = (sum(each["statuses"].get(status, 0) for each in met) for status in ("200", "503"))
    assert answered and shed
    denials = "pilotage_gateway_denials_total"
    assert sum(total(worker, denials, 'code="overloaded"', none=True) for worker in workers) == shed
    for worker in workers:
        assert worker.end() == 0
    assert len(stand.decisions()) == answered
    assert sum(event.facts["count"] for event, _ in stand.events("request.denied")) == shed


def test_over_tls_what_is_shed_is_told_so_and_the_connection_stays(stand, tmp_path):
    certificate, key = write_certificate(tmp_path / "tls", "full")
    stand.publish()
    worker = stand.start(wait=False, tls={"certificate": str(certificate), "key": str(key)}, limits={"in_flight": 0})
    told, end = stand.home.run / f"gateway-{worker.number}.json", time.monotonic() + 15
    while not told.exists() or worker.told()["state"] != "ready":
        assert worker.process.poll() is None and time.monotonic() < end, worker.log.read_text()
        time.sleep(0.02)
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with Client(worker) as client:
        client.socket = context.wrap_socket(client.socket)
        client.ask(request() + request(path=f"/v2/models/{SYSTEM}/infer"))
        for _ in range(2):
            status, head, body = client.answer()
            assert status == 503 and b"\r\nretry-after: 1" in head and b"overloaded" in body
        client.ask(request("GET", "/live", b""))
        assert client.answer()[0] == 200, "still the same connection"
    assert worker.end() == 0 and not stand.decisions()
    assert sum(event.facts["count"] for event, _ in stand.events("request.denied")) == 2

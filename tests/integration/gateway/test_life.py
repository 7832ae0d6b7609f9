"""A worker's life: plans come and go under load, it drains, it is killed, its disk fails; nothing answered is lost."""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter

import aiohttp
import httpx
import pytest

from pilotage.ledger.journal_reader import journal_files

KEY = "pk_live_" + "a" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}


class Load(threading.Thread):
    """Clients that ask without pause until told to stop; `answers` are (status, receipt, release, score).

    `broken` are the names of the transport errors met.
    """

    def __init__(self, worker, clients=8):
        super().__init__()
        self.worker, self.clients = worker, clients
        self.answers, self.broken = [], []
        self.stopping = False
        self.start()

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers={"x-api-key": KEY}, connector=connector) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self.clients)))

    async def _client(self, session, number):
        for n in itertools.count():
            if self.stopping:
                return
            row = ROW | {"customer": f"c-{number}-{n}"}
            try:
                async with session.post(self.worker.decide, json={"inputs": row}) as reply:
                    body = await reply.json()
            except aiohttp.ClientError as error:
                self.broken.append(type(error).__name__)
                if isinstance(error, aiohttp.ClientConnectorError):
                    return
                continue
            receipt, score = reply.headers.get("pilotage-receipt", ""), body.get("answer", {}).get("score")
            self.answers.append((reply.status, receipt, body.get("release"), score))

    def wait_for(self, count, seconds=20):
        end = time.monotonic() + seconds
        while len(self.answers) < count and self.is_alive():
            assert time.monotonic() < end, f"{len(self.answers)} answers"
            time.sleep(0.005)

    def stop(self):
        self.stopping = True
        self.join(30)
        return self.answers


def test_a_plan_is_swapped_between_two_requests(stand):
    stand.publish()
    worker = stand.start()
    load = Load(worker)
    swaps = 6
    for swap in range(swaps):
        load.wait_for(len(load.answers) + 60)
        version = stand.publish(stand.releases[(swap + 1) % 2])
        worker.wait_for(version)
        load.wait_for(len(load.answers) + 20)
    answers = load.stop()
    assert load.broken == []
    assert {answer[0] for answer in answers} == {200}
    assert {answer[2] for answer in answers} == {release.digest for release in stand.releases}
    scores = {(answer[2], answer[3]) for answer in answers}
    assert len(scores) == 2, "an answer's release is the one that computed its score"
    assert worker.end() == 0
    assert {answer[1] for answer in answers} == stand.receipts()
    recorded = {(plain.release, payload.score) for plain, _, payload, _ in stand.decisions().values()}
    assert recorded == scores
    assert [event.facts["version"] for event, _ in stand.events("plan.adopted")] == list(range(1, swaps + 2))


def test_a_revoked_key_stops_working_within_a_second(stand):
    stand.publish()
    worker = stand.start()
    with worker.client() as client:
        assert client.post(worker.decide, json={"inputs": ROW}).status_code == 200
        stand.publish(keys=())
        committed = time.monotonic()
        while client.post(worker.decide, json={"inputs": ROW}).status_code == 200:
            assert time.monotonic() - committed < 1.0
        assert client.post(worker.decide, json={"inputs": ROW}).status_code == 401


def test_a_stopped_system_refuses_on_record(stand):
    stand.publish()
    worker = stand.start()
    worker.wait_for(stand.publish(stopped="a complaint"))
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "system_stopped")
    worker.wait_for(stand.publish())
    assert worker.ask(ROW).status_code == 200
    plain, bytes_, payload, _ = stand.decisions()[reply.json()["id"]]
    assert plain.outcome == "refused"
    assert [finding.verdict for finding in plain.findings] == ["system_stopped"]
    assert b"complaint" not in bytes_
    assert payload.subject == "c-1"


def test_a_kill_under_load_loses_no_acknowledged_decision(stand):
    stand.publish()
    acknowledged = set()
    for _ in range(3):
        worker = stand.start()
        load = Load(worker, clients=16)
        load.wait_for(150)
        assert worker.end(signal.SIGKILL) == -signal.SIGKILL
        answers = load.stop()
        assert {answer[0] for answer in answers} == {200}
        acknowledged |= {answer[1] for answer in answers}
    recorded = stand.receipts()
    assert acknowledged <= recorded
    assert len(recorded) <= len(acknowledged) + 3 * 16
    stand.start()
    assert len(stand.receipts()) == len(recorded)


def test_a_drain_answers_what_was_accepted(stand):
    stand.publish()
    worker = stand.start()
    load = Load(worker)
    load.wait_for(200)
    stopped = time.monotonic()
    assert worker.end(signal.SIGTERM) == 0
    assert time.monotonic() - stopped < 5
    answers = load.stop()
    assert {answer[0] for answer in answers} == {200}
    assert set(load.broken) <= {"ClientConnectorError"}, "a request that was sent found no answer"
    assert {answer[1] for answer in answers} == stand.receipts()
    assert worker.told()["state"] == "stopped"
    (file,) = journal_files(stand.home.journal)
    assert file.finished


def test_a_worker_starts_without_a_plan_and_says_so(stand):
    worker = stand.start(wait=False)
    while worker.process.poll() is None:
        try:
            reply = httpx.get(worker.url + "/ready")
            break
        except httpx.TransportError:
            time.sleep(0.02)
    assert (reply.status_code, reply.json()["reason"]) == (503, "no_plan")
    assert httpx.get(worker.url + "/live").status_code == 200
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_plan")
    worker.wait_for(stand.publish())
    assert worker.ask(ROW).status_code == 200


def test_the_plan_file_is_enough_to_start(stand):
    version = stand.publish()
    stand.home.control_database.rename(stand.home.root / "away.db")
    worker = stand.start()
    assert worker.told()["plan"] == version
    assert worker.ask(ROW).status_code == 200
    assert not stand.home.control_database.exists()


@pytest.mark.slow
def test_a_changed_release_refuses_on_record_and_the_rest_of_its_plan_holds(stand):
    stand.publish()
    worker = stand.start()
    model = stand.releases[1].folder / "model.onnx"
    model.chmod(0o600)
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    worker.wait_for(stand.publish(stand.releases[1]))
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "release_unavailable")
    plain, _, payload, _ = stand.decisions()[reply.json()["id"]]
    assert (plain.outcome, plain.release) == ("refused", stand.releases[1].digest)
    assert payload.request == b"", "without the contract nobody knows whose data it is"
    assert worker.ask(ROW, key="pk_live_" + "c" * 43).status_code == 401
    assert "model.onnx" in worker.log.read_text()
    model.write_bytes(content)
    end = time.monotonic() + 15
    while worker.ask(ROW).status_code != 200:
        assert time.monotonic() < end, "a restored release is taken up"
        time.sleep(0.2)


def test_without_a_journal_there_is_no_answer(stand):
    """A disk that takes no file over 9 MiB: the first journal file fits, its successor does not."""
    stand.publish()
    worker = stand.start(file_bytes=9 * 2**20)
    acknowledged, failed = set(), None
    with worker.client() as client:
        for _ in range(200):
            reply = client.post(worker.decide, json={"inputs": [ROW] * 200})
            if reply.status_code != 200:
                failed = reply
                break
            acknowledged |= {entry["receipt"] for entry in reply.json()["decisions"]}
        assert failed is not None
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "journal_failed")
        assert "decisions" not in failed.json()
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "journal_failed")
    assert worker.process.wait(10) == 75
    assert len(acknowledged) > 1_000
    assert acknowledged <= stand.receipts()
    again = stand.start()
    assert again.ask(ROW).status_code == 200


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_sync_is_seen_before_the_send(stand, tmp_path):
    stand.publish()
    trace = tmp_path / "trace"
    calls = "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg"
    probe = subprocess.run(["strace", "-o", str(trace), "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine does not let strace trace")
    worker = stand.start(prefix=("strace", "-f", "-s", "400", "-e", calls, "-o", str(trace)))
    receipts = [worker.ask(ROW).headers["pilotage-receipt"] for _ in range(5)]
    os.kill(int(str(worker.told()["pid"])), signal.SIGTERM)
    assert worker.process.wait(20) == 0
    lines = trace.read_text(errors="replace").splitlines()
    before = 0
    for receipt in receipts:
        _, leaf = receipt.split()
        sent = next(n for n, line in enumerate(lines) if leaf in line)
        written = [n for n in range(before, sent) if "pwrite64" in lines[n] and r"\377\377\377\377GRP\n" in lines[n]]
        assert written, f"no group was written before {lines[sent][:80]}"
        synced = [n for n in range(written[-1], sent) if re.search(r"fdatasync.*= 0$", lines[n])]
        assert synced, f"nothing was synced between {lines[written[-1]][:80]} and {lines[sent][:80]}"
        before = sent


def test_two_workers_share_a_port_and_each_has_its_journal(stand):
    stand.publish()
    first, second = stand.start(number=0), stand.start(number=1)
    for worker in (first, second):
        assert worker.ask(ROW).status_code == 200
        assert worker.end() == 0
    assert Counter(file.worker for file in journal_files(stand.home.journal)) == {0: 1, 1: 1}
    assert len(stand.decisions()) == 2
    assert json.loads((stand.home.run / "gateway-1.json").read_bytes())["state"] == "stopped"

"""The power fails while the gateway answers: every answer that left has its decision on the disk that is found."""

import asyncio
import json
import random
from contextlib import nullcontext, suppress

import pytest

from pilotage.errors import IntegrityError
from pilotage.gateway.app import Gateway
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.state import load_serving, start_serving
from pilotage.gateway.store import StoredPlan
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.record import decode_leaf
from pilotage.testing.disk_twin import DiskTwin, FailingDisk

PATH = "/v1/systems/example/decide"
KEY = b"pk_live_" + b"a" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}


async def ask(gateway, inputs, sent):
    """One ASGI request; `sent` gets (status, body) in the moment the answer leaves."""
    message = {"type": "http.request", "body": json.dumps({"inputs": inputs}).encode(), "more_body": False}
    status = 0

    async def receive():
        return message

    async def send(event):
        nonlocal status
        if event["type"] == "http.response.start":
            status = event["status"]
        else:
            sent.append((status, json.loads(event["body"])))

    scope = {"type": "http", "path": PATH, "method": "POST", "headers": [(b"x-api-key", KEY)], "client": ("::1", 1)}
    await gateway(scope, receive, send)


async def open_gateway(stand, folder, disk):
    stored = read_plan_file(stand.home.plan_file)
    assert isinstance(stored, StoredPlan)
    gateway = Gateway(node="n1", worker=0)
    gateway.adopt(await start_serving(load_serving(stored, stand.home.releases)))
    writer = JournalWriter(
        folder / "n1", worker=0, steward_key=stand.keyring.steward_public, disk=disk, first_bytes=65_536
    )
    await writer.open()
    gateway.record_in(writer)
    return gateway, writer


def recorded(root, steward, *, damaged=False):
    """The ids of the decisions in the journals; with `damaged`, those before the first damage of each file."""
    found = set()
    for file in journal_files(root):
        with suppress(IntegrityError) if damaged else nullcontext():
            for frame in read_frames(file, steward):
                if frame.kind == FrameKind.decision:
                    found.add(decode_leaf(frame.plain).id)
    return found


def cut_while_answering(stand, tmp_path, *, syncs, cuts=6, requests=60):
    """How many acknowledged decisions the disk found after each power cut does not have."""
    chance = random.Random(3)
    lost = 0

    async def run():
        nonlocal lost
        disk = DiskTwin(tmp_path, syncs=syncs)
        gateway, writer = await open_gateway(stand, tmp_path, disk)
        sent = []
        for cut in range(cuts):
            waiting = [asyncio.create_task(ask(gateway, ROW, sent)) for _ in range(requests)]
            for _ in range(chance.randrange(1, 12)):
                await asyncio.sleep(0.001)
            acknowledged = {body["id"] for _, body in sent}
            into = tmp_path.parent / f"found-{cut}"
            await asyncio.to_thread(disk.power_cut, into, chance)
            lost += len(acknowledged - recorded(into, stand.keyring.steward, damaged=not syncs))
            await asyncio.gather(*waiting)
        assert len(sent) == cuts * requests
        assert {status for status, _ in sent} == {200}
        await writer.close()

    asyncio.run(run())
    return lost


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "disk"
    made.mkdir()
    return made


def test_no_answer_that_left_is_lost(stand, folder):
    stand.publish()
    assert cut_while_answering(stand, folder, syncs=True) == 0


@pytest.mark.slow
def test_a_disk_that_does_not_sync_loses_answers(stand, folder):
    """The control: the test above can fail."""
    stand.publish()
    assert cut_while_answering(stand, folder, syncs=False) > 0


def test_a_failing_sync_answers_nobody(stand, folder):
    stand.publish()

    async def run():
        disk = FailingDisk()
        gateway, writer = await open_gateway(stand, folder, disk)
        sent = []
        await ask(gateway, ROW, sent)
        disk.failing = frozenset({"sync"})
        await asyncio.gather(*(ask(gateway, inputs, sent) for inputs in (ROW, [ROW, ROW], ROW | {"age": 7})))
        disk.failing = frozenset()
        await ask(gateway, ROW, sent)
        await writer.close()
        return gateway, sent

    gateway, sent = asyncio.run(run())
    assert [status for status, _ in sent] == [200, 503, 503, 503, 503]
    assert {body["error"]["code"] for _, body in sent[1:]} == {"journal_failed"}
    assert all("answer" not in body and "decisions" not in body for _, body in sent[1:])
    assert gateway.failed.is_set()
    assert not gateway.ready

"""Streams: on the disk before anything moves on; what a killed process had forwarded is in the record, no less."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pilotage.errors import Conflict, InputError, Unavailable
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.items import InterruptedPayload
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.record import Finding, Payload, Plain, Times
from pilotage.ledger.streams import StreamRecord
from tests.ledger_world import RELEASE, START, World, in_killed_process, make_world

ASKED = Payload(subject="person-1", messages=[{"role": "user", "content": "why?"}])


def plain(**more: Any) -> Plain:
    digest = "sha256:" + "b" * 64
    known: dict[str, Any] = {
        "id": uuid7(), "request_id": uuid7(), "system": "chat", "release": RELEASE, "environment": digest,
        "contract": digest, "policy": digest, "plan": digest, "stage": "internal", "outcome": "opened",
        "times": Times(received=START), "commitment": "", "trace": "t1",
    }  # fmt: skip
    return Plain(**known | more)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def journalled(world: World, work: Callable[[JournalWriter], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        writer = JournalWriter(world.home.journal / "n1", worker=0, steward_key=world.keyring.steward_public)
        await writer.open()
        await work(writer)
        await writer.close()

    asyncio.run(run())


def sealed(world: World) -> World:
    world.steward().seal_all()
    return world


def test_a_stream_becomes_one_decision_with_its_receipt(world: World) -> None:
    receipts = []

    async def work(journal: JournalWriter) -> None:
        async with await StreamRecord.open(journal, plain(), ASKED) as stream:
            await stream.chunk("because ")
            await stream.chunk("so")
            whole = Payload(
                subject="person-1", messages=[*ASKED.messages, {"role": "assistant", "content": "because so"}]
            )
            receipts.append((stream.id, await stream.close(outcome="answered", payload=whole)))
            with pytest.raises(Conflict):
                await stream.chunk("more")
            with pytest.raises(Conflict):
                await stream.close(outcome="answered", payload=whole)

    journalled(world, work)
    ((id_, receipt),) = receipts
    found = sealed(world).queries.decision(id_)
    assert found.row.outcome == "answered" and found.row.trace == "t1"
    assert found.payload is not None and found.payload.messages[1]["content"] == "because so"

    assert hashlib.sha256(b"\0" + found.entry).hexdigest() == receipt


def test_what_a_killed_process_forwarded_is_in_the_record(world: World) -> None:
    told, tell = os.pipe()
    streams = [plain(), plain()]

    async def work(journal: JournalWriter) -> None:
        first = await StreamRecord.open(journal, streams[0], ASKED)
        second = await StreamRecord.open(journal, streams[1], ASKED)
        for n in range(5):
            await first.chunk(f"word{n} ")
            os.write(tell, f"word{n} ".encode())
        await second.close(outcome="answered", payload=ASKED)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_killed_process(lambda: journalled(world, work)) == -signal.SIGKILL
    os.close(tell)
    forwarded = os.read(told, 1_000).decode()
    os.close(told)
    assert forwarded == "word0 word1 word2 word3 word4 "
    sealed(world)
    found = world.queries.decision(streams[0].id)
    assert found.row.outcome == "interrupted"
    assert isinstance(found.payload, InterruptedPayload)
    assert b"".join(found.payload.chunks).decode() == forwarded
    assert found.payload.messages[0]["content"] == "why?"
    assert world.queries.decision(streams[1].id).row.outcome == "answered"


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, None])
def test_a_stream_that_is_left_unclosed_in_a_living_worker_is_closed_as_refused(
    world: World, error: type[BaseException] | None
) -> None:
    ids = []

    async def work(journal: JournalWriter) -> None:
        try:
            async with await StreamRecord.open(journal, plain(), ASKED) as stream:
                ids.append(stream.id)
                await stream.chunk("half a sen")
                if error is not None:
                    raise error
        except (RuntimeError, asyncio.CancelledError) as raised:
            assert type(raised) is error

    journalled(world, work)
    found = sealed(world).queries.decision(ids[0])
    assert found.row.outcome == "refused"
    assert found.row.fault_text == f"broke_off:{error.__name__ if error else 'not_closed'}@"
    assert found.payload is not None and found.payload.messages[-1]["content"] == "half a sen"


def test_what_no_leaf_could_hold_is_refused_before_anything_is_written(world: World) -> None:
    big = [Finding(check="c", version="1", path="p" * 500, verdict="v", action="a")] * 200
    written = []

    class Watched:
        async def record(self, kind: FrameKind, plain: bytes, secret: bytes) -> None:
            written.append(kind)

    async def work() -> None:
        with pytest.raises(InputError):
            await StreamRecord.open(Watched(), plain(findings=big), ASKED)
        stream = await StreamRecord.open(Watched(), plain(), ASKED)
        with pytest.raises(InputError):
            await stream.close(outcome="answered", payload=ASKED, findings=big)
        await stream.close(outcome="answered", payload=ASKED)

    asyncio.run(work())
    assert written == [FrameKind.opened, FrameKind.closed]


def test_without_a_disk_nothing_is_opened() -> None:
    class Failed:
        async def record(self, kind: FrameKind, plain: bytes, secret: bytes) -> None:
            raise Unavailable("the journal failed", mend="mend the disk")

    with pytest.raises(Unavailable):
        asyncio.run(StreamRecord.open(Failed(), plain(), ASKED))

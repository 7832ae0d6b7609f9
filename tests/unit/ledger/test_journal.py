"""The journal writer: what it acknowledged can be read back, in order, whole."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pilotage.errors import Conflict, Unavailable
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter, Recovery
from pilotage.ledger.journal_reader import OpenedFrame, journal_files, read_frames

STEWARD = X25519PrivateKey.generate()
PUBLIC = STEWARD.public_key().public_bytes_raw()


def writer(root: Path, **options: object) -> JournalWriter:
    settings: dict[str, object] = {"first_bytes": 1 << 16, "segment_bytes": 1 << 16, **options}
    return JournalWriter(root / "node-a", worker=0, steward_key=PUBLIC, **settings)  # type: ignore[arg-type]


def everything(root: Path) -> list[OpenedFrame]:
    return [frame for file in journal_files(root) for frame in read_frames(file, STEWARD)]


async def write_some(journal: JournalWriter, count: int, size: int = 300) -> list[tuple[bytes, bytes]]:
    records = [(b'{"i":%d}' % i, os.urandom(size)) for i in range(count)]
    await asyncio.gather(*(journal.record(FrameKind.decision, plain, secret) for plain, secret in records))
    return records


def test_what_was_acknowledged_reads_back_in_order(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[bytes, bytes]]:
        journal = writer(tmp_path)
        assert await journal.open() == Recovery()
        records = await write_some(journal, 100)
        await journal.close()
        assert journal.records == 100
        return records

    records = asyncio.run(scenario())
    frames = everything(tmp_path)
    assert [(frame.plain, frame.secret) for frame in frames] == records
    assert [frame.counter for frame in frames] == list(range(100))


def test_files_rotate_at_their_size_and_chain_on(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[bytes, bytes]]:
        journal = writer(tmp_path)
        await journal.open()
        records = []
        for _ in range(5):
            records += await write_some(journal, 100, 1000)
        live = journal_files(tmp_path)
        assert [file.finished for file in live] == [True] * (len(live) - 1) + [False]
        assert [file.removable for file in live] == [True] * (len(live) - 1) + [False]
        await journal.close()
        return records

    records = asyncio.run(scenario())
    files = journal_files(tmp_path)
    assert len(files) > 5
    assert [file.n for file in files] == list(range(1, len(files) + 1))
    assert all(file.finished for file in files)
    chain = bytes(32)
    seen: list[tuple[bytes, bytes]] = []
    for file in files:
        for frame in read_frames(file, STEWARD, 0, chain):
            seen.append((frame.plain, frame.secret))
            last = frame.chain
        chain = last
    assert seen == records


def test_a_second_writer_of_the_same_worker_is_kept_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = writer(tmp_path), writer(tmp_path)
        await first.open()
        with pytest.raises(Conflict, match="another process"):
            await second.open()
        await second.close()
        await first.close()

    asyncio.run(scenario())


def test_nothing_is_taken_before_opening_or_after_closing(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        with pytest.raises(Unavailable) as caught:
            journal.submit(FrameKind.decision, b"{}", bytes(32))
        assert caught.value.code == "journal_closed"
        await journal.open()
        await journal.close()
        await journal.close()
        with pytest.raises(Unavailable) as caught:
            journal.submit(FrameKind.decision, b"{}", bytes(32))
        assert caught.value.code == "journal_closed"
        assert not journal.failed

    asyncio.run(scenario())

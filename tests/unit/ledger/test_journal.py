"""The journal writer: what it acknowledged can be read back, in order, whole."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from itertools import groupby
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pilotage.errors import Conflict, InputError, Unavailable
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter, Recovery
from pilotage.ledger.journal_reader import OpenedFrame, journal_files, read_frames
from pilotage.ledger.record import Event, commitment, decode_leaf
from pilotage.testing.disk_twin import DiskTwin, FailingDisk, Operation

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


def test_what_waits_for_a_sync_is_one_group_after_it(tmp_path: Path) -> None:
    """However many records come while the disk is at work: one frame, one write, one sync for all of them."""
    syncing, go_on = threading.Event(), threading.Event()

    class Slow(DiskTwin):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            if syncing.is_set():
                go_on.wait(10)

    async def scenario() -> None:
        journal = writer(tmp_path, disk=Slow(tmp_path))
        (tmp_path / "node-a").mkdir()
        await journal.open()
        await write_some(journal, 1)
        syncing.set()
        first = asyncio.create_task(write_some(journal, 1))
        await asyncio.sleep(0.05)
        rest = asyncio.create_task(write_some(journal, 50))
        await asyncio.sleep(0.05)
        assert (journal.records, journal.waiting) == (1, 50)
        syncing.clear()
        go_on.set()
        await asyncio.gather(first, rest)
        assert (journal.records, journal.groups, journal.waiting) == (52, 3, 0)
        await journal.close()

    asyncio.run(scenario())
    frames = everything(tmp_path)
    assert [len(list(group)) for _, group in groupby(frames, lambda frame: frame.end)] == [1, 1, 50]


def test_a_group_too_large_for_one_write_is_several(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[bytes, bytes]]:
        journal = writer(tmp_path, first_bytes=1 << 25, segment_bytes=1 << 25)
        await journal.open()
        records = await write_some(journal, 9, 1 << 20)
        assert journal.groups > 2
        await journal.close()
        return records

    records = asyncio.run(scenario())
    assert [(frame.plain, frame.secret) for frame in everything(tmp_path)] == records


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


def test_every_kind_of_frame_goes_through(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        for kind in FrameKind:
            await journal.record(kind, kind.name.encode(), bytes(32))
        await journal.close()

    asyncio.run(scenario())
    assert [(frame.kind, frame.plain) for frame in everything(tmp_path)] == [
        (kind, kind.name.encode()) for kind in FrameKind
    ]


def test_records_are_unreadable_without_the_stewards_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        await journal.record(FrameKind.decision, b"plain", bytes(32) + b"the subject's name")
        await journal.close()

    asyncio.run(scenario())
    (file,) = journal_files(tmp_path)
    content = file.path.read_bytes()
    assert b"plain" not in content
    assert b"subject" not in content
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_an_old_file_ends_even_when_nothing_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path, max_age_s=0.05)
        await journal.open()
        await asyncio.sleep(0.15)
        assert len(journal_files(tmp_path)) == 1, "an empty file need not end"
        await write_some(journal, 3)
        while len(journal_files(tmp_path)) < 2:
            await asyncio.sleep(0.01)
        assert journal_files(tmp_path)[0].removable
        await write_some(journal, 2)
        await journal.close()

    asyncio.run(scenario())
    assert len(everything(tmp_path)) == 5


def test_numbers_and_chain_go_on_when_consumed_files_are_deleted(tmp_path: Path) -> None:
    async def scenario(count: int) -> None:
        journal = writer(tmp_path, segment_bytes=1 << 14, first_bytes=1 << 14)
        await journal.open()
        await write_some(journal, count, 1000)
        await journal.close()

    asyncio.run(scenario(40))
    kept = [file for file in journal_files(tmp_path) if not file.removable]
    for file in journal_files(tmp_path):
        if file.removable:
            file.path.unlink()
    last = everything(tmp_path)[-1]
    asyncio.run(scenario(1))
    newest = journal_files(tmp_path)[-1]
    assert newest.n == kept[0].n + 1
    assert newest.header.previous == last.chain.hex()


def test_a_record_longer_than_a_file_still_fits(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        await journal.record(FrameKind.decision, b"small", bytes(32))
        await journal.record(FrameKind.decision, b"large", bytes(300_000))
        await journal.record(FrameKind.decision, b"after", bytes(32))
        with pytest.raises(InputError):
            await journal.record(FrameKind.decision, b"", bytes(1 << 26))
        await journal.record(FrameKind.decision, b"and on", bytes(32))
        await journal.close()

    asyncio.run(scenario())
    assert [frame.plain for frame in everything(tmp_path)] == [b"small", b"large", b"after", b"and on"]


def test_a_client_that_left_does_not_disturb_the_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        gone = journal.submit(FrameKind.decision, b"gone", bytes(32))
        stays = journal.submit(FrameKind.decision, b"stays", bytes(32))
        gone.cancel()
        await stays
        await journal.close()

    asyncio.run(scenario())
    assert [frame.plain for frame in everything(tmp_path)] == [b"gone", b"stays"]


def test_a_sync_comes_before_each_acknowledgement(tmp_path: Path) -> None:
    """Seen from the disk: when a record is acknowledged, a sync began and ended after its write."""
    log: list[str] = []

    class Watched(DiskTwin):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            log.append("synced")

    def before(operation: Operation) -> None:
        if operation == "write":
            log.append("write")

    async def scenario() -> None:
        folder = tmp_path / "node-a"
        folder.mkdir()
        journal = writer(tmp_path, disk=Watched(tmp_path, before=before))
        await journal.open()
        await asyncio.sleep(0.1)
        for _ in range(20):
            log.clear()
            await write_some(journal, 3)
            assert log == ["write", "synced"]
        await journal.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("failing", ["write", "sync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_after_a_failure_of_the_disk_nothing_more_is_accepted(tmp_path: Path, failing: Operation, error: int) -> None:
    disk = FailingDisk(error=error)

    async def scenario() -> None:
        journal = writer(tmp_path, disk=disk)
        await journal.open()
        await write_some(journal, 5)
        disk.failing = frozenset({failing})
        waiting = [journal.submit(FrameKind.decision, b"lost", bytes(32)) for _ in range(5)]
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, Unavailable)
            assert result.code == "journal_failed"
        assert journal.failed
        disk.failing = frozenset()
        with pytest.raises(Unavailable) as caught:
            journal.submit(FrameKind.decision, b"never", bytes(32))
        assert caught.value.code == "journal_failed"
        assert os.strerror(error) in str(caught.value)
        await journal.close()

    asyncio.run(scenario())
    assert [frame.plain for frame in everything(tmp_path)] == [b'{"i":%d}' % i for i in range(5)]

    async def again() -> None:
        journal = writer(tmp_path)
        recovery = await journal.open()
        assert (recovery.clean, recovery.frames, recovery.torn) == (False, 5, 0)
        await write_some(journal, 1)
        await journal.close()

    asyncio.run(again())
    assert len(everything(tmp_path)) == 5 + 1 + 1


@pytest.mark.parametrize("failing", ["create", "rename", "sync_folder", "sync", "write"])
def test_a_rotation_that_fails_fails_the_journal(tmp_path: Path, failing: Operation) -> None:
    disk = FailingDisk()

    async def scenario() -> int:
        journal = writer(tmp_path, disk=disk, segment_bytes=1 << 14, first_bytes=1 << 14)
        await journal.open()
        acknowledged = 0
        disk.failing = frozenset({failing})
        with pytest.raises(Unavailable) as caught:
            for _ in range(100):
                await write_some(journal, 1, 2000)
                acknowledged += 1
        assert caught.value.code == "journal_failed"
        await journal.close()
        return acknowledged

    acknowledged = asyncio.run(scenario())
    assert acknowledged >= (0 if failing in ("sync", "write") else 5)
    assert len(everything(tmp_path)) == acknowledged


@pytest.mark.parametrize("failing", ["create", "write", "sync", "rename", "sync_folder"])
def test_a_disk_that_fails_at_the_start_is_said(tmp_path: Path, failing: Operation) -> None:
    disk = FailingDisk(error=errno.ENOSPC)
    disk.failing = frozenset({failing})

    async def scenario() -> None:
        journal = writer(tmp_path, disk=disk)
        with pytest.raises(Unavailable) as caught:
            await journal.open()
        assert caught.value.code == "journal_failed"
        await journal.close()

    asyncio.run(scenario())


def crash(root: Path, into: Path, records: int, torn: bytes) -> None:
    """What a crash leaves: a copy of the live file, and half a write behind its end."""

    async def scenario() -> None:
        journal = writer(root)
        await journal.open()
        await write_some(journal, records)
        shutil.copytree(root, into)
        await journal.close()

    asyncio.run(scenario())
    (file,) = journal_files(into)
    end = everything(into)[-1].end
    with file.path.open("r+b") as opened:
        opened.seek(end)
        opened.write(torn)


def test_a_torn_tail_is_cut_and_reported_in_the_record(tmp_path: Path) -> None:
    crash(tmp_path / "live", tmp_path / "crashed", 7, b"torn write")
    end = everything(tmp_path / "crashed")[-1].end

    async def scenario() -> None:
        journal = writer(tmp_path / "crashed")
        assert await journal.open() == Recovery(previous="node-a/0-1", clean=False, end=end, frames=7, torn=10)
        await write_some(journal, 1)
        await journal.close()

    asyncio.run(scenario())
    first, second = journal_files(tmp_path / "crashed")
    assert first.path.stat().st_size == end
    report, after = read_frames(second, STEWARD)
    assert report.kind == FrameKind.event
    event = decode_leaf(report.plain)
    assert isinstance(event, Event)
    assert event.kind == "journal.recovered"
    assert event.facts == {"file": "node-a/0-1", "end": end, "frames": 7, "torn_bytes": 10}
    assert event.commitment == commitment(report.secret[:32], report.secret[32:])
    assert after.plain == b'{"i":0}'
    assert len(everything(tmp_path / "crashed")) == 7 + 2


def test_damage_in_the_file_before_is_reported_and_nothing_is_cut(tmp_path: Path) -> None:
    crash(tmp_path / "live", tmp_path / "crashed", 7, b"")

    async def twice() -> None:
        journal = writer(tmp_path / "crashed")
        await journal.open()
        for _ in range(4):
            await write_some(journal, 1)
        shutil.copytree(tmp_path / "crashed", tmp_path / "damaged")
        await journal.close()

    asyncio.run(twice())
    file = journal_files(tmp_path / "damaged")[-1]
    victim = list(read_frames(file, STEWARD))[1]
    with file.path.open("r+b") as opened:
        opened.seek(victim.offset + 30)
        opened.write(b"!")
    size = file.path.stat().st_size

    async def scenario() -> Recovery:
        journal = writer(tmp_path / "damaged")
        recovery = await journal.open()
        await journal.close()
        return recovery

    recovery = asyncio.run(scenario())
    assert f"at byte {victim.offset}" in recovery.damage
    assert file.path.stat().st_size == size
    newest = journal_files(tmp_path / "damaged")[-1]
    event = decode_leaf(next(read_frames(newest, STEWARD, 0, bytes.fromhex(newest.header.previous))).plain)
    assert isinstance(event, Event)
    assert event.kind == "journal.damaged"

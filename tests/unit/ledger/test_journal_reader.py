"""The reader hands out what is whole, stops at what was torn, and names what was changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections import deque
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import structs

from pilotage.errors import IntegrityError
from pilotage.ledger.frames import END_BYTES, NEWEST, FrameKind, encode_header, end_mark, make_header
from pilotage.ledger.journal import JournalWriter, Recovery
from pilotage.ledger.journal_reader import FrameScan, JournalFile, OpenedFrame, journal_files, read_frames
from pilotage.testing.disk_twin import DiskTwin

STEWARD = X25519PrivateKey.generate()
PUBLIC = STEWARD.public_key().public_bytes_raw()


def writer(root: Path) -> JournalWriter:
    folder = root / "n"
    folder.mkdir(parents=True, exist_ok=True)
    return JournalWriter(
        folder, worker=0, steward_key=PUBLIC, disk=DiskTwin(root), first_bytes=4096, segment_bytes=4096
    )


async def groups(journal: JournalWriter, count: int, each: int = 2) -> None:
    """`count` groups of `each` records; a group ends before the next is submitted."""
    for group in range(count):
        await asyncio.gather(
            *(journal.record(FrameKind.decision, b"%d.%d" % (group, i), bytes(40)) for i in range(each))
        )


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, closed cleanly: three groups of two frames."""
    root = tmp_path_factory.mktemp("closed")

    async def scenario() -> None:
        journal = writer(root)
        await journal.open()
        await groups(journal, 3)
        await journal.close()

    asyncio.run(scenario())
    return root


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, copied before it was closed: zeros behind the frames, and nobody holds it."""
    root, copy = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("crashed")

    async def scenario() -> None:
        journal = writer(root)
        await journal.open()
        await groups(journal, 3)
        shutil.copytree(root, copy, dirs_exist_ok=True)
        await journal.close()

    asyncio.run(scenario())
    return copy


def only(root: Path) -> JournalFile:
    (file,) = journal_files(root)
    return file


def plains(root: Path) -> list[bytes]:
    return [frame.plain for file in journal_files(root) for frame in read_frames(file, STEWARD)]


def frames_of(root: Path) -> list[OpenedFrame]:
    return list(read_frames(only(root), STEWARD))


ALL = [b"0.0", b"0.1", b"1.0", b"1.1", b"2.0", b"2.1"]


def changed(root: Path, into: Path, at: int, to: bytes) -> JournalFile:
    """A copy of the file with bytes replaced."""
    target = into / "n" / "0-1.log"
    target.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray(only(root).path.read_bytes())
    content[at : at + len(to)] = to
    target.write_bytes(content)
    return only(into)


def test_any_changed_byte_of_a_closed_file_is_named(closed: Path, tmp_path: Path) -> None:
    content = only(closed).path.read_bytes()
    last = frames_of(closed)[-1].end
    for at in range(last):
        file = changed(closed, tmp_path, at, bytes((content[at] ^ 1,)))
        with pytest.raises(IntegrityError, match=r"journal n/0-1 is damaged at byte (\d+)") as caught:
            deque(read_frames(file, STEWARD), maxlen=0)
        named = int(caught.value.what.split("at byte ")[1].split()[0])
        assert named <= at


def test_damage_is_named_at_the_frame_it_is_in(closed: Path, tmp_path: Path) -> None:
    frame = frames_of(closed)[2]
    file = changed(closed, tmp_path, frame.offset + 30, b"???")
    with pytest.raises(IntegrityError, match=f"at byte {frame.offset} "):
        list(read_frames(file, STEWARD))
    reading = read_frames(file, STEWARD)
    assert [next(reading).plain, next(reading).plain] == ALL[:2]


@pytest.mark.parametrize("zeros", [1, 4, 100])
def test_zeros_over_a_durable_frame_are_damage_not_an_end(closed: Path, tmp_path: Path, zeros: int) -> None:
    frame = frames_of(closed)[2]
    with pytest.raises(IntegrityError, match=f"at byte {frame.offset} "):
        list(read_frames(changed(closed, tmp_path, frame.offset, bytes(zeros)), STEWARD))


def test_a_write_torn_at_any_byte_loses_only_its_own_group(crashed: Path, tmp_path: Path) -> None:
    frames = frames_of(crashed)
    assert [frame.plain for frame in frames] == ALL
    before = only(crashed).path.read_bytes()
    for cut in range(frames[3].end, frames[5].end):
        file = changed(crashed, tmp_path, cut, bytes(len(before) - cut))
        after = file.path.read_bytes()
        whole = sum(after[: frame.end] == before[: frame.end] for frame in frames)
        assert [frame.plain for frame in read_frames(file, STEWARD)] == ALL[:whole]
        assert 4 <= whole < 6 or cut >= frames[5].end - 4


def test_a_hole_in_the_last_group_ends_the_file(crashed: Path, tmp_path: Path) -> None:
    frames = frames_of(crashed)
    file = changed(crashed, tmp_path, frames[4].offset + 60, bytes(40))
    scan = FrameScan(file)
    assert len(list(scan)) == 2
    assert scan.records == 4
    assert scan.torn > 0
    assert not scan.clean


def test_reading_resumes_behind_any_group(closed: Path) -> None:
    file, frames = only(closed), frames_of(closed)
    for frame in frames:
        rest = list(read_frames(file, STEWARD, frame.end, frame.chain))
        assert rest == [other for other in frames if other.offset >= frame.end]
    with pytest.raises(IntegrityError, match="does not continue the chain"):
        list(read_frames(file, STEWARD, frames[0].end, bytes(32)))
    with pytest.raises(IntegrityError, match="ends before"):
        list(read_frames(file, STEWARD, frames[-1].end + 1000, frames[-1].chain))


def test_a_live_file_is_read_up_to_the_present_and_then_further(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        file = only(tmp_path)
        assert not file.finished
        assert list(read_frames(file, STEWARD)) == []
        await groups(journal, 2)
        first = list(read_frames(file, STEWARD))
        await groups(journal, 1)
        more = list(read_frames(file, STEWARD, first[-1].end, first[-1].chain))
        assert [frame.plain for frame in first + more] == ALL[:4] + ALL[:2]
        await journal.close()
        assert only(tmp_path).finished

    asyncio.run(scenario())


def test_damage_in_a_live_file_is_noticed_when_later_frames_follow(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = writer(tmp_path)
        await journal.open()
        await groups(journal, 2)
        frames = frames_of(tmp_path)
        with only(tmp_path).path.open("r+b") as file:
            file.seek(frames[0].offset + 40)
            file.write(b"!")
        with pytest.raises(IntegrityError, match=f"at byte {frames[0].offset} "):
            frames_of(tmp_path)
        await journal.close()

    asyncio.run(scenario())


def test_files_that_do_not_continue_each_other_are_noticed(tmp_path: Path) -> None:
    async def scenario(root: Path) -> None:
        journal = writer(root)
        await journal.open()
        await groups(journal, 24, 3)
        await journal.close()

    asyncio.run(scenario(tmp_path / "a"))
    asyncio.run(scenario(tmp_path / "b"))
    first, second, *_ = journal_files(tmp_path / "a")
    chain = list(read_frames(first, STEWARD))[-1].chain
    assert list(read_frames(second, STEWARD, 0, chain))
    with pytest.raises(IntegrityError, match="does not continue the file before it"):
        list(read_frames(second, STEWARD, 0, bytes(32)))
    shutil.copy(journal_files(tmp_path / "b")[1].path, second.path)
    for file in journal_files(tmp_path / "a")[:2]:
        with pytest.raises(IntegrityError, match=r"n/0-1 .*it does not end as n/0-2 says"):
            list(read_frames(file, STEWARD))


def test_a_file_cut_short_before_another_is_noticed(tmp_path: Path) -> None:
    async def scenario() -> None:
        for _ in range(2):
            journal = writer(tmp_path)
            await journal.open()
            await groups(journal, 2)
            await journal.close()

    asyncio.run(scenario())
    first = journal_files(tmp_path)[0]
    frames = list(read_frames(first, STEWARD))
    with first.path.open("r+b") as file:
        file.truncate(frames[2].offset)
    with pytest.raises(IntegrityError, match="does not end as"):
        list(read_frames(journal_files(tmp_path)[0], STEWARD))


def test_an_end_mark_moved_over_a_dropped_frame_is_noticed(closed: Path, tmp_path: Path) -> None:
    content, frames = only(closed).path.read_bytes(), frames_of(closed)
    drop, end = frames[5].offset, frames[5].end
    forged = content[:drop] + end_mark(drop, 5, frames[5].chain)
    file = changed(closed, tmp_path, 0, forged)
    file.path.write_bytes(forged)
    assert len(forged) < len(content)
    assert end == len(content) - END_BYTES
    with pytest.raises(IntegrityError, match="the end mark does not continue the chain"):
        list(read_frames(file, STEWARD))


VERSION_1 = Path(__file__).parents[2] / "data" / "journal-version-1"
"""Written by the version before groups were one frame: two groups of a record of each kind, closed cleanly."""

FORMER_STEWARD = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_a_file_of_version_1_is_read_as_ever_and_continued(tmp_path: Path) -> None:
    shutil.copytree(VERSION_1, tmp_path / "old")
    before = [
        (kind, b"%s %d" % (kind.name.encode(), group), bytes(32) + b"secret of %s %d" % (kind.name.encode(), group))
        for group in range(2)
        for kind in FrameKind
    ]
    (old,) = journal_files(tmp_path / "old")
    frames = list(read_frames(old, FORMER_STEWARD))
    assert [(frame.kind, frame.plain, frame.secret) for frame in frames] == before
    assert list(read_frames(old, FORMER_STEWARD, frames[3].end, frames[3].chain)) == frames[4:]

    async def scenario() -> None:
        journal = JournalWriter(tmp_path / "old" / "n", worker=0, steward_key=PUBLIC)
        assert await journal.open() == Recovery(previous="n/0-1", end=frames[-1].end, frames=10)
        await journal.record(FrameKind.decision, b"after", bytes(40))
        await journal.close()

    asyncio.run(scenario())
    old, new = journal_files(tmp_path / "old")
    assert (old.header.version, new.header.version) == (1, 2)
    assert [frame.plain for frame in read_frames(new, STEWARD, 0, frames[-1].chain)] == [b"after"]


def test_any_changed_byte_of_a_file_of_version_1_is_named(tmp_path: Path) -> None:
    (old,) = journal_files(VERSION_1)
    content, end = old.path.read_bytes(), list(read_frames(old, FORMER_STEWARD))[-1].end
    for at in range(0, end, 3):
        file = changed(VERSION_1, tmp_path, at, bytes((content[at] ^ 1,)))
        with pytest.raises(IntegrityError, match="journal n/0-1 is damaged at byte"):
            deque(read_frames(file, FORMER_STEWARD), maxlen=0)


def test_a_file_of_a_later_version_says_to_upgrade(tmp_path: Path) -> None:
    header = make_header(bytes(32), PUBLIC, node="n", worker=0, n=1, created=0, previous=bytes(32))
    (tmp_path / "n").mkdir()
    later = encode_header(structs.replace(header, version=NEWEST + 1))
    (tmp_path / "n" / "0-1.log").write_bytes(later)
    with pytest.raises(IntegrityError, match="upgrade"):
        list(read_frames(only(tmp_path), STEWARD))


def test_frames_are_synced_before_they_are_handed_out(crashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame left by `kill -9` may be in memory only; what is sealed from it must not vanish from the journal."""
    synced: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (sync(descriptor), synced.append(descriptor)))
    reading = read_frames(only(crashed), STEWARD)
    next(reading)
    assert synced


def test_a_reader_beside_a_busy_writer_sees_every_frame_once(tmp_path: Path) -> None:
    """It must never take a write in progress for damage, nor for the end of what will come."""
    (tmp_path / "n").mkdir()
    done = threading.Event()
    seen: list[bytes] = []

    def read_on() -> None:
        n, offset, chain = 1, 0, None
        while True:
            last = done.is_set()
            files = {file.n: file for file in journal_files(tmp_path)}
            if n not in files:
                if last:
                    return
                continue
            for frame in read_frames(files[n], STEWARD, offset, chain):
                seen.append(frame.plain)
                offset, chain = frame.end, frame.chain
            if files[n].finished:
                n, offset, chain = n + 1, 0, None

    async def scenario() -> None:
        disk = DiskTwin(tmp_path)
        journal = JournalWriter(
            tmp_path / "n", worker=0, steward_key=PUBLIC, disk=disk, first_bytes=1 << 17, segment_bytes=1 << 17
        )
        await journal.open()

        async def client(name: int) -> None:
            for i in range(150):
                await journal.record(FrameKind.decision, b"%d.%d" % (name, i), bytes(100 + 397 * (name + i) % 9000))

        reading = asyncio.create_task(asyncio.to_thread(read_on))
        await asyncio.gather(*(client(name) for name in range(16)))
        await journal.close()
        done.set()
        await reading

    asyncio.run(scenario())
    assert len(seen) == len(set(seen)) == 16 * 150


def test_a_renamed_file_is_noticed(closed: Path, tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    shutil.copy(only(closed).path, tmp_path / "n" / "0-7.log")
    with pytest.raises(IntegrityError, match="renamed"):
        list(read_frames(only(tmp_path), STEWARD))


def test_other_names_are_no_journals(tmp_path: Path) -> None:
    assert journal_files(tmp_path / "absent") == []
    (tmp_path / "n").mkdir()
    for name in ("0.lock", "0.next", "0-1.log.bak", "x-1.log"):
        (tmp_path / "n" / name).write_bytes(b"")
    (tmp_path / "stray").write_bytes(b"")
    assert journal_files(tmp_path) == []

"""A power cut at any moment loses no acknowledged record; without syncs it does."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pilotage.errors import PilotageError
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter, Recovery
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.testing.disk_twin import DiskTwin, Operation

STEWARD = X25519PrivateKey.generate()
PUBLIC = STEWARD.public_key().public_bytes_raw()
SMALL = {"first_bytes": 8192, "segment_bytes": 12288}


class Cuts:
    """Cuts the power before randomly chosen operations, and remembers what clients had been told by then."""

    def __init__(self, into: Path, seed: int, share: float) -> None:
        self.chance = random.Random(seed)
        self.into = into
        self.share = share
        self.acknowledged: list[bytes] = []
        self.made: list[tuple[Path, set[bytes]]] = []
        self.twin: DiskTwin | None = None
        self.lock = threading.Lock()

    def __call__(self, operation: Operation) -> None:
        with self.lock:
            self.perhaps()

    def perhaps(self) -> None:
        if self.twin is not None and self.chance.random() < self.share:
            told = set(self.acknowledged)
            folder = self.into / str(len(self.made))
            self.twin.power_cut(folder, self.chance)
            self.made.append((folder, told))


async def serve(root: Path, cuts: Cuts, *, syncs: bool, records: int) -> None:
    cuts.twin = DiskTwin(root, syncs=syncs, before=cuts)
    journal = JournalWriter(root / "journal" / "n", worker=3, steward_key=PUBLIC, disk=cuts.twin, **SMALL)  # type: ignore[arg-type]
    await journal.open()

    async def client(name: int) -> None:
        for i in range(records):
            plain = b"%d.%d" % (name, i)
            await journal.record(FrameKind.decision, plain, bytes(cuts.chance.randrange(32, 900)))
            cuts.acknowledged.append(plain)

    await asyncio.gather(*(client(name) for name in range(6)))
    await journal.close()


def found(root: Path) -> list[bytes]:
    return [frame.plain for file in journal_files(root / "journal") for frame in read_frames(file, STEWARD)]


async def restart(root: Path) -> Recovery:
    folder = root / "journal" / "n"
    journal = JournalWriter(folder, worker=3, steward_key=PUBLIC, disk=DiskTwin(root), **SMALL)  # type: ignore[arg-type]
    recovery = await journal.open()
    await journal.record(FrameKind.decision, b"after", bytes(32))
    await journal.close()
    return recovery


@pytest.mark.parametrize("seeds", [pytest.param(1, id="some"), pytest.param(3, id="more", marks=pytest.mark.slow)])
def test_no_acknowledged_record_is_lost(tmp_path: Path, seeds: int) -> None:
    made: list[tuple[Path, set[bytes]]] = []
    for seed in range(seeds):
        root = tmp_path / f"live-{seed}"
        (root / "journal" / "n").mkdir(parents=True)
        cuts = Cuts(tmp_path / f"cut-{seed}", seed, 0.4)
        asyncio.run(serve(root, cuts, syncs=True, records=40))
        made += cuts.made
    assert len(made) >= 60 * seeds, len(made)
    torn = 0
    for folder, told in made:
        before = found(folder)
        assert told <= set(before)
        assert len(before) == len(set(before))
        recovery = asyncio.run(restart(folder))
        torn += recovery.torn > 0
        assert not recovery.damage
        after = found(folder)
        assert [plain for plain in after if plain[:1] != b"{"] == [*before, b"after"]
        assert any(b"journal.recovered" in plain for plain in after) is (not recovery.clean)
    assert torn > 3 * seeds, "cuts that never tear a write prove little"


@pytest.mark.parametrize("seed", [1, 2])
def test_without_syncs_records_are_lost(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "live"
    (root / "journal" / "n").mkdir(parents=True)
    cuts = Cuts(tmp_path / "cut", seed, 0.3)
    asyncio.run(serve(root, cuts, syncs=False, records=15))
    lost = [folder for folder, told in cuts.made if not told <= set(readable(folder))]
    assert len(lost) > len(cuts.made) / 3


def readable(root: Path) -> list[bytes]:
    plains: list[bytes] = []
    try:
        for file in journal_files(root / "journal"):
            plains += [frame.plain for frame in read_frames(file, STEWARD)]
    except PilotageError:
        return plains
    return plains

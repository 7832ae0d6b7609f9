"""The power fails under a sealing steward: whatever was not synced may be lost, and still nothing is lost or twice.

The steward is the real one on a real folder. The twin watches `fsync` and `fdatasync`: it knows which content of each
file and which names of each folder a completed sync covers, and builds the folder as it may be found after a cut. Of
the databases, what was committed is there: their own durability is SQLite's. The control, syncs that cover nothing,
must lose or break something.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pilotage.errors import NotFound, PilotageError
from pilotage.ledger import tiles
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import parse_checkpoint
from pilotage.ledger.record import Batch, decode_leaf
from pilotage.ledger.verify import verify_ledger
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from tests.ledger_world import START, Frame, World, decision, event, frame_id, make_world

CUTS = int(os.environ.get("PILOTAGE_TEST_CUTS", "150"))
"""Cuts of the slow test."""

_SECTOR = 512
_DATABASES = ("control.db", "ledger.db")


@dataclass
class SyncTwin:
    """What of a folder is durable. Inodes are held open, so that no number is given to another file."""

    root: Path
    syncs: bool = True
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[Path, int] = field(default_factory=dict)
    handles: dict[int, int] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folders = {path for path in self.root.rglob("*") if path.is_dir()}
        for path in self._files():
            self.names[path] = number = self._hold(path)
            self.contents[number] = path.read_bytes()

    def synced(self, descriptor: int) -> None:
        """A sync of this descriptor came to its end."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not self.syncs or self.root not in (path, *path.parents):
            return
        if path.is_dir():
            self.names = {name: number for name, number in self.names.items() if name.parent != path}
            self.names |= {name: self._hold(name) for name in self._files(path)}
            self.folders = {name for name in self.folders if name.parent != path}
            self.folders |= {name for name in path.iterdir() if name.is_dir()}
        else:
            number = os.fstat(descriptor).st_ino
            self._hold_number(number, descriptor)
            self.contents[number] = self._now(number)

    def cut(self, into: Path, chance: random.Random) -> None:
        """Build the folder as a cut now may leave it: of what is not durable, any part, all, or nothing."""
        kept = chance.choice((0.0, 0.5, 1.0, chance.random()))
        present = {path: self._hold(path) for path in self._files()}
        fresh = [path for path in self.root.rglob("*") if path.is_dir() and path not in self.folders]
        lost = {path for path in fresh if chance.random() >= kept}
        for path in sorted(self.names.keys() | present.keys()):
            if not lost.isdisjoint(path.parents):
                continue
            durable, now = self.names.get(path), present.get(path)
            number = durable if durable == now or chance.random() >= kept else now
            if number is not None:
                target = into / path.relative_to(self.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._survives(number, kept, chance))
                target.chmod(0o600)

    def close(self) -> None:
        for handle in self.handles.values():
            os.close(handle)

    def _survives(self, number: int, kept: float, chance: random.Random) -> bytes:
        durable, now = self.contents.get(number, b""), self._now(number)
        if durable == now:
            return now
        size = len(now) if chance.random() < kept else len(durable)
        pieces = []
        for start in range(0, max(len(now), len(durable)), _SECTOR):
            content = now if chance.random() < kept else durable
            pieces.append(content[start : start + _SECTOR].ljust(_SECTOR, b"\0"))
        return b"".join(pieces)[:size]

    def _files(self, folder: Path | None = None) -> list[Path]:
        found = folder.iterdir() if folder is not None else self.root.rglob("*")
        return [path for path in found if path.is_file() and not path.name.startswith(_DATABASES)]

    def _hold(self, path: Path) -> int:
        handle = os.open(path, os.O_RDONLY)
        number = os.fstat(handle).st_ino
        if number in self.handles:
            os.close(handle)
        else:
            self.handles[number] = handle
        return number

    def _hold_number(self, number: int, descriptor: int) -> None:
        if number not in self.handles:
            self.handles[number] = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)

    def _now(self, number: int) -> bytes:
        handle = self.handles[number]
        return os.pread(handle, os.fstat(handle).st_size, 0)


@dataclass
class Found:
    """A home after a cut. `acknowledged` are the ids of everything that was journalled durably before."""

    root: Path
    checkpoint: str


@dataclass
class Cuts:
    """Cuts the power before and after syncs and at the steward's steps, by chance."""

    twin: SyncTwin
    home: Home
    into: Path
    chance: random.Random
    share: float
    made: list[Found] = field(default_factory=list)

    def perhaps(self, _name: str = "") -> None:
        if self.chance.random() >= self.share:
            return
        root = self.into / str(len(self.made)) / "home"
        root.mkdir(parents=True)
        self.twin.cut(root, self.chance)
        for name in _DATABASES:
            with sqlite3.connect(f"file:{self.home.root / name}?mode=ro", uri=True) as source:
                copy = sqlite3.connect(root / name)
                source.backup(copy)
                copy.close()
            source.close()
        self.made.append(Found(root, shown(self.home)))


def shown(home: Home) -> str:
    try:
        return tiles.read_checkpoint(home.ledger)
    except NotFound:
        return ""


@contextmanager
def watched(cuts: Cuts) -> Iterator[None]:
    """Every fsync and fdatasync of this process tells the twin; no real disk is synced."""
    before, alone = (os.fsync, os.fdatasync), threading.Lock()

    def sync(descriptor: int) -> None:
        with alone:  # several are under way at once
            cuts.perhaps()
            cuts.twin.synced(descriptor)
            cuts.perhaps()

    os.fsync = os.fdatasync = sync
    try:
        yield
    finally:
        os.fsync, os.fdatasync = before


def waiting_world(folder: Path, chance: random.Random) -> tuple[World, list[Frame], list[str]]:
    """Journals of two workers with several files, and control events."""
    world, frames = make_world(folder), []
    for number in range(6):
        some = [decision(f"s{chance.randrange(4)}", at=START + chance.randrange(3) * 86_400_000_000) for _ in range(7)]
        some.append(event(code="no_key"))
        world.write(some, worker=number % 2)
        frames += some
    with writing(world.control) as connection:
        events = [outbox.emit(connection, "approval.granted", system="credit").id for _ in range(3)]
    return world, frames, events


def seal_under_cuts(folder: Path, seed: int, share: float, *, syncs: bool) -> tuple[Cuts, list[Frame], list[str]]:
    chance = random.Random(seed)
    world, frames, events = waiting_world(folder / "live", chance)
    twin = SyncTwin(world.home.root, syncs)
    cuts = Cuts(twin, world.home, folder / "cut", chance, share)
    with watched(cuts):
        steward = world.steward(step=cuts.perhaps)
        while steward.seal(limit=10).more:
            pass
    twin.close()
    close(world)
    return cuts, frames, events


def close(world: World) -> None:
    world.control.dispose()
    world.ledger.dispose()


def check_after(found: Found, frames: list[Frame], events: list[str]) -> bool:
    """Start again as after the cut, seal the rest: everything is there once, and no shown checkpoint was taken back.

    Whether the shown checkpoint was of a smaller tree: then the cut came in the middle of the work.
    """
    world = World(home=Home(root=found.root))
    try:
        report = world.steward("next").seal_all()
        assert not report.gaps, report.gaps
        world.check(frames, events)
        verdict = verify_ledger(world.home, world.ledger, world.keyring)
        assert verdict.ok, verdict.faults
        ids = [leaf.id for leaf in map(decode_leaf, world.entries()) if not isinstance(leaf, Batch)]
        assert len(ids) == len(set(ids)) == len({frame_id(frame) for frame in frames}) + len(events)
        with reading(world.control) as connection:
            assert outbox.waiting(connection) == []
        if not found.checkpoint:
            return True
        old = parse_checkpoint(found.checkpoint, [world.vkey])
        assert Frontier().append(map(leaf_hash, world.entries()[: old.size])).root() == old.root
        return old.size < len(world.entries())
    finally:
        close(world)


def run(folder: Path, seed: int, share: float, *, syncs: bool, judge: Callable[..., bool]) -> list[bool]:
    cuts, frames, events = seal_under_cuts(folder, seed, share, syncs=syncs)
    judged = []
    for found in cuts.made:
        judged.append(judge(found, frames, events))
        shutil.rmtree(found.root.parent)
    return judged


@pytest.mark.parametrize(
    "least",
    [pytest.param(12, id="some"), pytest.param(CUTS, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3_000)])],
)
def test_a_cut_under_the_steward_loses_and_doubles_nothing(tmp_path: Path, least: int) -> None:
    judged: list[bool] = []
    seed = 0
    while len(judged) < least:
        judged += run(tmp_path / str(seed), seed, 0.04 if least == 12 else 0.25, syncs=True, judge=check_after)
        shutil.rmtree(tmp_path / str(seed))
        seed += 1
    assert sum(judged) > len(judged) / 3, "most cuts come in the middle of the work"
    print(f"cuts {len(judged)}, in the middle {sum(judged)}, lost 0, twice 0, all verify")


@pytest.mark.slow
def test_without_syncs_something_is_lost_or_broken(tmp_path: Path) -> None:
    def broken(found: Found, frames: list[Frame], events: list[str]) -> bool:
        try:
            check_after(found, frames, events)
        except (AssertionError, PilotageError, OSError, ValueError):
            return True
        return False

    judged = run(tmp_path, 1, 0.08, syncs=False, judge=broken)
    assert len(judged) >= 8 and sum(judged) > len(judged) / 4, judged

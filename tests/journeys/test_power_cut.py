"""The power fails under an answering gateway: after restart and sealing, every answer that left is in the ledger, once.

The gateway, its journal writer and the steward are the real ones; only the journal's disk is a twin that forgets what
no completed sync covers. The control, a disk whose syncs do nothing, must lose answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilotage.errors import PilotageError
from pilotage.gateway.app import Gateway
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.state import Serving, load_serving, start_serving
from pilotage.ledger.disk import Disk
from pilotage.ledger.journal import JournalWriter, Recovery
from pilotage.storage.home import Home
from pilotage.testing.disk_twin import DiskTwin, Operation
from pilotage.wiring.audit import verify
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings
from tests.journeys.live import ROW, SYSTEM, LiveHome, recorded

CLIENTS, REQUESTS = 6, 25


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = LiveHome(root=tmp_path_factory.mktemp("live") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving(live: LiveHome) -> Serving:
    stored = read_plan_file(live.installation.home.plan_file)
    assert stored is not None
    return load_serving(stored, live.installation.releases)


@dataclass
class Cuts:
    """Cuts the power before some of the disk's operations, chosen by chance; keeps what clients had by then."""

    into: Path
    chance: random.Random
    share: float
    told: set[tuple[str, str]] = field(default_factory=set)
    made: list[tuple[Path, set[tuple[str, str]]]] = field(default_factory=list)
    twin: DiskTwin | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, operation: Operation) -> None:
        # The journal's thread and the one that prepares its next file both come here.
        with self.lock:
            if self.twin is not None and self.chance.random() < self.share:
                told = self.told.copy()
                folder = self.into / str(len(self.made))
                self.twin.power_cut(folder, self.chance)
                self.made.append((folder, told))


@dataclass
class Answering:
    """A gateway in this process over a journal on a given disk. `told` gets each receipt as its answer leaves."""

    gateway: Gateway
    journal: JournalWriter
    recovery: Recovery
    told: set[tuple[str, str]]

    @classmethod
    async def open(cls, live: LiveHome, serving: Serving, folder: Path, disk: Disk, told: set[Any]) -> Answering:
        key = live.installation.keyring.steward_public
        small = {"first_bytes": 32_768, "segment_bytes": 49_152}
        journal = JournalWriter(folder / "n1", worker=0, steward_key=key, disk=disk, **small)
        recovery = await journal.open()
        gateway = Gateway(node="n1", worker=0)
        gateway.adopt(await start_serving(serving))
        gateway.record_in(journal)
        return cls(gateway, journal, recovery, told)

    async def ask(self, inputs: object, key: str) -> int:
        message = {"type": "http.request", "body": json.dumps({"inputs": inputs}).encode(), "more_body": False}
        status = 0

        async def receive() -> dict[str, Any]:
            return message

        async def send(event: Any) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                for name, text in event["headers"]:
                    if name == b"pilotage-receipt":
                        id_, leaf = text.decode().split()
                        self.told.add((id_, leaf))

        path, headers = f"/v1/systems/{SYSTEM}/decide", [(b"x-api-key", key.encode())]
        scope = {"type": "http", "path": path, "method": "POST", "headers": headers, "client": ("127.0.0.1", 1)}
        await self.gateway(scope, receive, send)
        return status


async def answer_under_cuts(live: LiveHome, serving: Serving, root: Path, cuts: Cuts, *, syncs: bool) -> None:
    root.mkdir()
    cuts.twin = DiskTwin(root, syncs=syncs, before=cuts)
    answering = await Answering.open(live, serving, root, cuts.twin, cuts.told)

    async def client(name: int) -> None:
        for n in range(REQUESTS):
            row = ROW | {"customer": f"c-{name}-{n}", "age": 7 if cuts.chance.random() < 0.2 else 40}
            assert await answering.ask(row, live.key) in (200, 422)

    await asyncio.gather(*(client(name) for name in range(CLIENTS)))
    await answering.journal.close()


def home_after(live: LiveHome, journal: Path, root: Path) -> Installation:
    """The installation as it is found after the cut: everything else was synced long ago, the journal is what is left.

    The copy has a fresh ledger, since nothing was sealed before the cut.
    """
    root.mkdir(parents=True)
    for name in ("control.db", "ledger.db", "keyring.json"):
        shutil.copy(live.root / name, root / name)
    (root / "releases").symlink_to(live.root / "releases")
    shutil.copytree(journal, root / "journal")
    return open_installation(Settings(home=Home(root=root), node="n1"))


async def restart(live: LiveHome, serving: Serving, home: Home, told: set[tuple[str, str]]) -> Recovery:
    """A new worker after the cut: it recovers the journal and answers."""
    answering = await Answering.open(live, serving, home.journal, DiskTwin(home.journal), told)
    assert await answering.ask(ROW, live.key) == 200
    await answering.journal.close()
    return answering.recovery


def checkpointed(live: LiveHome) -> None:
    """Let the database files hold everything, so that they can be copied."""
    for engine in (live.installation.control, live.installation.ledger_engine):
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.rollback()


SIZES = [
    pytest.param((1, 0.15, 12), id="some"),
    pytest.param((8, 0.3, 200), id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("size", SIZES)
def test_no_answer_that_left_is_lost(
    live: LiveHome, serving: Serving, tmp_path: Path, size: tuple[int, float, int]
) -> None:
    seeds, share, least = size
    checkpointed(live)
    made: list[tuple[Path, set[tuple[str, str]]]] = []
    for seed in range(seeds):
        cuts = Cuts(tmp_path / f"cut-{seed}", random.Random(seed), share)
        asyncio.run(answer_under_cuts(live, serving, tmp_path / f"live-{seed}", cuts, syncs=True))
        assert len(cuts.told) == CLIENTS * REQUESTS
        made += cuts.made
    assert len(made) >= least, len(made)
    torn = told_in_all = 0
    for number, (journal, told) in enumerate(made):
        installation = home_after(live, journal, tmp_path / f"home-{number}")
        recovery = asyncio.run(restart(live, serving, installation.home, told))
        assert not recovery.damage
        torn += recovery.torn > 0
        told_in_all += len(told)
        steward = installation.steward("n1/steward")
        assert steward.acquire()
        sealed = steward.seal_all()
        assert not sealed.gaps and not sealed.duplicates
        found = recorded(installation)
        assert told <= found.keys(), f"cut {number}: {len(told - found.keys())} answers that left are not on record"
        assert set(found.values()) == {1}
        report = verify(installation)
        assert report.ok, report.faults
        installation.close()
        shutil.rmtree(installation.home.root)
    assert torn >= least // 30, "cuts that never tear a write prove little"
    assert told_in_all > 20 * len(made), "cuts before anybody had an answer prove little"
    print(f"cuts {len(made)}, torn {torn}, answers that had left {told_in_all}, lost 0")


@pytest.mark.slow
def test_without_syncs_answers_are_lost(live: LiveHome, serving: Serving, tmp_path: Path) -> None:
    checkpointed(live)
    cuts = Cuts(tmp_path / "cut", random.Random(5), 0.2)
    asyncio.run(answer_under_cuts(live, serving, tmp_path / "live", cuts, syncs=False))
    assert len(cuts.made) >= 10
    lost = 0
    for number, (journal, told) in enumerate(cuts.made):
        installation = home_after(live, journal, tmp_path / f"home-{number}")
        steward = installation.steward("n1/steward")
        assert steward.acquire()
        try:
            steward.seal_all()
            lost += bool(told - recorded(installation).keys())
        except PilotageError:
            # What such a disk leaves may be no journal at all; then everything that was told is lost.
            lost += bool(told)
        installation.close()
    assert lost > len(cuts.made) / 3

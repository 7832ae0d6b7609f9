"""Two steward processes over one database: one is killed or stopped at a random time, the other goes on in time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pilotage.errors import NotFound
from pilotage.ledger import store, tiles
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import parse_checkpoint
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from pilotage.wiring.audit import verify
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings
from tests.journeys.live import recorded, vkey_of
from tests.ledger_world import decision, frame_id

IN_TIME_S = 10.0
ELSEWHERE = """
import sys
from pilotage.storage import processes
processes._machine = lambda: "0123456789ab.2"
from pilotage.cli.main import main
sys.argv[0] = "pilotage"
main()
"""
"""A steward that seems to run on another machine: whether its process lives cannot be seen, nor can it be killed."""


@dataclass(kw_only=True)
class Feed:
    """Journals decisions from a thread until stopped; `told` are the ids whose record was acknowledged."""

    installation: Installation
    told: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    async def _write(self) -> None:
        writer = JournalWriter(
            self.installation.home.journal / "n1",
            worker=0,
            steward_key=self.installation.keyring.steward_public,
            segment_bytes=1 << 18,
            max_age_s=1.0,
        )
        await writer.open()
        while not self.stop.is_set():
            frames = [decision(f"s{len(self.told)}") for _ in range(5)]
            await asyncio.gather(*(writer.submit(*frame) for frame in frames))
            self.told += [frame_id(frame) for frame in frames]
            await asyncio.sleep(0.02)
        await writer.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._write()))
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()


@dataclass(kw_only=True)
class Stewards:
    """Two steward processes, started again when killed."""

    installation: Installation
    elsewhere: bool
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        settings = self.installation.settings
        program = ["-c", ELSEWHERE] if self.elsewhere else ["-m", "pilotage"]
        url = ["--database-url", settings.database_url] if settings.database_url else []
        words = [sys.executable, *program, "--home", str(settings.home.root), *url, "steward"]
        with (settings.home.root / "steward.log").open("ab") as log:
            made = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        self.processes[made.pid] = made

    def active(self) -> tuple[int, int]:
        """(epoch, pid) of the holder; (0, 0) while nobody has it."""
        with reading(self.installation.ledger_engine) as connection:
            row = store.peek_lease(connection, "steward")
        return (row.epoch, int(row.holder.split("/")[-2])) if row is not None and row.holder else (0, 0)

    def wait_for_head(self, after_epoch: int, started: float) -> float:
        """Seconds from `started` until a head of a later epoch is in the database."""
        while time.monotonic() - started < 30:
            with reading(self.installation.ledger_engine) as connection:
                head = store.last_head(connection)
            if head is not None and head.epoch > after_epoch:
                return time.monotonic() - started
            time.sleep(0.02)
        raise AssertionError((self.installation.home.root / "steward.log").read_text()[-3_000:])

    def end(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            process.wait(20)


@dataclass(kw_only=True)
class Watcher:
    """Reads the published checkpoint all the time: it never goes back, and never forks."""

    installation: Installation
    seen: dict[int, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        newest, vkey = 0, vkey_of(self.installation)
        while not self.stop.wait(0.003):
            with suppress(NotFound):
                shown = parse_checkpoint(tiles.read_checkpoint(self.installation.home.ledger), [vkey])
                if shown.size < newest or self.seen.setdefault(shown.size, shown.root) != shown.root:
                    self.faults.append(f"{newest} then {shown.size}")
                newest = shown.size

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def check(self) -> None:
        """Every checkpoint that was ever shown is of a beginning of the log as it is now."""
        assert not self.faults
        folder, frontier = self.installation.home.ledger, Frontier()
        for size in sorted(self.seen):
            entries = tiles.read_entries(folder, frontier.size, size)
            frontier = frontier.append([leaf_hash(entry) for entry in entries])
            assert frontier.root() == self.seen[size], size


def take_turns(root: Path, url: str | None, deeds: list[signal.Signals], *, elsewhere: bool) -> list[float]:
    installation = open_installation(Settings(home=Home(root=root), database_url=url, node="n1"), create=True)
    feed, watcher = Feed(installation=installation), Watcher(installation=installation)
    stewards = Stewards(installation=installation, elsewhere=elsewhere)
    chance, took = random.Random(), []
    try:
        stewards.start()
        stewards.start()
        with feed.running(), watcher.running():
            stewards.wait_for_head(0, time.monotonic())
            for deed in deeds:
                time.sleep(chance.uniform(0.1, 1.0))
                epoch, pid = stewards.active()
                os.kill(pid, deed)
                took.append(stewards.wait_for_head(epoch, time.monotonic()))
                if deed == signal.SIGSTOP:
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(chance.uniform(0.0, 0.5))
                if stewards.processes[pid].poll() is not None or deed == signal.SIGKILL:
                    stewards.processes.pop(pid).wait()
                    stewards.start()
            feed.stop.set()
        stewards.end()
        last = installation.steward("last")
        assert last.acquire(steal=True)
        assert not last.seal_all().gaps
        last.release()
        found = Counter(id_ for id_, _ in recorded(installation).elements())
        assert set(found) >= set(feed.told) and set(found.values()) == {1}
        assert verify(installation).ok, verify(installation).faults
        watcher.check()
        assert len(watcher.seen) > 3 * len(deeds)
    finally:
        stewards.end()
        installation.close()
    print(f"{len(deeds)} takeovers, slowest {max(took):.2f} s; {len(feed.told)} records, lost 0, twice 0")
    return took


STOP, KILL = signal.SIGSTOP, signal.SIGKILL


@pytest.mark.slow
def test_takeover_on_sqlite(tmp_path: Path) -> None:
    took = take_turns(tmp_path / "home", None, [KILL, STOP], elsewhere=False)
    assert max(took) < IN_TIME_S


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_repeated_takeovers_on_sqlite(tmp_path: Path) -> None:
    took = take_turns(tmp_path / "home", None, [KILL, STOP, KILL, KILL, STOP, KILL, STOP], elsewhere=False)
    assert max(took) < IN_TIME_S


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_repeated_takeovers_on_postgresql(tmp_path: Path, fresh_postgres: Callable[[], str]) -> None:
    # As between two machines: nobody sees whether the other's process lives.
    took = take_turns(tmp_path / "home", fresh_postgres(), [KILL, STOP, KILL, STOP, KILL], elsewhere=True)
    assert max(took) < IN_TIME_S

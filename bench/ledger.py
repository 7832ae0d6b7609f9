"""What the record costs at scale: sealing, verification, proofs, look-ups, pages; on SQLite and on PostgreSQL.

    make bench-ledger                    a million decisions on SQLite, then on PostgreSQL where it is installed
    make bench-ledger ARGS=--quick       20,000 of them, for a look
    make bench-ledger ARGS="--system-days 10000"      ten thousand data keys of system-days
    make bench-ledger ARGS="--decisions 200000 --only sqlite --keep /some/folder"

Journals are written by the real writer, 70 % of the decisions with a subject of their own, and sealed with their
profiles counted. CPU is that of the process and of those it starts; the machine's noise hardly changes it.
The last line on standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from columns import COLUMNS, SYSTEM
from sqlalchemy import text
from traffic import Traffic, write_journals

from pilotage.kernel.clock import now_us
from pilotage.ledger import store
from pilotage.ledger.faults import Faults
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter, Ledger
from pilotage.ledger.record import decode_leaf
from pilotage.ledger.sealing import Steward
from pilotage.ledger.verify_kept import KeptAudit
from pilotage.ledger.verify_tree import SignedHead, TreeWalk
from pilotage.profiles.model import ReferenceProfile
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release
from pilotage.wiring.audit import verify
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "tests"))

_DAY_US = 86_400_000_000
_LOOKUPS = 300
_STAGE_OF_STEP = {
    "intent": "pack",
    "files": "segments",
    "written": "insert",
    "committed": "commit",
    "published": "publish",
}


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)


def cpu_s() -> float:
    """CPU seconds of this process, all its threads, and of the processes it started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@dataclass(kw_only=True)
class Stages:
    """CPU seconds between a steward's write points, by what was done before each."""

    spent: Counter[str] = field(default_factory=Counter)
    _last: float = field(default_factory=time.process_time)

    def step(self, name: str) -> None:
        """A write point was reached."""
        self.lap(_STAGE_OF_STEP.get(name, name))

    def lap(self, stage: str) -> None:
        """What was done since the last lap was this stage."""
        now = time.process_time()
        self.spent[stage] += now - self._last
        self._last = now


def generate(root: Path, decisions: int, url: str = "") -> Installation:
    """An installation with one release and the journals of so many decisions."""
    installation = open_installation(Settings(home=Home(root=root), database_url=url), create=True)
    release = make_release(installation.home, system=SYSTEM, columns=COLUMNS)
    span = decisions * 100_000
    traffic = Traffic(release=release, decisions=decisions, start=(now_us() - span) // _DAY_US * _DAY_US)

    def written(done: int) -> None:
        if done % 65_536 == 0:
            say(f"  {done:,} journalled")

    write_journals(installation.home, installation.keyring.steward_public, traffic, written)
    return installation


def seal(installation: Installation, decisions: int) -> dict[str, float]:
    """Seal all that waits, as the steward of a node does that was down for a while."""
    stages = Stages()

    def profile_of(release: str) -> ReferenceProfile | None:
        stages.lap("collect")
        return installation.profile_of(release)

    steward = Steward(
        home=installation.home,
        control=installation.control,
        ledger=installation.ledger_engine,
        keyring=installation.keyring,
        holder="bench",
        profile_of=profile_of,
        step=stages.step,
    )
    steward.acquire()
    batches: list[tuple[int, float]] = []
    began, cpu = time.monotonic(), cpu_s()
    sealed, more = 0, True
    while more:
        start = time.monotonic()
        report = steward.seal()
        stages.lap("clean")
        sealed, more = sealed + report.decisions, report.more
        batches.append((report.decisions, time.monotonic() - start))
    wall, used = time.monotonic() - began, cpu_s() - cpu
    steward.release()
    if sealed != decisions:
        raise SystemExit(f"{sealed} sealed of {decisions}")
    whole = [count / seconds for count, seconds in batches if count > 1_000]
    for stage, seconds in stages.spent.items():
        say(f"  {stage:<16}{seconds / decisions * 1e6:8.2f} CPU us a decision")
    return {
        "seal_per_s": round(sealed / wall),
        "seal_per_cpu_s": round(sealed / used),
        "seal_batch_median_per_s": round(statistics.median(whole or [0])),
        "seal_cpu_us": round(used / sealed * 1e6, 1),
        **{f"seal_cpu_us_{stage}": round(spent / sealed * 1e6, 2) for stage, spent in stages.spent.items()},
    }


def check(installation: Installation, decisions: int) -> dict[str, float]:
    """Verify the tree alone (entries, leaf hashes, tiles, heads, signatures), then everything."""
    return check_tree(installation) | check_all(installation, decisions)


def check_tree(installation: Installation) -> dict[str, float]:
    """What needs no key: what a witness with a copy of the files could do."""
    began, cpu, faults = time.monotonic(), cpu_s(), Faults()
    with reading(installation.ledger_engine) as connection:
        rows = store.all_heads(connection)
    heads = [
        SignedHead(
            size=row.size,
            signed=parse_checkpoint(row.checkpoint, installation.keyring.vkeys),
            root=row.root,
            frontier=bytes(row.frontier),
        )
        for row in rows
    ]
    size = heads[-1].size
    folder = installation.home.ledger
    kept = KeptAudit(folder=folder, named={}, faults=faults)
    walk = TreeWalk(folder, size=size, published=size, pending={}, heads=heads, faults=faults, kept=kept)
    for _, entries in walk.bundles():
        for entry in entries:
            assert isinstance(entry, bytes)
            decode_leaf(entry)
    if faults.count:
        raise SystemExit(f"the tree: {faults.found}")
    return {"verify_tree_s": round(time.monotonic() - began, 2), "verify_tree_cpu_s": round(cpu_s() - cpu, 2)}


def check_all(installation: Installation, decisions: int) -> dict[str, float]:
    """The tree, every payload decrypted and held to its leaf, every index row."""
    began, cpu = time.monotonic(), cpu_s()
    report = verify(installation, processes=len(os.sched_getaffinity(0)))
    wall, used = time.monotonic() - began, cpu_s() - cpu
    if not report.ok or report.decisions != decisions or report.readable < decisions:
        raise SystemExit(f"verification: {report}")
    return {"verify_s": round(wall, 2), "verify_cpu_s": round(used, 2), "verify_per_s": round(report.size / wall)}


def _timed(call: Callable[[Any], object], values: list[Any]) -> tuple[float, float]:
    """(median, 99th percentile) of the milliseconds that a call takes."""
    times = []
    for value in values:
        start = time.perf_counter()
        call(value)
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return round(statistics.median(times), 3), round(times[len(times) * 99 // 100], 3)


def look_up(installation: Installation, decisions: int) -> dict[str, float]:
    """Single decisions: by id with payload, and their proofs; for the first time, then with the files in memory."""
    chance, ledger = random.Random(2), installation.ledger()
    vkey = Signer(installation.keyring.origin, installation.keyring.signing).vkey()
    ids = [_id_near(ledger, chance.randrange(1, decisions)) for _ in range(_LOOKUPS)]
    chance.shuffle(ids)
    recorded = ledger.decision(ids[0])
    assert recorded.payload is not None
    verify_proof(ledger.prove(ids[0]), recorded.entry, vkey)
    found = {}
    for name, call in (("lookup", ledger.decision), ("proof", ledger.prove)):
        found[f"{name}_first_ms"] = _timed(call, ids)[0]
        found[f"{name}_ms"], found[f"{name}_p99_ms"] = _timed(call, ids)
    return found


def _id_near(ledger: Ledger, leaf: int) -> str:
    return ledger.decisions(limit=1, before=leaf + 1)[0].id


def pages(installation: Installation, decisions: int) -> dict[str, float]:
    """Pages of 100, the newest and the ones in the middle, by each filter."""
    ledger = installation.ledger()
    middle = ledger.decisions(limit=1, before=decisions // 2)[0]
    subject = ledger.decision(middle.id).payload
    assert subject is not None
    filters = {
        "none": {},
        "system": {"system": SYSTEM},
        "release": {"release": middle.release},
        "stage": {"stage": "production"},
        "arm": {"arm": "challenger"},
        "mode": {"mode": "shadow"},
        "outcome": {"outcome": "rejected"},
        "fault": {"fault": "above_maximum"},
        "fault_absent": {"fault": "no_such_fault"},
        "subject": {"subject": subject.subject},
        "time": {"system": SYSTEM, "since": middle.at - 60_000_000, "until": middle.at},
        "score": {"score_min": 0.5, "score_max": 0.501},
        "release_absent": {"release": "sha256:" + "0" * 64},
    }
    found = {}
    for name, chosen in filters.items():
        wanted = DecisionFilter(**chosen)
        times = [_timed(lambda before: ledger.decisions(wanted, before=before), [None, middle.leaf] * 3)[0]]  # noqa: B023
        found[f"page_{name}_ms"] = times[0]
    found["stats_ms"] = _timed(lambda system: ledger.stats(system), [SYSTEM] * 3)[0]
    return found


def sizes(installation: Installation, decisions: int) -> dict[str, float]:
    """Bytes at rest for each decision."""
    folder = installation.home.ledger
    parts = {
        name: sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        for name in ("tile", "segments")
    }
    if installation.ledger_engine.dialect.name == "sqlite":
        database = sum(path.stat().st_size for path in installation.home.root.glob("ledger.db*"))
    else:
        with installation.ledger_engine.connect() as connection:
            database = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    return {f"bytes_{name}": round(size / decisions) for name, size in {**parts, "database": database}.items()}


def measure(root: Path, decisions: int, url: str) -> dict[str, float]:
    """Everything, on one database."""
    start = time.monotonic()
    installation = generate(root, decisions, url)
    say(f"  journalled in {time.monotonic() - start:.0f} s")
    figures: dict[str, float] = {}
    try:
        for name, stage in (("seal", seal), ("verify", check), ("look up", look_up), ("page", pages), ("size", sizes)):
            found = stage(installation, decisions)
            say(f"  {name}: " + ", ".join(f"{key} {value:,}" for key, value in found.items()))
            figures |= found
    finally:
        installation.close()
    return figures


def _measured(root: Path, decisions: int, system_days: int | None, url: str) -> dict[str, float]:
    if not system_days:
        return measure(root, decisions, url)
    from system_days import measure_system_days

    figures = measure_system_days(root, system_days, url, say)
    say("  " + ", ".join(f"{key} {value:,}" for key, value in figures.items()))
    return figures


@contextlib.contextmanager
def database(name: str) -> Iterator[str | None]:
    """The URL of a fresh database, empty for SQLite; None when its server is not installed."""
    if name == "sqlite":
        yield ""
        return
    from postgres import private_server

    with private_server(sync=True) as url:
        yield url


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 decisions: a look, not a measurement")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"), default="")
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the homes are made, and removed")
    parser.add_argument("--keep", type=Path, help="make the SQLite home here, and leave it")
    parser.add_argument("--system-days", type=int, help="instead: what so many system-days cost, 100 systems a day")
    parser.add_argument("--journals-only", action="store_true", help="with --keep: write the journals, seal nothing")
    chosen = parser.parse_args()
    decisions = 20_000 if chosen.quick else chosen.decisions
    chosen.dir.mkdir(parents=True, exist_ok=True)
    if chosen.journals_only:
        generate(chosen.keep, decisions).close()
        return 0
    figures: dict[str, Any] = {"decisions": decisions, "cores": os.cpu_count()}
    for name in (chosen.only,) if chosen.only else ("sqlite", "postgresql"):
        work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="ledger-"))
        try:
            with database(name) as url:
                if url is None:
                    say(f"{name} is not installed: left out")
                    continue
                what = "system-days" if chosen.system_days else "decisions"
                say(f"{chosen.system_days or decisions:,} {what} on {name}")
                root = chosen.keep if chosen.keep and name == "sqlite" else work / "home"
                figures[name] = _measured(root, decisions, chosen.system_days, url)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A gateway worker at 70 % of its capacity for a while: is memory flat, is all answered, how slow is the tail.

    make bench-soak                             ten minutes
    make bench-soak ARGS="--minutes 1"          a look

Capacity is measured first, by a closed loop at concurrency 64. Journal files are counted and removed as they end, as a
steward would. The last line on standard output is one JSON object; it fails when an answer is not in the journal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pace
from columns import KEY
from gateway import ask, metric, rss_mib, start, stop
from load import drive
from pilot import make_home, row_body

from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Plain, decode_leaf
from pilotage.storage.home import Home

BENCH = Path(__file__).resolve().parent


def take_finished(home: Path, *, everything: bool = False) -> int:
    """Count the decisions of the journal files that have ended, and remove these files."""
    place = Home(root=home)
    steward, files, taken = Keyring.create_or_open(place.keyring).steward, journal_files(place.journal), 0
    for file in files if everything else files[:-1]:
        for frame in read_frames(file, steward):
            if frame.kind == FrameKind.decision:
                leaf = decode_leaf(frame.plain)
                taken += isinstance(leaf, Plain) and leaf.outcome == "answered"
        if not everything:
            file.path.unlink()
    return taken


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (-1, -1)
    chosen.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="soak-"))
    home, body, server = work / "home", work / "row.json", None
    try:
        make_home(home)
        body.write_bytes(row_body())
        server = start("governed", home, server_core, work / "governed.log", body)
        ask(server, work / "governed.log")
        drive(server.url, body, KEY, connections=chosen.connections, seconds=2, core=client_core)
        closed = drive(server.url, body, KEY, connections=chosen.connections, seconds=5, core=client_core)
        rate, seconds = closed.rps * chosen.share, chosen.minutes * 60
        print(f"capacity {closed.rps:,.0f} req/s; {rate:,.0f} req/s for {seconds:,.0f} s", file=sys.stderr, flush=True)
        load = pace.begin(
            server.url,
            body,
            KEY,
            rate=rate,
            connections=chosen.connections,
            seconds=seconds,
            core=client_core,
        )
        memory, recorded, began = [], 0, time.monotonic()
        while load.poll() is None:
            time.sleep(min(5.0, seconds / 20))
            memory.append(rss_mib(server.process))
            recorded += take_finished(home)
            done = min(1.0, (time.monotonic() - began) / seconds)
            print(f"  {done:4.0%}  {memory[-1]:6.1f} MiB  {recorded:,} recorded", file=sys.stderr, flush=True)
        figures = pace.told(load)
        answered = metric(server, "pilotage_gateway_requests_total")
        stop(server)
        recorded += take_finished(home, everything=True)
        if recorded != answered:
            raise SystemExit(f"{recorded} recorded, {answered:.0f} answered")
        warm = memory[len(memory) // 5 :]
        first, last = statistics.median(warm[: len(warm) // 4 + 1]), statistics.median(warm[-(len(warm) // 4 + 1) :])
        facts = {
            "minutes": chosen.minutes,
            "capacity_rps": round(closed.rps, 1),
            "rate_rps": round(rate, 1),
            "due": figures.due,
            "failed": figures.due - figures.answered,
            "p50_ms": figures.p50_ms,
            "p99_ms": figures.p99_ms,
            "ratio_p99_vs_p50": round(figures.p99_ms / figures.p50_ms, 2),
            "rss_mib": round(last, 1),
            "rss_growth": round(last / first - 1, 4),
            "recorded": recorded,
        }
        print(json.dumps(facts))
        return 0
    finally:
        if server is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

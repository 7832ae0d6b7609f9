"""A gateway worker asked for several times what it can answer: how much it still answers, how soon it turns away.

    make bench-overload                                about a minute
    make bench-overload ARGS="--connections 512"       as from a larger pool of connections

Client and server have a core each. Capacity is measured by a closed loop at concurrency 64. Then comes 0.9 of it, and
several times as much by a client that asks on time (`flood.py`): with requests behind others on a connection, and by a
pool that waits for a free one (`_pool`). The medians of the rounds count. Beside each ratio stands the same for a
second of the worker's CPU, which other work on the machine disturbs less. While the flood lasts the readiness of the
worker is asked for. The last line on standard output is one JSON object; it fails when an answer is not in the journal,
when a request is refused by anything but a 503 with `Retry-After`, or when the worker was not ready.
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
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flood
from columns import KEY, PATH
from gateway import Server, ask, cpu_s, metric, rss_mib, start, stop
from load import drive
from pilot import make_home, row_body
from soak import take_finished

BENCH = Path(__file__).resolve().parent


def ask_ready(server: Server) -> float:
    """How long the worker takes to say that it is ready, in ms; raises when it says anything else."""
    began = time.perf_counter()
    with urllib.request.urlopen(server.url.removesuffix(PATH) + "/ready", timeout=10) as reply:
        if not json.load(reply)["ready"]:
            raise SystemExit("the worker was not ready in the flood")
    return (time.perf_counter() - began) * 1e3


@dataclass(frozen=True, kw_only=True)
class Met:
    """A load and what it took: CPU seconds of the worker, its most memory in MiB, its slowest word of readiness."""

    flood: flood.Flooded
    cpu_s: float
    rss_mib: float
    ready_ms: float

    @property
    def answered(self) -> int:
        return self.flood.statuses.get("200", 0)


def load(server: Server, body: Path, rate: float, behind: int, chosen: Any, core: int) -> Met:
    """Ask at a rate; what it met."""
    before, ready, memory = cpu_s(server.process), [0.0], [0.0]
    running = flood.begin(
        server.url,
        body,
        KEY,
        rate=rate,
        connections=chosen.connections,
        seconds=chosen.seconds,
        behind=behind,
        core=core,
    )
    while running.poll() is None:
        time.sleep(0.25)
        ready.append(ask_ready(server))
        memory.append(rss_mib(server.process))
    met = flood.told(running)
    wrong = set(met.statuses) - {"200", "503"}
    if wrong or met.bare or met.unanswered:
        raise SystemExit(f"answers {met.statuses}, {met.bare} without Retry-After, {met.unanswered} never answered")
    return Met(flood=met, cpu_s=cpu_s(server.process) - before, rss_mib=max(memory), ready_ms=max(ready))


def round_of(server: Server, body: Path, chosen: Any, core: int) -> dict[str, float]:
    """Capacity, then 0.9 of it, then the floods; the figures of one round."""
    before = cpu_s(server.process)
    closed = drive(server.url, body, KEY, connections=64, seconds=chosen.seconds, core=core)
    each_s = (cpu_s(server.process) - before) / closed.requests
    below = load(server, body, 0.9 * closed.rps, 1, chosen, core)
    figures = {
        "capacity_rps": closed.rps,
        "capacity_cpu_share": each_s * closed.rps,
        "refused_share_at_09": below.flood.statuses.get("503", 0) / max(1, below.flood.sent),
        "p99_ms_at_09": below.flood.p99_ms,
    }
    for name, behind in (("", 64), ("_pool", 1)):
        met = load(server, body, chosen.times * closed.rps, behind, chosen, core)
        figures |= {
            f"goodput_ratio{name}": met.answered / met.flood.seconds / closed.rps,
            f"goodput_ratio_per_cpu{name}": met.answered / met.cpu_s * each_s,
            f"offered_ratio{name}": met.flood.sent / met.flood.seconds / closed.rps,
            f"shed_p50_ms{name}": met.flood.shed_p50_ms,
            f"shed_p99_ms{name}": met.flood.shed_p99_ms,
            f"answered_p99_ms{name}": met.flood.p99_ms,
            f"ready_ms{name}": met.ready_ms,
            f"cpu_share{name}": met.cpu_s / met.flood.seconds,
            f"client_late_share{name}": met.flood.late,
            f"rss_mib{name}": met.rss_mib,
        }
    print("  " + "  ".join(f"{name} {value:,.3f}" for name, value in figures.items()), file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=5.0, help="of the capacity")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (-1, -1)
    chosen.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="overload-"))
    home, body, server = work / "home", work / "row.json", None
    try:
        make_home(home)
        body.write_bytes(row_body())
        server = start("governed", home, server_core, work / "governed.log", body)
        ask(server, work / "governed.log")
        drive(server.url, body, KEY, connections=64, seconds=2, core=client_core)
        rounds, recorded = [], 0
        for _ in range(chosen.rounds):
            rounds.append(round_of(server, body, chosen, client_core))
            recorded += take_finished(home)
        answered = metric(server, "pilotage_gateway_requests_total")
        stop(server)
        recorded += take_finished(home, everything=True)
        if recorded != answered:
            raise SystemExit(f"{recorded} recorded, {answered:.0f} answered")
        middle = {name: round(statistics.median(each[name] for each in rounds), 4) for name in rounds[0]}
        print(json.dumps({"times": chosen.times, "connections": chosen.connections, **middle, "recorded": recorded}))
        return 0
    finally:
        if server is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

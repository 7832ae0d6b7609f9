"""A gateway worker asked for several times what it can answer: how much it still answers, how soon it turns away.

    make bench-overload                                about a minute and a half
    make bench-overload ARGS="--connections 512"       with requests behind others on twice as many connections

Client and server have a core each. Capacity is measured by a closed loop at concurrency 64. Then comes 0.9 of it, and
several times as much by a client that asks on time (`flood.py`): one row a request, with requests behind others on a
connection; and many rows a request (`_pool`), by a pool of connections with one request each, whose capacity is that of
a closed loop at concurrency 4. (One row a request by a pool cannot be asked at that rate: the kernel's read and write
of a refusal, and the client, take longer.) Medians of the rounds count. Beside each ratio of goodput stands the same
for a second of the worker's CPU, which other work on the machine disturbs less. Latencies of the server are apart from
what the client sees (`_seen`), see `flood.py`. While the flood lasts the readiness of the worker is asked for.

The bar: `goodput_ratio` at least 0.8 and `shed_p99_ms` below 50, of both. The last line on standard output is one JSON
object; it fails when an answer is not in the journal, when a request is refused by anything but a 503 with
`Retry-After`, or when the worker was not ready.
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


def load(server: Server, body: Path, rate: float, connections: int, behind: int, chosen: Any) -> Met:
    """Ask at a rate; what it met."""
    before, ready, memory = cpu_s(server.process), [0.0], [0.0]
    running = flood.begin(
        server.url,
        body,
        KEY,
        rate=rate,
        connections=connections,
        seconds=chosen.seconds,
        behind=behind,
        core=chosen.core,
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


def capacity(server: Server, body: Path, concurrency: int, chosen: Any) -> tuple[float, float]:
    """(requests a second that a closed loop gets answered, CPU seconds of each).

    None is refused but in the first turn, where the load before had dearer requests.
    """
    before = cpu_s(server.process)
    closed = drive(server.url, body, KEY, connections=concurrency, seconds=chosen.seconds, core=chosen.core)
    if closed.failed > concurrency:
        raise SystemExit(f"{closed.failed} of {closed.requests} failed at concurrency {concurrency}")
    return closed.rps, (cpu_s(server.process) - before) / closed.requests


def flooded(
    server: Server, body: Path, concurrency: int, connections: int, behind: int, chosen: Any
) -> dict[str, float]:
    """Capacity at a concurrency, then several times as much: the figures of one flood."""
    rps, each_s = capacity(server, body, concurrency, chosen)
    met = load(server, body, chosen.times * rps, connections, behind, chosen)
    return {
        "capacity_rps": rps,
        "offered_ratio": met.flood.sent / met.flood.seconds / rps,
        "goodput_ratio": met.answered / met.flood.seconds / rps,
        "goodput_ratio_per_cpu": met.answered / met.cpu_s * each_s,
        "shed_p50_ms": met.flood.shed_p50_ms,
        "shed_p99_ms": met.flood.shed_p99_ms,
        "shed_p99_ms_seen": met.flood.shed_seen_p99_ms,
        "answered_p99_ms": met.flood.p99_ms,
        "ready_ms": met.ready_ms,
        "cpu_share": met.cpu_s / met.flood.seconds,
        "client_late_share": met.flood.late,
        "rss_mib": met.rss_mib,
    }


def answered_so_far(server: Server) -> float:
    """Requests that the worker has answered, those included whose client was gone."""
    time.sleep(0.5)
    return metric(server, "pilotage_gateway_requests_total")


def round_of(server: Server, row: Path, rows: Path, chosen: Any) -> dict[str, float]:
    """0.9 of the capacity, then the floods; the figures of one round."""
    rps, _ = capacity(server, row, 64, chosen)
    below = load(server, row, 0.9 * rps, chosen.connections, 1, chosen).flood
    figures = {
        "refused_share_at_09": below.statuses.get("503", 0) / max(1, below.sent),
        "p99_ms_at_09": below.p99_ms,
        **flooded(server, row, 64, chosen.connections, 64, chosen),
    }
    before = answered_so_far(server)
    pool = flooded(server, rows, 4, 4 * chosen.connections, 1, chosen)
    figures |= {f"{name}_pool": value for name, value in pool.items()}
    figures["answered_pool"] = answered_so_far(server) - before
    print("  " + "  ".join(f"{name} {value:,.3f}" for name, value in figures.items()), file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=5.0, help="of the capacity")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--rows", type=int, default=16, help="of each request of the pool")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = sorted(os.sched_getaffinity(0))
    server_core, chosen.core = (cores[0], cores[1]) if len(cores) > 1 else (-1, -1)
    chosen.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="overload-"))
    home, row, rows, server = work / "home", work / "row.json", work / "rows.json", None
    try:
        make_home(home)
        row.write_bytes(row_body())
        rows.write_text(json.dumps({"inputs": [json.loads(row_body())["inputs"]] * chosen.rows}))
        server = start("governed", home, server_core, work / "governed.log", row)
        ask(server, work / "governed.log")
        drive(server.url, row, KEY, connections=64, seconds=2, core=chosen.core)
        rounds, recorded = [], 0
        for _ in range(chosen.rounds):
            rounds.append(round_of(server, row, rows, chosen))
            recorded += take_finished(home)
        of_many = sum(each.pop("answered_pool") for each in rounds)
        answered = answered_so_far(server) + of_many * (chosen.rows - 1)
        stop(server)
        recorded += take_finished(home, everything=True)
        if recorded != answered:
            raise SystemExit(f"{recorded} recorded, {answered:.0f} answered")
        middle = {name: round(statistics.median(each[name] for each in rounds), 4) for name in rounds[0]}
        print(
            json.dumps(
                {
                    "times": chosen.times,
                    "connections": chosen.connections,
                    "rows_pool": chosen.rows,
                    **middle,
                    "recorded": recorded,
                }
            )
        )
        return 0
    finally:
        if server is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

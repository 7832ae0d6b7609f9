"""How far sealing lags behind answers, and what it costs them: a steady load, the steward away, catching up, beside.

    python bench/lag.py                         1,500 requests a second, 20 s each
    python bench/lag.py --rate 500 --seconds 5

Latencies count from when a request was due. The lag is the age of the newest sealed decision, looked at 20 times a
second: it holds everything from the request's arrival to the signed head. The steward is `pilotage steward`, nice as it
ships. The last line on standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pace
from columns import KEY
from gateway import Server, ask, metric, start, stop
from pilot import make_home, row_body
from sqlalchemy import Engine, select

from pilotage.kernel.clock import now_us
from pilotage.ledger.tables import decisions
from pilotage.storage.database import open_engine, reading
from pilotage.storage.home import Home

BENCH = Path(__file__).resolve().parent
_LOOK_S, _CAUGHT_UP_S = 0.05, 1.0


def lag_s(ledger: Engine) -> float:
    """The age of the newest sealed decision; a day when there is none."""
    with reading(ledger) as connection:
        at = connection.execute(select(decisions.c.at).order_by(decisions.c.leaf.desc()).limit(1)).scalar()
    return 86_400.0 if at is None else (now_us() - at) / 1e6


def begin_steward(home: Path, log: Path) -> subprocess.Popen[bytes]:
    """`pilotage steward`, once its ledger is there."""
    with log.open("ab") as file:
        command = [str(Path(sys.executable).with_name("pilotage")), "--home", str(home), "steward"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    while not Home(root=home).ledger_database.exists():
        if process.poll() is not None:
            raise SystemExit(log.read_text()[-2000:])
        time.sleep(_LOOK_S)
    return process


def phase(
    server: Server, body: Path, chosen: argparse.Namespace, ledger: Engine | None
) -> tuple[pace.Paced, list[float]]:
    """A steady load for a while, and the lags seen meanwhile; nothing may fail."""
    load = pace.begin(
        server.url, body, KEY, rate=chosen.rate, connections=chosen.connections, seconds=chosen.seconds, core=-1
    )
    lags: list[float] = []
    time.sleep(1.0)  # the load has begun, and its first decisions are on their way
    while load.poll() is None:
        if ledger is not None:
            lags.append(lag_s(ledger))
        time.sleep(_LOOK_S)
    figures = pace.told(load)
    if figures.answered != figures.due:
        raise SystemExit(f"{figures.due} due, {figures.answered} answered")
    return figures, sorted(lags[: -int(1.5 / _LOOK_S)])


def measure(work: Path, chosen: argparse.Namespace) -> dict[str, float | int]:
    """The steward away, catching up, beside."""
    home, body, log = work / "home", work / "row.json", work / "governed.log"
    make_home(home)
    body.write_bytes(row_body())
    server, steward = start("governed", home, -1, log, body), None
    try:
        ask(server, log)
        phase(server, body, argparse.Namespace(**{**vars(chosen), "seconds": 2}), None)
        away, _ = phase(server, body, chosen, None)
        waiting, began = int(metric(server, "pilotage_gateway_requests_total")), time.monotonic()
        steward = begin_steward(home, work / "steward.log")
        ledger = open_engine(f"sqlite:///{Home(root=home).ledger_database}")
        catching, _ = phase(server, body, chosen, None)
        while lag_s(ledger) > _CAUGHT_UP_S + chosen.seconds and time.monotonic() - began < 120:
            time.sleep(_LOOK_S)
        beside, lags = phase(server, body, chosen, ledger)
        ledger.dispose()
        return {
            "rate_rps": chosen.rate,
            "seconds": chosen.seconds,
            "waiting_at_start": waiting,
            "p50_ms_steward_away": away.p50_ms,
            "p99_ms_steward_away": away.p99_ms,
            "p50_ms_catching_up": catching.p50_ms,
            "p99_ms_catching_up": catching.p99_ms,
            "p50_ms_beside": beside.p50_ms,
            "p99_ms_beside": beside.p99_ms,
            "ratio_p99_beside_vs_away": round(beside.p99_ms / away.p99_ms, 2),
            "lag_ms_p50": round(lags[len(lags) // 2] * 1e3),
            "lag_ms_p99": round(lags[len(lags) * 99 // 100] * 1e3),
            "load_average": round(os.getloadavg()[0], 2),
        }
    finally:
        if steward is not None:
            steward.terminate()
            steward.wait(60)
        stop(server)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1_500.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the three")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    chosen = parser.parse_args()
    chosen.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="lag-"))
    try:
        print(json.dumps(measure(work, chosen)))
        return 0
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

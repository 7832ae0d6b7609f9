"""What governing costs: the gateway against the same server without it, and against FastAPI, in one run.

    make bench-gateway                 about three minutes
    make bench-gateway ARGS=--quick    about half a minute, for a look

Each round measures every server at every concurrency, one after the other, server and client pinned to a core each;
a ratio is the median over the rounds of the ratio within a round, so that a busy machine disturbs both sides alike.
The last line on standard output is one JSON object. It fails when an answer of the gateway is not in its journal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from load import Load, client_name, drive
from pilot import KEY, PATH, make_home, row_body
from servers import SERVERS

from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Plain, decode_leaf
from pilotage.storage.home import Home

BENCH = Path(__file__).resolve().parent
CONCURRENCY = (1, 16, 64)


@dataclass(kw_only=True)
class Server:
    """A running server and what was measured of it: loads by concurrency, and CPU microseconds a request."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    loads: dict[int, list[Load]] = field(default_factory=lambda: {c: [] for c in CONCURRENCY})
    cpu_us: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONCURRENCY})
    answered: int = 0


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def start(name: str, home: Path, core: int, log: Path) -> Server:
    """Start a server on a free port and wait until it answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        port = listener.getsockname()[1]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(BENCH / "servers.py"), name, str(home), str(listener.fileno()), str(core)],
                pass_fds=[listener.fileno()],
                stdout=file,
                stderr=file,
                env=environ,
            )
    return Server(name=name, process=process, url=f"http://127.0.0.1:{port}{PATH}")


def ask(server: Server, body: bytes, log: Path) -> float:
    """The score that a server answers with, once it does."""
    request = urllib.request.Request(
        server.url, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                server.answered += 1
                answer = json.load(reply)
                return float(answer.get("answer", answer)["score"])
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise SystemExit(f"{server.name} answers {error.code}: {error.read()[:500]!r}") from None
            time.sleep(0.05)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise SystemExit(f"{server.name} does not answer: {log.read_text()[-2000:]}")


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds that a process has used, all its threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: Server, body: Path, concurrency: int, seconds: float, core: int) -> None:
    """One load on one server; any failed request ends the benchmark."""
    before = cpu_s(server.process)
    load = drive(server.url, body, KEY, connections=concurrency, seconds=seconds, core=core)
    if load.failed or not load.requests:
        raise SystemExit(f"{server.name} at {concurrency}: {load.failed} failed of {load.requests}")
    server.loads[concurrency].append(load)
    server.cpu_us[concurrency].append((cpu_s(server.process) - before) / load.requests * 1e6)
    server.answered += load.requests
    latency = f"p50 {load.p50_ms:7.2f}  p99 {load.p99_ms:7.2f} ms"
    say(f"  c={concurrency:<3} {server.name:<13} {load.rps:9,.0f} req/s  {latency}")


def stop(server: Server) -> None:
    """Drain a server."""
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(20)
    except subprocess.TimeoutExpired:
        server.process.kill()
        raise SystemExit(f"{server.name} did not drain") from None


def count_recorded(home: Path) -> int:
    """The answered decisions in the journal, each checked and decrypted; twice the same id is an error."""
    place = Home(root=home)
    steward = Keyring.create_or_open(place.keyring).steward
    ids: set[str] = set()
    frames = 0
    for file in journal_files(place.journal):
        for frame in read_frames(file, steward):
            if frame.kind == FrameKind.decision:
                leaf = decode_leaf(frame.plain)
                assert isinstance(leaf, Plain)
                frames += leaf.outcome == "answered"
                ids.add(leaf.id)
    if len(ids) != frames:
        raise SystemExit(f"{frames} decisions have {len(ids)} ids")
    return frames


def metric(server: Server, name: str) -> float:
    """The sum of one metric of the gateway."""
    with urllib.request.urlopen(server.url.removesuffix(PATH) + "/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and "answered" in line)


def ratio(one: Server, other: Server, concurrency: int, what: str = "rps") -> float:
    """The median over the rounds of one server's figure over another's."""
    pairs = zip(one.loads[concurrency], other.loads[concurrency], strict=True)
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)


def middle(server: Server, concurrency: int, what: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(load, what) for load in server.loads[concurrency])


def report(servers: dict[str, Server], recorded: int) -> dict[str, object]:
    """Print the table and return the figures."""
    governed = servers["governed"]
    print(f"{'server':<14}{'c':>4}{'req/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'governed / it':>15}")
    for concurrency in CONCURRENCY:
        for server in servers.values():
            figures = [middle(server, concurrency, what) for what in ("rps", "p50_ms", "p99_ms")]
            cpu = statistics.median(server.cpu_us[concurrency])
            print(
                f"{server.name:<14}{concurrency:>4}{figures[0]:>10,.0f}{figures[1]:>9.2f}{figures[2]:>9.2f}{cpu:>9.1f}"
                f"{ratio(governed, server, concurrency):>15.2f}"
            )
    extra = [a - b for a, b in zip(governed.cpu_us[64], servers["synced"].cpu_us[64], strict=True)]
    figures_out: dict[str, object] = {
        "ratio_vs_fastapi_c64": round(ratio(governed, servers["fastapi"], 64), 3),
        "ratio_vs_fastapi_onnx_c64": round(ratio(governed, servers["fastapi-onnx"], 64), 3),
        "ratio_vs_ungoverned_c64": round(ratio(governed, servers["ungoverned"], 64), 3),
        "ratio_vs_synced_c64": round(ratio(governed, servers["synced"], 64), 3),
        "ratio_journalled_vs_synced_c64": round(ratio(servers["journalled"], servers["synced"], 64), 3),
        "governed_rps_c64": round(middle(governed, 64, "rps"), 1),
        "governed_p99_ms_c64": round(middle(governed, 64, "p99_ms"), 3),
        "governance_cpu_us_c64": round(statistics.median(extra), 1),
    }
    for concurrency in CONCURRENCY:
        for other in SERVERS[1:]:
            key = f"ratio_p50_vs_{other.replace('-', '_')}_c{concurrency}"
            figures_out[key] = round(ratio(governed, servers[other], concurrency, "p50_ms"), 3)
    return figures_out | {"recorded": recorded, "client": client_name(), "cores": os.cpu_count()}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds, seconds = (1, 1.0) if chosen.quick else (chosen.rounds, chosen.seconds)
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (-1, -1)
    chosen.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="run-"))
    servers: dict[str, Server] = {}
    try:
        home, body = work / "home", work / "row.json"
        say(f"load by the {client_name()} client on core {client_core}; server on core {server_core}")
        say(f"the journal is synced to {work}")
        make_home(home)
        body.write_bytes(row_body())
        scores = {}
        for name in SERVERS:
            servers[name] = start(name, home, server_core, work / f"{name}.log")
            scores[name] = ask(servers[name], body.read_bytes(), work / f"{name}.log")
        if max(scores.values()) - min(scores.values()) > 1e-9:
            raise SystemExit(f"the servers do not answer from the same model: {scores}")
        for server in servers.values():
            drive(server.url, body, KEY, connections=16, seconds=1.0, core=client_core)
        warm = metric(servers["governed"], "pilotage_gateway_requests_total") - servers["governed"].answered
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            for concurrency in CONCURRENCY:
                for server in servers.values():
                    measure(server, body, concurrency, seconds, client_core)
        governed = servers["governed"]
        time.sleep(0.5)
        answered = metric(governed, "pilotage_gateway_requests_total")
        for server in servers.values():
            stop(server)
        recorded = count_recorded(home)
        if not recorded == answered >= governed.answered + warm:
            raise SystemExit(f"{recorded} recorded, {answered:.0f} answered, {governed.answered + warm:.0f} received")
        say(f"recorded = answered = {recorded:,}")
        print(json.dumps(report(servers, recorded)))
        return 0
    finally:
        for server in servers.values():
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

"""What governing costs: the gateway against the same server without it, and against servers of others, in one run.

    make bench-gateway                          about six minutes; the first run installs the peers under .peers
    make bench-gateway ARGS=--quick             about a minute, for a look
    make bench-gateway ARGS="--peers ceiling"   of the peers only these; --peers "" for none

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
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import peers
from columns import FEATURES, KEY, PATH
from load import Load, client_name, drive
from pilot import make_home, row_body
from servers import SERVERS

from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Plain, decode_leaf
from pilotage.storage.home import Home

BENCH = Path(__file__).resolve().parent
CONCURRENCY = (1, 16, 64)
FEATURE_NAMES = [column.name for column in FEATURES]


@dataclass(kw_only=True)
class Server:
    """A running server and what was measured of it: loads by concurrency, and CPU microseconds a request."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    body: Path
    peer: bool = False
    loads: dict[int, list[Load]] = field(default_factory=lambda: {c: [] for c in CONCURRENCY})
    cpu_us: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONCURRENCY})
    answered: int = 0


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def start(name: str, home: Path, core: int, log: Path, row: Path) -> Server:
    """Start a server on a free port."""
    if name in peers.PEERS:
        process, url = peers.start(name, home, core, log)
        body = log.with_suffix(".json")
        inputs = json.loads(row.read_bytes())["inputs"]
        body.write_text(json.dumps(peers.PEERS[name].body({name: float(inputs[name]) for name in FEATURE_NAMES})))
        return Server(name=name, process=process, url=url, body=body, peer=True)
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
    return Server(name=name, process=process, url=f"http://127.0.0.1:{port}{PATH}", body=row)


def ask(server: Server, log: Path) -> float:
    """The score that a server answers with, once it does."""
    request = urllib.request.Request(
        server.url, server.body.read_bytes(), {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                server.answered += 1
                answer = json.load(reply)
                if "predictions" in answer:
                    return float(answer["predictions"][0][1])
                return float(answer.get("answer", answer)["score"])
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise SystemExit(f"{server.name} answers {error.code}: {error.read()[:500]!r}") from None
            time.sleep(0.05)
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{server.name} does not answer: {log.read_text()[-2000:]}")


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds that a process and what it started have used, all their threads."""
    ticks = 0
    for pid in [process.pid, *_descendants(process.pid)]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *_descendants(child)]
    return found


def rss_mib(process: subprocess.Popen[bytes]) -> float:
    """The memory a process holds, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measure(server: Server, concurrency: int, seconds: float, core: int) -> None:
    """One load on one server; any failed request ends the benchmark."""
    before = cpu_s(server.process)
    load = drive(server.url, server.body, KEY, connections=concurrency, seconds=seconds, core=core)
    if load.failed or not load.requests:
        raise SystemExit(f"{server.name} at {concurrency}: {load.failed} failed of {load.requests}")
    server.loads[concurrency].append(load)
    server.cpu_us[concurrency].append((cpu_s(server.process) - before) / load.requests * 1e6)
    server.answered += load.requests
    latency = f"p50 {load.p50_ms:7.2f}  p99 {load.p99_ms:7.2f} ms"
    say(f"  c={concurrency:<3} {server.name:<13} {load.rps:9,.0f} req/s  {latency}")


def stop(server: Server) -> None:
    """Drain a server."""
    if server.peer:
        peers.stop(server.process)
        return
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


def report(servers: dict[str, Server]) -> dict[str, object]:
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
        f"ratio_vs_{name.replace('-', '_')}_c64": round(ratio(governed, server, 64), 3)
        for name, server in servers.items()
        if server is not governed
    }
    if "ceiling" in servers:
        figures_out["ratio_p50_c1_vs_ceiling"] = round(ratio(governed, servers["ceiling"], 1, "p50_ms"), 3)
    figures_out |= {
        "ratio_journalled_vs_synced_c64": round(ratio(servers["journalled"], servers["synced"], 64), 3),
        "governed_rps_c64": round(middle(governed, 64, "rps"), 1),
        "governed_p99_ms_c64": round(middle(governed, 64, "p99_ms"), 3),
        "governance_cpu_us": round(statistics.median(extra), 1),
        "governed_rss_mib": round(rss_mib(governed.process), 1),
    }
    for concurrency in CONCURRENCY:
        for other in servers.keys() - {"governed"}:
            key = f"ratio_p50_vs_{other.replace('-', '_')}_c{concurrency}"
            figures_out[key] = round(ratio(governed, servers[other], concurrency, "p50_ms"), 3)
    return figures_out | {"client": client_name(), "cores": os.cpu_count()}


def installed(names: Iterable[str]) -> list[str]:
    """Those peers that are here, or could be installed."""
    found = []
    for name in names:
        try:
            say(f"{name}: {peers.PEERS[name].version} {peers.install(name)}")
            found.append(name)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"{name} is left out, it cannot be installed: {error}")
    return found


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--dir", type=Path, default=BENCH / "results", help="where the journal is synced to")
    parser.add_argument("--peers", default=",".join(peers.PEERS), help="servers of others to measure beside, by comma")
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
        peers.prepare(home, FEATURE_NAMES, json.loads(row_body())["inputs"])
        scores = {}
        for name in [*SERVERS, *installed(filter(None, chosen.peers.split(",")))]:
            log = work / f"{name}.log"
            servers[name] = start(name, home, server_core, log, body)
            scores[name] = ask(servers[name], log)
        if max(scores.values()) - min(scores.values()) > 1e-9:
            raise SystemExit(f"the servers do not answer from the same model: {scores}")
        for server in servers.values():
            drive(server.url, server.body, KEY, connections=16, seconds=1.0, core=client_core)
        warm = metric(servers["governed"], "pilotage_gateway_requests_total") - servers["governed"].answered
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            for concurrency in CONCURRENCY:
                for server in servers.values():
                    measure(server, concurrency, seconds, client_core)
        governed = servers["governed"]
        time.sleep(0.5)
        answered = metric(governed, "pilotage_gateway_requests_total")
        figures = report(servers)
        for server in servers.values():
            stop(server)
        recorded = count_recorded(home)
        if not recorded == answered >= governed.answered + warm:
            raise SystemExit(f"{recorded} recorded, {answered:.0f} answered, {governed.answered + warm:.0f} received")
        say(f"recorded = answered = {recorded:,}")
        print(json.dumps(figures | {"recorded": recorded}))
        return 0
    finally:
        for server in servers.values():
            if server.process.poll() is None and server.peer:
                peers.stop(server.process)
            elif server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

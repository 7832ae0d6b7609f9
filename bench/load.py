"""Load by `wrk` where it is installed, else by a bundled asyncio client; both keep connections alive."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

__all__ = ["Load", "client_name", "drive"]

_LUA = """
wrk.method = "POST"
local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()
wrk.headers["Authorization"] = "Bearer {key}"
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\nRESULT {{"requests":%d,"us":%d,"p50":%d,"p99":%d,"failed":%d}}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a run of load measured: requests answered, requests a second, latencies in ms, failures of any kind."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    failed: int


def client_name() -> str:
    """Which client drives the load: `wrk`, or `bundled` where there is none or `PILOTAGE_BENCH_CLIENT` says so."""
    bundled = os.environ.get("PILOTAGE_BENCH_CLIENT") == "bundled"
    return "bundled" if bundled or not shutil.which("wrk") else "wrk"


def drive(url: str, body: Path, key: str, *, connections: int, seconds: float, core: int) -> Load:
    """Load one server with a number of connections, each sending its next request when it has its answer."""
    pin = ["taskset", "-c", str(core)] if core >= 0 and shutil.which("taskset") else []
    if client_name() == "wrk":
        script = body.with_suffix(".lua")
        script.write_text(_LUA.format(body=body, key=key))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        output = subprocess.run([*pin, *command, "-s", str(script), url], capture_output=True, text=True, check=True)
        found = re.search(r"^RESULT (.*)$", output.stdout, re.MULTILINE)
        if found is None:
            raise SystemExit(f"wrk said: {output.stdout[-500:]} {output.stderr[-500:]}")
        facts = json.loads(found.group(1))
        return Load(
            requests=facts["requests"],
            rps=facts["requests"] / facts["us"] * 1e6,
            p50_ms=facts["p50"] / 1e3,
            p99_ms=facts["p99"] / 1e3,
            failed=facts["failed"],
        )
    arguments = [url, str(body), key, str(connections), str(seconds)]
    output = subprocess.run([*pin, sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return Load(**json.loads(output.stdout))


class _Connection(asyncio.Protocol):
    """One connection: its next request leaves when its answer is whole."""

    def __init__(self, request: bytes, latencies: list[float], failures: list[str], until: float) -> None:
        self._request, self._latencies, self._failures, self._until = request, latencies, failures, until
        self._buffer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = re.search(rb"content-length: *(\d+)", self._buffer[:end], re.IGNORECASE)
        if length is None or len(self._buffer) < end + 4 + int(length.group(1)):
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        if self._buffer[9:12] != b"200":
            self._failures.append(self._buffer[:12].decode("latin-1"))
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self._failures.append("connection lost")
        if not self.ended.done():
            self.ended.set_result(None)


async def _bundled(url: str, body: Path, key: str, connections: int, seconds: float) -> Load:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    content = body.read_bytes()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    latencies: list[float] = []
    failures: list[str] = []
    started = time.perf_counter()
    loop = asyncio.get_running_loop()

    def connection() -> _Connection:
        return _Connection(head.encode() + content, latencies, failures, started + seconds)

    opened = [await loop.create_connection(connection, name, int(port)) for _ in range(connections)]
    async with asyncio.timeout(seconds + 20):
        await asyncio.gather(*(protocol.ended for _, protocol in opened))
    spent = time.perf_counter() - started
    latencies.sort()
    return Load(
        requests=len(latencies),
        rps=len(latencies) / spent,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        failed=len(failures),
    )


if __name__ == "__main__":
    import uvloop

    found = uvloop.run(_bundled(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
    print(json.dumps(asdict(found)))
    sys.stdout.flush()
    os._exit(0)

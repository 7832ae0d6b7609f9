"""Load at a given rate, whether or not the server keeps up: each latency counts from when the request was due.

    python bench/pace.py URL BODY KEY RATE CONNECTIONS SECONDS

A client that waits for its answer before it asks again hides how long others would have waited. This one asks on time
while a connection is free, and counts the wait for one. The last line on standard output is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

__all__ = ["Paced", "begin", "told"]

_TICK_S = 0.001


@dataclass(frozen=True, kw_only=True)
class Paced:
    """What a paced run measured: requests due and answered, answers by status, latencies in ms from when due."""

    due: int
    answered: int
    lost: int
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    p99_shed_ms: float


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load, self._buffer, self._due = load, b"", 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.free(self)

    def ask(self, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        if len(self._buffer) < end + 4 + int(head[at : head.find(b"\r", at) % (end + 1)]):
            return
        status, self._buffer, due = self._buffer[9:12].decode(), b"", self._due
        self._due = 0.0
        self._load.told(status, time.perf_counter() - due)
        if b"connection: close" not in head:
            self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(bool(self._due))


class _Load:
    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address, self.request = address, request
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._opening: set[asyncio.Task[object]] = set()
        self.latencies: list[float] = []
        self.shed: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.gone = 0
        self.over = False

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: _Connection(self), *self._address)

    def free(self, connection: _Connection) -> None:
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._free.append(connection)

    def due(self, at: float) -> None:
        if self._free:
            self._free.pop().ask(at)
        else:
            self._waiting.append(at)

    def told(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        (self.latencies if status == "200" else self.shed).append(seconds)

    def lost(self, asked: bool) -> None:
        self.gone += asked
        if not self.over:
            task = asyncio.ensure_future(self.open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    @property
    def pending(self) -> int:
        return len(self._waiting)


async def _run(url: str, body: Path, key: str, rate: float, connections: int, seconds: float) -> Paced:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    content = body.read_bytes()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    load = _Load((name, int(port)), head.encode() + content)
    for _ in range(connections):
        await load.open()
    start, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - start) < seconds:
        for _ in range(int(now * rate) - sent):
            load.due(start + sent / rate)
            sent += 1
        await asyncio.sleep(_TICK_S)
    end = time.perf_counter() + 10
    while len(load.latencies) + len(load.shed) + load.gone < sent and time.perf_counter() < end:
        await asyncio.sleep(0.05)
    load.over = True
    return Paced(
        due=sent,
        answered=len(load.latencies),
        lost=sent - len(load.latencies) - len(load.shed),
        statuses=dict(load.statuses),
        p50_ms=_at(load.latencies, 0.5),
        p99_ms=_at(load.latencies, 0.99),
        max_ms=_at(load.latencies, 1.0),
        p99_shed_ms=_at(load.shed, 0.99),
    )


def _at(values: list[float], share: float) -> float:
    values.sort()
    return round(values[min(len(values) - 1, int(len(values) * share))] * 1e3, 3) if values else 0.0


def begin(
    url: str, body: Path, key: str, *, rate: float, connections: int, seconds: float, core: int
) -> subprocess.Popen[str]:
    """Start the load in a process of its own, on a core of its own where there is one."""
    pin = ["taskset", "-c", str(core)] if core >= 0 and shutil.which("taskset") else []
    arguments = [url, str(body), key, str(rate), str(connections), str(seconds)]
    return subprocess.Popen([*pin, sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> Paced:
    """Wait for a load to end; what it measured."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the load failed with {process.returncode}")
    return Paced(**json.loads(output.splitlines()[-1]))


if __name__ == "__main__":
    import uvloop

    made = uvloop.run(
        _run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
    )
    print(json.dumps(asdict(made)))
    sys.stdout.flush()
    os._exit(0)

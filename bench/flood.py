"""Load at a rate whatever the server does: many connections, further requests behind those that are unanswered.

    python bench/flood.py URL BODY KEY RATE CONNECTIONS SECONDS BEHIND

A request that is due goes to a connection that has no answer to wait for; where there is none, behind the requests of
another (HTTP pipelining), up to BEHIND on one, so that a slow server does not slow the load; with BEHIND 1 it is held,
as by clients with a pool. Plain sockets and ready bytes, so that one core asks several times what the server can
answer. The last line on standard output is one JSON object.

Two latencies are told apart, because client and server have a core each and the client's may be the busier one. That of
the server counts from when the last byte of a request was in its socket (over the loopback a write puts it there) to
when the last byte of the answer was in the client's, as the kernel stamped it. What the client sees counts from when a
request was due to when its answer was read. Where several answers were read at once, all have the stamp of the last.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

__all__ = ["Flooded", "begin", "told"]

_TICK_S = 0.002
_DRAIN_S = 5.0
_STAMP = 35
"""SO_TIMESTAMPNS of Linux: the kernel tells when what is read had arrived, by its wall clock."""
_TIME = struct.Struct("@qq")


@dataclass(frozen=True, kw_only=True)
class Flooded:
    """What a flood met: requests due, sent, answered by status, without an answer; latencies of the server in ms.

    `held` could not be sent: every connection had too many before it. `bare` are answers 503 without `Retry-After`.
    `seconds` is how long it was sent for. `seen` are latencies as the client sees them. `late` is the share of the
    client's rounds that began more than four of its ticks after the last.
    """

    due: int
    sent: int
    held: int
    statuses: dict[str, int]
    unanswered: int
    bare: int
    seconds: float
    p50_ms: float
    p99_ms: float
    shed_p50_ms: float
    shed_p99_ms: float
    seen_p99_ms: float
    shed_seen_p99_ms: float
    late: float


class _Connection:
    """`sent` holds for each request without an answer when it was due, and when it was in the server's socket."""

    __slots__ = ("buffer", "sent", "socket", "unwritten")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _STAMP, 1)
        self.socket.setblocking(False)
        self.sent: deque[tuple[float, float]] = deque()
        self.buffer = self.unwritten = b""


class _Flood:
    def __init__(self, address: tuple[str, int], request: bytes, connections: int, behind: int) -> None:
        self._request, self._behind = request, behind
        self._all = [_Connection(address) for _ in range(connections)]
        self._free = deque(self._all)
        self._round = deque(self._all)
        self._poll = select.epoll()
        self._by = {each.socket.fileno(): each for each in self._all}
        for number in self._by:
            self._poll.register(number, select.EPOLLIN)
        self.statuses: Counter[str] = Counter()
        self.answered: list[float] = []
        self.shed: list[float] = []
        self.answered_seen: list[float] = []
        self.shed_seen: list[float] = []
        self._due = 0.0
        self.sent = self.held = self.bare = 0

    def run(self, rate: float, seconds: float) -> Flooded:
        start, due = time.perf_counter(), 0
        ticks = late = 0
        while (now := time.perf_counter() - start) < seconds:
            more = int(now * rate) - due
            ticks, late, due = ticks + 1, late + (more > rate * _TICK_S * 5), due + more
            # Those due since the last round: as if all were due when the first of them was.
            self._due = time.time() - more / rate
            self._send(more)
            self._receive(max(0.0, _TICK_S - (time.perf_counter() - start - now)))
        spent, end = time.perf_counter() - start, time.perf_counter() + _DRAIN_S
        while self._waiting() and time.perf_counter() < end:
            self._receive(0.05)
        return Flooded(
            due=due,
            sent=self.sent,
            held=self.held,
            statuses=dict(self.statuses),
            unanswered=self._waiting(),
            bare=self.bare,
            seconds=spent,
            p50_ms=_at(self.answered, 0.5),
            p99_ms=_at(self.answered, 0.99),
            shed_p50_ms=_at(self.shed, 0.5),
            shed_p99_ms=_at(self.shed, 0.99),
            seen_p99_ms=_at(self.answered_seen, 0.99),
            shed_seen_p99_ms=_at(self.shed_seen, 0.99),
            late=round(late / max(1, ticks), 3),
        )

    def _waiting(self) -> int:
        return sum(len(each.sent) for each in self._all)

    def _send(self, number: int) -> None:
        while number > 0 and self._free:
            connection = self._free.popleft()
            if not connection.sent:
                self._write(connection, 1)
                number -= 1
        share = max(2, -(-number // len(self._all)))
        for _ in range(len(self._all)):
            if number <= 0 or self._behind == 1:
                break
            self._round.rotate(-1)
            connection, several = self._round[0], min(share, number)
            if len(connection.sent) < self._behind and not connection.unwritten:
                self._write(connection, several)
                number -= several
        self.held += max(0, number)

    def _write(self, connection: _Connection, several: int) -> None:
        connection.sent.extend([(self._due, time.time())] * several)
        self.sent += several
        content = self._request * several
        try:
            written = connection.socket.send(content)
        except BlockingIOError:
            written = 0
        if written < len(content):
            connection.unwritten = content[written:]
            self._poll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _receive(self, wait: float) -> None:
        for number, event in self._poll.poll(wait):
            connection = self._by[number]
            if event & select.EPOLLOUT:
                written = connection.socket.send(connection.unwritten)
                connection.unwritten = connection.unwritten[written:]
                if not connection.unwritten:
                    self._poll.modify(number, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                content, told, _, _ = connection.socket.recvmsg(1 << 18, 64)
                if not content:
                    raise SystemExit("the server closed a connection")
                seconds, nanoseconds = _TIME.unpack(told[0][2])
                self._read(connection, content, seconds + nanoseconds / 1e9)

    def _read(self, connection: _Connection, content: bytes, arrived: float) -> None:
        content = connection.buffer + content if connection.buffer else content
        now, at = time.time(), 0
        while (end := content.find(b"\r\n\r\n", at)) >= 0:
            length = content.find(b"content-length: ", at, end) + 16
            body = end + 4 + int(content[length : content.index(b"\r", length)])
            if body > len(content):
                break
            status = content[at + 9 : at + 12].decode()
            due, sent = connection.sent.popleft()
            self.statuses[status] += 1
            if status == "200":
                self.answered.append(arrived - sent)
                self.answered_seen.append(now - due)
            else:
                self.shed.append(arrived - sent)
                self.shed_seen.append(now - due)
                self.bare += content.find(b"retry-after", at, end) < 0
            at = body
        connection.buffer = content[at:]
        if not connection.sent:
            self._free.append(connection)


def _at(values: list[float], share: float) -> float:
    values.sort()
    return round(values[min(len(values) - 1, int(len(values) * share))] * 1e3, 3) if values else 0.0


def begin(
    url: str, body: Path, key: str, *, rate: float, connections: int, seconds: float, behind: int, core: int
) -> subprocess.Popen[str]:
    """Start a flood in a process of its own, on a core of its own where there is one."""
    pin = ["taskset", "-c", str(core)] if core >= 0 and shutil.which("taskset") else []
    arguments = [url, str(body), key, str(rate), str(connections), str(seconds), str(behind)]
    return subprocess.Popen([*pin, sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> Flooded:
    """Wait for a flood to end; what it met."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the flood failed with {process.returncode}")
    return Flooded(**json.loads(output.splitlines()[-1]))


def _main() -> None:
    url, body, key = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    content = body.read_bytes()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    flood = _Flood(
        cast("tuple[str, int]", (name, int(port))), head.encode() + content, int(sys.argv[5]), int(sys.argv[7])
    )
    print(json.dumps(asdict(flood.run(float(sys.argv[4]), float(sys.argv[6])))))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()

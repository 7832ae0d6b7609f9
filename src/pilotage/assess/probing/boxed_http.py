"""Inside the box: call the service over its loopback, and find out where it listens. Standard library only."""

from __future__ import annotations

import http.client
import json
import math
import queue
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Latency", "call", "listening", "sustained"]

_MAX_BODY = 1 << 20
_WAIT_S = 10.0
_CALLERS = 16
_LISTENS = "0A"


@dataclass(frozen=True)
class Answer:
    """`status` 0: no answer, and `why`. `ms` until the whole answer was read. `kind` is its media type."""

    status: int
    body: str = ""
    why: str = ""
    ms: float = 0.0
    kind: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def listening() -> dict[int, str]:
    """The ports that something in this box listens on, each with its address: of this box, since it has its own."""
    found: dict[int, str] = {}
    for name in ("tcp6", "tcp"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == _LISTENS:
                address, port = parts[1].split(":")
                found[int(port, 16)] = "every address" if not int(address, 16) else "127.0.0.1"
    return found


def call(
    port: int,
    method: str,
    path: str,
    kind: str = "",
    body: Any = None,
    raw: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    wait_s: float = _WAIT_S,
    source: str = "127.0.0.1",
) -> Answer:
    """One request, as JSON, form or query; `raw` is sent as it is, as JSON. Never raises.

    `source` is the address that it comes from, one of 127.0.0.0/8.
    """
    headers = dict(headers or {})
    content = raw
    if kind == "query" and isinstance(body, dict):
        path = f"{path}{'&' if '?' in path else '?'}{urllib.parse.urlencode(body)}"
    elif kind == "form" and isinstance(body, dict):
        headers["Content-Type"], content = "application/x-www-form-urlencoded", urllib.parse.urlencode(body).encode()
    elif kind == "json" and raw is None:
        content = json.dumps(body).encode()
    if kind == "json":
        headers["Content-Type"] = "application/json"
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=wait_s, source_address=(source, 0))
    try:
        connection.request(method, path, body=content, headers=headers)
        got = connection.getresponse()
        text = got.read(_MAX_BODY).decode(errors="replace")
        ms = 1000 * (time.perf_counter() - started)
        return Answer(got.status, text, ms=ms, kind=(got.getheader("Content-Type") or "").lower())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(0, why=type(error).__name__, ms=1000 * (time.perf_counter() - started))
    finally:
        connection.close()


@dataclass(frozen=True)
class Latency:
    """Of calls made at a fixed rate whatever became of those before: milliseconds from when each was due."""

    calls: int
    failed: int
    p50: float
    p95: float
    reached: float


def sustained(port: int, request: dict[str, Any], rate: float, seconds: float) -> Latency:
    """Call at this rate for so long. What a call waits for a free caller counts (no coordinated omission)."""
    due: queue.SimpleQueue[float] = queue.SimpleQueue()
    times: list[float] = []
    failed: list[int] = []
    count = max(1, math.floor(rate * seconds))
    start = time.perf_counter() + 0.05
    over = start + 2 * seconds
    for number in range(count):
        due.put(start + number / rate)

    def caller() -> None:
        while True:
            try:
                at = due.get_nowait()
            except queue.Empty:
                return
            time.sleep(max(0.0, at - time.perf_counter()))
            late = time.perf_counter() > over
            answer = Answer(0) if late else call(port, **request)
            times.append(1000 * (time.perf_counter() - at))
            if not answer.good:
                failed.append(answer.status)

    callers = [threading.Thread(target=caller, daemon=True) for _ in range(min(_CALLERS, count))]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(2 * seconds + _WAIT_S)
    times.sort()
    took = max(1e-9, time.perf_counter() - start)
    return Latency(count, len(failed), _at(times, 0.5), _at(times, 0.95), (len(times) - len(failed)) / took)


def _at(ordered: list[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf

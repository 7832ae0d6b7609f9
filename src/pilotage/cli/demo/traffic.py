"""What the demo sends: real rows at concurrency, hostile requests, rows shifted by a known transformation."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

__all__ = [
    "SHIFTS",
    "Hostile",
    "HostileReply",
    "Reply",
    "Row",
    "hostile",
    "read_rows",
    "send_hostile",
    "send_rows",
    "shift",
]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer as the client saw it; `ms` from sending to the last byte."""

    status: int
    id: str
    release: str
    ms: float


def read_rows(path: Path, target: str) -> list[Row]:
    """The rows of the pilot's CSV without the target column; numbers as numbers, whole ones as integers."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    return [{name: _number(text) for name, text in row.items() if name != target} for row in rows]


def _number(text: str) -> int | float | str | None:
    if text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else value


async def send_rows(
    url: str,
    key: str,
    rows: Sequence[Row],
    *,
    concurrency: int = 64,
    fresh_connections: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[Reply], float]:
    """Send rows one a request, `concurrency` at a time; returns replies in order of rows, and the seconds it took.

    `fresh_connections` opens one for each request, so that the kernel spreads them over all workers.
    """
    replies: list[Reply] = [Reply(status=0, id="", release="", ms=0.0)] * len(rows)
    waiting = iter(enumerate(rows))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=concurrency, force_close=fresh_connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one_client() -> None:
            for index, row in waiting:
                replies[index] = await _send(session, url, json.dumps({"inputs": row}).encode())
                progress(1)

        started = time.perf_counter()
        await asyncio.gather(*(one_client() for _ in range(concurrency)))
        return replies, time.perf_counter() - started


async def _send(session: aiohttp.ClientSession, url: str, body: bytes) -> Reply:
    """One request; where the gateway has more to do than it can, again after the time that it names, as clients do."""
    tries = 1
    while True:
        started = time.perf_counter()
        async with session.post(url, data=body) as response:
            content = await response.read()
            ms = (time.perf_counter() - started) * 1000
        if response.status != 503 or tries == _TRIES:
            answer, release = json.loads(content), response.headers.get("Pilotage-Release", "")
            return Reply(status=response.status, id=answer.get("id", ""), release=release, ms=ms)
        tries += 1
        await asyncio.sleep(float(response.headers.get("Retry-After", "1")))


_TRIES = 10

SHIFTS: dict[str, tuple[str, Callable[[float], float]]] = {
    "LIMIT_BAL": ("times 1.6, at most 800,000", lambda v: min(800_000, round(v * 1.6))),
    "AGE": ("plus 8 years, at most 75", lambda v: min(75, v + 8)),
    "PAY_AMT1": ("times 3 plus 1,500, at most 300,000", lambda v: min(300_000, round(v * 3 + 1_500))),
}
"""The known transformation of step 7: column → what is done, and how. Every value stays inside the contract."""


def shift(rows: Iterable[Row]) -> list[Row]:
    """The rows with the three columns of SHIFTS transformed, and nothing else."""
    return [{**row, **{name: how(row[name]) for name, (_, how) in SHIFTS.items()}} for row in rows]


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A request that must not be answered: what it is, and the status and fault codes that it must get."""

    name: str
    status: int
    body: bytes
    key: str = "good"
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostileReply:
    """What a hostile request got; `right` when status and all fault codes are as they must be."""

    case: Hostile
    status: int
    code: str
    codes: tuple[str, ...]
    message: str
    right: bool


def hostile(row: Row) -> list[Hostile]:
    """Hostile requests made from one good row, each fault of its own and one row with four at once."""

    def body(**changes: Any) -> bytes:
        changed = {name: value for name, value in {**row, **changes}.items() if value is not ...}
        return json.dumps({"inputs": changed}).encode()

    four = body(AGE=..., LIMIT_BAL=-5, EDUCATION=77, PAY_AMT1="many")
    return [
        Hostile(name="missing field", status=422, body=body(AGE=...), codes=("missing",)),
        Hostile(name="below the range", status=422, body=body(AGE=-4), codes=("below_minimum",)),
        Hostile(name="above the range", status=422, body=body(LIMIT_BAL=10**12), codes=("above_maximum",)),
        Hostile(name="unseen category", status=422, body=body(EDUCATION=77), codes=("unseen_category",)),
        Hostile(name="NaN", status=422, body=body(BILL_AMT1=float("nan")), codes=("not_finite",)),
        Hostile(name="wrong type", status=422, body=body(PAY_AMT1="many"), codes=("wrong_type",)),
        Hostile(name="unknown field", status=422, body=body(SHOE_SIZE=43), codes=("unknown_field",)),
        Hostile(
            name="four faults at once",
            status=422,
            body=four,
            codes=("below_minimum", "missing", "unseen_category", "wrong_type"),
        ),
        Hostile(name="10 MB body", status=413, body=b'{"inputs": "' + b"x" * 10_000_000 + b'"}'),
        Hostile(name="broken JSON", status=400, body=b'{"inputs": {"AGE": 35,'),
        Hostile(name="no key", status=401, body=body(), key=""),
        Hostile(name="unknown key", status=401, body=body(), key="pk_nobody_" + "A" * 43),
        Hostile(name="wrong scope", status=403, body=body(), key="other"),
    ]


async def send_hostile(url: str, cases: Sequence[Hostile], keys: dict[str, str]) -> list[HostileReply]:
    """Send each case once and judge what came back; `keys` maps "good" and "other" to API keys."""
    async with aiohttp.ClientSession() as session:
        return [await _provoke(session, url, case, keys) for case in cases]


async def _provoke(session: aiohttp.ClientSession, url: str, case: Hostile, keys: dict[str, str]) -> HostileReply:
    headers = {"Content-Type": "application/json"}
    if case.key:
        headers["Authorization"] = f"Bearer {keys.get(case.key, case.key)}"
    async with session.post(url, data=case.body, headers=headers) as response:
        content = await response.read()
        error = json.loads(content)["error"]
        codes = tuple(sorted({str(fault["code"]) for fault in error.get("faults", [])}))
        return HostileReply(
            case=case,
            status=response.status,
            code=str(error["code"]),
            codes=codes,
            message=str(error["message"]),
            right=response.status == case.status and set(case.codes) <= set(codes),
        )

"""Decisions of 32 MB through HTTP: recorded, sealed, shown, exported, proven, erased; memory bounded all the way."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pilotage.ledger.queries import DecisionFilter
from tests.journeys.live import ROW, SYSTEM, LiveHome, Up, running

pytestmark = pytest.mark.slow

SIZE = 32_000_000
MARK = "zqxvjkqlarge"
TOGETHER = 4


def padded(row: dict[str, object]) -> bytes:
    """A row within its contract, written out with blanks between its fields."""
    fields = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in row.items()]
    blanks = SIZE - len(", ".join(fields)) - len('{"inputs": {}}')
    return ('{"inputs": {' + fields[0] + "," + " " * blanks + " " + ", ".join(fields[1:]) + "}}").encode()


def stuffed(row: dict[str, object]) -> bytes:
    """A row with a whole document where none belongs."""
    bare = len(json.dumps({"inputs": {**row, "document": ""}}))
    return json.dumps({"inputs": {**row, "document": (MARK * (SIZE // len(MARK) + 1))[: SIZE - bare]}}).encode()


def refused(up: Up, name: str, value: str, pieces: list[bytes] | None = None) -> tuple[int, str]:
    """What is said to a body of this length, or of a length that is not told: before it is whole."""
    address = urlsplit(up.decide_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.putrequest("POST", address.path)
    for each in (("Authorization", f"Bearer {up.live.key}"), (name, value)):
        connection.putheader(*each)
    connection.endheaders(iter(pieces) if pieces else None, encode_chunked=bool(pieces))
    reply = connection.getresponse()
    code = json.loads(reply.read())["error"]["code"]
    connection.close()
    return reply.status, code


def send(up: Up, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        up.decide_url,
        data=body,
        headers={"Authorization": f"Bearer {up.live.key}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def peak_kb(pid: int) -> int:
    """The most memory a process held until now."""
    [kb] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kb)


def peak_mb(up: Up) -> dict[str, float]:
    """The most memory that each process ever held, in MB."""
    found = {}
    for name, pid in up.children().items():
        found[name] = peak_kb(pid) / 1_000
    return found


def sealed(live: LiveHome, count: int) -> list[str]:
    """The ids of so many sealed decisions of the person, the newest first."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        rows = live.installation.ledger().decisions(DecisionFilter(subject="large", system=SYSTEM))
        if len(rows) == count:
            return [row.id for row in rows]
        time.sleep(0.2)
    raise AssertionError("not sealed within a minute")


def test_32_mb_are_recorded_sealed_shown_exported_proven_and_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_MAX_BODY_MIB", "31")
    live = LiveHome(root=tmp_path / "home")
    row = ROW | {"customer": "large"}
    bodies = [padded(row), stuffed(row)]
    assert {len(body) for body in bodies} == {SIZE}
    with running(live) as up:
        up.wait_until_all_live()
        before = peak_mb(up)
        assert [send(up, body)[0] for body in bodies] == [200, 422]
        with ThreadPoolExecutor(TOGETHER) as pool:
            several = [status for status, _ in pool.map(lambda _: send(up, bodies[0]), range(TOGETHER))]
        assert several == [200] * TOGETHER
        assert refused(up, "content-length", str((31 << 20) + 1)) == (413, "body_too_large")
        assert refused(up, "transfer-encoding", "chunked", [b" " * 600_000] * 2) == (413, "body_too_large")
        assert up.ask().status == 200
        ids = sealed(live, 2 + TOGETHER)
        after = peak_mb(up)
        console(up, live, ids)
        shown = peak_mb(up)
        exported(live, tmp_path, ids)
        assert live.call("audit", "verify", token=live.token("auditor")).returncode == 0
        erased(live, ids)
        assert up.end() == 0, up.logs()
    print({name: (round(before[name]), round(after[name]), round(shown[name])) for name in after})
    # A worker may get all that are sent at once; each is held some times over: received, as a row, in its record.
    # A batch of the steward has two of them at most, each up to seven times: read, opened, sealed again, laid down.
    times = {"gateway": 5 * TOGETHER + 1, "steward": 14, "console": 1}
    for name, most in after.items():
        assert most - before[name] < times[name.partition("-")[0]] * SIZE / 1e6, name
    assert shown["console"] - before["console"] < 12 * SIZE / 1e6
    live.close()


def console(up: Up, live: LiveHome, ids: list[str]) -> None:
    """The API gives all of it; the page a piece, and says how much more there is."""
    for id_ in (ids[-1], ids[-2]):
        request = urllib.request.Request(
            f"{up.console}/api/v1/decisions/{id_}", headers={"Authorization": f"Bearer {live.token('auditor')}"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            found = json.loads(response.read())
        assert SIZE - 100 < len(found["payload"]["request"]) < SIZE
    page = urllib.request.Request(
        f"{up.console}/decisions/{ids[-2]}", headers={"Authorization": f"Bearer {live.token('auditor')}"}
    )
    with urllib.request.urlopen(page, timeout=60) as response:
        text = response.read().decode()
    assert MARK in text and len(text) < 400_000 and "bytes more" in text


def exported(live: LiveHome, folder: Path, ids: list[str]) -> None:
    auditor = live.token("auditor")
    for id_ in ids[-2:]:
        proof = folder / "one.tlog-proof"
        proof.write_text(live.call("decisions", "prove", id_, token=auditor).stdout)
        record = folder / "one.json"
        record.write_bytes(live.installation.ledger().decision(id_).entry)
        live.call("audit", "verify-proof", str(proof), str(record), "--vkey", live.vkey)
    out = folder / "out.jsonl"
    words = ("decisions", "export", "--subject", "large", "--payload", "-o", str(out))
    process = subprocess.Popen(live.command(*words), env={**os.environ, "PILOTAGE_TOKEN": auditor})
    # Not by its resource usage: that begins with the memory of the process that started it.
    most = 0.0
    while process.poll() is None:
        with suppress(OSError, ValueError):
            most = max(most, peak_kb(process.pid) / 1_000)
        time.sleep(0.02)
    assert process.returncode == 0 and 0 < most < 600, f"{most:.0f} MB to export"
    print(f"export: {most:.0f} MB at most")
    with out.open("rb") as file:
        lengths = [len(json.loads(line)["request"]) for line in file]
    assert len(lengths) == len(ids) and all(SIZE - 100 < length < SIZE for length in lengths)
    out.unlink()


def erased(live: LiveHome, ids: list[str]) -> None:
    done = json.loads(live.call("erase", "--subject", "large", "--json", token=live.token("risk_officer")).stdout)
    assert (done["decisions"], done["unreadable"]) == (len(ids), len(ids))
    for id_ in ids:
        found = live.installation.ledger().decision(id_)
        assert found.payload is None and found.unreadable == "erased"
    assert live.call("audit", "verify", token=live.token("auditor")).returncode == 0

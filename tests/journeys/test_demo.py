"""The whole journey by one command, as a stranger types it: nowhere, with nothing, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pilotage.cli.demo.traffic import SHIFTS
from tests.journeys.live import LiveHome, running

ROWS = 5_000
REJECTIONS = 8
"""Of the hostile requests, those that reach the contract."""


def demo(folder: Path, **environ: str) -> dict[str, Any]:
    """Run the demo in an empty folder with an empty home and nothing of this environment but the way to Python."""
    (folder / "nobody").mkdir()
    (folder / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pilotage", "demo", "--no-serve", "--json", "--rows", str(ROWS)],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "nobody"),
            "TMPDIR": str(folder / "tmp"),
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "127.0.0.1",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    assert list((folder / "tmp").iterdir()) == [], "its temporary home is gone"
    assert sorted(path.name for path in folder.iterdir()) == ["nobody", "tmp"], "nothing was left where it ran"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(found: dict[str, Any]) -> None:
    dimensions = found["assessment"]["dimensions"]
    assert len(dimensions) == 6 == len({each["dimension"] for each in dimensions})
    assert all(0 <= each["level"] <= 5 for each in dimensions)
    assert found["assessment"]["blockers"]
    assert found["release"]["digest"].startswith("sha256:")
    gate = found["gate"]
    assert gate["before"] == "no-go" and gate["missing_before"]
    assert gate["after"] == "go" and not gate["missing_after"]
    assert gate["author_approval_status"] == 409
    decisions = found["decisions"]
    assert decisions["answered"] == decisions["recorded"] == ROWS
    assert decisions["rejected"] == REJECTIONS
    assert len(found["hostile"]) >= 12
    assert all(case["right"] for case in found["hostile"]), found["hostile"]
    assert {422, 413, 400, 401, 403} == {case["status"] for case in found["hostile"]}
    assert found["throughput_per_s"] > 0
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["explanation"]["exact"] is True and 1 <= len(found["explanation"]["reasons"]) <= 4
    assert found["replay"]["verdict"] == "bit_exact"
    assert found["proof"]["verified"] is True
    assert found["ledger"]["verified"] is True and not found["ledger"]["faults"]
    assert found["ledger"]["size"] > ROWS
    assert found["erasure"]["unreadable"] is True and found["erasure"]["decisions"] >= 1
    assert found["drift"]["shifted"] == ["AGE", "LIMIT_BAL", "PAY_AMT1"] and not found["drift"]["before"]
    assert found["drift"]["columns"] == sorted(SHIFTS)
    assert 0 < found["rollback_ms"] < 5_000
    print(
        f"rollback_ms {found['rollback_ms']}, {found['throughput_per_s']}/s, {found['latency_ms']}, {found['seconds']}"
    )


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_demo(tmp_path: Path) -> None:
    check(demo(tmp_path))


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(700)
def test_the_demo_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    check(demo(tmp_path, PILOTAGE_DATABASE_URL=postgres_url))


@pytest.mark.postgres
@pytest.mark.slow
def test_up_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """People, a release, approvals, promotion, decisions, sealing, erasure, verification and rollback."""
    live = LiveHome(root=tmp_path / "home", database_url=postgres_url)
    auditor, operator = live.token("auditor"), live.token("operator")
    with running(live) as up:
        up.wait_until_all_live()
        added = json.loads(
            live.call("people", "add", "one more", "--role", "operator", "--json", token=live.token("admin")).stdout
        )
        assert added["roles"] == ["operator"]
        first = [up.ask() for _ in range(20)]
        second = live.governed.promoted(0.3)
        waiting = [up.ask() for _ in range(200)]
        done = json.loads(live.call("rollback", "--system", "example", "--json", token=operator).stdout)
        assert (done["from"], done["to"]) == (second.digest, live.release.digest)
        last = [up.ask() for _ in range(50)]
        erased = live.call("erase", "--subject", "c-1", "--json", token=live.token("risk_officer"))
        assert up.end() == 0, up.logs()
    replies = [*first, *waiting, *last]
    assert {reply.status for reply in replies} == {200}
    assert {reply.body["release"] for reply in first} == {live.release.digest} == {last[-1].body["release"]}
    assert waiting[-1].body["release"] == second.digest
    receipts = {tuple(reply.headers["pilotage-receipt"].split()) for reply in replies}
    recorded = live.recorded()
    assert receipts == recorded.keys() and set(recorded.values()) == {1}
    assert json.loads(erased.stdout)["unreadable"] == len(replies)
    report = json.loads(live.call("audit", "verify", "--json", token=auditor).stdout)
    assert report["ok"] and report["decisions"] == len(replies)
    assert not list(live.root.glob("*.db")), "nothing went to SQLite"
    live.close()

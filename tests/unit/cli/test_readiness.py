"""`pilotage readiness`: figures, a day that is kept, a report that prints; and `audit verify --keep`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.unit.cli.conftest import Call, Installed


def test_it_says_where_a_system_stands_and_keeps_a_day(call: Call, tmp_path: Path) -> None:
    code, out, err = call("readiness", "--system", "example", "--evidence", role="auditor")
    assert code == 0, err
    assert "example, release example@1: level 1 of 5" in out and "What each stage asks for" in out
    assert "contract.valid passed" in out and "telemetry: nothing is live" in out
    report = tmp_path / "report.html"
    code, out, err = call("readiness", "--system", "example", "--keep", "--html", str(report), "--json", role="auditor")
    told = json.loads(out)
    assert code == 0 and told["level"] == 1 and len(told["assessment"]["dimensions"]) == 6
    [day] = {each["day"] for each in told["history"]}
    assert "<h1>Readiness of example</h1>" in report.read_text() and "@media print" in report.read_text()
    code, out, err = call("readiness", "--system", "example", "--day", day, "--json", role="auditor")
    assert code == 0 and json.loads(out)["assessment"]["at"] == told["assessment"]["at"]
    code, out, err = call("readiness", "--system", "example", "--day", "1999-01-01", role="auditor")
    assert code == 1 and "nothing is kept of this day" in err and day in err
    code, out, err = call("readiness", "--system", "nope", role="auditor")
    assert code == 1 and "no such system" in err


def test_a_verification_is_kept_only_when_it_is_asked_for(call: Call, installed: Installed) -> None:
    def kept() -> list[int]:
        with closing(sqlite3.connect(installed.root / "control.db")) as connection:
            return [passed for (passed,) in connection.execute("SELECT passed FROM evidence WHERE subject = 'ledger'")]

    before = kept()
    assert call("audit", "verify", role="auditor")[0] == 0 and kept() == before
    assert call("audit", "verify", "--keep", role="auditor")[0] == 0 and kept() == [*before, 1]

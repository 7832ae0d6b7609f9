"""Outcomes uploaded and overrides given by command: told once, resumed, joined, by those who may."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pilotage.storage.home import Home
from pilotage.wiring.installation import open_installation
from pilotage.wiring.settings import Settings
from tests.unit.cli.conftest import Call, Installed


@pytest.fixture
def installed(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A copy for each test: what one tells of a decision, another would meet."""
    root = tmp_path_factory.mktemp("outcomes") / "home"
    return replace(installed, root=Path(shutil.copytree(installed.root, root)))


def seal(installed: Installed) -> None:
    installation = open_installation(Settings(home=Home(root=installed.root)))
    steward = installation.steward(holder="tests")
    assert steward.acquire(steal=True)
    steward.seal_all()
    steward.release()
    installation.close()


def some(call: Call, number: int) -> list[str]:
    code, out, _ = call("decisions", "list", "--outcome", "answered", "--limit", str(number), "--json", role="auditor")
    assert code == 0
    return [row["id"] for row in json.loads(out)]


def told(call: Call, file: Path) -> dict[str, int]:
    code, out, err = call("outcomes", "upload", str(file), "--system", "example", "--json", role="operator")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]  # a mapping


def test_a_file_is_told_once_however_often_it_is_uploaded(call: Call, installed: Installed, tmp_path: Path) -> None:
    one, two, three = some(call, 3)
    table = tmp_path / "truth.csv"
    unknown = "01890000-0000-7000-8000-000000000000"
    table.write_text(f"decision,value,at\n{one},default,2026-01-05\n{two},1,\n{unknown},0.5,\n")
    first = told(call, table)
    assert (first["rows"], first["told"], first["known"], first["unmatched"]) == (3, 3, 0, 1)
    seal(installed)
    assert told(call, table) == {"rows": 3, "told": 0, "known": 3, "unmatched": 0, "other_system": 0}
    parquet = tmp_path / "truth.parquet"
    query = f"SELECT '{one}' AS decision, 'paid' AS value UNION ALL SELECT '{three}', 'paid'"
    duckdb.sql(query).write_parquet(str(parquet))
    assert told(call, parquet)["told"] == 2
    seal(installed)

    code, out, _ = call("outcomes", "list", "--json", role="auditor")
    rows = {(row["decision"], row["value"]): row for row in json.loads(out)}
    assert code == 0 and len(rows) == 5
    assert rows[one, "default"]["at"] == 1_767_571_200_000_000
    assert rows[two, "1"]["number"] == 1.0 and rows[unknown, "0.5"]["state"] == "unmatched"
    code, out, _ = call("decisions", "show", one, "--json", role="auditor")
    assert [each["private"]["value"] for each in json.loads(out)["said"]] == ["default", "paid"]
    code, out, _ = call("decisions", "show", one, "--json", role="operator")
    assert [each["private"] for each in json.loads(out)["said"]] == [None, None]


def test_rows_that_cannot_be_told_are_named(call: Call, tmp_path: Path) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text(f"decision,value\n{some(call, 1)[0]},ok\nx,\n")
    code, _, err = call("outcomes", "upload", str(table), "--system", "example", role="operator")
    assert code == 1 and "row 2: decision" in err and "row 2: value" in err, err
    table.write_text("id,value\na,b\n")
    code, _, err = call("outcomes", "upload", str(table), "--system", "example", role="operator")
    assert code == 1 and "columns decision, value" in err
    code, _, err = call("outcomes", "upload", str(table), "--system", "example", role="auditor")
    assert code == 1 and "outcome.record" in err


def test_a_reviewer_overrides_and_the_other_answer_stays(call: Call, installed: Installed) -> None:
    id_ = some(call, 4)[-1]
    words = ("decisions", "override", id_, "--answer", "favourable", "--reason", "income was proven")
    code, _, err = call(*words, role="operator")
    assert code == 1 and "reviewer" in err
    code, out, err = call(*words, "--json", role="reviewer")
    assert code == 0, err
    seal(installed)
    code, shown, _ = call("decisions", "show", id_, role="auditor")
    assert code == 0 and "decision.overridden: favourable" in shown and json.loads(out)["event"] in shown
    code, listed, err = call("decisions", "list", "--reviewer", "reviewer", "--json", role="auditor")
    assert code == 0 and [row["id"] for row in json.loads(listed)] == [id_], err
    code, listed, _ = call("decisions", "list", "--reviewer", "auditor", "--json", role="auditor")
    assert code == 0 and json.loads(listed) == []
    code, _, err = call("decisions", "list", "--reviewer", "stranger", role="auditor")
    assert code == 1 and "nobody has this name" in err
    code, _, err = call("decisions", "override", id_, "--answer", " ", "--reason", "x" * 2_001, role="reviewer")
    assert code == 1 and "answer" in err and "reason" in err


def test_what_was_in_production_is_told_to_the_second(call: Call) -> None:
    code, out, err = call("audit", "at", "2020-01-01", "--system", "example", "--json", role="auditor")
    assert (code, out.strip()) == (0, "null"), err
    code, out, _ = call("audit", "at", "2020-01-01", "--system", "example", role="auditor")
    assert code == 0 and "nothing of example was in production" in out
    code, _, err = call("audit", "at", "then", "--system", "example", role="auditor")
    assert code == 1 and "ISO 8601" in err


def test_older_outcomes_are_counted_and_shown(call: Call, installed: Installed, tmp_path: Path) -> None:
    one, two = some(call, 2)
    table = tmp_path / "truth.csv"
    table.write_text(f"decision,value\n{one},1\n{two},0\n")
    told(call, table)
    seal(installed)
    installation = open_installation(Settings(home=Home(root=installed.root)))
    steward, stop = installation.steward(holder="tests"), threading.Event()
    assert steward.acquire(steal=True)
    running = threading.Thread(target=steward.run, args=(stop,))
    running.start()
    try:
        code, out, err = call("outcomes", "backfill", "--system", "example", "--json", role="operator")
        assert code == 0, err
        code, again, _ = call("outcomes", "backfill", "--system", "example", "--json", role="operator")
        assert code == 0 and json.loads(again)["steps"] == 0 and json.loads(out)["slices"] == ["*"]
    finally:
        stop.set()
        running.join()
        installation.close()
    code, _, err = call("outcomes", "backfill", "--system", "example", role="auditor")
    assert code == 1 and "outcome.record" in err
    words = ("monitor", "outcomes", "--system", "example", "--release", installed.release.digest)
    code, out, err = call(*words, role="auditor")
    assert code == 0 and "not enough data" in out and "coverage" in out, err
    code, out, _ = call(*words, "--json", role="auditor")
    assert code == 0 and json.loads(out)["whole"]["accuracy"] is None
    code, _, err = call(*words, "--since", "tomorrow", role="auditor")
    assert code == 1 and "UTC day" in err


def test_outcomes_are_exported_and_no_cell_is_a_formula(call: Call, installed: Installed, tmp_path: Path) -> None:
    one, two = some(call, 2)
    truth = tmp_path / "truth.csv"
    unknown = "01890000-0000-7000-8000-000000000000"
    truth.write_text(f'decision,value\n{one},"=HYPERLINK(""x"")"\n{two},-1.5\n{unknown},later\n')
    told(call, truth)
    seal(installed)
    out = tmp_path / "out.csv"
    words = ("outcomes", "export", "--system", "example")
    code, said, err = call(*words, "--format", "csv", "-o", str(out), "--json", role="auditor")
    assert code == 0, err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == json.loads(said)["rows"]
    newest = {row["decision"]: row for row in reversed(rows)}
    assert newest[one]["value"] == '\'=HYPERLINK("x")' and newest[two]["value"] == "-1.5"
    assert newest[one]["known"].endswith("Z") and newest[two]["number"] == "-1.5"
    table = tmp_path / "out.parquet"
    code, said, err = call(*words, "-o", str(table), "--json", role="auditor")
    assert code == 0 and json.loads(said)["format"] == "parquet", err
    names = "value, number, decision, score, known"
    found = duckdb.sql(f"SELECT {names} FROM read_parquet('{table}') ORDER BY leaf DESC").fetchall()
    assert [(row[0], row[2], row[4]) for row in found] == [
        (row["value"].removeprefix("'"), row["decision"], row["known"]) for row in rows
    ]
    assert {type(row[3]) for row in found} <= {float, type(None)} and (found[0][1] in (None, -1.5))
    code, _, err = call("outcomes", "export", "--system", "nowhere", "-o", str(table), role="auditor")
    assert code == 1 and "not_found" in err and sorted(path.name for path in tmp_path.iterdir())[0] == "out.csv"
    code, _, err = call(*words, "-o", str(tmp_path / "w.jsonl"), role="witness")
    assert code == 1 and "decision.read" in err
    lines = tmp_path / "out.jsonl"
    assert call(*words, "--state", "other_system", "-o", str(lines), role="auditor")[0] == 0
    chosen = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {row["state"] for row in chosen} == {"other_system"} and len(chosen) < len(rows)
    assert '=HYPERLINK("x")' in {row["value"] for row in chosen if row["decision"] == one}

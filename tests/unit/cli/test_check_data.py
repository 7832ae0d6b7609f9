"""`pilotage check-data` needs no installation; its exit status is what a pipeline stops at."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pilotage.cli.check_data import FOUND, check_data
from tests.unit.evaluation.planting import Columns, honest


def write(path: Path, columns: Columns) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    columns, _, _ = honest(11)
    return write(tmp_path / "clean.csv", columns), write(tmp_path / "leak.csv", {**columns, "paid": columns["y"]})


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    columns, _, _ = honest(11)
    path = write(tmp_path / "t.csv", {**columns, "paid [red]": columns["y"]})
    assert "paid [red] gives y = 1 away" in CliRunner().invoke(check_data, [str(path), "--target", "y"]).stdout


def test_a_leak_is_shown_with_its_mend_and_ends_with_status_3(data: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(check_data, [str(data[1]), "--target", "y"])
    assert done.exit_code == FOUND
    lines = done.stdout.splitlines()
    assert "high\ttarget_copy\tpaid\t1.000\t1.000 to 1.000\tAUC alone" in lines
    assert any("paid gives y = 1 away" in line for line in lines) and any("mend:" in line for line in lines)
    assert lines[-1] == "1 high, 0 medium, 0 to ask about"


def test_clean_data_ends_with_status_0_and_says_what_was_not_looked_for(data: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(check_data, [str(data[0]), "--target", "y"])
    assert done.exit_code == 0
    assert "no leak was found" in done.stdout and "not looked for: time travel" in done.stdout


def test_json_is_one_value(data: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(check_data, [str(data[1]), "--target", "y", "--ignore", "region", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == FOUND and found["counts"] == {"high": 1, "medium": 0, "ask": 0} and found["columns"] == 6
    assert found["findings"][0]["columns"] == ["paid"]

"""`pilotage release papers` and `scan`: what is written, printed, recorded, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call, Installed


def test_papers_are_written_in_every_form(call: Call, installed: Installed, tmp_path: Path) -> None:
    code, out, _ = call("release", "papers", installed.release.name, "--out", "made", role="auditor")
    assert code == 0 and "model-card.md" in out
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"model-card.md", "system-card.html", "data-sheet.json", "bom.cdx.json", "notes.md"} <= names
    assert len(names) == 15
    assert json.loads((tmp_path / "made" / "bom.cdx.json").read_text())["specVersion"] == "1.6"


def test_one_paper_is_printed(call: Call, installed: Installed, tmp_path: Path) -> None:
    code, out, _ = call("release", "papers", installed.release.name, "--kind", "model-card", role="auditor")
    assert code == 0 and out.startswith("---\nlibrary_name: pilotage\n") and "## Evaluation" in out
    code, out, _ = call("release", "papers", installed.release.name, "--kind", "bom", "--json", role="auditor")
    assert code == 0 and json.loads(out)["bom"]["bomFormat"] == "CycloneDX"
    assert not list(tmp_path.iterdir())
    code, _, err = call("release", "papers", "example@99", "--kind", "notes", role="auditor")
    assert code != 0 and "no such release" in err


@pytest.mark.slow
def test_a_scan_without_a_database_knows_nothing_and_does_not_pass(call: Call, installed: Installed) -> None:
    code, out, _ = call("release", "scan", installed.release.name, role="ml_engineer")
    assert code == 3 and "0 clean, 0 vulnerable" in out and "no database was given" in out and "next: " in out
    code, out, _ = call("release", "scan", installed.release.name, "--json", role="ml_engineer")
    made = json.loads(out)
    assert code == 3 and not made["passed"] and made["counts"]["packages_clean"] == 0
    assert made["counts"]["licences_allowed"] > 50 and made["counts"]["licences_review"] >= 1
    code, out, _ = call("release", "show", installed.release.name, role="auditor")
    assert "environment.scanned" in out


def test_who_may_not_build_may_not_scan(call: Call, installed: Installed) -> None:
    assert call("release", "scan", installed.release.name, role="auditor")[0] != 0

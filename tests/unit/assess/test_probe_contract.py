"""The contract of a pilot's data is drafted in a box, and its rows are held to the contract that it has."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from pilotage.assess.folder import Folder
from pilotage.assess.probes import probe
from pilotage.cli.assess import assess as command
from pilotage.cli.main import Chosen
from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.contracts.table import check_table
from pilotage.errors import NotFound
from tests.unit.assess.pilots import write


def rows(root: Path, bad: int = 0) -> None:
    lines = [f"{n},{n % 3}" for n in range(200)]
    lines[:bad] = ["x,9"] * bad
    write(root, {"d.csv": "a,y\n" + "\n".join(lines) + "\n", "train.py": "y = df['y']\n"})


def test_the_draft_reads_back_and_its_own_data_keeps_to_it(tmp_path: Path) -> None:
    rows(tmp_path / "pilot")
    out = tmp_path / "draft.yaml"
    words = [str(tmp_path / "pilot"), "--no-install", "--contract", str(out), "--json"]
    done = CliRunner().invoke(command, words, obj=Chosen(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    contract = from_odcs(out.read_text())
    assert {each.name: each.role for each in contract.columns} == {"a": "feature", "y": "target"}
    assert check_table(tmp_path / "pilot/d.csv", contract).faulty == 0
    assert json.loads(done.output)["draft_contract"] == out.read_text()


def test_without_data_there_is_no_draft_and_the_mend_is_said(tmp_path: Path) -> None:
    write(tmp_path / "pilot", {"a.py": "x = 1\n"})
    words = [str(tmp_path / "pilot"), "--contract", str(tmp_path / "out.yaml")]
    done = CliRunner().invoke(command, words, obj=Chosen())
    assert isinstance(done.exception, NotFound) and "pilotage contract infer" in done.exception.mend
    assert not (tmp_path / "out.yaml").exists()


def test_rows_are_held_to_the_contract_that_lies_beside_them(tmp_path: Path) -> None:
    columns = (
        Column(name="a", type="integer", minimum=0, maximum=1000),
        Column(name="y", type="integer", role="target"),
    )
    text = to_odcs(DataContract(name="toy", version="1", columns=columns))
    for bad, level in ((0, 1.0), (4, 0.5), (60, 0.0)):
        root = tmp_path / str(bad)
        rows(root, bad)
        write(root, {"toy.odcs.yaml": text})
        [step] = [each for each in probe(Folder(root)).steps if each.criterion == "data.schema"]
        assert (step.level, step.figures["faulty"]) == (level, bad)
        assert [each.file for each in step.findings] == ["toy.odcs.yaml"] * bool(bad)


def test_a_contract_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    rows(tmp_path)
    write(tmp_path, {"toy.odcs.yaml": "kind: nothing\n"})
    probed = probe(Folder(tmp_path))
    assert not [each for each in probed.steps if each.criterion == "data.schema"]
    assert any("data.schema by its contract" in line for line in probed.skipped)
    assert probed.draft

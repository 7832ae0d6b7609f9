"""`pilotage contract` needs no installation; its exit status is what a pipeline stops at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pilotage.cli.contract import contract
from pilotage.contracts.odcs import from_odcs
from pilotage.errors import Conflict

EXAMPLE = Path(__file__).parents[3] / "examples/credit_default/data/credit_card_default.csv.gz"


def call(*words: object) -> Result:
    return CliRunner().invoke(contract, [str(word) for word in words])


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract of the example's data, as a file."""
    out = tmp_path_factory.mktemp("contract") / "c.yaml"
    done = call("infer", EXAMPLE, "--target", "Default", "--subject", "ID", "--categorical", "SEX", "--out", out)
    assert done.exit_code == 0 and "guesses to confirm" in done.stdout
    return out


def test_infer_writes_a_file_to_edit_and_never_over_one(held: Path) -> None:
    made = from_odcs(held.read_text())
    assert made.subject == "ID" and len(made.features) == 23 and held.read_text().count("CONFIRM") > 5
    again = call("infer", EXAMPLE, "--out", held)
    assert isinstance(again.exception, Conflict) and "--force" in again.exception.mend


def test_infer_as_json(tmp_path: Path) -> None:
    done = call("infer", EXAMPLE, "--out", tmp_path / "c.yaml", "--json")
    found = json.loads(done.stdout)
    assert found["contract"]["name"] == "credit_card_default" and "SEX" in found["confirm"]


def test_infer_wants_one_source(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    assert call("infer").exit_code == 2
    assert call("infer", EXAMPLE, "--from-json-schema", tmp_path / "s.json").exit_code == 2
    assert call("infer", "--from-json-schema", tmp_path / "s.json", "--target", "y").exit_code == 2


def test_a_contract_in_words_is_json_too(held: Path) -> None:
    document = json.loads(call("docs", held, "--json").stdout)
    made = from_odcs(held.read_text())
    assert document["digest"] == made.digest() and len(document["columns"]) == len(made.columns)
    words = {each["name"]: each["words"] for each in document["columns"]}
    assert words["SEX"]["takes"].startswith("one of ") and words["ID"]["marks"] and words["Default"]["takes"] == ""

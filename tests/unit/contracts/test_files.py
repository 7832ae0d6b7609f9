"""Contracts written for people: the official ODCS schema takes them, they read back the same, guesses are marked."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
import yaml
from hypothesis import given

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.guessing import Guessed, guess
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.json_schema import from_json_schema
from pilotage.contracts.mlflow import from_mlflow
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.contracts.written import to_file
from pilotage.errors import InputError, NotFound
from tests.unit.contracts.test_model_and_odcs import columns, patient

OFFICIAL = jsonschema.Draft201909Validator(
    json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text())
)
"""The schema that the Bitol project publishes for ODCS 3.1.0, as its own package carries it."""


def valid(text: str) -> bool:
    OFFICIAL.validate(yaml.safe_load(text))
    return True


def by_name(contract: DataContract) -> dict[str, Column]:
    return {column.name: column for column in contract.columns}


def test_the_official_schema_takes_every_part_of_a_contract_and_refuses_what_is_none() -> None:
    made = DataContract(
        name="c",
        version="1",
        subject="who",
        columns=(
            Column(name="who", type="string", role="subject", personal=True, unique=True),
            Column(name="a", type="number", minimum=0, unit="EUR", on_fault={"any": "repair"}, impute=1.5),
            Column(name="k", type="string", categories=("x", "y"), protected=True, purposes=("credit-risk",)),
            Column(name="t", type="string", format="datetime", max_age="24h"),
            Column(name="p", type="string", pattern="^[A-Z]{2}$", example="AB", max_length=2),
            Column(name="s", type="number", nullable=True),
        ),
        rules=(RowRule(name="r", check="a <= 10", message="no more than ten"),),
        keys=(("k", "t"),),
        enrichment=(Enrichment(source="store", key={"who": "id"}, columns={"s": "score"}),),
    )
    assert valid(to_odcs(made)) and from_odcs(to_odcs(made)) == made
    broken = yaml.safe_load(to_odcs(made)) | {"schema": [{"properties": [{"logicalType": "nonsense"}]}]}
    assert not OFFICIAL.is_valid(broken)


@patient
@given(columns())
def test_the_official_schema_takes_any_column(column: Column) -> None:
    made = DataContract(name="c", version="1", columns=(column, Column(name="always there", type="number")))
    assert valid(to_odcs(made))
    # Notes end with their line: whatever they say, the file reads back as the contract.
    notes = {column.name: [f"say\n  - name: {column.description}"], "always there": ["CONFIRM"]}
    assert from_odcs(to_file(made, notes, "from\nhere")) == made


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty rows with a column of each form, as JSON lines, CSV and Parquet."""
    folder = tmp_path_factory.mktemp("data")
    query = """SELECT 'AB' || (100000 + i) AS account_no, i AS order_id, i % 7 AS visits, 20 + i % 50 AS age,
        'person' || i || '@example.org' AS contact, (DATE '2026-01-01' + i::INT)::VARCHAR AS opened,
        '2026-03-01T10:' || lpad((i % 60)::VARCHAR, 2, '0') || ':00Z' AS seen, uuid()::VARCHAR AS ref,
        ['own', 'rent'][1 + i % 2] AS home, CASE WHEN i % 9 > 0 THEN i / 7 END AS income, i % 2 = 0 AS flag,
        'free text ' || repeat('x', (i % 5)::INT) || i AS note FROM range(80) r(i)"""
    connection = duckdb.connect(":memory:")
    connection.execute(f"COPY ({query}) TO '{folder}/d.parquet'")
    connection.execute(f"COPY (FROM '{folder}/d.parquet') TO '{folder}/d.csv'")
    connection.execute(f"COPY (FROM '{folder}/d.parquet') TO '{folder}/d.jsonl' (FORMAT json)")
    return folder


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "d.jsonl"])
def test_what_a_file_suggests_is_the_same_in_every_form_of_file(table: Path, name: str) -> None:
    found = guess(table / name, infer_contract(table / name, name="orders"))
    held = by_name(found.contract)
    assert held["account_no"].pattern == "^[A-Z]{2}[0-9]{6}$" and held["account_no"].example == "AA111111"
    forms = {column.name: column.format for column in held.values() if column.format}
    assert forms == {"contact": "email", "opened": "date", "seen": "datetime", "ref": "uuid"}
    assert {name for name, column in held.items() if column.unique} == {
        "account_no", "order_id", "contact", "opened", "ref", "note",
    }  # fmt: skip
    assert held["home"].categories == ("own", "rent") and held["flag"].type == "boolean" and held["income"].nullable
    assert held["note"].pattern == "" and held["age"].protected and held["contact"].personal
    assert any("CONFIRM protected" in note for note in found.notes["age"]) and "home" not in found.notes
    text = to_file(found.contract, found.notes, "here")
    assert valid(text) and from_odcs(text) == found.contract
    assert re.search(r"# CONFIRM unique.*\n(  #.*\n)*  - name: order_id\n", text)


def test_no_value_of_a_file_stands_in_a_pattern_of_it(table: Path) -> None:
    text = to_file(guess(table / "d.csv", infer_contract(table / "d.csv", name="c")).contract, {}, "here")
    assert not re.search(r"AB1000|person\d|2026-01", text)


def test_fields_that_are_not_single_values_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1, "b": {"c": 2}, "d": [1]}\n')
    with pytest.raises(InputError) as caught:
        infer_contract(tmp_path / "x.jsonl", name="x")
    assert caught.value.got == "b, d"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "count", "kind", "when", "code", "state"],
    "properties": {
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 10, "description": "paid"},
        "count": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 5, "multipleOf": 1},
        "kind": {"enum": ["a", "b", None]},
        "when": {"type": "string", "format": "date-time"},
        "code": {"type": "string", "pattern": "^[A-Z]+$", "examples": ["AB"], "maxLength": 4},
        "state": {"$ref": "#/$defs/state"},
        "email": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    },
    "$defs": {"state": {"type": "string", "minLength": 3}},
}
VALUES: dict[str, list[Any]] = {
    "amount": [0, 1e-300, 10, 10.1, -1, "1", None],
    "count": [1, 2, 4, 5, 2.5],
    "kind": ["a", "c", None],
    "code": ["AB", "ab", "ABCDE"],
    "state": ["new", 7],
    "email": ["a@b.org", None],
}


def test_a_json_schema_and_its_contract_judge_values_alike() -> None:
    found = from_json_schema(json.dumps(SCHEMA).encode(), name="c")
    check = compile_contract(found.contract)
    oracle = jsonschema.Draft202012Validator(SCHEMA)
    row = {"amount": 1, "count": 2, "kind": "a", "when": "2026-03-01T10:00:00Z", "code": "A", "state": "new"}
    row["email"] = "a@b.org"
    for name, values in VALUES.items():
        for value in values:
            sent = row | {name: value}
            ours = not check.check(json.dumps({"inputs": sent}).encode()).rows[0].faults
            assert ours == oracle.is_valid(sent), (name, value)
    assert "Not held: multipleOf: 1" in found.notes["count"] and "Not held: minLength: 3" in found.notes["state"]
    assert any("not required" in note for note in found.notes["email"]) and valid(to_odcs(found.contract))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("[", "not JSON"),
        ('{"type": "string"}', "no object with properties"),
        ('{"properties": {"a": {"$ref": "http://x/y"}}}', "leads out"),
        ('{"properties": {"a": {"$ref": "#/properties/a"}}}', "lead to each other"),
        ('{"properties": {"a": {"type": "object"}, "b": {"type": ["string", "number"]}}}', "no column"),
    ],
)
def test_a_json_schema_that_is_no_row_is_refused(schema: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_json_schema(schema.encode(), name="c")


def mlmodel(inputs: Any) -> str:
    return yaml.safe_dump({"flavors": {"python_function": {}}, "signature": {"inputs": json.dumps(inputs)}})


def test_an_mlflow_signature_is_read_without_its_model(tmp_path: Path) -> None:
    inputs = [
        {"name": "amount", "type": "double", "required": True},
        {"name": "age", "type": "integer", "required": False},
        {"name": "at", "type": "datetime"},
    ]
    (tmp_path / "MLmodel").write_text(mlmodel(inputs))
    (tmp_path / "model.pkl").write_bytes(b"not a pickle")
    found: Guessed = from_mlflow(tmp_path, name="m")
    held = by_name(found.contract)
    assert found == from_mlflow(tmp_path / "MLmodel", name="m")
    assert [(c.name, c.type, c.nullable, c.format) for c in held.values()] == [
        ("amount", "number", False, ""),
        ("age", "integer", True, ""),
        ("at", "string", False, "datetime"),
    ]
    assert held["age"].maximum == 2**31 - 1 and held["age"].protected and valid(to_odcs(found.contract))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "cannot be read"),
        ("a: 1", "no signature"),
        (mlmodel([{"type": "tensor", "tensor-spec": {"dtype": "float64"}}]), "no column"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_an_mlmodel_without_named_columns_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(InputError, match=says):
        from_mlflow(tmp_path, name="m")
    with pytest.raises(NotFound):
        from_mlflow(tmp_path / "elsewhere", name="m")

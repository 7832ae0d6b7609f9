"""Contracts inferred from files hold what the file holds, and every row of the file passes them."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.model import Column
from pilotage.contracts.personal import looks_personal
from pilotage.errors import InputError

EXAMPLE = Path(__file__).parents[3] / "examples/credit_default/data/credit_card_default.csv.gz"
patient = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def write(path: Path, **columns: list[object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def infer_columns(path: Path, **options: object) -> dict[str, Column]:
    return {column.name: column for column in infer_contract(path, name="test", **options).columns}  # type: ignore[arg-type]


def test_types_nulls_and_categories(tmp_path: Path) -> None:
    path = write(
        tmp_path / "data.csv",
        whole=list(range(100, 200)),
        real=[index / 7 for index in range(100)],
        flag=[index % 2 for index in range(100)],
        yes=["yes" if index % 3 else "no" for index in range(100)],
        truth=["True" if index % 3 else "False" for index in range(100)],
        free=[f"text {index}" for index in range(100)],
        gaps=["NA" if index == 50 else index for index in range(100)],
        day=["2026-01-01"] * 100,
        empty=[""] * 100,
    )
    columns = infer_columns(path)
    assert {name: column.type for name, column in columns.items()} == {
        "whole": "integer",
        "real": "number",
        "flag": "integer",
        "yes": "string",
        "truth": "boolean",
        "free": "string",
        "gaps": "integer",
        "day": "string",
        "empty": "string",
    }
    assert [name for name, column in columns.items() if column.nullable] == ["gaps", "empty"]
    assert columns["flag"].categories == (0, 1)
    assert columns["yes"].categories == ("no", "yes")
    assert columns["free"].categories is None
    assert columns["truth"].categories is None


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([100, 200, 150], 90, 210),
        ([0, 100, 50], 0, 110),
        ([5, 100, 50], 0, 110),
        ([-100, 0, -50], -110, 0),
        ([-100, 100, 7], -120, 120),
        ([7, 7, 7], 6, 8),
        ([0.5, 1.5, 1.0], 0.4, 1.6),
        ([21, 79, 30], 15, 85),
    ],
)
def test_ranges_are_what_was_seen_with_a_margin_and_never_cross_zero(
    tmp_path: Path, values: list[float], low: float, high: float
) -> None:
    column = infer_columns(write(tmp_path / "data.csv", x=values), categorical=())["x"]
    if column.categories is None:
        assert (column.minimum, column.maximum) == (low, high)
    else:
        assert set(values) == set(column.categories)


def test_names_given_decide_roles_and_marks(tmp_path: Path) -> None:
    path = write(
        tmp_path / "data.csv",
        ID=range(30),
        colour=[index % 5 for index in range(30)],
        AGE=range(30, 60),
        contact=[f"person{index}@example.org" for index in range(30)],
        y=[index % 2 for index in range(30)],
        note=["x"] * 30,
    )
    columns = infer_columns(
        path, target="y", subject="ID", ignore=["note"], categorical=["colour"], protected=["AGE"], personal=["colour"]
    )
    assert {name: column.role for name, column in columns.items()} == {
        "ID": "subject",
        "colour": "feature",
        "AGE": "feature",
        "contact": "feature",
        "y": "target",
        "note": "ignored",
    }
    assert columns["colour"].categories == (0, 1, 2, 3, 4)
    assert [name for name, column in columns.items() if column.personal] == ["ID", "colour", "AGE", "contact"]
    assert "e-mail" in columns["contact"].description
    assert [name for name, column in columns.items() if column.protected] == ["AGE"]


def test_gzip_and_parquet_give_the_same_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", a=range(40), b=[index / 3 for index in range(40)], c=["u", "v"] * 20)
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    table = tmp_path / "data.parquet"
    duckdb.sql(f"COPY (SELECT * FROM '{path}') TO '{table}'")
    digests = {infer_contract(file, name="x").digest() for file in (path, packed, table)}
    assert len(digests) == 1


def test_every_wrong_name_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", a=[1, 2], b=[3, 4])
    with pytest.raises(InputError) as caught:
        infer_contract(path, name="x", target="z", subject="id", categorical=["a", "q"])
    assert [fault["path"] for fault in caught.value.faults] == ["target.z", "subject.id", "categorical.q"]


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\x00\xff\xfe\x00", b"PAR1 not a table"])
def test_files_that_hold_no_table_are_refused(tmp_path: Path, content: bytes) -> None:
    for suffix in (".csv", ".parquet", ".csv.gz"):
        path = tmp_path / f"data{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError):
            infer_contract(path, name="x")
    with pytest.raises(InputError):
        infer_contract(tmp_path / "nowhere.csv", name="x")


def test_too_many_categories_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", a=range(1_100))
    with pytest.raises(InputError, match="too many categories"):
        infer_contract(path, name="x", categorical=["a"])


@patient
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**60), 2**60),
        min_size=1,
        max_size=30,
    )
)
def test_every_value_of_the_data_passes_its_own_contract(tmp_path: Path, values: list[float]) -> None:
    values = [value for value in values if isinstance(value, float) or abs(value) < 2**53] or [0]
    contract = infer_contract(write(tmp_path / "data.csv", x=values), name="x")
    check = compile_contract(contract)
    integer = contract.columns[0].type == "integer"
    rows = [{"x": int(value) if integer else value} for value in values]
    for row in check.check(json.dumps({"inputs": rows}).encode()).rows:
        assert row.faults == ()


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the example's data is not in this checkout")
def test_all_rows_of_the_example_pass_the_contract_inferred_from_them() -> None:
    contract = infer_contract(
        EXAMPLE, name="credit-default", target="Default", subject="ID", categorical=["SEX", "EDUCATION", "MARRIAGE"]
    )
    assert len(contract.features) == 23
    names = [column.name for column in contract.columns if column.role != "target"]
    rows = duckdb.sql(f"SELECT {', '.join(names)} FROM '{EXAMPLE}'").fetchall()
    body = json.dumps({"inputs": [dict(zip(names, row, strict=True)) for row in rows]}).encode()
    checked = compile_contract(contract).check(body).rows
    assert len(checked) == 30_000
    assert not [row.faults for row in checked if row.faults]
    assert checked[0].subject == "1"


@pytest.mark.parametrize(
    "name", ["email", "Email Address", "firstName", "last_name", "DOB", "zip", "AGE", "ssn", "IBAN"]
)
def test_personal_names_are_noticed(name: str) -> None:
    assert looks_personal(name, [])


@pytest.mark.parametrize("name", ["PAGE", "amount", "average", "username_length", "BILL_AMT1", "LIMIT_BAL", "stage"])
def test_other_names_are_not(name: str) -> None:
    assert not looks_personal(name, ["1", "2"])


def test_personal_values_are_noticed() -> None:
    assert "e-mail" in looks_personal("x", ["a@b.org", "c@d.net", "none"])
    assert "telephone" in looks_personal("x", ["+41 44 123 45 67", "0041441234567"])
    assert not looks_personal("x", ["20000", "120000", "3.5", "2026-01-01"])

"""A file held to a contract: what DuckDB says of each row is what the door says of the same row as a request."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.judging import define_functions, first_code
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.contracts.table import check_table, write_faults
from pilotage.errors import InputError

numbers = st.one_of(
    st.floats(allow_nan=False), st.integers(-(2**55), 2**55).map(float), st.sampled_from([0.0, 1.5, 7.0])
)
texts = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "é",
            "",
            " ",
            "2024-02-30",
            "2024-02-29",
            "0000-01-01",
            "2024-02-29T23:59",
            "2024-02-29T24:00:00Z",
            "2024-02-29T10:00:00.5+02:00",
            "2023-02-29T10:00Z",
            "2024-02-29 10:00",
            "a\u2003@b.cd",
            "0000aAbB-1234-1234-1234-123456789abc",
            "a@b.cd",
            "a b@c.de",
            "a@b..c",
            "AB12",
            "x" * 12,
            "it's",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind = draw(st.sampled_from(["number", "integer", "string", "boolean"]))
    more: dict[str, Any] = {"nullable": draw(st.booleans())}
    if kind in ("number", "integer") and draw(st.booleans()):
        low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
        more |= {"minimum": float(low)} if draw(st.booleans()) else {}
        more |= {"maximum": float(high)} if draw(st.booleans()) else {}
    elif kind in ("number", "integer"):
        picks = st.integers(-3, 8).map(float) if kind == "integer" else st.sampled_from([0.0, 0.1, 1.5, 7.0])
        more |= {"categories": tuple(draw(st.sets(picks, min_size=1, max_size=4)))} if draw(st.booleans()) else {}
    elif kind == "string":
        form = draw(st.sampled_from(["plain", "categories", "length", "date", "datetime", "uuid", "email", "pattern"]))
        more |= {
            "plain": {},
            "categories": {"categories": ("a", "b", "it's")},
            "length": {"max_length": draw(st.integers(1, 8))},
            "date": {"format": "date"},
            "datetime": {"format": "datetime"},
            "uuid": {"format": "uuid"},
            "email": {"format": "email"},
            "pattern": {"pattern": "^[A-Z]{2}[0-9]+", "example": "AB12"},
        }[form]
    return Column(name=name, type=kind, **more)


@st.composite
def contracts(draw: st.DrawFn) -> DataContract:
    made = [draw(columns(f"c{at}")) for at in range(draw(st.integers(1, 4)))]
    numeric = [each.name for each in made if each.numeric]
    rules = [RowRule(name="small", check=f"{numeric[0]} < 5")] if numeric and draw(st.booleans()) else []
    if len(numeric) > 1 and draw(st.booleans()):
        rules.append(RowRule(name="ratio", check=f"{numeric[0]} / {numeric[1]} <= 2 or {numeric[0]} is null"))
    return DataContract(name="made", version="1", columns=tuple(made), rules=tuple(rules))


def value_of(column: Column) -> st.SearchStrategy[Any]:
    # The bounds of a number lie within nine of zero: most that is drawn at large would lie outside.
    near = st.integers(-20, 20).map(lambda half: half / 2)
    kinds = {"string": texts, "boolean": st.booleans()}
    return st.one_of(st.none(), kinds.get(column.type, numbers | near))


def by_the_door(contract: DataContract, rows: list[list[Any]]) -> list[str | None]:
    names = [column.name for column in contract.features]
    check = compile_contract(contract)
    body = msgspec.json.encode({"inputs": [dict(zip(names, row, strict=True)) for row in rows]})
    return [None if each.values is not None else each.faults[0].code for each in check.check(body).rows]


def by_the_table(contract: DataContract, rows: list[list[Any]]) -> list[str | None]:
    kinds = {"string": "VARCHAR", "boolean": "BOOLEAN"}
    types = [kinds.get(column.type, "DOUBLE") for column in contract.features]
    with duckdb.connect(":memory:") as connection:
        define_functions(connection, contract)
        listed = ", ".join(f"c{at} {kind}" for at, kind in enumerate(types))
        connection.execute(f"CREATE TABLE made (n INTEGER, {listed})")
        marks = ", ".join("?" * (len(types) + 1))
        connection.executemany(f"INSERT INTO made VALUES ({marks})", [[at, *row] for at, row in enumerate(rows)])
        places = {column.name: column.name for column in contract.features}
        found = connection.execute(f"SELECT {first_code(contract, places)} FROM made ORDER BY n").fetchall()
    return [code for (code,) in found]


@given(st.data())
def test_every_row_has_the_fault_that_the_door_names_first(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    rows = data.draw(st.lists(st.tuples(*map(value_of, contract.features)).map(list), min_size=1, max_size=8))
    # JSON has no infinity, so the door is asked about what it can be sent.
    rows = [[None if isinstance(each, float) and math.isinf(each) else each for each in row] for row in rows]
    assert by_the_table(contract, rows) == by_the_door(contract, rows)


def test_an_integer_that_is_not_exact_is_beyond_any_declared_range() -> None:
    column = Column(name="c0", type="integer", minimum=-1e17, maximum=1e17)
    contract = DataContract(name="made", version="1", columns=(column,))
    rows: list[list[Any]] = [[2.0**53 - 1], [2.0**53], [-(2.0**53)], [0.0]]
    found = by_the_table(contract, rows)
    assert found == by_the_door(contract, rows) and found[1] and found[2] and not found[0] and not found[3]


CONTRACT = DataContract(
    name="loans",
    version="1",
    subject="id",
    columns=(
        Column(name="id", type="integer", role="subject", personal=True),
        Column(name="income", type="number", minimum=0, maximum=1e6, on_fault={"below_minimum": "review"}),
        Column(name="late", type="integer", minimum=0, maximum=9, nullable=True),
        Column(name="home", type="string", categories=("own", "rent")),
        Column(name="since", type="string", format="date", personal=True),
        Column(name="paid", type="number"),
        Column(name="truth", type="boolean"),
        Column(name="bad", type="integer", role="target"),
    ),
    rules=(RowRule(name="paid-within-income", check="paid <= income", action="review"),),
)
HEAD = ["id", "income", "late", "home", "since", "paid", "truth", "bad", "extra"]
GOOD = ["7", "100.5", "3", "own", "2020-01-31", "50", "true", "1", "x"]


def write(path: Path, *rows: list[str], head: list[str] | None = None) -> Path:
    with path.open("wb") as file:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([head or HEAD, *rows])
        content = text.getvalue().encode()
        file.write(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def changed(**values: str) -> list[str]:
    return [values.get(name, value) for name, value in zip(HEAD, GOOD, strict=True)]


def test_every_fault_is_counted_with_its_first_rows(tmp_path: Path) -> None:
    rows = [
        GOOD,
        changed(income="-5", late="2.5"),
        changed(income="lots", home="boat"),
        changed(income="1_000"),
        changed(income="inf"),
        changed(income="", id=" "),
        changed(since="2020-02-30"),
        changed(paid="200"),
        changed(truth="maybe"),
        changed(late="NA"),
        *[changed(income=str(10**7))] * 7,
    ]
    for name in ("rows.csv", "rows.csv.gz"):
        found = check_table(write(tmp_path / name, *rows), CONTRACT)
        counts = {(each.column, each.code): each.rows for each in found.faults}
        assert counts == {
            ("income", "above_maximum"): 7,
            ("income", "below_minimum"): 1,
            ("income", "wrong_type"): 2,
            ("income", "not_finite"): 1,
            ("income", "null"): 1,
            ("id", "missing"): 1,
            ("late", "wrong_type"): 1,
            ("home", "unseen_category"): 1,
            ("since", "wrong_format"): 1,
            ("truth", "wrong_type"): 1,
            ("paid-within-income", "rule"): 1,
        }
        assert (found.rows, found.faulty, found.holds) == (17, 15, False)
        assert found.faults[0].rows == 7 and [row for row, _ in found.faults[0].examples] == [11, 12, 13, 14, 15]
        shown = {(each.column, each.code): each for each in found.faults}
        assert shown["income", "wrong_type"].examples == [(3, '"lots"'), (4, '"1_000"')]
        assert (
            shown["income", "below_minimum"].action == "review" and shown["home", "unseen_category"].action == "reject"
        )
        assert shown["paid-within-income", "rule"].examples == [(8, "")]
        assert shown["since", "wrong_format"].examples == [(7, "a value about a person")], "no personal value is shown"
        assert found.unknown == ["extra"] and found.missing == []


def test_what_only_a_table_can_have(tmp_path: Path) -> None:
    head = [name for name in HEAD if name != "home"]
    path = write(tmp_path / "a.csv", [v for n, v in zip(HEAD, GOOD, strict=True) if n != "home"], head=head)
    found = check_table(path, CONTRACT)
    assert found.missing == ["home"] and found.faulty == found.rows == 1 and not found.holds
    path = write(tmp_path / "b.csv", GOOD, GOOD, changed(id="8"), changed(id="9", late="4"))
    own = tuple(msgspec.structs.replace(each, unique=each.name == "id") for each in CONTRACT.columns)
    twice = check_table(path, msgspec.structs.replace(CONTRACT, columns=own, keys=(("late", "home"),)))
    assert twice.twice == {"id": 1, "late × home": 2} and twice.faulty == 0 and not twice.holds
    old = tuple(msgspec.structs.replace(each, max_age="30d" if each.name == "since" else "") for each in own[1:])
    aged = msgspec.structs.replace(CONTRACT, columns=(CONTRACT.columns[0], *old))
    newest = 1_580_428_800_000_000
    assert check_table(path, aged, at=newest + 31 * 86_400_000_000).stale == {"since": newest}
    fresh = check_table(path, aged, at=newest + 29 * 86_400_000_000)
    assert fresh.stale == {} and fresh.holds
    undated = check_table(write(tmp_path / "d.csv", changed(since="never")), aged)
    assert undated.stale == {"since": None}
    with pytest.raises(InputError, match="none of the contract's columns"):
        check_table(write(tmp_path / "c.csv", ["1"], head=["other"]), CONTRACT)
    with pytest.raises(InputError, match="no such file"):
        check_table(tmp_path / "none.csv", CONTRACT)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="cannot read"):
        check_table(tmp_path / "broken.parquet", CONTRACT)


def test_types_count_where_a_file_has_them(tmp_path: Path) -> None:
    """In Parquet and JSON a number in quotes is text, as in a request; in CSV all is text."""
    good = {"id": 7, "income": 100.5, "late": None, "home": "own", "since": "2020-01-31", "paid": 1, "truth": True}
    lines = [good, good | {"income": "100.5"}, good | {"truth": "true"}, good | {"late": 1}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = check_table(tmp_path / "rows.jsonl", CONTRACT)
    assert found.rows == 4
    with duckdb.connect(":memory:") as connection:
        made = "SELECT 7 AS id, '1' AS income, NULL::INTEGER AS late, 'own' AS home, '2020-01-31' AS since, 1.5 AS paid"
        path = tmp_path / "rows.parquet"
        connection.execute(f"COPY ({made}, 'true' AS truth) TO '{path}' (FORMAT parquet)")
    codes = {(each.column, each.code) for each in check_table(path, CONTRACT).faults}
    assert codes == {("income", "wrong_type"), ("truth", "wrong_type")}


def test_faults_are_written_a_line_each_without_values(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", GOOD, changed(income="-5", late="2.5"), changed(paid="900"))
    for name in ("faults.csv", "faults.parquet"):
        assert write_faults(path, CONTRACT, tmp_path / name) == 3
        with duckdb.connect(":memory:") as connection:
            found = connection.execute(f"SELECT * FROM '{tmp_path / name}'").fetchall()
        expected = [(2, "income", "below_minimum"), (2, "late", "wrong_type"), (3, "paid-within-income", "rule")]
        assert found == expected


def test_rows_that_are_the_same_in_every_column_are_counted_and_break_nothing(tmp_path: Path) -> None:
    own = [changed(income=str(at)) for at in (10, 20, 30, 40)]
    path = write(tmp_path / "rows.csv", *own, own[1], own[1], own[3])
    found = check_table(path, CONTRACT)
    assert (found.rows, found.duplicates) == (7, 3)
    assert check_table(write(tmp_path / "once.csv", *own), CONTRACT).duplicates == 0


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[float] = []
    check_table(write(tmp_path / "rows.csv", *[GOOD] * 200), CONTRACT, progress=told.append)
    assert all(0 <= share <= 1 for share in told)

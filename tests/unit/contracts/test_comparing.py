"""Breaking and compatible changes of a contract; the commands that check, compare and print one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.cli.contract import contract as command
from pilotage.contracts.comparing import compare_contracts
from pilotage.contracts.dictionary import as_markdown
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.contracts.odcs import to_odcs
from pilotage.contracts.table import check_table
from pilotage.errors import InputError
from pilotage.web.console.contract_files import check_file, dictionary_file
from tests.unit.contracts.test_table import CONTRACT, GOOD, by_the_door, changed, columns, contracts, value_of, write


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_where_nothing_breaks_all_that_was_taken_still_is(data: st.DataObject) -> None:
    old = data.draw(contracts())
    own = list(old.columns)
    at = data.draw(st.integers(0, len(own) - 1))
    drawn = data.draw(columns(own[at].name))
    parts = data.draw(st.sets(st.sampled_from(["nullable", "minimum", "maximum", "categories", "max_length", "all"])))
    try:
        changed_ = (
            drawn if "all" in parts else msgspec.structs.replace(own[at], **{n: getattr(drawn, n) for n in parts})
        )
        rules = old.rules if data.draw(st.booleans()) else ()
        new = msgspec.structs.replace(old, columns=(*own[:at], changed_, *own[at + 1 :]), rules=rules)
    except InputError:
        return
    found = compare_contracts(old, new)
    assert bool(found) == (old != new)
    if any(each.breaking for each in found):
        return
    rows = data.draw(st.lists(st.tuples(*map(value_of, old.features)).map(list), min_size=1, max_size=8))
    taken = [row for row, code in zip(rows, by_the_door(old, rows), strict=True) if code is None]
    if taken:
        assert set(by_the_door(new, taken)) == {None}, found


def edited(name: str, **values: Any) -> DataContract:
    own = tuple(msgspec.structs.replace(c, **values) if c.name == name else c for c in CONTRACT.columns)
    return msgspec.structs.replace(CONTRACT, columns=own)


@pytest.mark.parametrize(
    ("new", "what", "breaking"),
    [
        (edited("income", minimum=-5.0), "minimum", False),
        (edited("income", minimum=5.0), "minimum", True),
        (edited("income", maximum=None), "maximum", False),
        (edited("late", nullable=False), "nullable", True),
        (edited("income", nullable=True), "nullable", False),
        (edited("home", categories=("own",)), "categories", True),
        (edited("home", categories=("own", "rent", "other")), "categories", False),
        (edited("late", type="number"), "type", False),
        (edited("paid", type="integer"), "type", True),
        (edited("since", format=""), "format", False),
        (edited("paid", unit="EUR"), "unit", True),
        (edited("home", protected=True), "protected", False),
        (edited("id", unique=True), "unique", False),
        (edited("home", description="where they live"), "description", False),
        (edited("truth", role="ignored"), "role", True),
        (edited("income", on_fault={}), "on_fault", False),
        (msgspec.structs.replace(CONTRACT, columns=CONTRACT.columns[:-1]), "removed", False),
        (
            msgspec.structs.replace(CONTRACT, columns=(*CONTRACT.columns, Column(name="n", type="number"))),
            "added",
            True,
        ),
        (msgspec.structs.replace(CONTRACT, rules=()), "rule", False),
        (
            msgspec.structs.replace(CONTRACT, rules=(*CONTRACT.rules, RowRule(name="r", check="paid < 9"))),
            "rule",
            True,
        ),
        (msgspec.structs.replace(CONTRACT, keys=(("late", "home"),)), "keys", False),
    ],
)
def test_each_change_is_told_apart(new: DataContract, what: str, breaking: bool) -> None:
    found = compare_contracts(CONTRACT, new)
    assert [(each.what, each.breaking) for each in found] == [(what, breaking)], found
    assert found[0].why and (found[0].old != found[0].new)


def test_a_repair_that_ends_breaks() -> None:
    was = edited("income", on_fault={"wrong_type": "repair"})
    [found] = compare_contracts(was, CONTRACT)
    assert found.what == "on_fault" and found.breaking, "a number in quotes was mended, and is turned away now"


def test_commands(tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        return CliRunner().invoke(command, [str(word) for word in words])

    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(to_odcs(CONTRACT))
    new.write_text(to_odcs(edited("income", maximum=10.0)))
    good, bad = write(tmp_path / "good.csv", GOOD), write(tmp_path / "bad.csv", GOOD, changed(home="<b>boat"))
    assert run("diff", old, old).output == "no change\n"
    made = run("diff", old, new)
    assert made.exit_code == 3 and "1 of 1 changes break callers" in made.output
    assert json.loads(run("diff", old, new, "--json").output)["changes"][0]["what"] == "maximum"
    assert run("diff", new, old).exit_code == 0
    assert run("check", old, good).exit_code == 0
    page, faults = tmp_path / "page.html", tmp_path / "faults.parquet"
    made = run("check", old, bad, "--html", page, "--faults", faults)
    assert made.exit_code == 3 and "does not hold" in made.output and faults.stat().st_size
    assert "&lt;b&gt;boat" in page.read_text() and "<b>boat" not in page.read_text()
    told = json.loads(run("check", new, good, "--json").output)
    assert told["holds"] is False and told["faults"][0]["code"] == "above_maximum"
    assert "| income |" in run("docs", old).output
    assert run("docs", old, "--html", page).exit_code == 0 and "paid-within-income" in page.read_text()
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    assert isinstance(run("check", tmp_path / "latin.yaml", good).exception, InputError)


def test_columns_used_against_their_purpose_are_told(tmp_path: Path) -> None:
    for name in ("model.joblib", "data.csv"):
        (tmp_path / name).write_text("x")
    owners = "owners: {business: b, model: m, operations: o, risk: r}"
    pilot = 'pilot: {artefact: model.joblib, data: data.csv, target: bad, positive: "1"}'
    (tmp_path / "pilotage.yaml").write_text(
        f"id: a\nname: A\npurpose: p\nrisk_tier: low\n{owners}\ndata_use: [marketing]\n{pilot}\n"
        "answer: {threshold: 0.5, adverse: no, favourable: yes}\n".replace("no,", '"no",').replace("yes}", '"yes"}')
    )
    path = tmp_path / "contract.yaml"
    path.write_text(to_odcs(edited("income", purposes=("credit",))))
    words = ["check", str(path), str(write(tmp_path / "good.csv", GOOD))]
    assert CliRunner().invoke(command, words).exit_code == 0
    made = CliRunner().invoke(command, [*words, "--system", str(tmp_path / "pilotage.yaml")])
    assert made.exit_code == 3 and "income" in made.output, (made.output, made.exception)


def test_the_dictionary_holds_every_column_and_no_markup_of_its_text() -> None:
    nasty = edited("home", description="a | b <script>alert(1)</script> *x*\nsecond")
    text = as_markdown(nasty)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(nasty.columns) + 1 and all(row.replace("\\|", "").count("|") == 8 for row in rows)
    assert "<script>" not in text and "<script>" not in dictionary_file(nasty)
    for column in nasty.columns:
        assert column.name in dictionary_file(nasty)


def test_the_page_of_a_check_that_holds(tmp_path: Path) -> None:
    found = check_table(write(tmp_path / "good.csv", GOOD), CONTRACT)
    assert "It holds" in check_file(CONTRACT, found, "good.csv")

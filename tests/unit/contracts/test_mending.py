"""What becomes of a fault by the contract's own word; rules over columns; forms; and the file that says so."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.contracts.compile import CheckedRow, RowCheck, compile_contract
from pilotage.contracts.formats import is_formatted
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.errors import InputError

ALL = {"wrong_type": "repair", "missing": "repair", "null": "repair", "below_minimum": "review", "any": "fallback"}
CONTRACT = DataContract(
    name="loans",
    version="1",
    subject="id",
    columns=(
        Column(name="id", type="string", role="subject"),
        Column(name="paid", type="number", minimum=0, maximum=1_000, on_fault=ALL, impute=10),
        Column(name="owed", type="number"),
        Column(name="age", type="integer", on_fault={"wrong_type": "repair"}),
        Column(name="opened", type="string", format="date", nullable=True),
    ),
    rules=(
        RowRule(name="paid-within-owed", check="paid <= owed", message="nobody pays more than is owed"),
        RowRule(name="old", check="age < 100", action="review"),
    ),
)
GOOD: dict[str, Any] = {"id": "p", "paid": 5, "owed": 100, "age": 30, "opened": "2026-03-31"}
CHECK = compile_contract(CONTRACT)


def one(**changes: Any) -> CheckedRow:
    row = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return CHECK.check(json.dumps({"inputs": row}).encode()).rows[0]


def test_a_row_that_fits_passes_both_ways() -> None:
    row = one()
    assert (row.values, row.faults, row.repairs, row.subject) == ((5.0, 100.0, 30.0, "2026-03-31"), (), (), "p")
    assert CHECK.fits(json.dumps({"inputs": GOOD}).encode()) == row
    assert CHECK.fits(json.dumps({"inputs": GOOD | {"owed": 1}}).encode()) is None, "the short way leaves it alone"
    assert CHECK.fits(json.dumps({"inputs": GOOD | {"opened": "2026-02-30"}}).encode()) is None


@pytest.mark.parametrize(
    ("changes", "code", "used"),
    [
        ({"paid": "7.5"}, "wrong_type", 7.5),
        ({"paid": "much"}, "wrong_type", 10.0),
        ({"paid": "nan"}, "wrong_type", 10.0),
        ({"paid": "2_0"}, "wrong_type", 10.0),
        ({"paid": "5000"}, "wrong_type", 10.0),
        ({"paid": ...}, "missing", 10.0),
        ({"paid": None}, "null", 10.0),
    ],
)
def test_a_repair_is_made_and_told(changes: dict[str, Any], code: str, used: float) -> None:
    row = one(**changes)
    assert row.values == (used, 100.0, 30.0, "2026-03-31") and row.faults == ()
    assert [(each.path, each.code, each.used) for each in row.repairs] == [("inputs.paid", code, used)]


@pytest.mark.parametrize(
    ("changes", "action", "codes"),
    [
        ({"paid": -1}, "review", ["below_minimum"]),
        ({"paid": 2_000}, "fallback", ["above_maximum"]),
        ({"paid": 2_000, "age": "x"}, "reject", ["above_maximum", "wrong_type"]),
        ({"paid": -1, "owed": "100"}, "reject", ["below_minimum", "wrong_type"]),
        ({"paid": None, "owed": 5}, "reject", ["null", "rule"]),
        ({"paid": 200}, "reject", ["rule"]),
        ({"age": 100}, "review", ["rule"]),
        ({"age": 100, "paid": 200}, "reject", ["rule", "rule"]),
        ({"age": "100"}, "review", ["wrong_type", "rule"]),
        ({"opened": "31.03.2026"}, "reject", ["wrong_format"]),
        ({"more": 1, "paid": None}, "reject", ["null", "unknown_field"]),
        ({"id": "", "paid": None}, "reject", ["missing", "null"]),
    ],
)
def test_the_gravest_action_wins_and_every_fault_is_listed(
    changes: dict[str, Any], action: str, codes: list[str]
) -> None:
    row = one(**changes)
    assert (row.values, row.action, row.repairs) == (None, action, ())
    assert [fault.code for fault in row.faults] == codes


def test_a_fallback_knows_the_values_that_are_not_at_fault() -> None:
    row = one(paid=2_000)
    assert row.known == (None, 100.0, 30.0, "2026-03-31")
    assert one(paid=-1).known is None


def test_a_broken_rule_is_named_with_the_values_it_reads() -> None:
    (fault,) = one(paid=200).faults
    assert (fault.path, fault.message, fault.expected) == ("inputs", "nobody pays more than is owed", "paid <= owed")
    assert fault.got == "paid = 200.0, owed = 100.0" and fault.recorded_path == "inputs"


def test_a_name_given_twice_is_never_repaired() -> None:
    raw = json.dumps({"inputs": GOOD}).encode().replace(b'"paid": 5', b'"paid": "5", "paid": "6"')
    (row,) = CHECK.check(raw).rows
    assert (row.action, [fault.code for fault in row.faults]) == ("reject", ["duplicate_field"])


def test_rows_of_a_list_are_mended_one_by_one() -> None:
    rows = CHECK.check(json.dumps({"inputs": [GOOD, GOOD | {"paid": "6"}, GOOD | {"paid": -1}]}).encode()).rows
    assert [(row.values is not None, len(row.repairs), row.action) for row in rows] == [
        (True, 0, "reject"),
        (True, 1, "reject"),
        (False, 0, "review"),
    ]
    assert rows[1].repairs[0].path == "inputs[1].paid"


def test_the_file_there_and_back() -> None:
    again = from_odcs(to_odcs(CONTRACT))
    assert again == CONTRACT and again.digest() == CONTRACT.digest()


def test_a_contract_that_says_nothing_of_it_keeps_its_digest_and_its_check() -> None:
    plain = DataContract(name="x", version="1", columns=(Column(name="n", type="number"),))
    assert plain.digest() == "sha256:8db40adf46876bfb6b09f766d132bfb93de1739ab891c4ec0aaaf36e23b489a3"
    assert type(compile_contract(plain)) is RowCheck and type(CHECK) is not RowCheck


@pytest.mark.parametrize(
    "changes",
    [
        {"on_fault": {"missing": "repair"}},
        {"on_fault": {"nonsense": "reject"}},
        {"on_fault": {"missing": "repair"}, "impute": -1},
        {"on_fault": {"missing": "repair"}, "impute": 1.5},
        {"on_fault": {"missing": "repair"}, "impute": "x"},
        {"on_fault": {"missing": "repair"}, "impute": True},
        {"format": "date"},
        {"role": "ignored", "on_fault": {"any": "review"}},
    ],
)
def test_a_policy_that_cannot_hold_is_refused(changes: dict[str, Any]) -> None:
    column = msgspec.structs.replace(Column(name="n", type="integer", minimum=0), **changes)
    with pytest.raises(InputError, match="not valid"):
        DataContract(name="x", version="1", columns=(column, Column(name="m", type="number")))


@pytest.mark.parametrize(
    "rule", [RowRule(name="", check="n > 1"), RowRule(name="r", check="n > m"), RowRule(name="r", check="n")]
)
def test_a_rule_that_cannot_be_read_is_refused(rule: RowRule) -> None:
    with pytest.raises(InputError, match="not valid"):
        DataContract(name="x", version="1", columns=(Column(name="n", type="number"),), rules=(rule,))


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            "date",
            ["2026-02-28", "2024-02-29"],
            ["2026-02-29", "20260228", "2026-2-8", "2026-02-28T", "", "２０２６-02-28"],
        ),
        (
            "datetime",
            ["2026-02-28T12:00Z", "2026-02-28T12:00:01.5+01:00"],
            ["2026-02-28", "2026-02-28 12:00", "2026-02-28T25:00"],
        ),
        (
            "email",
            ["a@b.org", "a.b+c@d-e.example.org"],
            ["a@b", "@b.org", "a b@c.org", "a@-b.org", "a@b..org", "a@b.org\n", "x" * 400 + "@b.org"],
        ),
        (
            "uuid",
            ["01234567-89ab-cdef-0123-456789abcdef"],
            ["0123456789abcdef0123456789abcdef", "g1234567-89ab-cdef-0123-456789abcdef"],
        ),
    ],
)
def test_forms(form: str, good: list[str], bad: list[str]) -> None:
    assert all(is_formatted(form, text) for text in good)
    assert not any(is_formatted(form, text) for text in bad)


values = (
    st.none()
    | st.booleans()
    | st.integers(-10, 3_000)
    | st.floats()
    | st.text(max_size=5)
    | st.just("12")
    | st.lists(st.integers(), max_size=1)
)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), values, max_size=6))
def test_no_row_breaks_it_and_what_passes_fits(row: dict[str, Any]) -> None:
    (found,) = CHECK.check(json.dumps({"inputs": row}).encode()).rows
    assert (found.values is None) is bool(found.faults)
    if found.values is not None:
        sent = dict(zip(CHECK.names, found.values, strict=True)) | {"id": "p"}
        (again,) = CHECK.check(msgspec.json.encode({"inputs": sent})).rows
        assert again.values == found.values and again.repairs == ()

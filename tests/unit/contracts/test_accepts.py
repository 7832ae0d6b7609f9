"""A contract accepts all that another does: proved by trying rows, refused with a reason for each column."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.contracts.accepts import differences
from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.errors import InputError


def contract(*columns: Column) -> DataContract:
    subject = next((column.name for column in columns if column.role == "subject"), "")
    return DataContract(name="c", version="1", columns=columns, subject=subject)


AGE = Column(name="age", type="integer", minimum=18, maximum=100)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({}, {}),
        ({"minimum": None}, {}),
        ({"maximum": 120}, {}),
        ({"type": "number"}, {}),
        ({"nullable": True}, {}),
        ({"nullable": True}, {"nullable": True}),
        ({"type": "number"}, {"type": "number", "minimum": None, "maximum": None, "categories": (20, 30.5)}),
        ({}, {"minimum": None, "maximum": None, "categories": (20, 30)}),
        (
            {"minimum": None, "maximum": None, "categories": (1, 2, 3)},
            {"minimum": None, "maximum": None, "categories": (1, 2)},
        ),
    ],
)
def test_a_wider_column_accepts(wide: dict, narrow: dict) -> None:
    one, two = (msgspec.structs.replace(AGE, **changes) for changes in (wide, narrow))
    assert differences(contract(one), contract(two)) == []


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"minimum": 19}, {}),
        ({"maximum": 99}, {}),
        ({}, {"minimum": None}),
        ({}, {"nullable": True}),
        ({}, {"type": "number"}),
        ({"type": "number"}, {"type": "string", "minimum": None, "maximum": None}),
        ({}, {"minimum": None, "maximum": None, "categories": (17, 30)}),
        ({"minimum": None, "maximum": None, "categories": (20, 30)}, {}),
    ],
)
def test_a_narrower_column_does_not_and_says_so(wide: dict, narrow: dict) -> None:
    one, two = (msgspec.structs.replace(AGE, **changes) for changes in (wide, narrow))
    (fault,) = differences(contract(one), contract(two))
    assert fault["path"] == "age" and fault["code"] == "fallback_incompatible"


def test_both_take_the_same_inputs() -> None:
    more = Column(name="income", type="number")
    assert [fault["path"] for fault in differences(contract(AGE), contract(AGE, more))] == ["income"]
    assert [fault["path"] for fault in differences(contract(AGE, more), contract(AGE))] == ["income"]
    subject = Column(name="income", type="string", role="subject")
    assert [fault["path"] for fault in differences(contract(AGE, more), contract(AGE, subject))] == ["income"]


REPAIRED = {"minimum": None, "maximum": 50, "on_fault": {"any": "repair"}, "impute": 20}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (REPAIRED | {"on_fault": {"missing": "reject", "any": "repair"}}, REPAIRED),
        (REPAIRED | {"on_fault": {"any": "repair", "wrong_type": "review"}}, REPAIRED),
        (
            REPAIRED | {"minimum": None, "on_fault": {"any": "repair", "below_minimum": "reject"}},
            REPAIRED,
        ),
        ({"on_fault": {"wrong_type": "repair"}}, {"on_fault": {"wrong_type": "repair"}, "impute": 20}),
    ],
)
def test_what_any_repairs_is_repaired_code_by_code(wide: dict, narrow: dict) -> None:
    one, two = (msgspec.structs.replace(AGE, **changes) for changes in (wide, narrow))
    (fault,) = differences(contract(one), contract(two))
    assert "is repaired here and not there" in str(fault["message"])


def test_a_rule_reads_what_a_repair_makes() -> None:
    """100 is repaired to 20 here, which the rule allows; there it stays 100, and breaks it."""
    rule = (RowRule(name="r", check="age <= 60"),)
    here = msgspec.structs.replace(contract(msgspec.structs.replace(AGE, **REPAIRED)), rules=rule)
    there = msgspec.structs.replace(contract(msgspec.structs.replace(AGE, **REPAIRED | {"maximum": None})), rules=rule)
    body = msgspec.json.encode({"inputs": {"age": 100}})
    assert compile_contract(here).check(body).rows[0].values == (20.0,)
    assert compile_contract(there).check(body).rows[0].values is None
    (fault,) = differences(there, here)
    assert "a rule reads what it becomes" in str(fault["message"])
    assert differences(msgspec.structs.replace(there, rules=()), here) == []


def test_a_list_is_held_to_what_the_other_takes_at_most() -> None:
    text = Column(name="x", type="string")
    listed = msgspec.structs.replace(text, categories=("good", "x" * 40))
    assert differences(contract(msgspec.structs.replace(text, max_length=10)), contract(listed))
    assert differences(contract(msgspec.structs.replace(text, max_length=40)), contract(listed)) == []
    huge = Column(name="x", type="number", categories=(1, 1e20))
    assert differences(contract(Column(name="x", type="integer")), contract(huge))


TEXTS = ["", "a", "b", "ab", "2026-03-01", "3", "0.5"]
CODES = ["missing", "null", "wrong_type", "not_finite", "below_minimum", "above_maximum", "unseen_category"]
CODES += ["too_long", "wrong_format", "any"]


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """Any valid column: every type, bound, list, form and repair, and few enough values that they meet."""
    kind = draw(st.sampled_from(["number", "integer", "string", "boolean"]))
    numbers = st.sampled_from([-2.0, 0.0, 1.0, 2.0] if kind == "integer" else [-2.0, 0.0, 0.5, 1.0, 1e20])
    said: dict[str, Any] = {"name": name, "type": kind, "nullable": draw(st.booleans())}
    listed = kind != "boolean" and draw(st.booleans())
    if kind == "string":
        values = st.sampled_from(TEXTS[1:])
        if not listed:
            said["max_length"] = draw(st.sampled_from([0, 1, 2]))
            said["format"] = draw(st.sampled_from(["", "", "date"]))
            said |= draw(st.sampled_from([{}, {"pattern": "a", "example": "a"}])) if not said["format"] else {}
    elif kind == "boolean":
        values = st.booleans()
    else:
        values = numbers
        if not listed:
            ends = sorted([draw(numbers), draw(numbers)])
            said |= {
                "minimum": draw(st.sampled_from([None, ends[0]])),
                "maximum": draw(st.sampled_from([None, ends[1]])),
            }
    if listed:
        said["categories"] = tuple(draw(st.sets(values, min_size=1, max_size=3)))
    some = st.dictionaries(
        st.sampled_from(CODES), st.sampled_from(["repair", "repair", "reject", "review"]), max_size=3
    )
    said["on_fault"] = {**draw(st.sampled_from([{}, {"any": "repair"}])), **draw(some)}
    fitting = [said.get("minimum"), said.get("maximum"), *said.get("categories", ()), said.get("example")]
    impute = draw(st.sampled_from([None, *fitting]) | values)
    for tried in ({"impute": impute}, {"impute": None}, {"impute": None, "on_fault": {}}):
        try:
            contract(Column(**said | tried))
        except InputError:
            continue
        return Column(**said | tried)
    raise AssertionError("a column without repairs is valid")


RULES = (RowRule(name="r", check="x <= 1 or x == 2"), RowRule(name="r", check="x != 0.5"))


@st.composite
def contracts(draw: st.DrawFn) -> DataContract:
    one = draw(columns("x"))
    rules = draw(st.sampled_from([(), *((each,) for each in RULES)])) if one.numeric else ()
    return DataContract(name="c", version="1", columns=(one,), rules=rules)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[DataContract, DataContract]:
    """Two contracts, mostly with little between them, as two versions of one have."""
    one, other = draw(contracts()), draw(contracts())
    fields = ["nullable", "minimum", "maximum", "categories", "on_fault", "impute", "max_length", "type", "format"]
    changed = {field: getattr(other.columns[0], field) for field in draw(st.sets(st.sampled_from(fields), max_size=3))}
    try:
        near = contract(msgspec.structs.replace(one.columns[0], **changed))
        return msgspec.structs.replace(near, rules=draw(st.sampled_from([one.rules, ()]))), one
    except InputError:
        return one, other


SENT = [
    None,
    ...,
    True,
    -3,
    -2,
    -0.5,
    0,
    0.5,
    1,
    2,
    3,
    1e20,
    "3",
    "0.5",
    "x" * 11_000,
    "a",
    "ab",
    "b",
    "2026-03-01",
    "",
]


@settings(max_examples=300)
@given(pairs())
def test_every_row_that_one_contract_admits_is_admitted_by_one_that_is_said_to_accept_it(
    pair: tuple[DataContract, DataContract],
) -> None:
    wide, narrow = pair
    assert differences(wide, wide) == []
    if differences(wide, narrow):
        return
    there, here = compile_contract(wide), compile_contract(narrow)
    for value in SENT:
        body = msgspec.json.encode({"inputs": {} if value is ... else {"x": value}})
        if here.check(body).rows[0].values is not None:
            assert there.check(body).rows[0].values is not None, value

"""A contract accepts all that another does: proved by trying rows, refused with a reason for each column."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.contracts.accepts import differences
from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract


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


bound = st.none() | st.integers(-3, 3)
column = st.builds(
    lambda kind, low, high, null, some: Column(
        name="x",
        type=kind,
        nullable=null,
        minimum=None if some else (min(low, high) if low is not None and high is not None else low),
        maximum=None if some else (max(low, high) if low is not None and high is not None else high),
        categories=tuple(sorted(some)) or None,
    ),
    st.sampled_from(["number", "integer"]),
    bound,
    bound,
    st.booleans(),
    st.sets(st.integers(-3, 3), max_size=3),
)


@given(column, column, st.lists(st.none() | st.sampled_from([n / 2 for n in range(-10, 11)]), min_size=1))
def test_what_is_said_to_be_accepted_is(wide: Column, narrow: Column, values: list[float | None]) -> None:
    if differences(contract(wide), contract(narrow)):
        return
    checks = [compile_contract(contract(each)) for each in (wide, narrow)]
    for value in values:
        body = msgspec.json.encode({"inputs": {"x": value}})
        there, here = (check.check(body).rows[0].values for check in checks)
        assert here is None or there == here

"""The example of a contract is a row that fits it, whatever its ranges and lists are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract
from pilotage.gateway.describe import example_row

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**53) + 1, 2**53 - 1)


@st.composite
def columns(draw):
    kind = draw(st.sampled_from(["number", "integer", "string", "boolean"]))
    facts = {"name": "x", "type": kind, "nullable": draw(st.booleans())}
    shape = draw(st.sampled_from(["open", "range", "list"])) if kind != "boolean" else "open"
    if shape == "list":
        values = {"number": finite, "integer": whole, "string": st.text(max_size=5).filter(_is_text)}[kind]
        facts["categories"] = tuple(draw(st.lists(values, min_size=1, max_size=4, unique=True)))
    elif shape == "range" and kind != "string":
        bounds = sorted([draw(finite if kind == "number" else whole) for _ in range(2)])
        # Bounds of an integer column may lie between integers, with at least one integer within.
        spread = draw(st.sampled_from([0.0, 0.25])) if kind == "integer" and max(map(abs, bounds)) < 2**40 else 0.0
        facts["minimum"] = draw(st.sampled_from([None, bounds[0] - spread]))
        facts["maximum"] = draw(st.sampled_from([None, bounds[1] + spread]))
    return Column(**facts)


def _is_text(text):
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def check(column):
    contract = DataContract(
        name="c", version="1", subject="who", columns=(Column(name="who", type="string", role="subject"), column)
    )
    body = json.dumps({"inputs": example_row(contract.columns)}).encode()
    (row,) = compile_contract(contract).check(body).rows
    assert row.faults == (), (column, body)


@given(columns())
def test_the_example_fits_its_contract(column):
    check(column)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("number", -0.9, -0.1),
        ("number", -1.7e308, 1.7e308),
        ("number", None, -5.5),
        ("integer", 0.5, None),
        ("integer", 18.5, 19.5),
        ("integer", None, -0.5),
        ("number", 0.1, 0.1),
    ],
)
def test_ranges_that_are_easily_missed(kind, low, high):
    check(Column(name="x", type=kind, minimum=low, maximum=high))

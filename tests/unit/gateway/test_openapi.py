"""The OpenAPI document is valid, names every address, and its rows are exactly those that the contract takes."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract
from pilotage.gateway.addresses import ADDRESSES
from pilotage.gateway.forms import AnsweredForms
from pilotage.gateway.openapi import openapi
from pilotage.gateway.openapi_schemas import row_schema
from pilotage.gateway.plan import Route
from pilotage.gateway.state import LiveSystem, LoadedModel

CONTRACT = DataContract(
    name="c",
    version="1",
    subject="who",
    columns=(
        Column(name="who", type="string", role="subject", personal=True),
        Column(name="income", type="number", minimum=0, maximum=500, nullable=True, unit="EUR", description="Yearly"),
        Column(name="late", type="integer", minimum=0),
        Column(name="home", type="string", categories=("rent", "own"), nullable=True),
        Column(name="grade", type="integer", categories=(1, 2, 5)),
        Column(name="member", type="boolean"),
        Column(name="note", type="string"),
        Column(name="label", type="integer", role="target"),
    ),
)
FITS = {"who": "x", "income": 3.5, "late": 0, "home": None, "grade": 5, "member": True, "note": ""}


def live(name, loaded=True):
    facts = {"system": name, "release": "sha256:00", "contract": "c", "policy": "p", "stage": "internal"}
    forms = AnsweredForms(**facts, arm="champion", environment="e", plan="p", target="test")
    model = LoadedModel(
        contract=CONTRACT, check=compile_contract(CONTRACT), names=[], spec=None, runtime=None, target="test"
    )
    route = Route(folder="f", **facts)
    return LiveSystem(route=route, plan_digest="p", environment="e", forms=forms, model=model if loaded else None)


@pytest.mark.parametrize("systems", [[], [live("a")], [live("b"), live("a.b-c"), live("broken", loaded=False)]])
def test_the_document_is_valid_openapi(systems):
    document = json.loads(json.dumps(openapi(systems)))
    OpenAPIV31SpecValidator(document).validate()
    operations = [each for path in document["paths"].values() for each in path.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)


def test_every_address_is_in_it_once_for_each_system():
    paths = openapi([live("a"), live("b")])["paths"]
    expected = {}
    for address in ADDRESSES:
        for name in ("a", "b") if address.access == "decide" else ("",):
            expected[address.template.replace("{system}", name)] = {method.lower() for method in address.methods}
    assert {path: set(methods) for path, methods in paths.items()} == expected
    for address in ADDRESSES:
        for method in paths[address.template.replace("{system}", "a")].values():
            assert bool(method["security"]) is (address.access != "open")


def test_the_row_tells_ranges_categories_and_words():
    properties = row_schema(CONTRACT)["properties"]
    assert properties["income"] == {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 500,
        "description": "Yearly, in EUR",
    }
    assert properties["home"] == {"enum": ["rent", "own", None]}
    assert properties["late"] == {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    assert "label" not in properties


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 600),
    st.sampled_from([0.5, 2.0, 5.0, 500.5, 2.0**53, -0.0]),
    st.sampled_from(["rent", "own", "", " ", "x", "1", "é"]),
    st.lists(st.integers(), max_size=1),
)


@given(
    st.dictionaries(st.sampled_from([*FITS, "label", "more"]), VALUES, max_size=3), st.sets(st.sampled_from([*FITS]))
)
def test_the_row_is_what_the_contract_takes(changes, missing):
    row = {name: value for name, value in (FITS | changes).items() if name not in missing}
    # To JSON Schema 2.0 is an integer, and no schema tells it from 2; to the contract it names nobody.
    assume(not isinstance(row.get("who"), float))
    (checked,) = compile_contract(CONTRACT).check(json.dumps({"inputs": row}).encode()).rows
    assert Draft202012Validator(row_schema(CONTRACT)).is_valid(row) is (not checked.faults), (row, checked.faults)


def test_a_row_that_fits_fits_both():
    assert Draft202012Validator(row_schema(CONTRACT)).is_valid(FITS)
    assert not Draft202012Validator(row_schema(CONTRACT)).is_valid(FITS | {"grade": 3})

"""Contracts are valid from birth, have one digest, and survive the way through ODCS."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.contracts.model import Column, DataContract, decode_contract
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.errors import InputError
from pilotage.kernel.canonical import canonical_json

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text("ab #:'-\n\té{}[]01yesnul~.", max_size=8)
NAME = st.text("ab #:'-é{}[]01yesnul~.", min_size=1, max_size=8)
NUMBER = st.floats(-1e9, 1e9) | st.integers(-5, 5).map(float)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    kind = draw(st.sampled_from(["number", "integer", "string", "boolean"]))
    low, high = sorted([draw(NUMBER), draw(NUMBER)])
    form = draw(st.sampled_from(["", "date", "datetime"])) if kind == "string" else ""
    ranged = kind in ("number", "integer") and draw(st.booleans())
    values = {"number": NUMBER, "integer": st.integers(-9, 9).map(float), "string": TEXT}.get(kind)
    listed = values is not None and not ranged and not form and draw(st.booleans())
    return Column(
        name=draw(NAME),
        type=kind,
        role=draw(st.sampled_from(["feature", "ignored"])),
        nullable=draw(st.booleans()),
        minimum=low if ranged else None,
        maximum=high if ranged and draw(st.booleans()) else None,
        categories=tuple(draw(st.lists(values, min_size=1, max_size=4, unique=True)))
        if listed and values is not None
        else None,
        personal=draw(st.booleans()),
        protected=draw(st.booleans()),
        description=draw(TEXT),
        unit=draw(TEXT),
        format=form,
        unique=draw(st.booleans()),
        max_age=draw(st.sampled_from(["", "24h", "7d", "90m", "15s"])) if form else "",
        purposes=tuple(draw(st.lists(st.sampled_from(["credit-risk", "fraud", "a"]), max_size=2, unique=True))),
    )


@patient
@given(st.lists(columns(), max_size=5, unique_by=lambda column: column.name), NAME, st.booleans())
def test_a_contract_survives_odcs_and_json(listed: list[Column], name: str, subject: bool) -> None:
    extra = [Column(name="always", type="number"), *([Column(name="who", type="string", role="subject")] * subject)]
    key = tuple(column.name for column in listed[:3])
    contract = DataContract(
        name=name,
        version="7",
        columns=(*listed, *extra),
        subject="who" if subject else "",
        keys=(key,) if len(key) > 1 else (),
    )
    again = from_odcs(to_odcs(contract))
    assert again == contract
    assert again.digest() == contract.digest()
    assert decode_contract(canonical_json(contract.as_dict())) == contract


def test_one_and_one_point_zero_are_one_contract() -> None:
    def made(value: float) -> DataContract:
        return DataContract(
            name="x", version="1", columns=(Column(name="a", type="number", categories=(value,), nullable=True),)
        )

    assert made(1) == made(1.0)
    assert made(1).digest() == made(1.0).digest() != made(2).digest()


def test_every_fault_of_a_contract_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        DataContract(
            name="x",
            version="1",
            subject="who",
            columns=(
                Column(name="a", type="number", minimum=2, maximum=1),
                Column(name="a", type="string", minimum=2),
                Column(name='q"', type="boolean", categories=("x",)),
                Column(name="c", type="integer", categories=(1.5, "x")),
                Column(name="d", type="string", categories=()),
                Column(name="e", type="number", maximum=float("inf")),
                Column(name="f", type="string", categories=("x", "x")),
            ),
        )
    assert len(caught.value.faults) == 10
    with pytest.raises(InputError, match="no column is a feature"):
        DataContract(name="x", version="1", columns=())


HAND_WRITTEN = """
apiVersion: v3.0.2
kind: DataContract
id: loans
version: 1.0.0
status: draft
description: {purpose: by hand}
servers: []
schema:
  - name: loans
    properties:
      - {name: age, logicalType: integer, required: true, logicalTypeOptions: {minimum: 18}, classification: personal}
      - {name: since, logicalType: date}
      - name: home
        logicalType: string
        quality: [{type: library, metric: invalidValues, arguments: {validValues: [own, rent]}, mustBe: 0}]
"""


def test_a_contract_written_by_hand_is_read() -> None:
    contract = from_odcs(HAND_WRITTEN)
    assert contract.name == "loans"
    assert contract.columns == (
        Column(name="age", type="integer", minimum=18.0, personal=True),
        Column(name="since", type="string", nullable=True),
        Column(name="home", type="string", nullable=True, categories=("own", "rent")),
    )


def test_rules_that_a_row_check_cannot_hold_are_refused_not_dropped() -> None:
    document = yaml.safe_load(HAND_WRITTEN)
    properties = document["schema"][0]["properties"]
    properties[0]["logicalTypeOptions"]["multipleOf"] = 5
    properties[1]["logicalType"] = "object"
    properties[2]["quality"][0]["arguments"]["validValues"] = [["nested"]]
    with pytest.raises(InputError) as caught:
        from_odcs(yaml.safe_dump(document))
    assert [fault["path"] for fault in caught.value.faults] == ["age", "since", "home"]


@pytest.mark.parametrize(
    "text", ["", "a: [", "[]", "kind: Other", "kind: DataContract", "kind: DataContract\napiVersion: v3.1.0\nschema: 3"]
)
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_odcs(text)

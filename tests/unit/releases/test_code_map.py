"""What may be an input, and what stands for a factor: prohibited, protected, proxies, generated entries."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from pilotage.contracts.model import Column, DataContract
from pilotage.errors import InputError
from pilotage.evaluation.association import Columns
from pilotage.evaluation.reasons import principal_reasons
from pilotage.releases.code_map import check_inputs, make_code_map, proxies_of
from pilotage.systems.model import AISystem, ExplanationRules, Owners, Pilot, Reason

CONTRACT = DataContract(
    name="t",
    version="1",
    subject="customer",
    columns=(
        Column(name="customer", type="string", role="subject"),
        Column(name="income", type="number"),
        Column(name="wealth", type="number", description="What the person owns"),
        Column(name="debt", type="number"),
        Column(name="hair", type="string", categories=("long", "short")),
        Column(name="sex", type="string", categories=("f", "m"), protected=True),
    ),
)
NAMES = [column.name for column in CONTRACT.features]


def _system(*reasons: Reason, rules: ExplanationRules | None = None, **pilot: Any) -> AISystem:
    return AISystem(
        id="t",
        name="T",
        purpose="p",
        risk_tier="high",
        owners=Owners(business="b", model="m", operations="o", risk="r"),
        pilot=Pilot(artefact="m", data="d", target="y", positive="1", protected=["sex"], **pilot),
        reasons=list(reasons),
        explanation=rules or ExplanationRules(),
    )


@pytest.fixture(scope="module")
def columns() -> Columns:
    generator = np.random.default_rng(1)
    income = generator.normal(size=500)
    wealth = income + 0.2 * generator.normal(size=500)
    debt = wealth + 0.45 * generator.normal(size=500)
    sex = generator.choice(["f", "m"], 500)
    hair = np.where(generator.random(500) < 0.9, np.where(sex == "f", "long", "short"), "long")
    table = {"income": income, "wealth": wealth, "debt": debt, "hair": hair, "sex": sex}
    return Columns({name: column.tolist() for name, column in table.items()}, ["income", "wealth", "debt"])


def test_a_protected_input_needs_an_exception_with_its_reason() -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(_system(), CONTRACT, ["income", "sex"])
    assert caught.value.code == "prohibited_input"
    assert "sex" in str(caught.value.faults[0]["message"])
    check_inputs(_system(), CONTRACT, ["income", "hair"])
    check_inputs(_system(protected_inputs={"sex": "the medicine's dose depends on it"}), CONTRACT, NAMES)


def test_a_prohibited_column_may_be_no_feature_whatever_is_said_of_it() -> None:
    with pytest.raises(InputError, match="must not turn on"):
        check_inputs(_system(prohibited=["hair"], protected_inputs={"hair": "please"}), CONTRACT, [])


def test_a_proxy_is_reported_or_fails_as_declared(columns: Columns) -> None:
    found = proxies_of(_system(), columns, NAMES, ["sex"])
    assert [(each["feature"], each["protected"]) for each in found] == [("hair", "sex")]
    assert found[0]["association"] > 0.5
    assert proxies_of(_system(), columns, ["income", "sex"], ["sex"]) == []
    strict = _system(rules=ExplanationRules(proxies="fail"))
    with pytest.raises(InputError, match="prox") as caught:
        proxies_of(strict, columns, NAMES, ["sex"])
    assert caught.value.code == "prohibited_input"
    lax = _system(rules=ExplanationRules(proxies="fail", proxy=1.0))
    assert proxies_of(lax, columns, NAMES, ["sex"]) == []


def test_what_is_not_declared_is_grouped_by_what_goes_together_and_marked(columns: Columns) -> None:
    made = make_code_map(_system(), CONTRACT, columns, NAMES)
    assert [(group.code, group.features) for group in made.groups] == [
        ("INCOME", ["income", "wealth", "debt"]),
        ("HAIR", ["hair"]),
    ]
    assert made.generated == ["INCOME", "HAIR"]
    assert made.groups[0].text == "income, What the person owns, debt"
    told = principal_reasons(dict.fromkeys(NAMES, 1.0), made.groups, made.generated)
    assert [(reason.code, reason.contribution, reason.approved) for reason in told] == [
        ("INCOME", 3.0, False),
        ("HAIR", 1.0, False),
    ]


def test_only_features_that_scores_depend_on_get_an_entry(columns: Columns) -> None:
    assert [group.code for group in make_code_map(_system(), CONTRACT, columns, ["debt", "sex"]).groups] == ["DEBT"]


def test_the_declared_map_stands_and_what_goes_together_across_it_is_told(columns: Columns) -> None:
    declared = [
        Reason(code="HAIR", text="Money", features=["income"]),
        Reason(code="D", text="Debt", features=["debt"]),
    ]
    made = make_code_map(_system(*declared), CONTRACT, columns, NAMES)
    assert made.groups[:2] == declared
    assert [(group.code, group.features) for group in made.groups[2:]] == [
        ("WEALTH", ["wealth"]),
        ("HAIR-2", ["hair"]),
    ]
    assert made.generated == ["WEALTH", "HAIR-2"]
    assert ["income", "debt"] in [each["features"] for each in made.across]
    apart = msgspec.structs.replace(_system(*declared), explanation=ExplanationRules(correlated=0.999))
    assert make_code_map(apart, CONTRACT, columns, NAMES).across == []

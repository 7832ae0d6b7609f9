"""Reasons: exact for linear forms, honest about sampling, never of protected or unmapped features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import InputError
from pilotage.evaluation.counterfactual import NONE
from pilotage.evaluation.explainer import (
    CategoryTerm,
    Explainer,
    LinearForm,
    NumberTerm,
    Range,
    contributions,
    logit,
    score_linear,
)
from pilotage.evaluation.reasons import explain, principal_reasons
from pilotage.evaluation.shapley import sampled_contributions
from pilotage.kernel.rows import Value
from pilotage.systems.model import Reason

NAMES = ["income", "late", "home", "age"]
FORM = LinearForm(
    intercept=-1.0,
    terms=[
        NumberTerm(feature="income", weight=-0.8, center=50_000, scale=20_000, fill=40_000),
        NumberTerm(feature="late", weight=0.9),
        CategoryTerm(feature="home", categories=["own", "rent"], weights=[-0.3, 0.4], other=0.1, fill="rent"),
        NumberTerm(feature="age", weight=0.02, center=40),
    ],
)
RANGES = [
    Range(kind="number", minimum=0, maximum=200_000),
    Range(kind="integer", minimum=0, maximum=12),
    Range(kind="string", categories=["own", "rent"]),
    Range(kind="integer", minimum=18, maximum=100),
]
GROUPS = [
    Reason(code="LATE", text="Late", features=["late"]),
    Reason(code="INCOME", text="Income", features=["income"]),
    Reason(code="HOME", text="Home", features=["home"], actionable=False),
]


def _explainer(groups: Sequence[Reason] = GROUPS, threshold: float = 0.5) -> Explainer:
    background: list[list[Value]] = [[45_000.0, 1.0, "own", 35.0], [60_000.0, 0.0, "rent", 50.0]]
    means = contributions(FORM, NAMES, background).mean(axis=0)
    return Explainer(
        method="linear",
        names=NAMES,
        ranges=RANGES,
        groups=list(groups),
        background="sha256:x",
        threshold=threshold,
        adverse="refer",
        favourable="approve",
        base=float(FORM.intercept + means.sum()),
        means=means.tolist(),
        form=FORM,
    )


_values = st.tuples(
    st.one_of(st.none(), st.floats(0, 200_000)),
    st.integers(0, 12).map(float),
    st.one_of(st.none(), st.sampled_from(["own", "rent", "boat"])),
    st.integers(18, 100).map(float),
)


@given(_values)
@settings(max_examples=150, deadline=None)
def test_base_and_attributions_add_up_to_the_score(values: tuple[Value, ...]) -> None:
    told = explain(_explainer(), values)
    assert told.exact
    assert told.base + math.fsum(told.attributions.values()) == pytest.approx(logit(told.score), abs=1e-9)
    if told.label == "approve":
        assert told.reasons == []
        assert told.counterfactual == ""
    for reason in told.reasons:
        assert reason.contribution == pytest.approx(math.fsum(told.attributions[name] for name in reason.features))
        assert reason.contribution > 0
        assert "age" not in reason.features


@given(_values)
@settings(max_examples=100, deadline=None)
def test_a_counterfactual_is_true(values: tuple[Value, ...]) -> None:
    told = explain(_explainer(), values)
    if told.label == "approve" or told.counterfactual == NONE:
        return
    assert told.counterfactual.endswith("the answer would have been approve.")
    changed = list(values)
    for part in told.counterfactual.removeprefix("Had ").split(", the answer")[0].split(" and "):
        name, _, rest = part.partition(" been ")
        assert name in ("late", "income")
        at = NAMES.index(name)
        assert len(rest.split(" instead")[0]) <= 12
        changed[at] = float(rest.split(" instead")[0].replace(",", ""))
        allowed = RANGES[at]
        assert allowed.minimum is not None
        assert allowed.maximum is not None
        assert allowed.minimum <= changed[at] <= allowed.maximum
    assert score_linear(FORM, NAMES, [changed])[0] < 0.5


def test_no_change_helps_is_said() -> None:
    hopeless = [Reason(code="HOME", text="Home", features=["home"], actionable=False)]
    told = explain(_explainer(hopeless), (10_000.0, 9.0, "rent", 60.0))
    assert told.counterfactual == NONE


def test_factors_move_together_when_one_alone_is_not_enough() -> None:
    both = [Reason(code="BOTH", text="Both", features=["income", "late"])]
    threshold = float(score_linear(FORM, NAMES, [(120_000.0, 1.0, "rent", 60.0)])[0])
    told = explain(_explainer(both, threshold), (20_000.0, 12.0, "rent", 60.0))
    assert "late been" in told.counterfactual or told.counterfactual == NONE


def test_what_pushed_but_has_no_code_is_shown() -> None:
    told = explain(_explainer(), (10_000.0, 5.0, "rent", 90.0))
    assert told.unmapped == ["age"]
    assert [reason.code for reason in told.reasons] == ["LATE", "INCOME", "HOME"]


def test_at_most_four_reasons_strongest_first_ties_by_code() -> None:
    shares = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0, "e": 1.0, "f": -3.0}
    groups = [Reason(code=name.upper(), text=name, features=[name]) for name in reversed(shares)]
    assert [reason.code for reason in principal_reasons(shares, groups)] == ["B", "A", "C", "D"]


def test_correlated_features_are_judged_together() -> None:
    shares = {"a": 3.0, "b": -2.5, "c": 1.0}
    groups = [Reason(code="AB", text="", features=["a", "b"]), Reason(code="C", text="", features=["c"])]
    assert [(reason.code, reason.contribution) for reason in principal_reasons(shares, groups)] == [
        ("C", 1.0),
        ("AB", 0.5),
    ]


def _interacting(rows: Sequence[Sequence[Value]]) -> np.ndarray:
    table = np.array(rows, dtype=np.float64)
    return 0.2 + 0.3 * table[:, 0] * table[:, 1] + 0.1 * table[:, 2]


def test_sampling_agrees_with_the_definition_within_its_error() -> None:
    values, background = (1.0, 2.0, 3.0), [[0.0, 0.0, 0.0], [0.5, 1.0, 0.0]]
    exact = np.zeros(3)
    for start in background:
        for order in permutations(range(3)):
            row = list(start)
            for feature in order:
                before = _interacting([row])[0]
                row[feature] = values[feature]
                exact[feature] += (_interacting([row])[0] - before) / 12
    got, errors = sampled_contributions(_interacting, values, background, permutations=400, seed=1)
    assert got.sum() == pytest.approx(_interacting([values])[0] - _interacting(background).mean(), abs=1e-12)
    assert np.all(np.abs(got - exact) <= 4 * errors + 1e-12)
    assert errors[0] > 0


def _three_way(rows: Sequence[Sequence[Value]]) -> np.ndarray:
    table = np.array(rows, dtype=np.float64)
    return table[:, 0] * table[:, 1] * table[:, 2]


def test_the_stated_error_is_the_spread_of_the_estimates() -> None:
    drawn = [
        sampled_contributions(_three_way, (1.0, 2.0, 3.0), [[0.0, 0.0, 0.0], [0.5, 0.2, 0.1]], permutations=20, seed=s)
        for s in range(300)
    ]
    spread = np.std([values for values, _ in drawn], axis=0)
    stated = np.mean([errors for _, errors in drawn], axis=0)
    assert np.all(spread > 0)
    assert stated == pytest.approx(spread, rel=0.25)


def test_a_sampling_explainer_states_its_error_and_needs_a_scorer() -> None:
    sampling = Explainer(
        method="sampling",
        names=["a", "b", "c"],
        ranges=[Range(kind="number", minimum=0, maximum=3)] * 3,
        groups=[Reason(code="A", text="a", features=["a"])],
        background="sha256:x",
        threshold=0.55,
        adverse="refer",
        favourable="approve",
        base=0.2,
    )
    with pytest.raises(InputError, match="linear form"):
        explain(sampling, (1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="fit"):
        explain(sampling, (1.0,))
    told = explain(sampling, (1.0, 2.0, 3.0), score_rows=_interacting, background=[[0.0, 0.0, 0.0]])
    assert not told.exact
    assert told.unit == "probability"
    assert set(told.standard_errors) == {"a", "b", "c"}
    assert told.counterfactual.startswith("Had a been")

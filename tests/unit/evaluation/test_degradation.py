"""When a live release counts as degraded: thresholds that its build fixes, and verdicts that chance cannot give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.evaluation.degradation import Threshold, degradation, fixed_thresholds, worst_state
from pilotage.evaluation.intervals import Area
from pilotage.evaluation.limits import judged_limits
from pilotage.evaluation.periods import Estimate
from pilotage.systems.evaluating import EvaluationRules

LEAST = Threshold(metric="auc", limit=0.7, why="declared")
MOST = Threshold(metric="false_positive_rate", limit=0.2, why="declared")


def evaluation(beaten: bool = True, baseline: float = 0.68) -> dict[str, Any]:
    return {
        "metrics": {"auc": 0.76},
        "intervals_95": {"auc": [0.74, 0.78], "recall": [0.5, 0.6], "false_positive_rate": [0.1, 0.14]},
        "baselines": {"to_beat": "one", "one": {"auc": baseline, "beaten": beaten, "feature": "late"}},
    }


def test_a_build_derives_what_is_not_declared() -> None:
    binned = Area(area=0.755, low=0.735, high=0.775)
    found = {(each.metric, each.why): each.limit for each in fixed_thresholds(EvaluationRules(), evaluation(), binned)}
    assert found == {
        ("auc", "the 95 % interval at the build"): 0.735,
        # As far under the figure of the scores themselves as cells are.
        ("auc", "what late alone achieves"): pytest.approx(0.675),
        ("recall", "the 95 % interval at the build"): 0.5,
        ("false_positive_rate", "the 95 % interval at the build"): 0.14,
    }


def test_what_is_declared_stands_in_place_of_what_is_derived() -> None:
    rules = EvaluationRules(degradation={"auc": 0.7, "accuracy": 0.8})
    found = fixed_thresholds(rules, evaluation(), Area(area=0.755, low=0.735, high=0.775))
    assert [(each.metric, each.limit) for each in found if each.why == "declared"] == [("accuracy", 0.8), ("auc", 0.7)]
    assert [each.metric for each in found if each.why != "declared"] == ["recall", "false_positive_rate"]


@pytest.mark.parametrize("lost", [evaluation(beaten=False), evaluation(baseline=0.75)])
def test_a_baseline_that_is_as_good_is_no_threshold(lost: dict[str, Any]) -> None:
    found = fixed_thresholds(EvaluationRules(), lost, Area(area=0.755, low=0.735, high=0.775))
    assert not any("alone" in each.why for each in found)


@pytest.mark.parametrize(
    ("threshold", "own", "state"),
    [
        (LEAST, Estimate(0.72, 0.68, 0.76), "holds"),
        (LEAST, Estimate(0.68, 0.64, 0.72), "near"),
        (LEAST, Estimate(0.60, 0.56, 0.64), "broken"),
        (MOST, Estimate(0.15, 0.10, 0.22), "holds"),
        (MOST, Estimate(0.25, 0.18, 0.30), "near"),
        (MOST, Estimate(0.40, 0.35, 0.45), "broken"),
    ],
)
def test_only_a_whole_interval_beyond_is_broken(threshold: Threshold, own: Estimate, state: str) -> None:
    [found] = degradation([threshold], {threshold.metric: own})
    assert found.state == state and f"{own.value:.4g}" in found.words


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_better_is_never_worse(value: float, other: float, half: float) -> None:
    order = ["broken", "near", "holds"]
    for threshold, (low, high) in ((LEAST, sorted((value, other))), (MOST, sorted((value, other), reverse=True))):
        worse, better = (
            degradation([threshold], {threshold.metric: Estimate(each, each - half, each + half)})[0].state
            for each in (low, high)
        )
        assert order.index(worse) <= order.index(better)


def test_few_outcomes_are_said_to_be_few_and_the_worst_counts() -> None:
    found = degradation([LEAST, MOST], {"auc": Estimate(0.6, 0.5, 0.65)})
    assert [each.state for each in found] == ["broken", "not enough data"]
    assert worst_state(found) == "broken" and worst_state(found[1:]) == "not enough data" and worst_state([]) is None


def test_limits_are_held_against_figures_and_say_how_sure_they_are() -> None:
    found = judged_limits(
        {"auc": 0.7, "false_positive_rate": 0.12, "recall": 0.9, "mcc": 0.1},
        {
            "metrics": {"auc": 0.76, "false_positive_rate": 0.13, "recall": 0.55},
            "intervals_95": {"auc": [0.74, 0.78], "false_positive_rate": [0.1, 0.14], "recall": [0.5, 0.6]},
        },
    )
    assert [(each["name"], each["holds"], each["certain"]) for each in found] == [
        ("auc", True, True),
        ("false_positive_rate", False, False),
        ("recall", False, True),
        ("mcc", False, False),
    ]

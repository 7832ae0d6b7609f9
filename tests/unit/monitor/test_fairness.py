"""Groups on live decisions: who deserved the favourable answer and got it; nothing of groups too small to tell of."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.evaluation.realised import realised
from pilotage.monitor.fairness import groups_live
from pilotage.monitor.performance import Performance, SliceFigures
from pilotage.systems.model import FairnessLimits


def performance(**groups: tuple[int, int, int, int]) -> Performance:
    """By group: flagged and positive, flagged and not, passed and positive, passed and not."""
    order = ((True, True), (True, False), (False, True), (False, False))
    slices = [
        SliceFigures(
            slice="sex",
            value=name,
            figures=realised([(*cell, count) for cell, count in zip(order, counts, strict=True)]),
        )
        for name, counts in groups.items()
    ]
    facts: dict[str, Any] = dict.fromkeys(Performance.__struct_fields__)
    return Performance(**facts | {"slices": slices})


def test_the_favourable_answer_to_who_deserved_it_is_what_is_compared() -> None:
    found = groups_live(
        performance(f=(30, 20, 10, 40), m=(30, 5, 10, 55), other=(2, 0, 0, 1)),
        "sex",
        FairnessLimits(equal_opportunity_difference=0.2, disparate_impact_ratio=0.5),
    )
    assert found is not None and found["too_small"] == ["other"]
    rates = {each["group"]: each for each in found["groups"]}
    assert rates["f"]["selection_rate"]["rate"] == pytest.approx(0.5), "passed, 50 of 100"
    assert rates["f"]["true_positive_rate"]["rate"] == pytest.approx(40 / 60), "deserved it and got it"
    assert rates["m"]["false_positive_rate"]["rate"] == pytest.approx(10 / 40), "got it and did not deserve it"
    limits = {each["name"]: each for each in found["limits"]}
    assert limits["equal_opportunity_difference"]["value"] == pytest.approx(55 / 60 - 40 / 60)
    assert not limits["equal_opportunity_difference"]["holds"] and limits["disparate_impact_ratio"]["holds"]


def test_one_group_compares_with_nobody() -> None:
    assert groups_live(performance(f=(30, 20, 10, 40), m=(1, 1, 1, 1)), "sex", FairnessLimits()) is None
    assert groups_live(performance(f=(30, 20, 10, 40)), "age", FairnessLimits()) is None

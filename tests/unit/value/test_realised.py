"""Realised value beside the plan: the ratio is the product of its parts, and only whole months are judged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pilotage.value.model import Case, Estimate
from pilotage.value.realised import Month, Seen, month_of, value_verdict


def case(**inputs: float) -> Case:
    """12 saved a decision before errors, which cost 1 a decision; 100 a day, half of them adopted."""
    facts = {"volume": 36_500, "adoption": 0.5, "minutes": 12, "wage": 60, "investment": 1_000}
    facts |= {"false_positive_rate": 0.01, "false_positive_cost": 100.0} | inputs
    figures = {name: Estimate(low=each, likely=each, high=each) for name, each in facts.items()}
    return Case(name="c", currency="EUR", years=2, ramp=[1.0], inputs=figures)


def seen(**changes: Any) -> Seen:
    facts = {"month": "2026-06", "days": 30, "eligible": 3_000, "answered": 1_500, "overruled": 0, "reviewed": 0}
    facts |= {"known": 1_000, "false_positive": 10, "false_negative": 0}
    return Seen(**facts | changes)  # type: ignore[arg-type]


def test_what_goes_as_planned_is_worth_what_was_planned() -> None:
    found = month_of(case(), seen(), 0)
    assert found.planned == found.realised == pytest.approx(3_000 * 0.5 * 11)
    assert (found.ratio, found.volume, found.adoption, found.unit_saving, found.quality) == pytest.approx((1,) * 5)
    assert found.whole and found.errors_measured


def test_the_ratio_is_the_product_of_volume_adoption_unit_saving_and_quality() -> None:
    odd = seen(eligible=2_000, answered=1_300, overruled=100, reviewed=400, false_positive=40)
    found = month_of(case(review_minutes=6.0), odd, 0)
    assert found.volume == pytest.approx(2 / 3) and found.adoption == pytest.approx(0.6 / 0.5)
    assert found.unit_saving == pytest.approx((11 - 0.2 * 6) / 11), "a fifth is looked at for six minutes"
    assert found.quality == pytest.approx((12 - 0.2 * 6 - 4) / (11 - 0.2 * 6)), "errors cost four, not one"
    product = found.volume * found.adoption * found.unit_saving * found.quality
    assert found.ratio == pytest.approx(product) and found.realised == pytest.approx(1_200 * (12 - 1.2 - 4))


def test_fixed_costs_are_paid_for_the_days_whatever_came_in() -> None:
    found = month_of(case(run=3_650.0), seen(eligible=0, answered=0, days=15), 0)
    assert found.realised == pytest.approx(-150) and found.planned == pytest.approx(1_500 * 0.5 * 11 - 150)
    assert not found.whole


def test_few_outcomes_leave_the_errors_as_planned() -> None:
    found = month_of(case(), seen(known=29, false_positive=29), 0)
    assert not found.errors_measured and found.quality == pytest.approx(1)


def months(*ratios: float, whole: bool = True) -> list[Month]:
    made = month_of(case(), seen(), 0)
    return [msgspec.structs.replace(made, realised=each * made.planned, ratio=each, whole=whole) for each in ratios]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (months(), "too early"),
        (months(0.1, 0.1, 0.1, whole=False), "too early"),
        (months(0.6), "as planned"),
        (months(0.6, 0.69), "review"),
        (months(0.6, 0.71), "as planned"),
        (months(-1, -1, 0), "exit plan"),
        (months(0.6, -1, 0), "review"),
        (months(-1, -1), "review"),
        (months(-1, -1, -1, 0.9), "as planned"),
    ],
)
def test_two_months_under_the_plan_ask_for_a_review_and_three_for_nothing_for_an_exit(
    found: list[Month], verdict: str
) -> None:
    assert value_verdict(found) == verdict

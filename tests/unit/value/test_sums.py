"""The sums of a business case, against figures worked out by hand and by another library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from pilotage.value.model import INPUTS
from pilotage.value.sums import (
    benefits,
    break_even_accuracy,
    cost_of_an_error,
    cost_today,
    cost_with_it,
    internal_rate,
    net_present_value,
    payback,
    threshold,
)

nothing = {name: np.array(0.0) for name in INPUTS}


def of(**values: float) -> dict[str, Any]:
    return nothing | {"resolved": np.array(1.0)} | {name: np.array(float(value)) for name, value in values.items()}


def test_what_a_decision_costs_today_and_with_it() -> None:
    today = of(minutes=12, wage=40, rework_rate=0.1, rework_cost=20, error_rate=0.05, error_cost=100, tools=0.5)
    assert float(cost_today(today)) == pytest.approx(8 + 2 + 5 + 0.5)
    machine = {"compute": 0.02, "tokens": 3_000, "token_price": 10, "review_rate": 0.25, "review_minutes": 6}
    wrong = {"false_positive_rate": 0.1, "false_positive_cost": 5, "false_negative_rate": 0.02}
    costs = {**machine, **wrong, "false_negative_cost": 100}
    whole = today | {name: np.array(float(value)) for name, value in costs.items()}
    assert float(cost_with_it(whole)) == pytest.approx(0.02 + 0.03 + 1.0 + 0.5 + 2.0)
    # Of each task that it does not settle, its own cost is spent and the old one comes again.
    half = whole | {"resolved": np.array(0.5)}
    assert float(cost_with_it(half)) == pytest.approx(0.05 + 0.5 * 3.5 + 0.5 * 15.5)
    assert float(cost_of_an_error(whole)) == pytest.approx((0.5 + 2.0) / 0.12)
    assert np.isnan(cost_of_an_error(today))


def test_known_figures() -> None:
    """Five minutes saved and twenty lost by a mistake pay from 75 %; a miss three times as dear asks for 0.25."""
    assert float(break_even_accuracy(np.array(5.0), np.array(20.0))) == 0.75
    assert threshold(1.0, 3.0) == 0.25
    assert threshold(0.0, 0.0) is None


def test_each_year_its_part_of_the_adoption() -> None:
    given = of(volume=1_000, adoption=0.8, minutes=60, wage=10, uplift=500, run=100, retrain=50)
    assert benefits(given, 4, [0.5, 1.0]).tolist() == [4_000 + 250 - 150, *[8_000 + 500 - 150] * 3]


@given(
    st.floats(1, 1e6),
    st.lists(st.floats(-1e5, 1e6), min_size=1, max_size=10),
    st.floats(0, 0.9),
)
def test_the_net_present_value_is_the_sum_of_what_each_year_is_worth(
    investment: float, yearly: list[float], rate: float
) -> None:
    expected = -investment + sum(gain / (1 + rate) ** year for year, gain in enumerate(yearly, 1))
    found = float(net_present_value(np.array(investment), np.array(yearly), np.array(rate)))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(st.floats(10, 1e6), st.lists(st.floats(1, 1e6), min_size=1, max_size=10))
def test_the_internal_rate_is_where_nothing_is_gained(investment: float, yearly: list[float]) -> None:
    def worth(rate: float) -> float:
        return -investment + sum(gain / (1 + rate) ** year for year, gain in enumerate(yearly, 1))

    if worth(-0.99) * worth(10.0) > 0:
        assert internal_rate(investment, yearly) is None
    else:
        assert internal_rate(investment, yearly) == pytest.approx(brentq(worth, -0.99, 10.0), abs=1e-6)


def test_there_is_no_one_internal_rate_where_the_flow_turns_twice_or_never() -> None:
    assert internal_rate(100, [300, -250]) is None
    assert internal_rate(100, [-1, -2]) is None
    assert internal_rate(0, [10, 20]) is None


def paid(investment: float, *yearly: float, rate: float = 0.0) -> float:
    return float(payback(np.array(investment), np.array(yearly), np.array(rate)))


def test_payback() -> None:
    assert paid(100, 50, 100) == 1.5
    assert paid(100, 110, rate=0.1) == pytest.approx(1.0)
    assert paid(100, 30, 30) == np.inf
    assert paid(100, 150, -100, 200) == pytest.approx(2.25), "it counts when it stays paid"
    assert paid(0, 10, 10) == 0.0
    assert paid(0, -10, 30) == pytest.approx(1 + 1 / 3)


def test_many_at_once_are_each_by_itself() -> None:
    investments = np.array([100.0, 100.0, 0.0])
    yearly = np.array([[50.0, 30.0, 10.0], [100.0, 30.0, 10.0]])
    assert payback(investments, yearly, np.zeros(3)).tolist() == [1.5, np.inf, 0.0]
    each = [net_present_value(investments[at], yearly[:, at], np.array(0.1)) for at in range(3)]
    assert net_present_value(investments, yearly, np.full(3, 0.1)).tolist() == pytest.approx(each)

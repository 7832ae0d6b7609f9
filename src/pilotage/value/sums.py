"""The sums of a business case, for one set of inputs or for thousands at once.

Every function takes numbers or arrays of one shape and gives the like. A year's benefit counts at the year's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "benefits",
    "break_even_accuracy",
    "cost_of_an_error",
    "cost_today",
    "cost_with_it",
    "internal_rate",
    "net_present_value",
    "payback",
    "threshold",
]

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]
"""Each input's value, or its draws [n]."""


def cost_today(of: Values) -> Floats:
    """Money a decision costs today: work, rework, errors, tools."""
    work: Floats = of["minutes"] * of["wage"] / 60
    return work + of["rework_rate"] * of["rework_cost"] + of["error_rate"] * of["error_cost"] + of["tools"]


def expected_error_cost(of: Values) -> Floats:
    """Money that its errors cost for each decision: both kinds, each by its share of all decisions."""
    errors: Floats = of["false_positive_rate"] * of["false_positive_cost"]
    return errors + of["false_negative_rate"] * of["false_negative_cost"]


def cost_with_it(of: Values) -> Floats:
    """Money a decision costs with the system: running it, reviews, its errors; what it does not settle, as today."""
    own: Floats = of["compute"] + of["tokens"] * of["token_price"] / 1e6
    settled = of["review_rate"] * of["review_minutes"] * of["wage"] / 60 + expected_error_cost(of)
    return own + of["resolved"] * settled + (1 - of["resolved"]) * cost_today(of)


def cost_of_an_error(of: Values) -> Floats:
    """Money that one of its errors costs on average; NaN where it makes none."""
    rate = of["false_positive_rate"] + of["false_negative_rate"]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = expected_error_cost(of) / rate
    return mean


def break_even_accuracy(value: Floats, cost_of_error: Floats) -> Floats:
    """The accuracy below which a decision loses money: 1 - value / cost of an error.

    `value` is what a decision saves before its errors are paid for. Below 0 it pays at any accuracy, above 1 at none.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy: Floats = 1 - value / cost_of_error
    return accuracy


def threshold(false_positive_cost: float, false_negative_cost: float) -> float | None:
    """The cheapest threshold for a calibrated probability of the adverse class: C_fp / (C_fp + C_fn) (Elkan 2001).

    None where errors cost nothing.
    """
    both = false_positive_cost + false_negative_cost
    return false_positive_cost / both if both > 0 else None


def benefits(of: Values, years: int, ramp: Sequence[float]) -> Floats:
    """Money gained in each year, [years, ...]: volume · adoption · saving + uplift - what each year costs.

    `ramp` is the part of the adoption that is reached in each year; its last figure holds on.
    """
    saving = cost_today(of) - cost_with_it(of)
    fixed = of["platform"] + of["monitoring"] + of["run"] + of["retrain"]
    reached = [ramp[min(year, len(ramp) - 1)] for year in range(years)]
    return np.array([of["volume"] * of["adoption"] * part * saving + of["uplift"] * part - fixed for part in reached])


def net_present_value(investment: Floats, yearly: Floats, rate: Floats) -> Floats:
    """-I0 + the sum of B_y / (1 + r)^y, in today's money."""
    years = np.arange(1, len(yearly) + 1).reshape(-1, *[1] * (yearly.ndim - 1))
    total: Floats = (yearly / (1 + rate) ** years).sum(axis=0)
    return total - investment


def payback(investment: Floats, yearly: Floats, rate: Floats) -> Floats:
    """Years until the discounted gains have paid the investment, interpolated in the year; infinite where never.

    For good: where a later year loses it again, the time counts at which it is paid for the last time.
    """
    years = np.arange(1, len(yearly) + 1).reshape(-1, *[1] * (yearly.ndim - 1))
    gains = yearly / (1 + rate) ** years
    after = np.cumsum(gains, axis=0) - investment
    # Within rounding of the amounts: what is just paid is paid.
    paid = after >= -1e-9 * np.abs(investment)
    # The first year from which on it stays paid.
    stays = np.logical_and.accumulate(paid[::-1], axis=0)[::-1]
    first = np.argmax(stays, axis=0)
    before = np.take_along_axis(after, np.expand_dims(first, 0), 0)[0] - _at(gains, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(_at(gains, first) > 0, -before / _at(gains, first), 0.0)
    found: Floats = np.where(stays.any(axis=0), first + np.clip(part, 0.0, 1.0), np.inf)
    return np.where(investment <= 0, np.where(paid.all(axis=0), 0.0, found), found)


def _at(values: Floats, year: NDArray[np.intp]) -> Floats:
    return np.asarray(np.take_along_axis(values, np.expand_dims(year, 0), 0)[0])


def internal_rate(investment: float, yearly: Sequence[float]) -> float | None:
    """The yearly rate at which nothing is gained or lost; None where the cash flow has none or more than one.

    By halving between -99 % and 1,000 %, where the net present value changes its sign once.
    """
    flow = np.array([-investment, *yearly])
    if (np.diff(np.sign(flow[flow != 0])) != 0).sum() != 1:
        return None

    def worth(rate: float) -> float:
        return float((flow / (1 + rate) ** np.arange(len(flow))).sum())

    low, high = -0.99, 10.0
    if worth(low) * worth(high) > 0:
        return None
    rising = worth(low) < 0
    for _ in range(200):
        middle = (low + high) / 2
        if (worth(middle) < 0) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2

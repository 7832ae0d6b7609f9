"""What a business case comes to: at its likely figures, over what is possible, and what it hangs on most."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.pert import drawn
from pilotage.value import sums
from pilotage.value.model import INPUTS, Case, Estimate

__all__ = ["DRAWS", "Judgement", "Lever", "Spread", "Year", "complete", "judge"]

DRAWS = 20_000
"""Draws of the simulation: enough for a percentile to a hundredth of the spread."""

Floats = NDArray[np.float64]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """What is exceeded in nine of ten draws, in half of them, in one of ten. None: not reached."""

    p10: float | None
    p50: float | None
    p90: float | None


class Year(msgspec.Struct, frozen=True, kw_only=True):
    """One year at the likely figures: decisions it takes part in, the gain, the same in today's money, summed up."""

    year: int
    decisions: float
    benefit: float
    discounted: float
    cumulative: float


class Lever(msgspec.Struct, frozen=True, kw_only=True):
    """What one input moves: the net present value at its low and at its high end, all others likely.

    `turns_at` is the value of the input at which the case stops paying (or starts to), within its range; else None.
    """

    name: str
    unit: str
    low: float
    high: float
    at_low: float
    at_high: float
    supported: bool
    turns_at: float | None = None

    @property
    def span(self) -> float:
        """How much of the net present value hangs on it."""
        return abs(self.at_high - self.at_low)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The whole: money in the case's currency, years, shares from 0 to 1.

    `npv_best` is the net present value with every input at whichever end is better for it: below 0 there is no way in
    which this pays, and the answer is to stop.
    """

    name: str
    currency: str
    horizon: int
    cost_today: float
    cost_with_it: float
    saving: float
    npv: float
    npv_best: float
    npv_worst: float
    npv_spread: Spread
    loses: float
    payback_years: float | None
    payback_spread: Spread
    pays_back: float
    internal_rate: float | None
    roi: float | None
    delay_a_month: float
    break_even_accuracy: float | None
    accuracy: float | None
    threshold: float | None
    years: list[Year]
    levers: list[Lever]
    assumptions: list[str]
    attribution: str
    draws: int
    seed: int

    @property
    def verdict(self) -> str:
        """In a word: `stop` where it cannot pay, `pays` where it does in nine of ten draws, else `may pay`."""
        if self.npv_best < 0:
            return "stop"
        return "pays" if self.loses <= 0.1 else "may pay"


def judge(case: Case, *, draws: int = DRAWS, seed: int = 2026) -> Judgement:
    """The sums of a case at its likely figures, over `draws` independent draws of all inputs, and input by input.

    An input is drawn from the PERT distribution of its three figures. Inputs are drawn independently of each other:
    where two go together in truth, the spread is too narrow.
    """
    inputs = complete(case)
    likely = {name: np.array(each.likely) for name, each in inputs.items()}
    yearly = sums.benefits(likely, case.years, case.ramp)
    rate = float(likely["discount_rate"])
    discounted = [float(gain) / (1 + rate) ** year for year, gain in enumerate(yearly, 1)]
    invested = float(likely["investment"])
    today, with_it = float(sums.cost_today(likely)), float(sums.cost_with_it(likely))
    possible = _drawn(inputs, draws, seed)
    gains = sums.benefits(possible, case.years, case.ramp)
    npvs = sums.net_present_value(possible["investment"], gains, possible["discount_rate"])
    paybacks = sums.payback(possible["investment"], gains, possible["discount_rate"])
    wrong = float(likely["false_positive_rate"] + likely["false_negative_rate"])
    error = float(sums.cost_of_an_error(likely))
    before_errors = today - with_it + float(likely["resolved"] * sums.expected_error_cost(likely))
    return Judgement(
        name=case.name,
        currency=case.currency,
        horizon=case.years,
        cost_today=today,
        cost_with_it=with_it,
        saving=today - with_it,
        npv=_npv(case, likely),
        npv_best=_corner(case, inputs, best=True),
        npv_worst=_corner(case, inputs, best=False),
        npv_spread=_spread(npvs),
        loses=float((npvs < 0).mean()),
        payback_years=_finite(float(sums.payback(likely["investment"], yearly, likely["discount_rate"]))),
        payback_spread=_spread(paybacks),
        pays_back=float(np.isfinite(paybacks).mean()),
        internal_rate=sums.internal_rate(invested, yearly.tolist()),
        roi=(float(yearly.sum()) - invested) / invested if invested else None,
        delay_a_month=float(yearly[0]) / 12 + float(likely["lost_window"]),
        break_even_accuracy=_finite(float(sums.break_even_accuracy(np.array(before_errors), np.array(error)))),
        accuracy=1 - wrong if wrong else None,
        threshold=sums.threshold(float(likely["false_positive_cost"]), float(likely["false_negative_cost"])),
        years=[
            Year(
                year=year + 1,
                decisions=float(likely["volume"] * likely["adoption"]) * case.ramp[min(year, len(case.ramp) - 1)],
                benefit=float(yearly[year]),
                discounted=discounted[year],
                cumulative=sum(discounted[: year + 1]) - invested,
            )
            for year in range(case.years)
        ],
        levers=_levers(case, inputs),
        assumptions=[name for name, each in inputs.items() if not each.supported and name in case.inputs],
        attribution=case.attribution,
        draws=draws,
        seed=seed,
    )


def complete(case: Case) -> dict[str, Estimate]:
    """Every input, those that the sheet leaves out at their defaults."""
    return {
        name: case.inputs.get(name) or Estimate(low=each.default or 0, likely=each.default or 0, high=each.default or 0)
        for name, each in INPUTS.items()
    }


def _npv(case: Case, of: Mapping[str, Floats]) -> float:
    yearly = sums.benefits(of, case.years, case.ramp)
    return float(sums.net_present_value(of["investment"], yearly, of["discount_rate"]))


def _drawn(inputs: Mapping[str, Estimate], draws: int, seed: int) -> dict[str, Floats]:
    """Draws of each input from its PERT distribution."""
    generator = np.random.default_rng(seed)
    return {name: drawn(generator, each.low, each.likely, each.high, draws) for name, each in inputs.items()}


def _spread(values: Floats) -> Spread:
    """`inverted_cdf` picks draws and mixes none, so that "never" stays never."""
    found = [_finite(float(each)) for each in np.percentile(values, (10, 50, 90), method="inverted_cdf")]
    return Spread(p10=found[0], p50=found[1], p90=found[2])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _corner(case: Case, inputs: Mapping[str, Estimate], *, best: bool) -> float:
    """The best (or worst) net present value with each input at one of its ends.

    The value is linear in each input but the discount rate, in which it need not even be monotone; an input's better
    end depends on the others. So: turned one by one until none helps, from three starts.
    """
    ends = {name: (each.low, each.high) for name, each in inputs.items() if each.high > each.low}
    fixed = {name: np.array(each.likely) for name, each in inputs.items()}
    found = []
    for start in (0, 1, None):
        at = dict(fixed) if start is None else fixed | {name: np.array(each[start]) for name, each in ends.items()}
        reached = _npv(case, at)
        while True:
            before = reached
            for name, both in ends.items():
                for end in both:
                    tried = at | {name: np.array(end)}
                    worth = _npv(case, tried)
                    if (worth > reached) if best else (worth < reached):
                        at, reached = tried, worth
            if reached == before:
                break
        found.append(reached)
    return max(found) if best else min(found)


def _levers(case: Case, inputs: Mapping[str, Estimate]) -> list[Lever]:
    """Every input that is uncertain, the weightiest first."""
    likely = {name: np.array(each.likely) for name, each in inputs.items()}
    levers = []
    for name, each in inputs.items():
        if each.high <= each.low:
            continue
        ends = [_npv(case, likely | {name: np.array(end)}) for end in (each.low, each.high)]
        levers.append(
            Lever(
                name=name,
                unit=INPUTS[name].unit,
                low=each.low,
                high=each.high,
                at_low=ends[0],
                at_high=ends[1],
                supported=each.supported,
                turns_at=_turn(case, likely, name, each) if ends[0] * ends[1] < 0 else None,
            )
        )
    return sorted((each for each in levers if each.span), key=lambda each: (-each.span, each.name))


def _turn(case: Case, likely: Mapping[str, Floats], name: str, each: Estimate) -> float:
    """Where within its range an input makes the net present value nothing, by halving."""
    low, high = each.low, each.high
    below = _npv(case, {**likely, name: np.array(low)}) < 0
    for _ in range(60):
        middle = (low + high) / 2
        if (_npv(case, {**likely, name: np.array(middle)}) < 0) == below:
            low = middle
        else:
            high = middle
    return (low + high) / 2

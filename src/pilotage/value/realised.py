"""What a live system brought, month by month, beside what its business case planned: pure.

Measured are volume, adoption (its answer was used), reviews and errors; every other figure is the sheet's likely one.
The thresholds below are defaults of ours.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from pilotage.value import sums
from pilotage.value.case import complete
from pilotage.value.model import Case

__all__ = ["FEWEST", "Month", "Seen", "ValueVerdict", "month_of", "value_verdict"]

FEWEST = 30
"""Under so many outcomes the errors of a month are those that were planned."""

_ENOUGH, _REVIEW_AFTER, _EXIT_AFTER = 0.7, 2, 3
_YEAR_DAYS = 365.0

ValueVerdict = Literal["as planned", "review", "exit plan", "too early"]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record of the live decisions of a month, such as 2026-03: of how many `days` of it.

    `eligible` reached the system and fitted its contract, `answered` by its model; `overruled` are those that a person
    answered otherwise, `reviewed` those that were left to a person. Of `known` the outcome was told.
    """

    month: str
    days: float
    eligible: int
    answered: int
    overruled: int
    reviewed: int
    known: int
    false_positive: int
    false_negative: int


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A month in money: planned and realised for the same days, and their ratio (None where nothing was planned).

    The gain of decisions is a product, and its ratio to plan that of `volume`, `adoption`, `unit_saving` and `quality`;
    fixed costs of the days are then taken from both. `errors_measured` is whether enough outcomes were told. `whole` is
    whether it was live for all of the month.
    """

    month: str
    days: float
    whole: bool
    planned: float
    realised: float
    ratio: float | None
    volume: float | None
    adoption: float | None
    unit_saving: float | None
    quality: float | None
    errors_measured: bool
    seen: Seen


def month_of(case: Case, seen: Seen, year: int) -> Month:
    """A month of the case's `year` (0 is the first), whose part of the adoption the ramp says.

    Uplift is neither planned nor realised here: no meter of the platform sees it.
    """
    plan = {name: np.array(each.likely) for name, each in complete(case).items()}
    part = case.ramp[min(year, len(case.ramp) - 1)]
    volume = float(plan["volume"]) * seen.days / _YEAR_DAYS
    adoption = float(plan["adoption"]) * part
    fixed = float(plan["platform"] + plan["monitoring"] + plan["run"] + plan["retrain"]) * seen.days / _YEAR_DAYS
    measured = seen.known >= FEWEST
    reviews = plan | {"review_rate": np.array(_share(seen.reviewed, seen.eligible))}
    errors = reviews | (
        {
            "false_positive_rate": np.array(_share(seen.false_positive, seen.known)),
            "false_negative_rate": np.array(_share(seen.false_negative, seen.known)),
        }
        if measured
        else {}
    )
    planned_unit, unit, own = _saving(plan), _saving(reviews), _saving(errors)
    used = max(0, seen.answered - seen.overruled)
    adopted = _share(used, seen.eligible)
    planned, realised = volume * adoption * planned_unit - fixed, used * own - fixed
    days = calendar.monthrange(*map(int, seen.month.split("-")))[1]
    return Month(
        month=seen.month,
        days=round(seen.days, 2),
        whole=seen.days > days - 0.01,
        planned=planned,
        realised=realised,
        ratio=_ratio(realised, planned),
        volume=_ratio(seen.eligible, volume),
        adoption=_ratio(adopted, adoption),
        unit_saving=_ratio(unit, planned_unit),
        quality=_ratio(own, unit),
        errors_measured=measured,
        seen=seen,
    )


def value_verdict(months: Sequence[Month]) -> ValueVerdict:
    """By the whole months, the newest last: nothing gained in three asks for an exit plan, under 70 % of the plan in
    two for a review; before there is one, it is too early."""
    whole = [each for each in months if each.whole]
    if not whole:
        return "too early"
    if len(whole) >= _EXIT_AFTER and all(each.realised <= 0 for each in whole[-_EXIT_AFTER:]):
        return "exit plan"
    last = whole[-_REVIEW_AFTER:]
    if len(last) == _REVIEW_AFTER and all(each.realised < _ENOUGH * each.planned for each in last):
        return "review"
    return "as planned"


def _saving(of: Mapping[str, Any]) -> float:
    return float(sums.cost_today(of) - sums.cost_with_it(of))


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _ratio(value: float, planned: float) -> float | None:
    """How much of what was planned; None where nothing above 0 was."""
    return value / planned if planned > 0 else None

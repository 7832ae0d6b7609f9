"""How answers and errors differ between groups of people: rates by group, and the usual disparities with intervals.

Every figure is a function of four counts a group, so an interval draws counts and never rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import Rate, mean_interval, wilson
from pilotage.evaluation.metrics import INTERVAL, calibration
from pilotage.systems.model import FairnessLimits

__all__ = [
    "DISPARITIES",
    "Disparity",
    "Fairness",
    "GroupRates",
    "calibration_by_group",
    "fairness_of",
    "fairness_of_counts",
    "held_limits",
]

Counts = NDArray[np.float64]
"""[groups, 4]: chosen and true, chosen and false, not chosen and true, not chosen and false."""

_HIT, _FALSE, _MISS, _CLEAR = range(4)


class GroupRates(msgspec.Struct, frozen=True, kw_only=True):
    """One group: rows, and rates each with its 95 % Wilson interval; a rate over nothing is None.

    `base_rate` is the share of truth, `selection_rate` of what was chosen; the rest are true and false positive rate,
    false negative rate and precision. `judged` is false for a group that is too small to be compared.
    """

    group: str
    rows: int
    judged: bool
    base_rate: Rate | None
    selection_rate: Rate | None
    true_positive_rate: Rate | None
    false_positive_rate: Rate | None
    false_negative_rate: Rate | None
    precision: Rate | None


class Disparity(msgspec.Struct, frozen=True, kw_only=True):
    """A difference (largest less smallest) or a ratio (smallest to largest) over groups, with its 95 % interval.

    `lowest` and `highest` name the two groups that make it. Rates that no row of a group speaks of are left out.
    """

    value: float
    low: float
    high: float
    lowest: str
    highest: str


class Fairness(msgspec.Struct, frozen=True, kw_only=True):
    """The groups, and the disparities over those that were judged, by name (see `DISPARITIES`)."""

    groups: list[GroupRates]
    disparities: dict[str, Disparity]


def _rate(part: Sequence[int], whole: Sequence[int]) -> Callable[[Counts], Counts]:
    def rate(counts: Counts) -> Counts:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Counts = counts[..., part].sum(axis=-1) / counts[..., whole].sum(axis=-1)
        return found

    return rate


_ALL = (_HIT, _FALSE, _MISS, _CLEAR)
_BASE = _rate((_HIT, _MISS), _ALL)
_SELECTION = _rate((_HIT, _FALSE), _ALL)
_TRUE_POSITIVE = _rate((_HIT,), (_HIT, _MISS))
_FALSE_POSITIVE = _rate((_FALSE,), (_FALSE, _CLEAR))
_PRECISION = _rate((_HIT,), (_HIT, _FALSE))

DISPARITIES: dict[str, tuple[str, tuple[Callable[[Counts], Counts], ...]]] = {
    "demographic_parity_difference": ("difference", (_SELECTION,)),
    "disparate_impact_ratio": ("ratio", (_SELECTION,)),
    "equal_opportunity_difference": ("difference", (_TRUE_POSITIVE,)),
    "equalized_odds_difference": ("difference", (_TRUE_POSITIVE, _FALSE_POSITIVE)),
    "predictive_parity_difference": ("difference", (_PRECISION,)),
    "base_rate_difference": ("difference", (_BASE,)),
}
"""Each disparity: a difference or a ratio, of which rates; of two rates the worse one counts.

Demographic parity (Dwork et al. 2012) and the four-fifths ratio (EEOC 1978) of the selection rate; equal opportunity
and equalised odds (Hardt et al. 2016); predictive parity (Chouldechova 2017). The base rate is the data's, not the
model's.
"""


def fairness_of(
    groups: Sequence[str],
    truth: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    *,
    fewest: int = 0,
    rounds: int = 1_000,
    seed: int = 2026,
) -> Fairness:
    """Rates by group and disparities, for `truth` and `chosen` of the rows, [n] each; which way is up is the caller's.

    For people, `chosen` is the favourable answer and `truth` that it was deserved. Groups of under `fewest` rows are
    told and not judged. Intervals are percentiles of `rounds` multinomial draws of each group's counts.
    """
    names, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    cells = which * 4 + np.where(chosen, np.where(truth, _HIT, _FALSE), np.where(truth, _MISS, _CLEAR))
    counts = np.bincount(cells, minlength=4 * len(names)).reshape(-1, 4)
    return fairness_of_counts(names.tolist(), counts, fewest=fewest, rounds=rounds, seed=seed)


def fairness_of_counts(
    names: Sequence[str], counts: NDArray[np.int64], *, fewest: int = 0, rounds: int = 1_000, seed: int = 2026
) -> Fairness:
    """The same from counts, [groups, 4]: chosen and true, chosen and false, not chosen and true, neither."""
    named = np.asarray(names, dtype=str)
    judged = counts.sum(axis=1) >= max(fewest, 1)
    told = [_group(str(name), own, bool(yes)) for name, own, yes in zip(names, counts, judged, strict=True)]
    kept = counts[judged]
    if len(kept) < 2:
        return Fairness(groups=told, disparities={})
    generator = np.random.default_rng(seed)
    drawn = np.stack([generator.multinomial(own.sum(), own / own.sum(), size=rounds) for own in kept], axis=1)
    found = {
        name: disparity
        for name, (form, rates) in DISPARITIES.items()
        if (disparity := _disparity(form, rates, kept.astype(float), drawn.astype(float), named[judged])) is not None
    }
    return Fairness(groups=told, disparities=found)


def held_limits(rules: FairnessLimits, fair: Fairness) -> list[dict[str, Any]]:
    """Each declared limit: what was found, whether it holds, and whether its interval agrees."""
    found = []
    for name, limit in msgspec.structs.asdict(rules).items():
        if limit is None or name not in fair.disparities:
            continue
        own, least = fair.disparities[name], name.endswith("ratio")
        holds, *ends = [(each >= limit) if least else (each <= limit) for each in (own.value, own.low, own.high)]
        found.append(
            {"name": name, "limit": limit, "value": own.value, "holds": holds, "certain": {holds} == set(ends)}
        )
    return found


def calibration_by_group(
    groups: Sequence[str], labels: NDArray[np.bool_], scores: NDArray[np.float64], *, fewest: int = 0
) -> list[dict[str, Any]]:
    """By group: rows, mean score, rate, and how much larger the score is than what happened (`gap`, with its 95 %
    interval by the normal approximation), with the group's expected calibration error.

    A gap whose interval leaves out 0 means that the score promises one thing to this group and another to the rest.
    """
    names, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    found = []
    for at, name in enumerate(names):
        own, truth = scores[which == at], labels[which == at]
        if len(own) < max(fewest, 1):
            continue
        apart = own - truth
        gap, low, high = mean_interval(len(own), float(apart.sum()), float(np.square(apart).sum()))
        mean, rate, error = float(own.mean()), float(truth.mean()), calibration(truth, own)[1]
        entry = {"group": str(name), "rows": len(own), "mean_score": mean, "rate": rate, "gap": gap}
        found.append(entry | {"gap_interval_95": [low, high], "expected_error": error})
    return found


def _group(name: str, counts: NDArray[np.int64], judged: bool) -> GroupRates:
    hit, false, miss, clear = (int(each) for each in counts)

    def rate(part: int, whole: int) -> Rate | None:
        return wilson(part, whole) if whole else None

    rows = hit + false + miss + clear
    return GroupRates(
        group=name,
        rows=rows,
        judged=judged,
        base_rate=rate(hit + miss, rows),
        selection_rate=rate(hit + false, rows),
        true_positive_rate=rate(hit, hit + miss),
        false_positive_rate=rate(false, false + clear),
        false_negative_rate=rate(miss, hit + miss),
        precision=rate(hit, hit + false),
    )


def _disparity(
    form: str, rates: Sequence[Callable[[Counts], Counts]], counts: Counts, drawn: Counts, names: NDArray[Any]
) -> Disparity | None:
    """The worse of the rates' disparities; None where fewer than two groups have the rate."""
    found = []
    for rate in rates:
        own = rate(counts)
        known = ~np.isnan(own)
        if known.sum() >= 2:
            found.append(
                (float(_spread(form, own[known])), own[known], names[known], _spread(form, rate(drawn[:, known])))
            )
    if not found:
        return None
    difference = form == "difference"
    value, own, named, _ = (max if difference else min)(found, key=lambda each: each[0])
    every = np.stack([turns for *_, turns in found])
    turns = np.fmax.reduce(every) if difference else np.fmin.reduce(every)
    if np.isnan(turns).all():
        return None
    low, high = np.nanpercentile(turns, INTERVAL)
    return Disparity(
        value=value,
        low=float(low),
        high=float(high),
        lowest=str(named[np.argmin(own)]),
        highest=str(named[np.argmax(own)]),
    )


def _spread(form: str, rates: Counts) -> Counts:
    """Largest less smallest over the last axis, or smallest to largest (1 where all are 0); NaNs left out."""
    largest, smallest = np.fmax.reduce(rates, axis=-1), np.fmin.reduce(rates, axis=-1)
    if form == "difference":
        return np.asarray(largest - smallest)
    return np.where(largest == 0, 1.0, smallest / np.where(largest == 0, 1.0, largest))

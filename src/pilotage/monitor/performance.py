"""What decisions were worth once their outcomes are known: sums of counts, never rows. Pure.

Outcomes come late and not for all. So coverage stands beside every figure: the share of decisions that have an outcome,
by their age; and what rests on too few decisions says that it is not enough data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec
import numpy as np

from pilotage.evaluation.degradation import Degradation, State, Threshold, degradation, worst_state
from pilotage.evaluation.intervals import Area, Rate, binned_auc, mean_interval, wilson
from pilotage.evaluation.periods import Estimate
from pilotage.evaluation.realised import FEWEST, Realised, realised, truth
from pilotage.ledger.outcomes import CountedOutcomes
from pilotage.ledger.slicing import ALL, read_key
from pilotage.profiles.counts import Counts, total
from pilotage.profiles.model import SCORE, ColumnProfile, ReferenceProfile
from pilotage.profiles.slices import slice_labels
from pilotage.systems.evaluating import Costs

__all__ = ["AGES", "Bounds", "Coverage", "Meaning", "Performance", "ScoreBin", "SliceFigures", "performance"]

AGES = (
    ("under 7 days", 7),
    ("7 to 29 days", 30),
    ("30 to 89 days", 90),
    ("90 to 179 days", 180),
    ("180 days on", None),
)
"""Ages of decisions in whole UTC days: a name, and below how many days."""

_NOT_HELD = (
    "it is no input of the release, so what is counted of a decision does not hold it; make it an input of the next "
    "release, or join it yourself to what pilotage outcomes export gives"
)
"""Why a declared slice cannot be counted, and what to do."""

_SCORED = frozenset({"answered", "fallback", "abstained", "review"})
"""How decisions end that may have a score, so that an outcome of them counts."""


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a release's answers and outcomes mean: `adverse` is the answer at or above `threshold`, `positive` the
    outcome that the score is the probability of."""

    threshold: float
    adverse: str
    favourable: str
    positive: str


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a release is worse than what was approved, as its build fixed it; what its decisions cost."""

    thresholds: list[Threshold] = []
    costs: Costs | None = None


_NO_BOUNDS = Bounds()


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Of the decisions of one age: how many have an outcome that counts."""

    age: str
    known: Rate


class ScoreBin(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the score: how many have an outcome, and the observed rate of positives; None: not enough data."""

    label: str
    decisions: int
    positives: int
    rate: Rate | None


class SliceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a declared slice. Under FEWEST decisions no figure is given."""

    slice: str
    value: str
    figures: Realised


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Realised performance of one release over the decisions of some UTC days (empty bounds: all).

    `coverage` is by age, `known` over all. `outcomes` are decisions by what was told; `unclear` of them are numbers
    from which no class follows. `whole` is at the release's threshold. `auc` is of the score's cells, the rows of one
    counting as ties, so that it is a little off the one of the scores themselves. `left_out` says which declared slices
    cannot be counted and why; `waiting` is how many older outcomes `pilotage outcomes backfill` would count. `notes`
    are what a reader must know. `degradation` holds each threshold that the build fixed against what was realised, and
    `state` is the worst of them: None where it fixed none.
    """

    system: str
    release: str
    arm: str
    since: str
    until: str
    meaning: Meaning
    fewest: int
    known: Rate
    coverage: list[Coverage]
    outcomes: dict[str, int]
    unclear: int
    whole: Realised
    auc: Area | None
    bins: list[ScoreBin]
    slices: list[SliceFigures]
    left_out: dict[str, str]
    waiting: int
    notes: list[str]
    degradation: list[Degradation]
    state: State | None

    @property
    def enough(self) -> bool:
        """Whether there is enough data to judge the release."""
        return self.whole.enough

    @property
    def worst(self) -> SliceFigures | None:
        """The slice of the lowest accuracy among those with enough data."""
        judged = [each for each in self.slices if each.figures.accuracy is not None]
        return min(judged, key=lambda each: each.figures.accuracy.rate if each.figures.accuracy else 1.0, default=None)


def performance(
    profile: ReferenceProfile,
    meaning: Meaning,
    counted: Sequence[CountedOutcomes],
    decided: Mapping[str, Mapping[str, int]],
    *,
    system: str,
    release: str,
    arm: str = "",
    since: str = "",
    until: str = "",
    today: str,
    slices: Sequence[str] = (),
    waiting: int = 0,
    bounds: Bounds = _NO_BOUNDS,
) -> Performance:
    """The figures. `decided` are decisions by UTC day and how they ended; `slices` those declared now.

    `bounds` are what the release must hold.
    """
    by_slice: dict[str, list[Counts]] = {}
    told: dict[str, int] = {}
    for each in counted:
        by_slice.setdefault(each.slice, []).append(each.counts)
        if not each.slice:
            told[each.day] = told.get(each.day, 0) + sum(map(sum, each.counts.values()))
    sums = {name: total(parts) for name, parts in by_slice.items()}
    by_outcome = {name: sum(cells) for name, cells in sorted(sums.get("", {}).items()) if any(cells)}
    days = {day: ended for day, ended in decided.items() if (not since or day >= since) and (not until or day <= until)}
    bins = _bins(profile.column(SCORE), sums.get("", {}), meaning)
    whole = realised(_pairs(sums.get(ALL, {}), meaning))
    unclear = sum(count for name, count in by_outcome.items() if _truth(name, meaning) is None)
    area = _auc(sums.get("", {}), meaning) if whole.enough else None
    judged = degradation(bounds.thresholds, _realised(whole, area, bounds.costs))
    return Performance(
        system=system,
        release=release,
        arm=arm,
        since=since,
        until=until,
        meaning=meaning,
        fewest=FEWEST,
        known=wilson(sum(told.values()), sum(map(_scored, days.values()))),
        coverage=_coverage(days, told, today),
        outcomes=by_outcome,
        unclear=unclear,
        whole=whole,
        auc=area,
        bins=bins,
        slices=[each for name in slices for each in _figures(profile, name, sums.get(name, {}), meaning)],
        left_out={name: _NOT_HELD for name in slices if profile.column(name) is None},
        waiting=waiting,
        notes=list(_notes(by_outcome, whole, waiting, meaning)),
        degradation=judged,
        state=worst_state(judged),
    )


def _realised(whole: Realised, area: Area | None, costs: Costs | None) -> dict[str, Estimate]:
    """What is known well enough to be held against a threshold, by metric."""
    rates = {name: getattr(whole, name) for name in ("accuracy", "precision", "recall", "false_positive_rate")}
    found = {name: Estimate(rate.rate, rate.low, rate.high) for name, rate in rates.items() if rate is not None}
    if area is not None:
        found["auc"] = Estimate(area.area, area.low, area.high)
    if costs is not None and whole.enough:
        counts = (whole.true_positive, whole.false_positive, whole.false_negative, whole.true_negative)
        amounts = (costs.true_positive, costs.false_positive, costs.false_negative, costs.true_negative)
        pairs = list(zip(counts, amounts, strict=True))
        total, squares = (sum(count * amount**power for count, amount in pairs) for power in (1, 2))
        found["cost"] = Estimate(*mean_interval(whole.decisions, total, squares))
    return found


def _scored(ended: Mapping[str, int]) -> int:
    return sum(count for name, count in ended.items() if name in _SCORED)


def _coverage(days: Mapping[str, Mapping[str, int]], told: Mapping[str, int], today: str) -> list[Coverage]:
    ages: dict[str, tuple[int, int]] = {}
    for day, ended in days.items():
        age = _age(day, today)
        known, of = ages.get(age, (0, 0))
        ages[age] = known + told.get(day, 0), of + _scored(ended)
    return [Coverage(age=age, known=wilson(*ages[age])) for age, _ in AGES if age in ages and ages[age][1]]


def _age(day: str, today: str) -> str:
    try:
        days = (date.fromisoformat(today) - date.fromisoformat(day)).days
    except ValueError:
        return AGES[-1][0]
    return next(name for name, below in AGES if below is None or days < below)


def _truth(outcome: str, meaning: Meaning) -> bool | None:
    return truth(outcome, positive=meaning.positive, adverse=meaning.adverse)


def _bins(column: ColumnProfile | None, counts: Counts, meaning: Meaning) -> list[ScoreBin]:
    if column is None:
        return []
    classes = _classes(counts, meaning)
    found = []
    cells = zip(column.labels, classes[True].tolist(), classes[False].tolist(), strict=False)
    for label, positives, negatives in cells:
        if of := positives + negatives:
            rate = wilson(positives, of) if of >= FEWEST else None
            found.append(ScoreBin(label=label, decisions=of, positives=positives, rate=rate))
    return found


def _classes(counts: Counts, meaning: Meaning) -> dict[bool, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """{positive: decisions per cell of the score}; empty arrays where nothing counts."""
    wide = max(map(len, counts.values()), default=0)
    classes = {each: np.zeros(wide, dtype=np.int64) for each in (True, False)}
    for outcome, cells in counts.items():
        positive = _truth(outcome, meaning)
        if positive is not None:
            classes[positive] += np.asarray(cells, dtype=np.int64)
    return classes


def _auc(counts: Counts, meaning: Meaning) -> Area | None:
    """Without the cells of no score."""
    classes = _classes(counts, meaning)
    return binned_auc(classes[True][:-2], classes[False][:-2])


def _pairs(counts: Counts, meaning: Meaning, cell: int | None = None) -> Iterable[tuple[bool, bool, int]]:
    for key, cells in counts.items():
        at, label, outcome = read_key(key)
        positive = _truth(outcome, meaning)
        if positive is not None and cell in (None, at) and label in (meaning.adverse, meaning.favourable):
            yield label == meaning.adverse, positive, sum(cells)


def _figures(profile: ReferenceProfile, name: str, counts: Counts, meaning: Meaning) -> Iterable[SliceFigures]:
    column = profile.column(name)
    for cell, value in enumerate(slice_labels(column) if column is not None else ()):
        figures = realised(_pairs(counts, meaning, cell))
        if figures.decisions:
            yield SliceFigures(slice=name, value=value, figures=figures)


def _notes(outcomes: Mapping[str, int], whole: Realised, waiting: int, meaning: Meaning) -> Iterable[str]:
    known = sum(outcomes.values())
    if not whole.enough:
        yield f"not enough data: {whole.decisions} answers have an outcome, at least {FEWEST} are needed"
    if waiting:
        yield f"{waiting} older outcomes are not counted by slice and answer yet: run `pilotage outcomes backfill`"
    if known >= FEWEST and not any(_truth(name, meaning) for name in outcomes):
        yield f"no outcome says {meaning.positive!r}, which the score is the probability of: see what sources tell"

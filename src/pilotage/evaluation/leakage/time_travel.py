"""Whether split and columns keep to time: nothing is judged by its past, nothing is known before it happened."""

from __future__ import annotations

import numpy as np

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.leakage.cells import number_cells, separation
from pilotage.evaluation.leakage.duplicates import distinct_training_rows
from pilotage.evaluation.leakage.model import Finding, Severity
from pilotage.evaluation.leakage.table import Codes, Floats, Table, moments
from pilotage.evaluation.metrics import auc

__all__ = ["later_dates", "split_in_time", "split_of_labels"]

_OLDER, _MIXED = 0.75, 0.1
_DRIFT = 0.55
_LATER = 0.01
_TELLS, _STILL = 0.65, 0.56
_RATES = 0.05


def split_in_time(table: Table, time: Floats, half: Codes) -> list[Finding]:
    """Held-out rows that are older than training rows, where time matters."""
    if table.held_out is None or table.time is None:
        return []
    known = ~np.isnan(time)
    later = auc(~table.held_out[known], time[known])
    if later is None:
        return []
    count = int(known.sum())
    rate = wilson(round(later * count), count)
    drift = max(
        (separation(number_cells(time), yes, half) for yes in table.target.questions.values()),
        key=lambda each: each.area,
    )
    older = later >= _OLDER
    if not older and not (later >= _MIXED and drift.area >= _DRIFT and drift.low > 0.5):
        return []
    told = "the held-out rows are older" if older else "past and future are mixed while the target changes with time"
    return [
        Finding(
            kind="older_held_out" if older else "mixed_times",
            columns=(table.time.name,),
            severity="high" if older else "medium",
            measure="training rows that are later",
            strength=rate.rate,
            low=rate.low,
            high=rate.high,
            said=f"{told}: a training row is later than a held-out row in {later:.0%} of pairs",
            mend="hold out the newest rows",
            figures={"time_auc": drift.area},
        )
    ]


def later_dates(table: Table, time: Floats, half: Codes) -> list[Finding]:
    """Dates that lie after the decision: known then only if they are planned."""
    if table.time is None:
        return []
    found = []
    span = np.nanmax(time) - np.nanmin(time)
    for field in table.fields:
        if (other := moments(field)) is None or not _alike(other, time, float(span)):
            continue
        gap = other - time
        known = ~np.isnan(gap)
        later = wilson(int((gap[known] > 0).sum()), int(known.sum()))
        if later.rate < _LATER or later.count < 5:
            continue
        tells = max(
            (separation(number_cells(gap), yes, half) for yes in table.target.questions.values()),
            key=lambda each: each.area,
        )
        serious: Severity = "high" if tells.area >= _TELLS else "ask" if tells.area <= _STILL else "medium"
        found.append(
            Finding(
                kind="after_decision",
                columns=(field.name, table.time.name),
                severity=serious,
                measure="share later than the decision",
                strength=later.rate,
                low=later.low,
                high=later.high,
                said=f"{field.name} lies after {table.time.name} in {later.count:,} of {later.of:,} rows"
                f" (AUC of the gap {tells.area:.3f})",
                mend="remove it, or show that it is a plan that was known at the decision",
                figures={"gap_auc": tells.area},
            )
        )
    return found


def _alike(other: Floats, time: Floats, span: float) -> bool:
    """Whether a column is a moment of the same calendar: its middle lies within ten times the decisions' span."""
    known = other[~np.isnan(other)]
    if len(known) < 20 or len(np.unique(known)) < 10 or span <= 0:
        return False
    return bool(abs(float(np.median(known)) - float(np.nanmedian(time))) <= 10 * span + 1)


def split_of_labels(table: Table) -> list[Finding]:
    """Whether the two sides have the same share of positives, as a split that knows nothing of them would give.

    A training row that was drawn several times counts once: weighing classes in training is no fault.
    """
    if table.held_out is None:
        return []
    kept, held_out = distinct_training_rows(table), table.held_out
    for question, yes in table.target.questions.items():
        held = wilson(int(yes[held_out].sum()), int(held_out.sum()))
        train = wilson(int(yes[kept].sum()), len(kept))
        apart = held.rate - train.rate
        gap = max(held.low - train.high, train.low - held.high)
        if gap <= 0 or abs(apart) < _RATES or table.time is not None:
            continue
        return [
            Finding(
                kind="split_by_target",
                columns=(),
                severity="medium",
                measure="difference of rates",
                strength=abs(apart),
                low=gap,
                high=max(held.high - train.low, train.high - held.low),
                said=f"{held.rate:.1%} of held-out rows are {question}, of training rows {train.rate:.1%}",
                mend="split by a hash of the subject without regard to the target; if it is by time, name that column",
                figures={"held_out": held.rate, "training": train.rate},
            )
        ]
    return []

"""From when on a live release is worse than what was approved: thresholds fixed at its build, and verdicts on them.

A threshold is broken only when the whole interval of what was realised lies beyond it: few outcomes prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from pilotage.evaluation.intervals import Area
from pilotage.evaluation.periods import Estimate
from pilotage.systems.evaluating import METRICS, EvaluationRules

__all__ = ["Degradation", "State", "Threshold", "degradation", "fixed_thresholds", "worst_state"]

State = Literal["holds", "near", "broken", "not enough data"]

_DERIVED = ("recall", "false_positive_rate")
"""Shares among the truly positive and the truly negative: they stay as they are when only the base rate moves."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of live decisions that must be at least (or, where less is better, at most) `limit`; and `why`."""

    metric: str
    limit: float
    why: str

    @property
    def least(self) -> bool:
        """Whether more is better."""
        return METRICS[self.metric]


class Degradation(msgspec.Struct, frozen=True, kw_only=True):
    """What was realised of one threshold. `near`: beyond it, but by less than chance may account for."""

    threshold: Threshold
    state: State
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        bound = "at least" if self.threshold.least else "at most"
        text = f"{self.threshold.metric} must be {bound} {self.threshold.limit:.4g} ({self.threshold.why})"
        if self.value is None:
            return f"{text}: not enough data"
        return f"{text}: it is {self.value:.4g} (95 %: {self.low:.4g} to {self.high:.4g}), {self.state}"


def fixed_thresholds(rules: EvaluationRules, evaluation: Mapping[str, Any], binned: Area | None) -> list[Threshold]:
    """The thresholds of a release: those declared, and for what is not declared those that its evaluation gives.

    `binned` is the AUC by the cells in which live scores are counted: a little under that of the scores themselves, so
    the thresholds of `auc` are of it. Derived are: worse than the baseline to beat (only where the model beats it), and
    worse than the 95 % interval of the held-out rows.
    """
    found = [
        Threshold(metric=metric, limit=limit, why="declared") for metric, limit in sorted(rules.degradation.items())
    ]
    if "auc" not in rules.degradation and binned is not None:
        found += _of_area(evaluation, binned)
    for metric in _DERIVED:
        span = evaluation["intervals_95"].get(metric)
        if metric not in rules.degradation and span is not None:
            limit = span[0] if METRICS[metric] else span[1]
            found.append(Threshold(metric=metric, limit=limit, why="the 95 % interval at the build"))
    return found


def _of_area(evaluation: Mapping[str, Any], binned: Area) -> list[Threshold]:
    found = [Threshold(metric="auc", limit=binned.low, why="the 95 % interval at the build")]
    best = evaluation["baselines"].get(evaluation["baselines"].get("to_beat", ""), {})
    lost = (evaluation["metrics"]["auc"] or binned.area) - binned.area
    if best.get("beaten") and best["auc"] - lost < binned.low:
        found.append(Threshold(metric="auc", limit=best["auc"] - lost, why=f"what {best['feature']} alone achieves"))
    return found


def degradation(thresholds: Sequence[Threshold], realised: Mapping[str, Estimate]) -> list[Degradation]:
    """Each threshold against what was realised; a figure that is not there has not enough data."""
    return [_judged(each, realised.get(each.metric)) for each in thresholds]


def worst_state(found: Sequence[Degradation]) -> State | None:
    """The state of all: broken when one is, and not enough data before near. None without a threshold."""
    order: tuple[State, ...] = ("broken", "near", "not enough data", "holds")
    return next((state for state in order if any(each.state == state for each in found)), None)


def _judged(threshold: Threshold, own: Estimate | None) -> Degradation:
    if own is None:
        return Degradation(threshold=threshold, state="not enough data")
    # Turned so that more is better.
    sign = 1 if threshold.least else -1
    value, limit = sign * own.value, sign * threshold.limit
    best = own.high if threshold.least else -own.low
    state: State = "holds" if value >= limit else "near" if best >= limit else "broken"
    return Degradation(threshold=threshold, state=state, value=own.value, low=own.low, high=own.high)

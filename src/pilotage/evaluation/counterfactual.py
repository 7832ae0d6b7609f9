"""One sentence that names a change within the contract's range which would have altered an adverse answer.

Every change named was scored: the sentence is never a guess from a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.evaluation.explainer import Explainer, Range, ScoreRows
from pilotage.kernel.rows import Value
from pilotage.systems.model import Reason

__all__ = ["find_counterfactual"]

STEPS = 64
NONE = "No change of one actionable factor alone, within the contract's range, would have altered the answer."

_Candidate = tuple[float, dict[int, Value]]
"""How large a change is (0 to 1 of what is possible), and the values by feature position."""


def find_counterfactual(
    explainer: Explainer, values: Sequence[Value], groups: Sequence[Reason], score_rows: ScoreRows
) -> str:
    """The smallest such change: of one actionable feature, else of a whole group; else says that there is none."""
    place = {name: index for index, name in enumerate(explainer.names)}
    actionable = [[place[feature] for feature in group.features] for group in groups if group.actionable]
    singles = [
        candidate
        for index in sorted({index for group in actionable for index in group})
        for candidate in _moves(explainer.ranges[index], values[index], index)
    ]
    found = _first_that_alters(explainer, values, singles, score_rows)
    if found is None:
        together = [
            candidate for group in actionable if len(group) > 1 for candidate in _joint(explainer, values, group)
        ]
        found = _first_that_alters(explainer, values, together, score_rows)
    if found is None:
        return NONE
    changes = [
        f"{explainer.names[index]} been {_text(value)} instead of {_text(values[index])}"
        for index, value in sorted(found.items())
    ]
    return f"Had {' and '.join(changes)}, the answer would have been {explainer.favourable}."


def _first_that_alters(
    explainer: Explainer, values: Sequence[Value], candidates: list[_Candidate], score_rows: ScoreRows
) -> dict[int, Value] | None:
    """The smallest candidate whose row is scored below the threshold; ties by feature order."""
    if not candidates:
        return None
    rows = [_changed(values, change) for _, change in candidates]
    below = score_rows(rows) < explainer.threshold
    passing = [(size, min(change), at) for at, (size, change) in enumerate(candidates) if below[at]]
    return candidates[min(passing)[2]][1] if passing else None


def _changed(values: Sequence[Value], change: dict[int, Value]) -> list[Value]:
    row = list(values)
    for index, value in change.items():
        row[index] = value
    return row


def _moves(allowed: Range, value: Value, index: int) -> list[_Candidate]:
    """Values that one feature may move to, with the size of each move."""
    if allowed.kind == "boolean":
        return [(1.0, {index: not value})]
    if allowed.categories is not None:
        return [(1.0, {index: each}) for each in allowed.categories if each != value]
    if isinstance(value, (str, bool)) or value is None or allowed.minimum is None or allowed.maximum is None:
        return []
    span = allowed.maximum - allowed.minimum
    if span <= 0:
        return []
    steps = np.unique(
        np.concatenate([np.linspace(bound, value, STEPS) for bound in (allowed.minimum, allowed.maximum)])
    )
    if allowed.kind == "integer":
        near = np.arange(max(allowed.minimum, value - STEPS // 2), min(allowed.maximum, value + STEPS // 2) + 1)
        steps = np.unique(np.concatenate([np.round(steps), near]))
    told = {_as_told(allowed, float(step)) for step in steps} - {value}
    return [(abs(step - value) / span, {index: step}) for step in sorted(told)]


def _as_told(allowed: Range, value: float) -> float:
    """The value as the sentence will say it (six digits), within the range: what is told is what was scored."""
    if allowed.kind == "integer":
        return float(round(value))
    bounds = (allowed.minimum, allowed.maximum)
    told = float(f"{value:.6g}")
    return told if value not in bounds and _within(told, *bounds) else value


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


def _joint(explainer: Explainer, values: Sequence[Value], group: list[int]) -> list[_Candidate]:
    """The group's number features moved together, the same share of the way to all lower or all upper bounds."""
    moving = [
        index
        for index in group
        if explainer.ranges[index].categories is None
        and isinstance(values[index], (int, float))
        and not isinstance(values[index], bool)
        and explainer.ranges[index].minimum is not None
        and explainer.ranges[index].maximum is not None
    ]
    candidates: list[_Candidate] = []
    for side in ("minimum", "maximum") if len(moving) > 1 else ():
        for share in np.linspace(0, 1, STEPS)[1:]:
            change: dict[int, Value] = {
                index: moved
                for index in moving
                if (moved := _toward(explainer.ranges[index], values[index], side, float(share))) != values[index]
            }
            candidates += [(float(share), change)] if change else []
    return candidates


def _toward(allowed: Range, value: Value, side: str, share: float) -> float:
    bound = allowed.minimum if side == "minimum" else allowed.maximum
    assert bound is not None and isinstance(value, (int, float))  # noqa: S101 - chosen by the caller
    return _as_told(allowed, value + (bound - value) * share)


def _text(value: Value) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "not given" if value is None else repr(value) if isinstance(value, float) else str(value)

"""A candidate against what became of the decisions: the realised figures of both, on the same decisions. Pure.

Only decisions that both answered and whose outcome is known count, so coverage is said first. What became of a decision
may have come of the old answer (who was refused a loan cannot default): outcomes of answers that would change are then
not what the candidate's answers would have brought.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import Area, Rate, auc_area, mean_interval, wilson
from pilotage.evaluation.metrics import auc_gain
from pilotage.evaluation.realised import FEWEST, Realised, realised

__all__ = ["Against", "Judged", "Known", "Reckoning", "Told"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_MOST = 60
_ROUNDS_UP_TO = 20_000
"""More decisions than this make resampling slow and the interval so narrow that a sample of them says the same."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one release: `cost` is that of all its answers, by the costs declared; None without any."""

    figures: Realised
    auc: Area | None
    cost: float | None
    cost_per_1000: float | None


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """Champion and candidate on the decisions of one segment (empty `dimension`: all) whose outcome is known.

    `known` is their share of what both answered. The changes are candidate less champion, decision by decision, as
    [mean, low, high] at 95 %: of right answers, of cost (None without costs), and of the AUC by resampling (None where
    one class is missing, and for segments). All but the counts is None under FEWEST decisions: not enough data.
    """

    dimension: str
    value: str
    known: Rate
    champion: Judged | None
    candidate: Judged | None
    accuracy_change: list[float] | None
    cost_change: list[float] | None
    auc_change: list[float] | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """All that outcomes say of a backtest. `outcomes` are decisions by what was told; `unclear` of them tell no class.

    `left_out` segments have fewer than FEWEST decisions with an outcome.
    """

    positive: str
    outcomes: dict[str, int]
    unclear: int
    whole: Against
    segments: list[Against]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Reckoning:
    """What outcomes and answers mean: `adverse` and `favourable` answers, `positive` the outcome that adverse ones are
    to catch; `costs` by (answer, outcome), nothing for those that are not there."""

    positive: str
    adverse: str
    favourable: str
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict)


def _numbers() -> array[float]:
    return array("d")


def _bytes() -> array[int]:
    return array("B")


@dataclass(kw_only=True)
class Known:
    """Decisions as they come: 35 bytes each, and 4 for each of their segments."""

    reckoning: Reckoning
    outcomes: Counter[str] = field(default_factory=Counter)
    unclear: int = 0
    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    members: dict[tuple[str, str], array[int]] = field(default_factory=dict)
    old: array[float] = field(default_factory=_numbers)
    new: array[float] = field(default_factory=_numbers)
    old_cost: array[float] = field(default_factory=_numbers)
    new_cost: array[float] = field(default_factory=_numbers)
    flags: array[int] = field(default_factory=_bytes)

    def add(
        self,
        segments: Sequence[tuple[str, str]],
        old: tuple[str, float],
        new: tuple[str, float],
        outcome: str | None,
        positive: bool | None,
    ) -> None:
        """A decision that both answered, (label, score) each; with its outcome, None where none is told."""
        keys = [("", ""), *segments]
        self.compared.update(keys)
        if outcome is None:
            return
        self.outcomes[outcome] += 1
        answers = (self.reckoning.adverse, self.reckoning.favourable)
        if positive is None or old[0] not in answers or new[0] not in answers:
            self.unclear += 1
            return
        for key in keys:
            self.members.setdefault(key, array("L")).append(len(self.flags))
        costs = self.reckoning.costs
        self.old.append(old[1])
        self.new.append(new[1])
        self.old_cost.append(costs.get((old[0], outcome), 0.0))
        self.new_cost.append(costs.get((new[0], outcome), 0.0))
        self.flags.append(positive | (old[0] == answers[0]) << 1 | (new[0] == answers[0]) << 2)

    def told(self) -> Told | None:
        """The figures; None when no outcome was told."""
        if not self.outcomes:
            return None
        judged = {key: len(rows) for key, rows in self.members.items() if key[0] and len(rows) >= FEWEST}
        shown = sorted(judged, key=lambda key: (key[0], -judged[key], key[1]))[:_MOST]
        return Told(
            positive=self.reckoning.positive,
            outcomes=dict(self.outcomes.most_common(_MOST)),
            unclear=self.unclear,
            whole=self._against(("", "")),
            segments=[self._against(key) for key in shown],
            left_out=sum(1 for key in self.compared if key[0]) - len(shown),
        )

    def _against(self, key: tuple[str, str]) -> Against:
        rows = np.asarray(self.members.get(key, array("L")), dtype=np.int64)
        known = wilson(len(rows), self.compared[key])
        if len(rows) < FEWEST:
            return Against(
                dimension=key[0],
                value=key[1],
                known=known,
                champion=None,
                candidate=None,
                accuracy_change=None,
                cost_change=None,
                auc_change=None,
            )
        flags = np.frombuffer(self.flags, dtype=np.uint8)[rows]
        positive, sides = (flags & 1).astype(bool), ((flags & 2).astype(bool), (flags & 4).astype(bool))
        scores = [np.frombuffer(each)[rows] for each in (self.old, self.new)]
        costs = [np.frombuffer(each)[rows] for each in (self.old_cost, self.new_cost)]
        champion, candidate = (
            self._judged(flagged, positive, score, cost)
            for flagged, score, cost in zip(sides, scores, costs, strict=True)
        )
        right = [(flagged == positive).astype(np.float64) for flagged in sides]
        return Against(
            dimension=key[0],
            value=key[1],
            known=known,
            champion=champion,
            candidate=candidate,
            accuracy_change=_change(right[0], right[1]),
            cost_change=_change(costs[0], costs[1]) if self.reckoning.costs else None,
            auc_change=None if key[0] else _gain(positive, scores[1], scores[0]),
        )

    def _judged(
        self,
        flagged: Flags,
        positive: Flags,
        scores: Floats,
        costs: Floats,
    ) -> Judged:
        cells = [(f, p, int(((flagged == f) & (positive == p)).sum())) for f in (True, False) for p in (True, False)]
        cost = float(costs.sum()) if self.reckoning.costs else None
        return Judged(
            figures=realised(cells),
            auc=auc_area(positive, scores),
            cost=cost,
            cost_per_1000=None if cost is None else 1_000 * cost / len(costs),
        )


def _change(old: Floats, new: Floats) -> list[float]:
    moved = new - old
    return list(mean_interval(len(moved), float(moved.sum()), float((moved * moved).sum())))


def _gain(
    positive: Flags,
    new: Floats,
    old: Floats,
) -> list[float] | None:
    if len(positive) > _ROUNDS_UP_TO:
        chosen = np.random.default_rng(2026).choice(len(positive), _ROUNDS_UP_TO, replace=False)
        positive, new, old = positive[chosen], new[chosen], old[chosen]
    found = auc_gain(positive, new, old)
    return None if found is None else [found[0], *found[1]]

"""What `pilotage.yaml` says of evaluation: what errors cost, what must hold, and when a live release has degraded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.documents import Fault, fault

__all__ = ["METRICS", "REALISED", "Costs", "EvaluationRules", "Load", "evaluation_faults"]

Amount = TypeVar("Amount", float, NDArray[np.float64])

METRICS = {
    "auc": True,
    "average_precision": True,
    "ks": True,
    "top_tenth_lift": True,
    "balanced_accuracy": True,
    "f1": True,
    "mcc": True,
    "accuracy": True,
    "precision": True,
    "recall": True,
    "false_positive_rate": False,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "cost": False,
}
"""What may have a limit, and whether more of it is better: then the limit is the least allowed, else the most."""

REALISED = ("auc", "accuracy", "precision", "recall", "false_positive_rate", "cost")
"""Those that are known of live decisions, from counts of answers and outcomes."""


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each way a decision may turn out costs, in `unit` (a currency, hours, ...); negative: what it brings in.

    A positive is a case that the score predicts; it is true when it was answered with the adverse label. Without any
    amount nothing is reckoned.
    """

    unit: str = ""
    true_positive: float = 0.0
    false_positive: float = 0.0
    false_negative: float = 0.0
    true_negative: float = 0.0

    def of(self, hit: Amount, false: Amount, miss: Amount, clear: Amount) -> Amount:
        """The cost of so many true and false positives, false and true negatives."""
        return (
            self.true_positive * hit
            + self.false_positive * false
            + self.false_negative * miss
            + self.true_negative * clear
        )

    @property
    def theoretical(self) -> float | None:
        """The threshold of least cost where scores are true probabilities (Elkan 2001); None where errors cost nothing
        more than being right."""
        over, under = self.false_positive - self.true_negative, self.false_negative - self.true_positive
        return over / (over + under) if over > 0 and under > 0 else None


class Load(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What serving must bear: rows a second, the milliseconds in which 95 % and 99 % of them must be answered, and the
    megabytes of memory; 0 is no limit."""

    rows_per_second: float = 50.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    memory_mb: float = 0.0


class EvaluationRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a release is judged. `limits` bind the held-out rows, `degradation` live decisions with outcomes: each by
    metric, least or most as the metric goes. `time` names the column that says when a row was decided."""

    costs: Costs = Costs()
    limits: dict[str, float] = {}
    degradation: dict[str, float] = {}
    time: str = ""
    load: Load = Load()

    @property
    def matrix(self) -> Costs | None:
        """The costs; None where none are declared."""
        return self.costs if self.costs != Costs() else None


def evaluation_faults(rules: EvaluationRules) -> Iterator[Fault]:
    """What types cannot say of them."""
    for path, names, known in (("limits", rules.limits, tuple(METRICS)), ("degradation", rules.degradation, REALISED)):
        for name, limit in names.items():
            where = f"evaluation.{path}.{name}"
            if name not in known:
                yield fault(where, "is no figure that can have a limit", got=name, mend=f"one of: {', '.join(known)}")
            elif not math.isfinite(limit):
                yield fault(where, "is no number", got=limit, mend="a finite number")
            elif name == "cost" and rules.matrix is None:
                yield fault(where, "limits a cost that is not declared", mend="declare evaluation.costs")
    if rules.matrix is not None:
        amounts = {name: value for name, value in msgspec.structs.asdict(rules.costs).items() if name != "unit"}
        if not rules.costs.unit.strip() or len(rules.costs.unit) > 20:
            yield fault("evaluation.costs.unit", "names no unit", got=rules.costs.unit, mend="such as EUR or hours")
        for name, value in amounts.items():
            if not math.isfinite(value):
                yield fault(f"evaluation.costs.{name}", "is no amount", got=value, mend="a finite number")
        if len(set(amounts.values())) == 1:
            yield fault("evaluation.costs", "says that every decision costs the same", mend="say what an error costs")
    for name, value in msgspec.structs.asdict(rules.load).items():
        least = 0.1 if name == "rows_per_second" else 0.0
        if not (math.isfinite(value) and least <= value <= 1e6):
            yield fault(f"evaluation.load.{name}", "is out of range", got=value, mend=f"{least:g} to 1,000,000")

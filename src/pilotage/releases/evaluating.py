"""`evaluation.json`: every figure of a release that its card, its gate and its readers rely on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import DataContract
from pilotage.evaluation.baseline import constant_baseline, linear_feature_baseline, single_feature_baseline
from pilotage.evaluation.fairness import Fairness, calibration_by_group, fairness_of
from pilotage.evaluation.metrics import auc, auc_gain, brier, calibration, confusion, intervals, log_loss
from pilotage.evaluation.slices import FEWEST, evaluate_slices, slice_names
from pilotage.kernel.rows import values_of
from pilotage.releases.data import PilotRows
from pilotage.releases.hard_rows import HardRow
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["evaluate", "messy_block"]

Floats = NDArray[np.float64]

SEEN = "unknown"
"""Whether the pilot was fitted on the rows held out here: its author trained it, and only its author knows."""


def evaluate(
    system: AISystem, contract: DataContract, serving: ServingSpec, rows: PilotRows, scores: Floats
) -> dict[str, Any]:
    """The evaluation on the held-out rows, as `scores` of the served form say."""
    held_out, labels = rows.part(held_out=True)
    fitted, fitted_labels = rows.part(held_out=False)
    table, error = calibration(labels, scores)
    used = {column.name for column in contract.features if column.protected}
    return {
        "rows": {
            "held_out": len(held_out),
            "others": len(fitted),
            "refused_by_contract": rows.refused,
            "positives_held_out": int(labels.sum()),
        },
        "split": {
            "by": "keyed hash of the subject" if contract.subject else "keyed hash of the row",
            "seed": system.pilot.seed,
        },
        "holdout_seen_in_training": SEEN,
        "threshold": serving.threshold,
        "metrics": {"auc": auc(labels, scores), "log_loss": log_loss(labels, scores), "brier": brier(labels, scores)},
        "intervals_95": intervals(labels, scores, seed=system.pilot.seed),
        "confusion": confusion(labels, scores, serving.threshold),
        "calibration": {"bins": table, "expected_error": error},
        "baselines": _baselines(serving, fitted, fitted_labels, held_out, labels, scores, system.pilot.seed),
        "slices": _slices(system, contract, rows, labels, scores, serving.threshold),
        "slices_fewest_rows": FEWEST,
        "fairness": _fairness(system, contract, rows, labels, scores, serving.threshold),
        "protected_features_used": sorted(used),
    }


def _baselines(
    serving: ServingSpec,
    fitted: Sequence[Sequence[Any]],
    fitted_labels: NDArray[np.bool_],
    held_out: Sequence[Sequence[Any]],
    labels: NDArray[np.bool_],
    scores: Floats,
    seed: int,
) -> dict[str, Any]:
    """The base rate, and the best single feature in bins and as a line, on the same rows; with the model's gains.

    `to_beat` names the one that the gate's check is about: the bins, which learn any shape.
    """
    rate = constant_baseline(fitted_labels, len(labels))
    found = {"single_feature_binned": single_feature_baseline(serving.names, fitted, fitted_labels, held_out)}
    line = linear_feature_baseline(serving.names, fitted, fitted_labels, held_out)
    if line is not None:
        found["single_feature"] = line
    return {
        "to_beat": "single_feature_binned",
        "base_rate": {
            "rate": float(fitted_labels.mean()),
            "log_loss": log_loss(labels, rate),
            "brier": brier(labels, rate),
        },
        **{name: _against(feature, own, labels, scores, seed) for name, (feature, own) in found.items()},
    }


def _against(feature: str, own: Floats, labels: NDArray[np.bool_], scores: Floats, seed: int) -> dict[str, Any]:
    """A baseline's figures, and how much larger the model's AUC is with its paired 95 % interval."""
    gain = auc_gain(labels, scores, own, seed=seed)
    return {
        "feature": feature,
        "auc": auc(labels, own),
        "log_loss": log_loss(labels, own),
        "brier": brier(labels, own),
        "auc_gain": None if gain is None else gain[0],
        "auc_gain_interval_95": None if gain is None else gain[1],
        "beaten": gain is not None and gain[1][0] > 0,
    }


def _fairness(
    system: AISystem,
    contract: DataContract,
    rows: PilotRows,
    labels: NDArray[np.bool_],
    scores: Floats,
    threshold: float,
) -> list[dict[str, Any]]:
    """One block for each protected column, and for each pair of them: how often each group is answered favourably.

    `truth` is that the favourable answer was right, so a true positive is a person who deserved it and got it.
    """
    groups = {
        column.name: slice_names(values)
        for column in contract.columns
        if column.protected and (values := _held_out(column.name, contract, rows)) is not None
    }
    both = {f"{one} × {other}": _paired(groups[one], groups[other]) for one, other in combinations(groups, 2)}
    blocks = []
    for name, own in {**groups, **both}.items():
        fair = fairness_of(own, ~labels, scores < threshold, fewest=FEWEST, seed=system.pilot.seed)
        blocks.append(
            {
                "column": name,
                "calibration": calibration_by_group(own, labels, scores, fewest=FEWEST),
                "limits": _limits(system, fair) if name in groups else [],
                **msgspec.to_builtins(fair),
            }
        )
    return blocks


def _limits(system: AISystem, fair: Fairness) -> list[dict[str, Any]]:
    """Each declared limit on a protected column: what was found, whether it holds, and whether its interval agrees."""
    found = []
    for name, limit in msgspec.structs.asdict(system.fairness).items():
        if limit is None or name not in fair.disparities:
            continue
        own, least = fair.disparities[name], name.endswith("ratio")
        holds, *ends = [(each >= limit) if least else (each <= limit) for each in (own.value, own.low, own.high)]
        found.append(
            {"name": name, "limit": limit, "value": own.value, "holds": holds, "certain": {holds} == set(ends)}
        )
    return found


def _paired(one: Sequence[str], other: Sequence[str]) -> list[str]:
    return [f"{a} × {b}" for a, b in zip(one, other, strict=True)]


def _held_out(name: str, contract: DataContract, rows: PilotRows) -> list[Any] | None:
    """A column of the held-out rows, or None when neither features nor slices hold it."""
    names, chosen = [column.name for column in contract.features], np.flatnonzero(rows.held_out)
    if name in names:
        place = names.index(name)
        return values_of(rows.rows.columns[place][chosen])
    return [rows.sliced[name][at] for at in chosen] if name in rows.sliced else None


def _slices(
    system: AISystem,
    contract: DataContract,
    rows: PilotRows,
    labels: NDArray[np.bool_],
    scores: Floats,
    threshold: float,
) -> list[dict[str, Any]]:
    """The declared slice columns and every protected one."""
    protected = [column.name for column in contract.features if column.protected]
    entries: list[dict[str, Any]] = []
    for name in dict.fromkeys([*system.pilot.slices, *protected, *rows.sliced]):
        column = _held_out(name, contract, rows)
        if column is not None:
            entries += evaluate_slices(name, column, labels, scores, threshold)
    return entries


def messy_block(messy: Sequence[HardRow], scores: Floats, plain: Floats, threshold: float) -> list[dict[str, Any]]:
    """What messy data does to answers, by kind: rows, how far scores move, how many labels change.

    `plain` are the scores of the rows that the messy ones were made of, by their `origin`.
    """
    before = np.array([plain[row.origin] for row in messy], dtype=np.float64)
    kinds = np.array([row.kind for row in messy])
    return [
        {
            "kind": str(kind),
            "rows": int((chosen := kinds == kind).sum()),
            "mean_shift": float(np.abs(scores[chosen] - before[chosen]).mean()),
            "largest_shift": float(np.abs(scores[chosen] - before[chosen]).max()),
            "labels_changed": float(((scores[chosen] >= threshold) != (before[chosen] >= threshold)).mean()),
        }
        for kind in sorted(set(kinds.tolist()))
    ]

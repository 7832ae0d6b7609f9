"""`evaluation.json`: every figure of a release that its card, its gate and its readers rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.evaluation.baseline import constant_baseline, linear_feature_baseline, single_feature_baseline
from pilotage.evaluation.bootstrap import ROUNDS
from pilotage.evaluation.classification import classification
from pilotage.evaluation.degradation import fixed_thresholds
from pilotage.evaluation.fairness import calibration_by_group, fairness_of, held_limits
from pilotage.evaluation.intervals import binned_auc
from pilotage.evaluation.limits import judged_limits
from pilotage.evaluation.metrics import brier, log_loss
from pilotage.evaluation.periods import area_estimate, by_period, times_of
from pilotage.evaluation.redrawn import redrawn
from pilotage.evaluation.simple_models import linear_baseline, tree_baseline
from pilotage.evaluation.slices import FEWEST, evaluate_slices, slice_names
from pilotage.kernel.rows import values_of
from pilotage.profiles.model import SCORE, ReferenceProfile
from pilotage.releases.data import PilotRows
from pilotage.releases.hard_rows import HardRow
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["evaluate", "messy_block", "read_slices", "thresholds_of"]

Floats = NDArray[np.float64]

SEEN = "unknown"
"""Whether the pilot was fitted on the rows held out here: its author trained it, and only its author knows."""

_FEWEST_ROUNDS, _MOST_ROUNDS, _WORK = 100, ROUNDS // 2, 10_000_000
"""Bootstraps of a build: as many as draw so many rows, within bounds. `pilotage evaluate` draws more."""


def evaluate(
    system: AISystem,
    contract: DataContract,
    serving: ServingSpec,
    rows: PilotRows,
    scores: Floats,
    *,
    rounds: int | None = None,
) -> dict[str, Any]:
    """The evaluation on the held-out rows, as `scores` of the served form say.

    `rounds` are bootstraps; None: as many as a build can afford. Without a row that is not held out nothing is fitted,
    and `baselines` is empty.
    """
    held_out, labels = rows.part(held_out=True)
    fitted, fitted_labels = rows.part(held_out=False)
    used = {column.name for column in contract.features if column.protected}
    seed, rules = system.pilot.seed, system.evaluation
    simple = _simple_models(serving, fitted, fitted_labels, held_out) if len(fitted) else {}
    rounds = rounds or max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, _WORK // len(labels)))
    found = classification(
        labels,
        scores,
        serving.threshold,
        costs=rules.matrix,
        against={name: own for name, (_, own) in simple.items()},
        rounds=rounds,
        seed=seed,
    )
    against = found.pop("against")
    whole = {
        "rows": {
            "held_out": len(held_out),
            "others": len(fitted),
            "refused_by_contract": rows.refused,
            "positives_held_out": int(labels.sum()),
        },
        "split": {"by": "keyed hash of the subject" if contract.subject else "keyed hash of the row", "seed": seed},
        "holdout_seen_in_training": SEEN,
        "threshold": serving.threshold,
        "bootstraps": rounds,
        **found,
        "baselines": _baselines(simple, against, fitted_labels, labels) if simple else {},
        "redrawn": redrawn(labels, scores, serving.threshold, seed=seed),
        "age": _age(rules.time, contract, rows, labels, scores),
        "slices": _slices(system, contract, rows, labels, scores, serving.threshold),
        "slices_fewest_rows": FEWEST,
        "fairness": _fairness(system, contract, rows, labels, scores, serving.threshold),
        "protected_features_used": sorted(used),
    }
    return whole | {"limits": judged_limits(rules.limits, whole)}


def read_slices(system: AISystem) -> list[str]:
    """The columns beside the features that an evaluation asks for."""
    pilot = system.pilot
    return list(
        dict.fromkeys(filter(None, [*pilot.slices, *pilot.protected, *pilot.prohibited, system.evaluation.time]))
    )


def thresholds_of(
    system: AISystem, evaluation: dict[str, Any], profile: ReferenceProfile, labels: NDArray[np.bool_], scores: Floats
) -> list[dict[str, Any]]:
    """From when on live decisions of this release are worse than what was measured here."""
    column = profile.column(SCORE)
    binned = None
    if column is not None:
        cells = np.searchsorted(np.array(column.cuts), scores, side="right")
        counts = [np.bincount(cells[side], minlength=len(column.cuts) + 1) for side in (labels, ~labels)]
        binned = binned_auc(counts[0], counts[1])
    return [
        msgspec.to_builtins(each) | {"least": each.least}
        for each in fixed_thresholds(system.evaluation, evaluation, binned)
    ]


def _simple_models(
    serving: ServingSpec,
    fitted: Sequence[Sequence[Any]],
    fitted_labels: NDArray[np.bool_],
    held_out: Sequence[Sequence[Any]],
) -> dict[str, tuple[str, Floats]]:
    """By name, what each simple model is made of and its scores of the held-out rows."""
    names, width = serving.names, len(serving.names)
    found = {"single_feature_binned": single_feature_baseline(names, fitted, fitted_labels, held_out)}
    line = linear_feature_baseline(names, fitted, fitted_labels, held_out)
    if line is not None:
        found["single_feature"] = line
    found["linear"] = ("all", linear_baseline(fitted, fitted_labels, held_out, width))
    found["shallow_tree"] = ("all", tree_baseline(fitted, fitted_labels, held_out, width))
    return found


def _baselines(
    simple: Mapping[str, tuple[str, Floats]],
    against: Mapping[str, dict[str, Any]],
    fitted_labels: NDArray[np.bool_],
    labels: NDArray[np.bool_],
) -> dict[str, Any]:
    """The base rate and the simple models on the same rows, with the model's gains over each.

    `to_beat` names the one that the gate's check is about: the bins of one feature, which learn any shape. A model may
    be a line itself, so that one of all columns is shown and not demanded.
    """
    rate = constant_baseline(fitted_labels, len(labels))
    majority = bool(fitted_labels.mean() >= 0.5)
    return {
        "to_beat": "single_feature_binned",
        "base_rate": {
            "rate": float(fitted_labels.mean()),
            "accuracy": float((labels == majority).mean()),
            "log_loss": log_loss(labels, rate),
            "brier": brier(labels, rate),
        },
        **{name: {"feature": simple[name][0], **figures} for name, figures in against.items()},
    }


def _age(
    time: str, contract: DataContract, rows: PilotRows, labels: NDArray[np.bool_], scores: Floats
) -> dict[str, Any] | None:
    """The AUC by period of the declared time column. Raises InputError without that column, or its dates."""
    if not time:
        return None
    column = _held_out(time, contract, rows)
    if column is None:
        raise InputError(
            "evaluation.time names a column that the data contract does not have",
            got=time,
            expected=", ".join(each.name for each in contract.columns),
            mend="correct evaluation.time in pilotage.yaml",
            code="unknown_column",
        )
    return by_period(times_of(time, column), area_estimate(labels, scores), "auc")


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
                "limits": held_limits(system.fairness, fair) if name in groups else [],
                **msgspec.to_builtins(fair),
            }
        )
    return blocks


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
    asked = [*system.pilot.slices, *protected, *(name for name in rows.sliced if name != system.evaluation.time)]
    for name in dict.fromkeys(asked):
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

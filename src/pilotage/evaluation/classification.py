"""All that is said of scores against two classes: figures with intervals, calibration, gains, costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.bootstrap import ROUNDS, Progress, bootstrap, interval
from pilotage.evaluation.calibrating import calibration_facts
from pilotage.evaluation.costing import cost_facts
from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.metrics import confusion
from pilotage.evaluation.scored import NAMES, ScoredRows
from pilotage.systems.evaluating import Costs

__all__ = ["GAINS", "classification", "gains"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

KS_ROWS = 5_000
"""On fewer rows a KS distance has no interval: it is a maximum, and its bootstrap holds the truth too rarely."""
GAINS = 10
"""Steps of the table of gains: tenths."""
_ROUNDING = 1e-5
_RATES = ("accuracy", "precision", "recall", "false_positive_rate", "flagged")


def classification(
    labels: Labels,
    scores: Floats,
    threshold: float,
    *,
    costs: Costs | None = None,
    against: Mapping[str, Floats] | None = None,
    groups: NDArray[np.int64] | None = None,
    rounds: int = ROUNDS,
    seed: int = 2026,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The evaluation of scores, [n], of which both classes have a row.

    `metrics` and `intervals_95` by name (see `ScoredRows`; shares at the threshold have Wilson intervals, the others
    bootstrap ones); `confusion`; `calibration`, None unless scores are probabilities; `gains`; `costs`, None without
    `costs`; `against` has, by name of other scores of the same rows, their figures and how much larger the AUC of
    `scores` is, with the interval of the paired difference. `groups` are codes of rows that are drawn together.
    """
    ranked = ScoredRows(labels, scores, threshold, costs)
    others = {name: ScoredRows(labels, each, threshold) for name, each in (against or {}).items()}

    def figures(weights: Floats) -> Floats:
        own = ranked.figures(weights)
        return np.concatenate([own, [own[0] - other.area(weights) for other in others.values()]])

    point = figures(np.ones(len(labels)))
    draws = bootstrap(figures, len(labels), rounds=rounds, seed=seed, groups=groups, progress=progress)
    spans = [interval(value, draws[:, at]) for at, value in enumerate(point)]
    found = confusion(labels, scores, threshold)
    shares = {name: found[name] for name in _RATES}
    known = {name: _number(value) for name, value in zip(NAMES, point, strict=False)}
    intervals = {name: span for name, span in zip(NAMES, spans, strict=False) if span is not None}
    if len(labels) < KS_ROWS:
        intervals.pop("ks", None)
    # The probability of a forest, summed in float32, may lie a rounding over one.
    probable = scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING
    return {
        "metrics": {name: value for name, value in known.items() if value is not None} | shares,
        "intervals_95": intervals | _share_intervals(found),
        "confusion": found,
        "calibration": calibration_facts(labels, scores.clip(0, 1), seed=seed) if probable else None,
        "gains": gains(labels, scores),
        "costs": None if costs is None else cost_facts(labels, scores, threshold, costs, seed=seed),
        "against": {
            name: _against(other, point[len(NAMES) + at], spans[len(NAMES) + at], len(labels))
            for at, (name, other) in enumerate(others.items())
        },
    }


def gains(labels: Labels, scores: Floats) -> list[dict[str, Any]]:
    """By tenth of the rows, the highest scores first: {share, rows, lowest, rate with Wilson's interval, lift, caught}.

    `lift` is the tenth's rate to that of all, `caught` the share of all positives down to here. Equal scores at a
    border are parted by chance, always alike.
    """
    order = np.lexsort((np.random.default_rng(0).permutation(len(scores)), -scores))
    positive, base, caught = labels[order], float(labels.mean()), 0
    table = []
    for at, part in enumerate(np.array_split(np.arange(len(order)), GAINS)):
        if not len(part):
            continue
        hits = int(positive[part].sum())
        caught += hits
        rate = wilson(hits, len(part))
        table.append(
            {
                "share": (at + 1) / GAINS,
                "rows": len(part),
                "lowest": float(scores[order[part[-1]]]),
                "rate": rate.rate,
                "rate_low": rate.low,
                "rate_high": rate.high,
                "lift": rate.rate / base if base else None,
                "caught": caught / int(labels.sum()) if labels.any() else None,
            }
        )
    return table


def _share_intervals(found: Mapping[str, Any]) -> dict[str, list[float]]:
    hit, false = found["true_positive"], found["false_positive"]
    miss, clear = found["false_negative"], found["true_negative"]
    whole = hit + false + miss + clear
    parts = {
        "accuracy": (hit + clear, whole),
        "precision": (hit, hit + false),
        "recall": (hit, hit + miss),
        "false_positive_rate": (false, false + clear),
        "flagged": (hit + false, whole),
    }
    rates = {name: wilson(*counts) for name, counts in parts.items() if counts[1]}
    return {name: [rate.low, rate.high] for name, rate in rates.items()}


def _against(other: ScoredRows, gain: float, span: list[float] | None, rows: int) -> dict[str, Any]:
    figures = dict(zip(NAMES, other.figures(np.ones(rows)), strict=True))
    return {
        **{name: _number(figures[name]) for name in ("auc", "average_precision", "log_loss", "brier")},
        "auc_gain": _number(gain),
        "auc_gain_interval_95": span,
        "beaten": span is not None and span[0] > 0,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

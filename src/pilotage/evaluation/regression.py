"""Figures of predicted amounts against what they were, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.bootstrap import ROUNDS, Progress, bootstrap, dot, interval
from pilotage.evaluation.intervals import wilson

__all__ = ["NAMES", "AmountRows", "pinball", "regression"]

Floats = NDArray[np.float64]

NAMES = ("mae", "rmse", "r2", "bias", "median_error", "mape")
"""What is measured of every prediction, in order."""
_LEAST = 1e-9
_DECILES = 10
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


class AmountRows:
    """Predictions of one set of rows.

    - `mae`, `rmse`: mean absolute error, and root of the mean squared one, in the target's unit.
    - `r2`: the share of the target's variance that is explained; below 0 the mean of the target predicts better.
    - `bias`: the mean of prediction less truth.
    - `median_error`: the median absolute error.
    - `mape`: the mean of absolute error over absolute truth, of the rows whose truth is not 0 (to 1e-9 of the largest).
    """

    def __init__(self, truth: Floats, predicted: Floats) -> None:
        apart, size = predicted - truth, np.abs(truth)
        self.usable = size > _LEAST * max(float(size.max()), np.finfo(float).tiny)
        self._apart, self._absolute, self._square = apart, np.abs(apart), np.square(apart)
        middle = float(truth.mean())
        # About the mean, so that large amounts lose no digits.
        self._centred, self._spread = truth - middle, np.square(truth - middle)
        self._all_usable = bool(self.usable.all())
        self._shares = np.abs(apart)[self.usable] / size[self.usable]
        self._order = np.argsort(np.abs(apart), kind="stable")
        self._sorted = np.abs(apart)[self._order]

    def figures(self, weights: Floats) -> Floats:
        """The figures named in NAMES."""
        total = weights.sum()
        variance = dot(weights, self._spread) / total - (dot(weights, self._centred) / total) ** 2
        square = dot(weights, self._square) / total
        own = weights if self._all_usable else weights[self.usable]
        return np.array(
            [
                self.error(weights),
                np.sqrt(square),
                1 - square / variance if variance > 0 else np.nan,
                dot(weights, self._apart) / total,
                self._median(weights, total),
                dot(own, self._shares) / own.sum() if own.sum() else np.nan,
            ]
        )

    def error(self, weights: Floats) -> float:
        """Only the mean absolute error, for a comparison."""
        return dot(weights, self._absolute) / float(weights.sum())

    def _median(self, weights: Floats, total: float) -> float:
        sums, last = np.cumsum(weights[self._order]), len(weights) - 1
        low, high = (int(np.searchsorted(sums, total / 2, side=side)) for side in _SIDES)
        return float((self._sorted[min(low, last)] + self._sorted[min(high, last)]) / 2)


def pinball(truth: Floats, predicted: Floats, quantile: float) -> Floats:
    """The loss of each row for a predicted quantile (Koenker and Bassett 1978), [n]."""
    apart = truth - predicted
    return np.maximum(quantile * apart, (quantile - 1) * apart)


def regression(
    truth: Floats,
    predicted: Floats,
    *,
    quantiles: Mapping[float, Floats] | None = None,
    span: tuple[Floats, Floats] | None = None,
    against: Mapping[str, Floats] | None = None,
    groups: NDArray[np.int64] | None = None,
    rounds: int = ROUNDS,
    seed: int = 2026,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The evaluation of predicted amounts, [n].

    `quantiles` are predictions of quantiles, each with its `pinball` loss and the share of truth at or below it;
    `span` is a prediction interval (low, high), of which the share that held the truth and the mean width are told.
    `against` has other predictions: their figures, and how much smaller the model's MAE is, with the interval of the
    paired difference. `groups` are codes of rows that are drawn together.
    """
    rows = AmountRows(truth, predicted)
    others = {name: AmountRows(truth, each) for name, each in (against or {}).items()}
    losses = {each: pinball(truth, own, each) for each, own in (quantiles or {}).items()}
    widths = [span[1] - span[0]] if span is not None else []
    means = [*losses.values(), *widths]

    def figures(weights: Floats) -> Floats:
        own = rows.figures(weights)
        total = weights.sum()
        gained = [other.error(weights) - own[0] for other in others.values()]
        return np.concatenate([own, [dot(weights, each) / total for each in means], gained])

    point = figures(np.ones(len(truth)))
    draws = bootstrap(figures, len(truth), rounds=rounds, seed=seed, groups=groups, progress=progress)
    spans = [interval(value, draws[:, at]) for at, value in enumerate(point)]
    names = [*NAMES, *(f"pinball_{each:g}" for each in losses), *(["interval_width"] if widths else [])]
    first = len(names)
    found: dict[str, Any] = {
        "metrics": {name: float(value) for name, value in zip(names, point, strict=False) if not np.isnan(value)},
        "intervals_95": {name: each for name, each in zip(names, spans, strict=False) if each is not None},
        "rows_without_mape": int((~rows.usable).sum()),
        "quantiles": [_quantile(each, truth, own) for each, own in sorted((quantiles or {}).items())],
        "by_tenth": _by_tenth(truth, predicted),
        "against": {
            name: {
                **{each: _number(value) for each, value in zip(NAMES, other.figures(np.ones(len(truth))), strict=True)},
                "mae_gain": float(point[first + at]),
                "mae_gain_interval_95": spans[first + at],
                "beaten": (low := spans[first + at]) is not None and low[0] > 0,
            }
            for at, (name, other) in enumerate(others.items())
        },
    }
    if span is not None:
        held = wilson(int(((truth >= span[0]) & (truth <= span[1])).sum()), len(truth))
        found["metrics"]["interval_coverage"] = held.rate
        found["intervals_95"]["interval_coverage"] = [held.low, held.high]
    return found


def _quantile(each: float, truth: Floats, predicted: Floats) -> dict[str, float]:
    under = wilson(int((truth <= predicted).sum()), len(truth))
    return {"quantile": each, "at_or_below": under.rate, "low": under.low, "high": under.high}


def _by_tenth(truth: Floats, predicted: Floats) -> list[dict[str, float]]:
    """By tenth of the prediction: mean prediction, mean truth with its 95 % interval, rows: calibration of amounts."""
    table = []
    for part in np.array_split(np.argsort(predicted, kind="stable"), _DECILES):
        if len(part):
            half = 1.96 * float(truth[part].std(ddof=1)) / np.sqrt(len(part)) if len(part) > 1 else 0.0
            mean = float(truth[part].mean())
            row = {"predicted": float(predicted[part].mean()), "truth": mean, "rows": len(part)}
            table.append(row | {"low": mean - half, "high": mean + half})
    return table


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

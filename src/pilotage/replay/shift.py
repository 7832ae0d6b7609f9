"""Figures of a backtest, each from its definition: how far scores moved, and how long answers took."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import mean_interval

__all__ = ["QUANTILES", "Latency", "Shift", "latency", "psi", "score_shift"]

Floats = NDArray[np.float64]
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 10
_ROUNDS = 400
_LEAST_SHARE = 1e-4
"""An empty cell counts as this share in the PSI, whose logarithm would be infinite."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds to read a row and score it: median and 99th percentile of `decisions`."""

    decisions: int
    p50_us: float
    p99_us: float


def latency(us: Sequence[float]) -> Latency:
    """Of microseconds, one a decision; zeros where there are none."""
    if not us:
        return Latency(decisions=0, p50_us=0.0, p99_us=0.0)
    p50, p99 = np.quantile(np.asarray(us, dtype=np.float64), [0.5, 0.99])
    return Latency(decisions=len(us), p50_us=float(p50), p99_us=float(p99))


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """How the same rows' scores moved from `old` to `new`.

    Quantiles at `QUANTILES` of each and of new - old; `mean` is of new - old, with a paired normal interval at 95 %.
    `psi` is over the deciles of the old scores (`cuts`), its interval from resampling rows in pairs; `ks` the largest
    distance of the two distribution functions. `old_cells` and `new_cells` count rows in those cells.
    """

    decisions: int
    old: list[float]
    new: list[float]
    difference: list[float]
    mean: float
    mean_low: float
    mean_high: float
    psi: float
    psi_low: float
    psi_high: float
    ks: float
    cuts: list[float]
    old_cells: list[int]
    new_cells: list[int]


def score_shift(old: Floats, new: Floats) -> Shift | None:
    """The shift of paired scores, both [n] float64; None for fewer than two rows. The same input gives the same."""
    if len(old) < 2:
        return None
    moved = new - old
    mean, low, high = mean_interval(len(moved), float(moved.sum()), float((moved * moved).sum()))
    cuts = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    joint = _joint(np.searchsorted(cuts, old, side="right"), np.searchsorted(cuts, new, side="right"), len(cuts) + 1)
    psi_low, psi_high = _psi_interval(joint)
    return Shift(
        decisions=len(old),
        old=_quantiles(old),
        new=_quantiles(new),
        difference=_quantiles(moved),
        mean=mean,
        mean_low=low,
        mean_high=high,
        psi=psi(joint.sum(axis=1), joint.sum(axis=0)),
        psi_low=psi_low,
        psi_high=psi_high,
        ks=_ks(old, new),
        cuts=[float(cut) for cut in cuts],
        old_cells=[int(n) for n in joint.sum(axis=1)],
        new_cells=[int(n) for n in joint.sum(axis=0)],
    )


def psi(old: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over the cells' shares; counts [cells]."""
    p = np.maximum(old / max(1, old.sum()), _LEAST_SHARE)
    q = np.maximum(new / max(1, new.sum()), _LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def _joint(old: NDArray[np.int64], new: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """[cells, cells] rows by their old and their new cell."""
    return np.bincount(old * cells + new, minlength=cells * cells).reshape(cells, cells).astype(np.int64)


def _psi_interval(joint: NDArray[np.int64]) -> tuple[float, float]:
    """95 % percentile bootstrap: to draw rows anew with their cells is to draw the joint counts, multinomial."""
    cells = len(joint)
    drawn = np.random.default_rng(2026).multinomial(joint.sum(), joint.ravel() / joint.sum(), size=_ROUNDS)
    found = [psi(each.reshape(cells, cells).sum(axis=1), each.reshape(cells, cells).sum(axis=0)) for each in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _ks(old: Floats, new: Floats) -> float:
    every = np.sort(np.concatenate([old, new]))
    below = [np.searchsorted(np.sort(each), every, side="right") / len(each) for each in (old, new)]
    return float(np.abs(below[0] - below[1]).max())


def _quantiles(values: Floats) -> list[float]:
    return [float(value) for value in np.quantile(values, QUANTILES)]

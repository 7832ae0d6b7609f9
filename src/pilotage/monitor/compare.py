"""Compare two samples counted in the same cells: effect and chance, honest about cells that hold few rows.

Cells: bins too sparse for the test join a neighbour. Rare and unseen categories, and values outside the reference's
range, are one cell, tested exactly where the chi-square would not hold. Effect: the population stability index with
half a row added to each cell, less what chance alone gives it, (cells - 1) (1/n + 1/m). Chance: a two-sample
chi-square, for the reference is a sample too.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.monitor.chance import binomial_tail, chi2_tail
from pilotage.monitor.model import Aspect
from pilotage.profiles.model import ColumnProfile

__all__ = ["Comparison", "compare"]

LEAST_EXPECTED = 5.0

Cells = NDArray[np.float64]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One aspect of a column in two samples: `n` rows of the window, `m` of the reference.

    `psi` is debiased and not below 0, `js` in bits, `ks` the largest gap on bins (None without an order), `p` of the
    test with `df` degrees of freedom; df 0 means that there was nothing to test.
    """

    name: str
    aspect: Aspect
    n: int
    m: int
    psi: float
    js: float
    ks: float | None
    p: float
    df: int
    findings: tuple[str, ...]


def compare(column: ColumnProfile, counts: Sequence[int]) -> list[Comparison]:
    """The comparisons of one column: its values, and its null rate and faults where there are any."""
    reference = np.asarray(column.counts, dtype=np.float64)
    window = np.asarray(counts, dtype=np.float64)
    values = column.values
    new = int(window[column.unseen]) if column.unseen is not None else 0
    findings = (f"{new} rows hold a category that the reference never had",) if new else ()
    numeric = column.kind == "numeric"
    rare = [0, values.stop - 1] if numeric else [values.stop - 2, values.stop - 1]
    compared = [
        _two_samples(
            (column.name, "values"), reference[values], window[values], rare=rare, ordered=numeric, findings=findings
        )
    ]
    aspects: dict[Aspect, int] = (
        {"nulls": column.null, "faults": column.null + 1} if numeric else {"nulls": column.null}
    )
    for aspect, cell in aspects.items():
        if reference[cell] or window[cell]:
            before, now = (np.array([part.sum() - part[cell], part[cell]]) for part in (reference, window))
            share = f"{aspect}: {now[1] / max(now.sum(), 1):.2%} of rows, {before[1] / max(before.sum(), 1):.2%} before"
            compared.append(
                _two_samples((column.name, aspect), before, now, rare=[1], ordered=False, findings=(share,))
            )
    return compared


def _two_samples(
    about: tuple[str, Aspect],
    reference: Cells,
    window: Cells,
    *,
    rare: list[int],
    ordered: bool,
    findings: tuple[str, ...],
) -> Comparison:
    """Compare two samples of counts. `rare` are the cells that may be one; `ordered` cells join their neighbours."""
    n, m = int(window.sum()), int(reference.sum())
    ks = float(np.abs(np.cumsum(window) / n - np.cumsum(reference) / m).max()) if ordered and n and m else None
    cells = np.stack([reference, window])
    if n and m:
        cells, outside = _joined(cells, rare, LEAST_EXPECTED * (n + m) / min(n, m), ordered)
    else:
        cells, outside = np.zeros((2, 0)), np.zeros(2)
    p, df = _chance(cells, outside, n, m)
    psi, js = _effect(np.column_stack([cells, outside]) if outside.any() else cells)
    name, aspect = about
    return Comparison(name=name, aspect=aspect, n=n, m=m, psi=psi, js=js, ks=ks, p=p, df=df, findings=findings)


def _joined(cells: Cells, rare: list[int], least: float, ordered: bool) -> tuple[Cells, Cells]:
    """The cells fit for a chi-square test, each of at least `least` rows in both samples together, and the rare rest.

    What joins depends on the sum of both samples only, which says nothing of their difference.
    """
    outside = cells[:, rare].sum(axis=1)
    kept = np.delete(cells, rare, axis=1)
    if ordered:
        kept = _joined_neighbours(kept, least)
    else:
        sparse = kept.sum(axis=0) < least
        outside = outside + kept[:, sparse].sum(axis=1)
        kept = kept[:, ~sparse]
    if outside.sum() >= least:
        return np.column_stack([kept, outside]), np.zeros(2)
    return kept, outside


def _joined_neighbours(cells: Cells, least: float) -> Cells:
    groups: list[Cells] = []
    current = np.zeros(2)
    for cell in cells.T:
        current = current + cell
        if current.sum() >= least:
            groups.append(current)
            current = np.zeros(2)
    if current.any():
        if groups:
            groups[-1] = groups[-1] + current
        else:
            groups.append(current)
    return np.array(groups).T if groups else np.zeros((2, 0))


def _chance(cells: Cells, outside: Cells, n: int, m: int) -> tuple[float, int]:
    """The p-value and degrees of freedom: chi-square on the cells, and an exact test of rows in the rare cell."""
    df = max(cells.shape[1] - 1, 0)
    parts = []
    totals = cells.sum(axis=1, keepdims=True)
    if df and totals.all():
        expected = totals * cells.sum(axis=0) / totals.sum()
        parts.append(chi2_tail(float(((cells - expected) ** 2 / expected).sum()), df))
    if outside.any():
        parts.append(binomial_tail(int(outside[1]), int(outside.sum()), n / (n + m)))
        df += 1
    return min(1.0, len(parts) * min(parts)) if parts else 1.0, df


def _effect(cells: Cells) -> tuple[float, float]:
    """Debiased PSI, not below 0, and the Jensen-Shannon divergence in bits, not debiased."""
    size = cells.shape[1]
    if size < 2:
        return 0.0, 0.0
    totals = cells.sum(axis=1, keepdims=True)
    reference, window = (cells + 0.5) / (totals + 0.5 * size)
    psi = float(((window - reference) * np.log(window / reference)).sum())
    middle = (reference + window) / 2
    js = float((reference * np.log2(reference / middle) + window * np.log2(window / middle)).sum() / 2)
    return max(0.0, psi - (size - 1) * float((1 / totals).sum())), js

"""What a release's reasons are worth: the same against another background, none left out, texts that fit the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.explainer import Explainer
from pilotage.evaluation.reasons import principal_reasons, withheld_factors
from pilotage.kernel.rows import Value

__all__ = ["judge_reasons"]

Floats = NDArray[np.float64]
Rows = Sequence[Sequence[Value]]

MOST_ROWS = {"linear": 1_000, "tree": 200, "sampling": 20}
"""How many adverse rows are explained twice or more, by what a row costs."""


def judge_reasons(
    explainer: Explainer, attribute: Callable[[Rows, Rows], Floats], backgrounds: Sequence[Rows], rows: Rows
) -> dict[str, Any] | None:
    """Figures about the reasons of adverse rows, all of them; None when nothing can be measured.

    `backgrounds` are the pinned one and others of the same size without a row in common. `same_reasons`, `same_order`
    and `same_first` are shares of rows (of the worst other background) whose reasons are the same set, the same list,
    begin with the same one. `complete` is the share of rows of which no factor among the four strongest is withheld.
    """
    if not len(rows) or len(backgrounds) < 2:
        return None
    chosen = rows[: MOST_ROWS[explainer.method]]
    shares = [_named(explainer, attribute(chosen, background)) for background in backgrounds]
    codes = [[_codes(explainer, each) for each in side] for side in shares]
    withheld = [withheld_factors(each, explainer.groups) for each in shares[0]]
    hidden = Counter(name for each in withheld for name in each)
    return {
        "rows": len(chosen),
        "backgrounds": len(backgrounds),
        "background_rows": len(backgrounds[0]),
        "same_reasons": _worst(codes, lambda one, other: set(one) == set(other)),
        "same_order": _worst(codes, lambda one, other: one == other),
        "same_first": _worst(codes, lambda one, other: one[:1] == other[:1]),
        "complete": float(np.mean([not each for each in withheld])),
        "withheld": dict(sorted(hidden.items())),
        "directions": _directions(explainer, chosen, codes[0], backgrounds[0]),
    }


def _named(explainer: Explainer, raw: Floats) -> list[dict[str, float]]:
    return [dict(zip(explainer.names, row, strict=True)) for row in raw.tolist()]


def _codes(explainer: Explainer, shares: dict[str, float]) -> list[str]:
    return [reason.code for reason in principal_reasons(shares, explainer.groups)]


def _worst(codes: list[list[list[str]]], same: Callable[[list[str], list[str]], bool]) -> float:
    first = codes[0]
    return min(float(np.mean([same(*pair) for pair in zip(first, other, strict=True)])) for other in codes[1:])


def _directions(
    explainer: Explainer, rows: Rows, codes: list[list[str]], background: Rows
) -> dict[str, dict[str, float | int]]:
    """Of each group with a declared direction: in how many rows it is a reason, and in what share as declared.

    As declared means that more of the group's numbers lie on the declared side of the background's median than not.
    """
    found: dict[str, dict[str, float | int]] = {}
    for group in explainer.groups:
        places = [
            at
            for at, name in enumerate(explainer.names)
            if name in group.features and explainer.ranges[at].kind in ("number", "integer")
        ]
        given = [row for row, named in zip(rows, codes, strict=True) if group.code in named]
        if group.direction == "either" or not places or not given:
            continue
        middles = np.array([_middle(column) for column in _table(background, places).T])
        sides = np.nan_to_num(np.sign(_table(given, places) - middles)).sum(axis=1)
        agree = sides >= 0 if group.direction == "higher" else sides <= 0
        found[group.code] = {"rows": len(given), "as_declared": float(np.mean(agree))}
    return found


def _middle(column: Floats) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else np.nan


def _table(rows: Rows, places: Sequence[int]) -> Floats:
    return np.array([[np.nan if row[at] is None else row[at] for at in places] for row in rows], dtype=np.float64)

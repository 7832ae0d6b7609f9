"""Make a release's explainer: the exact linear form when it proves true on every row, else sampling; and its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import Column, DataContract
from pilotage.errors import InputError
from pilotage.evaluation.explainer import Explainer, LinearForm, Range, Value, contributions, score_linear
from pilotage.evaluation.reasons import principal_reasons
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem, Reason

__all__ = [
    "BACKGROUND",
    "check_code_map",
    "choose_background",
    "make_explainer",
    "reason_stability",
    "verify_form",
    "without_idle_fills",
]

Floats = NDArray[np.float64]

BACKGROUND = 100
EXACT = 1e-9
_PLAIN = (1e-6, 1 - 1e-6)
"""Between these probabilities the log-odds of a float64 score are good to 1e-9."""
STABILITY_ROWS = 300


def check_code_map(system: AISystem, contract: DataContract) -> None:
    """Refuse a code map with unknown features, features in two groups, or protected ones. Raises InputError, all."""
    columns = {column.name: column for column in contract.features}
    faults: list[dict[str, object]] = []
    seen: dict[str, str] = {}
    for reason in system.reasons:
        for feature in reason.features:
            path = f"reasons.{reason.code}"
            if feature not in columns:
                faults.append(_fault(path, f"{feature} is no feature of the data contract", "name a feature"))
            elif columns[feature].protected:
                why = f"{feature} is protected: it can never be a reason for a decision"
                faults.append(_fault(path, why, "remove it from the code map"))
            if feature in seen:
                faults.append(_fault(path, f"{feature} is in {seen[feature]} as well", "keep it in one group"))
            seen[feature] = reason.code
    if faults:
        raise InputError(
            "the code map of reasons cannot be used", mend="mend every fault listed", code="reasons", faults=faults
        )


def _fault(path: str, message: str, mend: str) -> dict[str, object]:
    return {"path": path, "code": "reasons", "message": message, "mend": mend}


def choose_background(rows: Sequence[Sequence[Value]], seed: int, part: int = 0) -> list[list[Value]]:
    """A hundred rows to explain against: those of the smallest keyed hashes, so that the order of rows is no matter.

    `part` 1 gives the next hundred, for the test of stability.
    """
    key = seed.to_bytes(8, "big", signed=True)
    ranked = sorted(
        (hashlib.blake2b(msgspec.json.encode(row), digest_size=16, key=key).digest(), at) for at, row in enumerate(rows)
    )
    return [list(rows[at]) for _, at in ranked[part * BACKGROUND : (part + 1) * BACKGROUND]]


def without_idle_fills(form: LinearForm, columns: Sequence[Column]) -> LinearForm:
    """The form without what it would put for null where the contract lets no null in: two steps less for each row."""
    nullable = {column.name for column in columns if column.nullable}
    terms = [term if term.feature in nullable else msgspec.structs.replace(term, fill=None) for term in form.terms]
    return msgspec.structs.replace(form, terms=terms)


def verify_form(
    form: LinearForm, names: Sequence[str], rows: Sequence[Sequence[Value]], own: Floats
) -> dict[str, float | int | bool]:
    """How far the form is from the pilot's own scores: in probability, and in log-odds where these are exact."""
    scores = score_linear(form, names, rows)
    odds = form.intercept + contributions(form, names, rows).sum(axis=1)
    plain = (own > _PLAIN[0]) & (own < _PLAIN[1])
    apart = np.abs(odds[plain] - np.log(own[plain] / (1 - own[plain])))
    worst, worst_odds = float(np.abs(scores - own).max(initial=0.0)), float(apart.max(initial=0.0))
    exact = bool(np.isfinite(scores).all()) and worst <= EXACT and worst_odds <= EXACT
    return {"exact": exact, "rows": len(rows), "max_difference": worst, "max_log_odds_difference": worst_odds}


def make_explainer(
    *,
    form: LinearForm | None,
    contract: DataContract,
    serving: ServingSpec,
    groups: Sequence[Reason],
    background: list[list[Value]],
    background_scores: Floats,
    seed: int,
) -> Explainer:
    """The explainer of a release; `form` must have been verified."""
    means = [] if form is None else contributions(form, serving.names, background).mean(axis=0).tolist()
    base = float(background_scores.mean()) if form is None else float(form.intercept + np.sum(means))
    return Explainer(
        method="sampling" if form is None else "linear",
        names=serving.names,
        ranges=[
            Range(
                kind=column.type,
                minimum=column.minimum,
                maximum=column.maximum,
                categories=None if column.categories is None else list(column.categories),
            )
            for column in contract.features
        ],
        groups=list(groups),
        background=digest(canonical_json(background)),
        threshold=serving.threshold,
        adverse=serving.adverse,
        favourable=serving.favourable,
        base=base,
        means=means,
        form=form,
        seed=seed,
    )


def reason_stability(
    explainer: Explainer, other: list[list[Value]], rows: Sequence[Sequence[Value]], scores: Floats
) -> dict[str, Any] | None:
    """How often another background of the same population gives the same reasons; None when it was not measured.

    Over at most 300 adverse rows: the share with the same codes, and with the same codes in the same order.
    """
    adverse = [row for row, score in zip(rows, scores, strict=True) if score >= explainer.threshold][:STABILITY_ROWS]
    if explainer.form is None or not adverse or not explainer.groups or not other:
        return None
    raw = contributions(explainer.form, explainer.names, adverse)
    second = contributions(explainer.form, explainer.names, other).mean(axis=0)
    codes = [
        [
            [
                reason.code
                for reason in principal_reasons(dict(zip(explainer.names, row, strict=True)), explainer.groups)
            ]
            for row in (raw - means).tolist()
        ]
        for means in (np.array(explainer.means), second)
    ]
    same = [set(a) == set(b) for a, b in zip(*codes, strict=True)]
    ordered = [a == b for a, b in zip(*codes, strict=True)]
    return {"rows": len(adverse), "same_reasons": float(np.mean(same)), "same_order": float(np.mean(ordered))}

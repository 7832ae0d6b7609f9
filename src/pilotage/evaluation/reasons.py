"""Why a row got its score: attributions, the principal reasons of an adverse answer, and what would have altered it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from pilotage.errors import InputError
from pilotage.evaluation.counterfactual import find_counterfactual
from pilotage.evaluation.explainer import Explainer, ScoreRows, Value, contributions, score_linear
from pilotage.evaluation.shapley import sampled_contributions
from pilotage.systems.model import Reason

__all__ = ["MOST_REASONS", "Explanation", "GivenReason", "explain", "principal_reasons"]

MOST_REASONS = 4


class GivenReason(msgspec.Struct, frozen=True, kw_only=True):
    """One principal reason: its code and text, the features it stands for, and what they added toward adverse."""

    code: str
    text: str
    features: list[str]
    contribution: float
    actionable: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one row got its score.

    `base` plus all `attributions` is the score in `unit` (exactly when `exact`; else within `standard_errors`).
    `reasons` are at most four and only for an adverse label. `unmapped` are features that pushed toward adverse but
    stand in no group of the code map: shown here so that nothing is left out silently. `background` is a digest.
    """

    method: str
    version: str
    exact: bool
    unit: str
    background: str
    base: float
    score: float
    label: str
    attributions: dict[str, float]
    standard_errors: dict[str, float]
    reasons: list[GivenReason]
    unmapped: list[str]
    counterfactual: str


def explain(
    explainer: Explainer,
    values: Sequence[Value],
    code_map: Sequence[Reason] | None = None,
    *,
    score_rows: ScoreRows | None = None,
    background: Sequence[Sequence[Value]] = (),
) -> Explanation:
    """Explain one row of contract values.

    A linear explainer needs nothing else. A sampling one needs `score_rows` (the release's own runtime) and the
    release's pinned `background` rows. `code_map` is the release's own unless given. Raises InputError.
    """
    scorer = _scorer(explainer, values, score_rows, background)
    if explainer.form is not None:
        raw = contributions(explainer.form, explainer.names, [values])[0] - np.array(explainer.means)
        errors = np.zeros(len(raw))
    else:
        raw, errors = sampled_contributions(
            scorer, values, background, permutations=explainer.permutations, seed=explainer.seed
        )
    shares = dict(zip(explainer.names, (float(each) for each in raw), strict=True))
    score = float(scorer([values])[0])
    adverse = score >= explainer.threshold
    groups = explainer.groups if code_map is None else code_map
    mapped = {feature for group in groups for feature in group.features}
    return Explanation(
        method=explainer.method,
        version=explainer.version,
        exact=explainer.form is not None,
        unit=explainer.unit,
        background=explainer.background,
        base=explainer.base,
        score=score,
        label=explainer.adverse if adverse else explainer.favourable,
        attributions=shares,
        standard_errors={} if explainer.form else dict(zip(explainer.names, (float(e) for e in errors), strict=True)),
        reasons=principal_reasons(shares, groups) if adverse else [],
        unmapped=sorted(name for name, share in shares.items() if adverse and share > 0 and name not in mapped),
        counterfactual=find_counterfactual(explainer, values, groups, scorer) if adverse else "",
    )


def _scorer(
    explainer: Explainer,
    values: Sequence[Value],
    score_rows: ScoreRows | None,
    background: Sequence[Sequence[Value]],
) -> ScoreRows:
    """How this explanation scores rows. Raises InputError for what is missing."""
    if len(values) != len(explainer.names):
        raise InputError(
            "the row does not fit the explainer",
            got=f"{len(values)} values",
            expected=f"{len(explainer.names)}",
            mend="give the features in contract order",
        )
    if explainer.form is not None:
        form = explainer.form
        return lambda rows: score_linear(form, explainer.names, rows)
    if score_rows is None or not background:
        raise InputError(
            "this release's model has no linear form: its reasons are sampled",
            expected="a scoring function and the release's background rows",
            mend="open the release's runtime and background.json",
        )
    return score_rows


def principal_reasons(shares: dict[str, float], groups: Sequence[Reason]) -> list[GivenReason]:
    """The groups that pushed toward the adverse side, strongest first, ties by code; at most four."""
    totals = [(math.fsum(shares[feature] for feature in group.features), group) for group in groups]
    ranked = sorted((-total, group.code, group) for total, group in totals if total > 0)
    return [
        GivenReason(
            code=group.code,
            text=group.text,
            features=list(group.features),
            contribution=-negative,
            actionable=group.actionable,
        )
        for negative, _, group in ranked[:MOST_REASONS]
    ]

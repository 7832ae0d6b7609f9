"""Why a row got its score: attributions, the principal reasons of an adverse answer, and what would have altered it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.evaluation.counterfactual import find_counterfactual
from pilotage.evaluation.explainer import Explainer, ScoreRows, contributions, score_linear
from pilotage.evaluation.shapley import sampled_contributions
from pilotage.evaluation.tree_shapley import TreeShapley
from pilotage.evaluation.trees import TreeForm, score_trees
from pilotage.kernel.rows import Value
from pilotage.systems.model import Reason

__all__ = ["MOST_REASONS", "Explanation", "GivenReason", "explain", "principal_reasons", "withheld_factors"]

MOST_REASONS = 4
_DIGITS = 12
"""Contributions that agree to so many decimals are equal: the last bits of a sum must not order reasons."""

Floats = NDArray[np.float64]


class GivenReason(msgspec.Struct, frozen=True, kw_only=True):
    """One principal reason: its code and text, the features it stands for, and what they added toward adverse.

    `approved` is false where the code map's entry was generated: nobody declared what a person is told.
    """

    code: str
    text: str
    features: list[str]
    contribution: float
    direction: str = "either"
    actionable: bool
    approved: bool = True


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one row got its score.

    `base` plus all `attributions` is the score in `unit` (exactly when `exact`; else within `standard_errors`).
    `reasons` are at most four and only for an adverse label. `unmapped` are features that pushed toward adverse but
    stand in no group of the code map, because they may not be told; `withheld` are those of them that rank among the
    four strongest factors: where there is one, the reasons alone are not the whole truth. `background` is the digest
    of the `background_rows` rows explained against.
    """

    method: str
    version: str
    exact: bool
    unit: str
    background: str
    background_rows: int = 100
    base: float
    score: float
    label: str
    attributions: dict[str, float]
    standard_errors: dict[str, float]
    reasons: list[GivenReason]
    unmapped: list[str]
    withheld: list[str] = []
    counterfactual: str


def explain(
    explainer: Explainer,
    values: Sequence[Value],
    code_map: Sequence[Reason] | None = None,
    *,
    score_rows: ScoreRows | None = None,
    background: Sequence[Sequence[Value]] = (),
    trees: TreeForm | None = None,
    adverse: bool | None = None,
) -> Explanation:
    """Explain one row of contract values.

    A linear explainer needs nothing else, a tree explainer the release's `trees` and pinned `background` rows, a
    sampling one `score_rows` (the release's own runtime) and the background. `code_map` is the release's own unless
    given; so is `adverse`, whether the answer was, which the threshold says otherwise. Raises InputError.
    """
    scorer = _scorer(explainer, values, score_rows, background, trees)
    raw, errors = _attributed(explainer, values, scorer, background, trees)
    shares = dict(zip(explainer.names, (float(each) for each in raw), strict=True))
    score = float(scorer([values])[0])
    against = score >= explainer.threshold if adverse is None else adverse
    groups = explainer.groups if code_map is None else code_map
    mapped = {feature for group in groups for feature in group.features}
    exact = explainer.method != "sampling"
    return Explanation(
        method=explainer.method,
        version=explainer.version,
        exact=exact,
        unit=explainer.unit,
        background=explainer.background,
        background_rows=explainer.background_rows,
        base=explainer.base,
        score=score,
        label=explainer.adverse if against else explainer.favourable,
        attributions=shares,
        standard_errors={} if exact else dict(zip(explainer.names, (float(e) for e in errors), strict=True)),
        reasons=principal_reasons(shares, groups, explainer.generated) if against else [],
        unmapped=sorted(name for name, share in shares.items() if against and share > 0 and name not in mapped),
        withheld=withheld_factors(shares, groups) if against else [],
        counterfactual=find_counterfactual(explainer, values, groups, scorer) if against else "",
    )


def _attributed(
    explainer: Explainer,
    values: Sequence[Value],
    scorer: ScoreRows,
    background: Sequence[Sequence[Value]],
    trees: TreeForm | None,
) -> tuple[Floats, Floats]:
    """What each feature adds, and its standard error; [features] each."""
    none = np.zeros(len(explainer.names))
    if explainer.form is not None:
        return contributions(explainer.form, explainer.names, [values])[0] - np.array(explainer.means), none
    if trees is not None:
        return TreeShapley(trees, explainer.names, background).contributions([values])[0], none
    return sampled_contributions(scorer, values, background, permutations=explainer.permutations, seed=explainer.seed)


def _scorer(
    explainer: Explainer,
    values: Sequence[Value],
    score_rows: ScoreRows | None,
    background: Sequence[Sequence[Value]],
    trees: TreeForm | None,
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
    if explainer.method == "tree":
        if trees is None or not background:
            raise InputError(
                "this release's reasons are made from its trees",
                expected="the release's trees.json and background.json",
                mend="open the release's files",
            )
        known = trees
        return lambda rows: score_trees(known, explainer.names, rows)
    if score_rows is None or not background:
        raise InputError(
            "this release's model has no linear form: its reasons are sampled",
            expected="a scoring function and the release's background rows",
            mend="open the release's runtime and background.json",
        )
    return score_rows


def principal_reasons(
    shares: Mapping[str, float], groups: Sequence[Reason], generated: Sequence[str] = ()
) -> list[GivenReason]:
    """The groups that pushed toward the adverse side, strongest first, ties by code; at most four."""
    totals = [(_total(shares, group), group) for group in groups]
    ranked = sorted(((-total, group.code, group) for total, group in totals if total > 0), key=lambda each: each[:2])
    return [
        GivenReason(
            code=group.code,
            text=group.text,
            features=list(group.features),
            contribution=-negative,
            direction=group.direction,
            actionable=group.actionable,
            approved=group.code not in generated,
        )
        for negative, _, group in ranked[:MOST_REASONS]
    ]


def withheld_factors(shares: Mapping[str, float], groups: Sequence[Reason]) -> list[str]:
    """The features in no group that rank among the four strongest factors toward the adverse side, strongest first."""
    mapped = {feature for group in groups for feature in group.features}
    factors = [(_total(shares, group), "") for group in groups]
    factors += [(round(share, _DIGITS), name) for name, share in shares.items() if name not in mapped]
    ranked = sorted((-total, name) for total, name in factors if total > 0)
    return [name for _, name in ranked[:MOST_REASONS] if name]


def _total(shares: Mapping[str, float], group: Reason) -> float:
    return round(math.fsum(shares[feature] for feature in group.features), _DIGITS)

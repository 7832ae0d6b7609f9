"""Make a release's explainer: the exact linear form or trees where they prove true on every row, else sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import Column, DataContract
from pilotage.evaluation.explainer import Explainer, LinearForm, Range, contributions, score_linear
from pilotage.evaluation.shapley import sampled_contributions
from pilotage.evaluation.tree_shapley import TreeShapley
from pilotage.evaluation.trees import LEAF, TreeForm, column_values, raw_scores, score_trees
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.kernel.rows import Rows, Value
from pilotage.releases.code_map import CodeMap
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import ExplanationRules

__all__ = [
    "BACKGROUND",
    "Followed",
    "Score",
    "attributions",
    "background_size",
    "choose_backgrounds",
    "depends_on",
    "make_explainer",
    "verify_form",
    "verify_trees",
    "without_idle_fills",
]

Floats = NDArray[np.float64]
Score = Callable[[Sequence[Sequence[Value]]], Floats]

BACKGROUND = 100
"""Rows to explain against where reasons are sampled: each is the start of one pair of walks."""

MOST_LINEAR, MOST_TREE = 10_000, 1_000
"""The same where a row costs almost nothing (only its mean is kept) and where it costs some."""

EXACT = 1e-9
_PLAIN = (1e-6, 1 - 1e-6)
"""Between these probabilities the log-odds of a float64 score are good to 1e-9."""
_LOOKED_UP = 20_000_000
"""Leaves times background rows that one reason of trees may look up."""
_LOOKED_AT = 50_000
"""The most rows that are scored to see which features a model depends on."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The form of the model that proved true, at most one of the two; `facts` are what the proof found."""

    form: LinearForm | None = None
    trees: TreeForm | None = None
    facts: dict[str, Any]

    @property
    def method(self) -> str:
        """How reasons are made from it."""
        return "linear" if self.form is not None else "tree" if self.trees is not None else "sampling"


def background_size(rules: ExplanationRules, followed: Followed, rows: int) -> int:
    """How many of so many rows to explain against: as declared, else what the method can afford; at most half.

    Half, so that a second background without a row of the first can say how stable reasons are.
    """
    if followed.form is not None:
        afford = MOST_LINEAR
    elif followed.trees is not None:
        afford = max(BACKGROUND, min(MOST_TREE, _LOOKED_UP // followed.trees.column.count(LEAF)))
    else:
        afford = BACKGROUND
    return max(1, min(rules.background or afford, rows // 2))


def choose_backgrounds(rows: Rows, seed: int, size: int = BACKGROUND, most: int = 1) -> list[list[list[Value]]]:
    """Rows to explain against: those of the smallest keyed hashes, so that the order of rows is no matter.

    The next ones, as many each time, follow for the test of stability: up to `most` backgrounds, the first not full
    where there are fewer rows.
    """
    key = seed.to_bytes(8, "big", signed=True)
    hashed = (
        (hashlib.blake2b(msgspec.json.encode(row), digest_size=16, key=key).digest(), at) for at, row in enumerate(rows)
    )
    parts = max(1, min(most, len(rows) // size))
    ranked = rows[np.array([at for _, at in nsmallest(parts * size, hashed)], dtype=np.intp)]
    return [[list(row) for row in ranked[start * size : (start + 1) * size]] for start in range(parts)]


def without_idle_fills(form: LinearForm, columns: Sequence[Column]) -> LinearForm:
    """The form without what it would put for null where the contract lets no null in: two steps less for each row."""
    nullable = {column.name for column in columns if column.nullable}
    terms = [term if term.feature in nullable else msgspec.structs.replace(term, fill=None) for term in form.terms]
    return msgspec.structs.replace(form, terms=terms)


def verify_form(
    form: LinearForm, names: Sequence[str], rows: Sequence[Sequence[Value]], own: Floats
) -> dict[str, float | int | bool]:
    """How far the form is from the pilot's own scores: in probability, and in log-odds where these are exact."""
    odds = form.intercept + contributions(form, names, rows).sum(axis=1)
    return _proof(score_linear(form, names, rows), odds, own)


def verify_trees(
    trees: TreeForm, names: Sequence[str], rows: Sequence[Sequence[Value]], own: Floats
) -> dict[str, float | int | bool]:
    """The same for a sum of trees; log-odds are compared where it is one of log-odds."""
    odds = raw_scores(trees, column_values(trees, names, rows)) if trees.link == "logistic" else None
    return _proof(score_trees(trees, names, rows), odds, own)


def _proof(scores: Floats, odds: Floats | None, own: Floats) -> dict[str, float | int | bool]:
    worst = float(np.abs(scores - own).max(initial=0.0))
    found: dict[str, float | int | bool] = {"rows": len(own), "max_difference": worst}
    exact = bool(np.isfinite(scores).all()) and worst <= EXACT
    if odds is not None:
        plain = (own > _PLAIN[0]) & (own < _PLAIN[1])
        apart = np.abs(odds[plain] - np.log(own[plain] / (1 - own[plain])))
        found["max_log_odds_difference"] = float(apart.max(initial=0.0))
        exact = exact and found["max_log_odds_difference"] <= EXACT
    return {"exact": exact, **found}


def depends_on(
    followed: Followed, score: Score, names: Sequence[str], rows: Sequence[Sequence[Value]], most: int = 500
) -> list[str]:
    """The features that scores depend on, in contract order.

    Told by the form where there is one. Else measured: a feature's values are passed on from row to row, and a score
    moves. `most` rows are looked at.
    """
    if followed.trees is not None:
        return [name for name in names if name in followed.trees.used]
    if followed.form is not None:
        reach = np.ptp(contributions(followed.form, names, rows), axis=0)
        weighty = {term.feature for term in followed.form.terms if getattr(term, "weight", 0.0)}
        return [name for name, span in zip(names, reach, strict=True) if span or name in weighty]
    few = [list(row) for row in rows[: max(20, min(len(rows), _LOOKED_AT // max(1, len(names)), most))]]
    moved = [[*row[:at], few[turn - 1][at], *row[at + 1 :]] for at in range(len(names)) for turn, row in enumerate(few)]
    scores = score([*few, *moved]).reshape(len(names) + 1, len(few))
    apart = np.abs(scores[1:] - scores[0]).max(axis=1)
    return [name for name, most in zip(names, apart, strict=True) if most > EXACT]


def attributions(
    followed: Followed, score: Score, names: Sequence[str], seed: int
) -> Callable[[Sequence[Sequence[Value]], Sequence[Sequence[Value]]], Floats]:
    """A function of rows and a background that gives what each feature adds, [n, features]."""

    def attribute(rows: Sequence[Sequence[Value]], background: Sequence[Sequence[Value]]) -> Floats:
        if followed.form is not None:
            means = contributions(followed.form, names, background).mean(axis=0)
            linear: Floats = contributions(followed.form, names, rows) - means
            return linear
        if followed.trees is not None:
            return TreeShapley(followed.trees, names, background).contributions(rows)
        walks = len(background)
        sampled = [sampled_contributions(score, row, background, permutations=walks, seed=seed)[0] for row in rows]
        return np.array(sampled)

    return attribute


def make_explainer(
    *,
    followed: Followed,
    contract: DataContract,
    serving: ServingSpec,
    code_map: CodeMap,
    background: list[list[Value]],
    score: Score,
    seed: int,
) -> Explainer:
    """The explainer of a release; what was followed must have been verified. `score` is the pilot's own."""
    means: list[float] = []
    if followed.form is not None:
        means = contributions(followed.form, serving.names, background).mean(axis=0).tolist()
        base = float(followed.form.intercept + np.sum(means))
    elif followed.trees is not None:
        base = float(raw_scores(followed.trees, column_values(followed.trees, serving.names, background)).mean())
    else:
        base = float(score(background).mean())
    return Explainer(
        method=followed.method,  # type: ignore[arg-type]  # one of the three words
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
        groups=code_map.groups,
        generated=code_map.generated,
        background=digest(canonical_json(background)),
        background_rows=len(background),
        threshold=serving.threshold,
        adverse=serving.adverse,
        favourable=serving.favourable,
        base=base,
        means=means,
        form=followed.form,
        link="identity" if followed.trees is None else followed.trees.link,
        permutations=len(background),
        seed=seed,
    )

"""What a release needs to explain its answers: the model's exact linear form where it has one, and a background.

`explainer.json` holds an `Explainer`; the background rows are pinned beside it by digest, because another sample of
the same population gives other reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.kernel.rows import Column, Value, columns_of, filled, looked_up
from pilotage.systems.model import Reason

__all__ = [
    "VERSION",
    "CategoryTerm",
    "Explainer",
    "LinearForm",
    "NumberTerm",
    "Range",
    "ScoreRows",
    "contributions",
    "logit",
    "score_linear",
]

VERSION = "2"
"""The version of the explanation method, kept with each explanation."""

ScoreRows = Callable[[Sequence[Sequence[Value]]], NDArray[np.float64]]
"""Scores rows of contract values: [n] float64 probabilities."""


class NumberTerm(msgspec.Struct, frozen=True, kw_only=True, tag="number", forbid_unknown_fields=True):
    """Adds `weight * (x - center) / scale` to the log-odds; null counts as `fill`."""

    feature: str
    weight: float
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None


class CategoryTerm(msgspec.Struct, frozen=True, kw_only=True, tag="category", forbid_unknown_fields=True):
    """Adds the weight of the category that the value equals, or `other` when it equals none; null counts as `fill`."""

    feature: str
    categories: list[float | str]
    weights: list[float]
    other: float = 0.0
    fill: float | str | None = None


class LinearForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model whose log-odds are `intercept` plus one sum of terms for each source feature."""

    intercept: float
    terms: list[NumberTerm | CategoryTerm]


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The values that the contract allows one feature to move to."""

    kind: Literal["number", "integer", "string", "boolean"]
    minimum: float | None = None
    maximum: float | None = None
    categories: list[float | str] | None = None


class Explainer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`explainer.json`: how this release's answers are explained.

    `method` is `linear` (exact, in log-odds, from `form`), `tree` (exact, from the release's `trees.json`, in log-odds
    where the `link` is logistic), or `sampling` (Shapley values of the probability, estimated over `permutations`
    orders drawn with `seed` and the pinned background). `base` is what the background scores on average and `means`
    each feature's share of it (linear only). `names` are the features in contract order. `background` is the digest
    of the `background_rows` rows explained against. `generated` are codes of groups that nobody declared: a build
    made them.
    """

    method: Literal["linear", "tree", "sampling"]
    version: str = VERSION
    names: list[str]
    ranges: list[Range]
    groups: list[Reason]
    generated: list[str] = []
    background: str
    background_rows: int = 100
    threshold: float
    adverse: str
    favourable: str
    base: float
    means: list[float] = []
    form: LinearForm | None = None
    link: Literal["identity", "logistic"] = "identity"
    permutations: int = 64
    seed: int = 2026

    @property
    def unit(self) -> str:
        """What contributions are measured in."""
        return "log-odds" if self.method == "linear" or self.link == "logistic" else "probability"


def logit(probability: float) -> float:
    """The log-odds of a probability; infinite at 0 and 1."""
    if probability <= 0.0:
        return -np.inf
    return np.inf if probability >= 1.0 else float(np.log(probability) - np.log1p(-probability))


def _term(term: NumberTerm | CategoryTerm, values: Column) -> NDArray[np.float64]:
    """What one term adds for each value, [n]."""
    if isinstance(term, NumberTerm):
        numbers = filled(values, term.fill)
        return term.weight * ((numbers - term.center) / term.scale)
    table = dict(zip(term.categories, term.weights, strict=True))
    return looked_up(values, lambda value: table.get(term.fill if value is None else value, term.other))  # type: ignore[arg-type]  # None and booleans are looked up alike


def contributions(form: LinearForm, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
    """What each feature adds to the log-odds of each row, [n, features], before any background is subtracted."""
    place = {name: index for index, name in enumerate(names)}
    columns = columns_of(rows, len(names))
    total = np.zeros((len(rows), len(names)))
    for term in form.terms:
        index = place[term.feature]
        total[:, index] += _term(term, columns[index])
    return total


def score_linear(form: LinearForm, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
    """The probabilities of rows by the linear form alone, [n]."""
    odds = form.intercept + contributions(form, names, rows).sum(axis=1)
    with np.errstate(over="ignore"):
        scores: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
    return scores

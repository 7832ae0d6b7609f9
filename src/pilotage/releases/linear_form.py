"""Inside a box only: finds the exact linear form of a scikit-learn classifier, by following each column through it.

Whoever uses the form verifies it against the model's own scores: what is not understood here is refused with a
reason, and what is misunderstood is found there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pilotage.evaluation.explainer import CategoryTerm, LinearForm, NumberTerm
from pilotage.releases.follow import Indicator, NotFollowed, Number, Piece, follow_steps

__all__ = ["find_linear_form"]


def find_linear_form(model: Any, names: Sequence[str], column: int) -> LinearForm:
    """The form of the log-odds of class `column`. `names` are the input columns in the model's order.

    Raises NotFollowed.
    """
    pieces, last = follow_steps(model, names)
    if any(not isinstance(piece, Number | Indicator) for piece in pieces):
        raise NotFollowed("a linear classifier after an ordinal encoder")
    weights, intercept = _odds(last, column)
    if len(weights) != len(pieces):
        raise NotFollowed(f"{len(pieces)} columns were followed, the classifier takes {len(weights)}")
    numbers = [
        NumberTerm(feature=piece.feature, weight=float(weight), center=piece.center, scale=piece.scale, fill=piece.fill)
        for piece, weight in zip(pieces, weights, strict=True)
        if isinstance(piece, Number)
    ]
    return LinearForm(intercept=intercept, terms=[*numbers, *_category_terms(pieces, weights)])


def _odds(classifier: Any, column: int) -> tuple[Any, float]:
    """Weights and intercept of the log-odds of a class."""
    kind = type(classifier).__name__
    if kind not in ("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearDiscriminantAnalysis"):
        raise NotFollowed(f"{kind} is not a linear classifier with logistic odds")
    if getattr(classifier, "loss", "log_loss") != "log_loss":
        raise NotFollowed(f"{kind} with the loss {classifier.loss} has no logistic odds")
    if len(classifier.classes_) != 2 or classifier.coef_.shape[0] != 1:
        raise NotFollowed("it does not choose between two classes")
    sign = 1.0 if column == 1 else -1.0
    return sign * classifier.coef_[0], sign * float(classifier.intercept_[0])


def _category_terms(pieces: Sequence[Piece], weights: Any) -> list[CategoryTerm]:
    """One term for each feature and fill: what the other indicators miss is added to each hit."""
    groups: dict[tuple[str, float | str | None], list[tuple[Indicator, float]]] = {}
    for piece, weight in zip(pieces, weights, strict=True):
        if isinstance(piece, Indicator):
            groups.setdefault((piece.feature, piece.fill), []).append((piece, float(weight)))
    terms = []
    for (feature, fill), members in groups.items():
        other = math.fsum(weight * piece.miss for piece, weight in members)
        found = [
            other + weight * (piece.hit - piece.miss) if piece.miss else other + weight * piece.hit
            for piece, weight in members
        ]
        categories = [piece.category for piece, _ in members]
        terms.append(CategoryTerm(feature=feature, categories=categories, weights=found, other=other, fill=fill))
    return terms

"""Inside a box only: finds the exact linear form of a scikit-learn classifier, by following each column through it.

Whoever uses the form verifies it against the model's own scores: what is not understood here is refused with a
reason, and what is misunderstood is found there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pilotage.evaluation.explainer import CategoryTerm, LinearForm, NumberTerm

__all__ = ["NotLinear", "find_linear_form"]


class NotLinear(Exception):
    """Why a model has no linear form that can be followed here."""


@dataclass(frozen=True, kw_only=True)
class _Number:
    """A column (x - center) / scale of one feature; null counts as `fill`, a value of the feature itself."""

    feature: str
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None
    text: str | None = None  # the fill of a column of text


@dataclass(frozen=True, kw_only=True)
class _Indicator:
    """A column that is `hit` where the feature equals the category, else `miss`."""

    feature: str
    category: float | str
    hit: float = 1.0
    miss: float = 0.0
    fill: float | str | None = None


_Piece = _Number | _Indicator


def find_linear_form(model: Any, names: Sequence[str], column: int) -> LinearForm:
    """The form of the log-odds of class `column`. `names` are the input columns in the model's order.

    Raises NotLinear.
    """
    pieces: list[_Piece] = [_Number(feature=name) for name in names]
    *steps, last = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    for step in steps:
        pieces = _through(step, pieces)
    weights, intercept = _odds(last, column)
    if len(weights) != len(pieces):
        raise NotLinear(f"{len(pieces)} columns were followed, the classifier takes {len(weights)}")
    numbers = [
        NumberTerm(feature=piece.feature, weight=float(weight), center=piece.center, scale=piece.scale, fill=piece.fill)
        for piece, weight in zip(pieces, weights, strict=True)
        if isinstance(piece, _Number)
    ]
    return LinearForm(intercept=intercept, terms=[*numbers, *_category_terms(pieces, weights)])


def _odds(classifier: Any, column: int) -> tuple[Any, float]:
    """Weights and intercept of the log-odds of a class."""
    kind = type(classifier).__name__
    if kind not in ("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearDiscriminantAnalysis"):
        raise NotLinear(f"{kind} is not a linear classifier with logistic odds")
    if getattr(classifier, "loss", "log_loss") != "log_loss":
        raise NotLinear(f"{kind} with the loss {classifier.loss} has no logistic odds")
    if len(classifier.classes_) != 2 or classifier.coef_.shape[0] != 1:
        raise NotLinear("it does not choose between two classes")
    sign = 1.0 if column == 1 else -1.0
    return sign * classifier.coef_[0], sign * float(classifier.intercept_[0])


def _category_terms(pieces: Sequence[_Piece], weights: Any) -> list[CategoryTerm]:
    """One term for each feature and fill: what the other indicators miss is added to each hit."""
    groups: dict[tuple[str, float | str | None], list[tuple[_Indicator, float]]] = {}
    for piece, weight in zip(pieces, weights, strict=True):
        if isinstance(piece, _Indicator):
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


def _through(step: Any, pieces: list[_Piece]) -> list[_Piece]:
    """The columns that a fitted transformer makes of these. Raises NotLinear."""
    kind = type(step).__name__
    if step is None or step == "passthrough":
        return pieces
    if step == "drop":
        return []
    if kind == "Pipeline":
        for _, inner in step.steps:
            pieces = _through(inner, pieces)
        return pieces
    if kind == "ColumnTransformer":
        return _columns(step, pieces)
    if kind == "FunctionTransformer" and step.func is None:
        return pieces
    if kind == "SimpleImputer":
        return _imputed(step, pieces)
    if kind in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"):
        return _scaled(step, kind, pieces)
    if kind == "OneHotEncoder":
        return _encoded(step, pieces)
    raise NotLinear(f"{kind} is not followed")


def _columns(step: Any, pieces: list[_Piece]) -> list[_Piece]:
    made: list[_Piece] = []
    for name, transformer, _ in step.transformers_:
        taken = [pieces[at] for at in step._transformer_to_input_indices.get(name, [])]
        if taken and not (isinstance(transformer, str) and transformer == "drop"):
            made += _through(transformer, taken)
    return made


def _imputed(step: Any, pieces: list[_Piece]) -> list[_Piece]:
    if step.add_indicator or not (isinstance(step.missing_values, float) and math.isnan(step.missing_values)):
        raise NotLinear("an imputer with indicators or its own mark for missing values")
    made: list[_Piece] = []
    for piece, value in zip(pieces, step.statistics_, strict=True):
        if not isinstance(piece, _Number):
            raise NotLinear("an imputer after an encoder")
        if isinstance(value, str):
            made.append(replace(piece, text=value))
        elif math.isnan(value):
            raise NotLinear("an imputer that drops an empty column")
        elif piece.fill is None:
            made.append(replace(piece, fill=piece.center + float(value) * piece.scale))
        else:
            made.append(piece)
    return made


def _shifts(step: Any, kind: str, count: int) -> tuple[Any, Any]:
    """Center and scale of each column: x becomes (x - center) / scale."""
    zeros, ones = np.zeros(count), np.ones(count)
    if kind == "StandardScaler":
        return (step.mean_ if step.with_mean else zeros), (step.scale_ if step.with_std else ones)
    if kind == "MaxAbsScaler":
        return zeros, step.scale_
    if kind == "RobustScaler":
        return (step.center_ if step.with_centering else zeros), (step.scale_ if step.with_scaling else ones)
    if step.clip:
        raise NotLinear("a scaler that clips")
    return -step.min_ / step.scale_, 1.0 / step.scale_


def _scaled(step: Any, kind: str, pieces: list[_Piece]) -> list[_Piece]:
    made: list[_Piece] = []
    for piece, center, scale in zip(
        pieces, *(map(float, each) for each in _shifts(step, kind, len(pieces))), strict=True
    ):
        if isinstance(piece, _Number):
            made.append(replace(piece, center=piece.center + center * piece.scale, scale=piece.scale * scale))
        else:
            made.append(replace(piece, hit=(piece.hit - center) / scale, miss=(piece.miss - center) / scale))
    return made


def _encoded(step: Any, pieces: list[_Piece]) -> list[_Piece]:
    if getattr(step, "_infrequent_enabled", False):
        raise NotLinear("an encoder that joins rare categories")
    made: list[_Piece] = []
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(pieces)
    for piece, categories, drop in zip(pieces, step.categories_, dropped, strict=True):
        if not isinstance(piece, _Number) or (piece.center, piece.scale) != (0.0, 1.0):
            raise NotLinear("an encoder after a scaler")
        for at, category in enumerate(categories):
            value = category.item() if hasattr(category, "item") else category
            if isinstance(value, bool) or value is None or (isinstance(value, float) and math.isnan(value)):
                raise NotLinear("an encoder with a boolean or with null as a category")
            if at != drop:
                fill = piece.text if piece.text is not None else piece.fill
                plain = value if isinstance(value, str) else float(value)
                made.append(_Indicator(feature=piece.feature, category=plain, fill=fill))
    return made

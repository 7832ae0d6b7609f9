"""Inside a box only: follows the columns of a model's input through its fitted transformers.

Each column that comes out is a `Piece`: a function of one feature, or it is refused with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Indicator", "NotFollowed", "Number", "Piece", "Table", "follow_steps"]


class NotFollowed(Exception):
    """Why a model has no form that can be followed here."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column (x - center) / scale of one feature; null counts as `fill`, a value of the feature itself."""

    feature: str
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None
    text: str | None = None  # the fill of a column of text


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """A column that is `hit` where the feature equals the category, else `miss`."""

    feature: str
    category: float | str
    hit: float = 1.0
    miss: float = 0.0
    fill: float | str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A column of codes: that of the category that the feature equals, else `other`; None stands for missing."""

    feature: str
    categories: tuple[float | str, ...]
    values: tuple[float, ...]
    other: float | None
    fill: float | str | None = None


Piece = Number | Indicator | Table


def follow_steps(model: Any, names: Sequence[str]) -> tuple[list[Piece], Any]:
    """The columns that reach a model's last step, and that step. `names` are its input columns. Raises NotFollowed."""
    pieces: list[Piece] = [Number(feature=name) for name in names]
    *steps, last = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    for step in steps:
        pieces = _through(step, pieces)
    return pieces, last


def _through(step: Any, pieces: list[Piece]) -> list[Piece]:
    """The columns that a fitted transformer makes of these. Raises NotFollowed."""
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
    if kind == "OrdinalEncoder":
        return _ordinal(step, pieces)
    raise NotFollowed(f"{kind} is not followed")


def _columns(step: Any, pieces: list[Piece]) -> list[Piece]:
    made: list[Piece] = []
    for name, transformer, _ in step.transformers_:
        taken = [pieces[at] for at in step._transformer_to_input_indices.get(name, [])]
        if taken and not (isinstance(transformer, str) and transformer == "drop"):
            made += _through(transformer, taken)
    return made


def _imputed(step: Any, pieces: list[Piece]) -> list[Piece]:
    if step.add_indicator or not (isinstance(step.missing_values, float) and math.isnan(step.missing_values)):
        raise NotFollowed("an imputer with indicators or its own mark for missing values")
    made: list[Piece] = []
    for piece, value in zip(pieces, step.statistics_, strict=True):
        if not isinstance(piece, Number):
            raise NotFollowed("an imputer after an encoder")
        if isinstance(value, str):
            made.append(replace(piece, text=value))
        elif math.isnan(value):
            raise NotFollowed("an imputer that drops an empty column")
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
        raise NotFollowed("a scaler that clips")
    return -step.min_ / step.scale_, 1.0 / step.scale_


def _scaled(step: Any, kind: str, pieces: list[Piece]) -> list[Piece]:
    made: list[Piece] = []
    for piece, center, scale in zip(
        pieces, *(map(float, each) for each in _shifts(step, kind, len(pieces))), strict=True
    ):
        if isinstance(piece, Number):
            made.append(replace(piece, center=piece.center + center * piece.scale, scale=piece.scale * scale))
        elif isinstance(piece, Table):
            other = None if piece.other is None else (piece.other - center) / scale
            made.append(replace(piece, values=tuple((value - center) / scale for value in piece.values), other=other))
        else:
            made.append(replace(piece, hit=(piece.hit - center) / scale, miss=(piece.miss - center) / scale))
    return made


def _encoded(step: Any, pieces: list[Piece]) -> list[Piece]:
    if getattr(step, "_infrequent_enabled", False):
        raise NotFollowed("an encoder that joins rare categories")
    made: list[Piece] = []
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(pieces)
    for piece, categories, drop in zip(pieces, step.categories_, dropped, strict=True):
        if not isinstance(piece, Number) or (piece.center, piece.scale) != (0.0, 1.0):
            raise NotFollowed("an encoder after a scaler")
        fill = piece.text if piece.text is not None else piece.fill
        made += [
            Indicator(feature=piece.feature, category=_category(category), fill=fill)
            for at, category in enumerate(categories)
            if at != drop
        ]
    return made


def _category(category: Any) -> float | str:
    """A category of an encoder as the contract writes it."""
    value = category.item() if hasattr(category, "item") else category
    if isinstance(value, bool) or value is None or (isinstance(value, float) and math.isnan(value)):
        raise NotFollowed("an encoder with a boolean or with null as a category")
    return value if isinstance(value, str) else float(value)


def _ordinal(step: Any, pieces: list[Piece]) -> list[Piece]:
    """The position of each category; null and what is unknown as the encoder says."""
    if getattr(step, "_infrequent_enabled", False):
        raise NotFollowed("an encoder that joins rare categories")
    other = step.unknown_value if step.handle_unknown == "use_encoded_value" else None
    other = None if other is None or math.isnan(other) else float(other)
    made: list[Piece] = []
    for piece, categories in zip(pieces, step.categories_, strict=True):
        if not isinstance(piece, Number) or (piece.center, piece.scale) != (0.0, 1.0):
            raise NotFollowed("an encoder after a scaler")
        known = tuple(_category(category) for category in categories)
        codes = tuple(float(at) for at in range(len(known)))
        fill = piece.text if piece.text is not None else piece.fill
        made.append(Table(feature=piece.feature, categories=known, values=codes, other=other, fill=fill))
    return made

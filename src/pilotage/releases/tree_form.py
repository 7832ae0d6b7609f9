"""Inside a box only: reads the trees of a fitted scikit-learn classifier as data, with what each column is made of.

Whoever uses the form verifies it against the model's own scores, as with linear forms.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilotage.evaluation.trees import LEAF, MOST_NODES, NumberColumn, TableColumn, TreeForm
from pilotage.releases.follow import Indicator, NotFollowed, Number, Piece, follow_steps

__all__ = ["find_tree_form"]

_FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")
_SINGLE = ("DecisionTreeClassifier", "ExtraTreeClassifier")


def find_tree_form(model: Any, names: Sequence[str], column: int) -> TreeForm:
    """The trees whose sum is the score of class `column`. `names` are the input columns in the model's order.

    Raises NotFollowed.
    """
    pieces, last = follow_steps(model, names)
    kind = type(last).__name__
    if len(getattr(last, "classes_", ())) != 2:
        raise NotFollowed("it does not choose between two classes")
    if kind in _FORESTS or kind in _SINGLE:
        nodes, intercept, logistic = _forest(last, kind, column), 0.0, False
    elif kind == "GradientBoostingClassifier":
        nodes, intercept, logistic = _boosted(last, column)
    elif kind == "HistGradientBoostingClassifier":
        nodes, intercept, logistic = _histogram(last, column)
    else:
        raise NotFollowed(f"{kind} is no sum of trees that is followed here")
    if last.n_features_in_ != len(pieces):
        raise NotFollowed(f"{len(pieces)} columns were followed, the classifier takes {last.n_features_in_}")
    return TreeForm(
        columns=[_column(piece) for piece in pieces],
        link="logistic" if logistic else "identity",
        single=kind != "HistGradientBoostingClassifier",
        intercept=intercept,
        roots=nodes.roots,
        column=nodes.column,
        threshold=nodes.threshold,
        left=nodes.left,
        right=nodes.right,
        missing_left=nodes.missing_left,
        value=nodes.value,
    )


def _column(piece: Piece) -> NumberColumn | TableColumn:
    if isinstance(piece, Number):
        return NumberColumn(feature=piece.feature, center=piece.center, scale=piece.scale, fill=piece.fill)
    if isinstance(piece, Indicator):
        return TableColumn(
            feature=piece.feature, categories=[piece.category], values=[piece.hit], other=piece.miss, fill=piece.fill
        )
    categories, values = list(piece.categories), list(piece.values)
    return TableColumn(feature=piece.feature, categories=categories, values=values, other=piece.other, fill=piece.fill)


@dataclass
class _Nodes:
    """The nodes of all trees so far."""

    roots: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    missing_left: list[bool] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    def add(self, *, leaf: Any, column: Any, threshold: Any, left: Any, right: Any, missing: Any, value: Any) -> None:
        """One tree, its arrays over its own nodes. Raises NotFollowed when it all becomes too much."""
        start = len(self.column)
        if start + len(leaf) > MOST_NODES:
            raise NotFollowed(f"its trees have more than {MOST_NODES:,} nodes")
        self.roots.append(start)
        self.column += np.where(leaf, LEAF, column).tolist()
        most = sys.float_info.max  # an infinite threshold parts missing values from all others
        self.threshold += np.clip(np.where(leaf, 0.0, threshold), -most, most).tolist()
        self.left += np.where(leaf, 0, np.asarray(left, dtype=np.int64) + start).tolist()
        self.right += np.where(leaf, 0, np.asarray(right, dtype=np.int64) + start).tolist()
        self.missing_left += np.where(leaf, False, np.asarray(missing, dtype=bool)).tolist()
        self.value += np.where(leaf, value, 0.0).tolist()

    def add_tree(self, tree: Any, value: Any) -> None:
        """One of scikit-learn's `tree_` objects; `value` is what each node would add as a leaf."""
        self.add(
            leaf=tree.children_left < 0,
            column=tree.feature,
            threshold=tree.threshold,
            left=tree.children_left,
            right=tree.children_right,
            missing=tree.missing_go_to_left,
            value=value,
        )


def _forest(model: Any, kind: str, column: int) -> _Nodes:
    trees = model.estimators_ if kind in _FORESTS else [model]
    nodes = _Nodes()
    for each in trees:
        shares = each.tree_.value[:, 0, :]
        nodes.add_tree(each.tree_, shares[:, column] / shares.sum(axis=1) / len(trees))
    return nodes


def _boosted(model: Any, column: int) -> tuple[_Nodes, float, bool]:
    if model.loss != "log_loss":
        raise NotFollowed(f"boosting with the loss {model.loss} has no logistic odds")
    sign = 1.0 if column == 1 else -1.0
    intercept = 0.0
    if not isinstance(model.init_, str):
        if type(model.init_).__name__ != "DummyClassifier" or model.init_.strategy != "prior":
            raise NotFollowed("boosting that begins with another model")
        prior = float(model.init_.class_prior_[1])
        intercept = math.log(prior / (1 - prior))
    nodes = _Nodes()
    for each in model.estimators_[:, 0]:
        nodes.add_tree(each.tree_, sign * model.learning_rate * each.tree_.value[:, 0, 0])
    return nodes, sign * intercept, True


def _histogram(model: Any, column: int) -> tuple[_Nodes, float, bool]:
    if model._preprocessor is not None:
        raise NotFollowed("boosting on histograms with categories of its own")
    sign = 1.0 if column == 1 else -1.0
    nodes = _Nodes()
    for (predictor,) in model._predictors:
        each = predictor.nodes
        if each["is_categorical"].any():
            raise NotFollowed("boosting on histograms with categories of its own")
        nodes.add(
            leaf=each["is_leaf"].astype(bool),
            column=each["feature_idx"],
            threshold=each["num_threshold"],
            left=each["left"],
            right=each["right"],
            missing=each["missing_go_to_left"],
            value=sign * each["value"],
        )
    return nodes, sign * float(np.ravel(model._baseline_prediction)[0]), True

"""Trees as data: the same scores as the model's own, through pipelines; and what is refused, with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pilotage.evaluation.trees import score_trees
from pilotage.releases.follow import NotFollowed
from pilotage.releases.tree_form import find_tree_form

NAMES = ["amount", "count", "grade"]


def _frame(rows: int = 500, seed: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    amount = pd.Series(np.round(generator.exponential(1_000, rows), 2))
    return pd.DataFrame(
        {
            "amount": amount.where(generator.random(rows) > 0.1),
            "count": generator.integers(0, 9, rows).astype(float),
            "grade": pd.Series(generator.choice(["low", "mid", "top"], rows), dtype="str"),
        }
    )


FRAME = _frame()
LABELS = ((FRAME["count"] > 4) ^ (FRAME["grade"] == "low") ^ (FRAME["amount"].fillna(0) > 2_000)).astype(int)
TREES = [
    DecisionTreeClassifier(max_depth=6, random_state=0),
    RandomForestClassifier(15, random_state=0),
    ExtraTreesClassifier(15, max_depth=8, random_state=0),
    GradientBoostingClassifier(n_estimators=25, random_state=0),
    HistGradientBoostingClassifier(max_iter=25, random_state=0),
]


def _prepared(encoder: Any, numbers: Any) -> ColumnTransformer:
    return ColumnTransformer([("kinds", encoder, ["grade"]), ("numbers", numbers, ["amount", "count"])])


def _rows(frame: pd.DataFrame) -> list[list[Any]]:
    return [[None if value != value else value for value in row] for row in frame.itertuples(index=False)]


def _kind(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", TREES, ids=_kind)
@pytest.mark.parametrize("way", ["one-hot, filled", "ordinal, scaled", "passthrough"])
@pytest.mark.parametrize("column", [0, 1])
def test_the_trees_give_the_models_own_scores(model: Any, way: str, column: int) -> None:
    if way == "one-hot, filled":
        step = _prepared(OneHotEncoder(handle_unknown="ignore", sparse_output=False), SimpleImputer(strategy="median"))
    elif way == "ordinal, scaled":
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        step = _prepared(encoder, make_pipeline(SimpleImputer(strategy="mean"), StandardScaler()))
    else:
        if isinstance(model, GradientBoostingClassifier):
            pytest.skip("it takes no missing values")
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        step = _prepared(encoder, "passthrough")
    fitted = Pipeline([("prepare", step), ("model", model)]).fit(FRAME, LABELS)
    form = find_tree_form(fitted, NAMES, column)
    assert form.used <= {*NAMES}
    seen = _frame(400, seed=4)
    seen.loc[:20, "grade"] = "unseen"
    own = fitted.predict_proba(seen)[:, column]
    assert score_trees(form, NAMES, _rows(seen)) == pytest.approx(own, abs=1e-12)
    assert np.ptp(own) > 0.1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_pipeline(PolynomialFeatures(2), DecisionTreeClassifier()), "PolynomialFeatures is not followed"),
        (LogisticRegression(), "no sum of trees"),
        (GradientBoostingClassifier(loss="exponential", n_estimators=2), "exponential"),
        (GradientBoostingClassifier(init=LogisticRegression(), n_estimators=2), "begins with another"),
        (HistGradientBoostingClassifier(categorical_features=[0], max_iter=2), "categories of its own"),
    ],
    ids=["polynomial", "linear", "exponential", "init", "categorical"],
)
def test_what_is_not_understood_is_refused_with_its_reason(model: Any, words: str) -> None:
    frame = FRAME[["count", "amount"]].fillna(0)
    with pytest.raises(NotFollowed, match=words):
        find_tree_form(model.fit(frame, LABELS), ["count", "amount"], 1)


def test_three_classes_and_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = FRAME[["count"]]
    with pytest.raises(NotFollowed, match="two classes"):
        find_tree_form(DecisionTreeClassifier().fit(frame, FRAME["grade"]), ["count"], 1)
    monkeypatch.setattr("pilotage.releases.tree_form.MOST_NODES", 10)
    with pytest.raises(NotFollowed, match="10 nodes"):
        find_tree_form(RandomForestClassifier(3).fit(frame, LABELS), ["count"], 1)

"""Linear forms of real pipelines: equal to the model's own scores, nulls and unseen values too, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from pilotage.evaluation.explainer import score_linear
from pilotage.releases.follow import NotFollowed
from pilotage.releases.linear_form import find_linear_form
from pilotage.runtimes.native import frame_of, score_frame

NAMES, KINDS = ["amount", "count", "home", "grade"], ["number", "integer", "string", "integer"]


def _rows(count: int, seed: int) -> list[list[Any]]:
    generator = np.random.default_rng(seed)
    return [
        [
            None if generator.random() < 0.1 else float(generator.normal(50, 20)),
            float(generator.integers(0, 9)),
            None if generator.random() < 0.1 else str(generator.choice(["own", "rent", "other"])),
            float(generator.integers(1, 5)),
        ]
        for _ in range(count)
    ]


ROWS = _rows(400, 1)
FRAME = frame_of(NAMES, KINDS, ROWS)  # type: ignore[arg-type]  # a list of kinds
LABELS = np.random.default_rng(2).random(400) < np.where(FRAME["count"] > 4, 0.7, 0.2)
HARD = [*_rows(100, 3), [None, 0.0, "castle", 9.0], [1e6, 100.0, None, 1.0], [-1e6, 4.0, "own", 4.0]]


def _columns(number: Any, text: Any, grade: Any = "passthrough") -> ColumnTransformer:
    return ColumnTransformer(
        [("text", text, ["home"]), ("number", number, ["amount", "count"]), ("grade", grade, ["grade"])]
    )


def _encoder(**options: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **options)


FOLLOWED = {
    "imputed, scaled, encoded": make_pipeline(
        _columns(
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_pipeline(SimpleImputer(strategy="most_frequent"), _encoder()),
            _encoder(),
        ),
        LogisticRegression(max_iter=500),
    ),
    "scaled before imputed, one category dropped": make_pipeline(
        _columns(
            make_pipeline(RobustScaler(), SimpleImputer(), MinMaxScaler()),
            make_pipeline(SimpleImputer(strategy="constant", fill_value="own"), _encoder(drop="first")),
            MaxAbsScaler(),
        ),
        LogisticRegression(max_iter=500),
    ),
    "indicators scaled after": make_pipeline(
        _columns(
            SimpleImputer(), make_pipeline(SimpleImputer(strategy="most_frequent"), _encoder(sparse_output=False))
        ),
        StandardScaler(),
        SGDClassifier(loss="log_loss", random_state=1),
    ),
    "some dropped, the rest passed": make_pipeline(
        ColumnTransformer(
            [("text", "drop", ["home"]), ("number", SimpleImputer(), [0])], remainder=FunctionTransformer()
        ),
        LogisticRegression(max_iter=500),
    ),
}


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("column", [0, 1])
def test_the_form_gives_the_models_own_scores(name: str, column: int) -> None:
    model = FOLLOWED[name].fit(FRAME, LABELS)
    form = find_linear_form(model, NAMES, column)
    own = score_frame(model, frame_of(NAMES, KINDS, HARD), column)  # type: ignore[arg-type]  # a list of kinds
    assert score_linear(form, NAMES, HARD) == pytest.approx(own, abs=1e-12)
    assert {term.feature for term in form.terms} <= set(NAMES)


def test_a_plain_matrix_works_too() -> None:
    matrix = FRAME[["count", "grade"]].to_numpy()
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]).fit(matrix, LABELS)
    form = find_linear_form(model, ["count", "grade"], 1)
    rows = [[row[1], row[3]] for row in HARD]
    assert score_linear(form, ["count", "grade"], rows) == pytest.approx(model.predict_proba(np.array(rows))[:, 1])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_pipeline(StandardScaler(), RandomForestClassifier(3)), "RandomForest"),
        (make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=2_000)), "PolynomialFeatures"),
        (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), "FunctionTransformer"),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), "clips"),
        (make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()), "indicators"),
        (make_pipeline(_encoder(min_frequency=20), LogisticRegression()), "rare"),
        (make_pipeline(StandardScaler(), _encoder(), LogisticRegression()), "after a scaler"),
        (SGDClassifier(loss="modified_huber"), "logistic odds"),
    ],
)
def test_what_is_not_linear_is_refused_with_the_reason(model: Any, words: str) -> None:
    frame = FRAME[["count", "grade"]]
    with pytest.raises(NotFollowed, match=words):
        find_linear_form(model.fit(frame, LABELS), ["count", "grade"], 1)


def test_three_classes_are_refused() -> None:
    frame = pd.DataFrame({"count": FRAME["count"]})
    model = LogisticRegression().fit(frame, FRAME["grade"] % 3)
    with pytest.raises(NotFollowed, match="two classes"):
        find_linear_form(model, ["count"], 1)

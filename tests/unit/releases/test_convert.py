"""Conversion by skl2onnx: the same scores as the model, from one tensor, and the same bytes each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pilotage.releases.convert import convert
from pilotage.runtimes.model import ServingSpec, row_encoder
from pilotage.runtimes.native import frame_of, score_frame
from pilotage.runtimes.onnx import INPUT, OUTPUT, open_session

NAMES, KINDS = ["home", "amount", "count"], ["string", "number", "integer"]
TEXTS = {"home": ["own", "rent", "other"]}


def _rows(count: int) -> list[list[Any]]:
    generator = np.random.default_rng(1)
    amounts = generator.normal(50, 20, count).astype(np.float32).astype(float)
    return [
        [str(generator.choice(TEXTS["home"])), float(amounts[at]), float(generator.integers(0, 9))]
        for at in range(count)
    ]


ROWS = _rows(300)
FRAME = frame_of(NAMES, KINDS, ROWS)  # type: ignore[arg-type]  # a list of kinds
LABELS = np.random.default_rng(2).random(300) < np.where(FRAME["count"] > 4, 0.7, 0.2)
MIXED = ColumnTransformer(
    [
        ("text", OneHotEncoder(handle_unknown="ignore"), ["home"]),
        ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["count", "amount"]),
    ]
)

CODES = ColumnTransformer(
    [
        ("text", OneHotEncoder(handle_unknown="ignore"), ["home"]),
        ("code", OneHotEncoder(handle_unknown="ignore"), ["count"]),
        ("number", StandardScaler(), ["amount"]),
    ]
)


def _onnx_scores(content: bytes, names: list[str], kinds: list[Any], rows: list[list[Any]]) -> np.ndarray:
    spec = ServingSpec(
        runtime="onnx",
        artefact="",
        names=names,
        kinds=kinds,
        texts=TEXTS if "home" in names else {},
        positive="1",
        threshold=0.5,
        adverse="a",
        favourable="f",
        tolerance=1e-6,
    )
    encode = row_encoder(spec)
    tensor = np.array([encode(row) for row in rows], dtype=np.float64)
    scores: np.ndarray = open_session(content).run([OUTPUT], {INPUT: tensor})[0][:, 0]
    return scores


@pytest.mark.parametrize(("columns", "integers"), [(MIXED, "float"), (CODES, "float"), (CODES, "int64")])
@pytest.mark.parametrize("column", [0, 1])
def test_a_mixed_pipeline_scores_as_the_model_does(columns: Any, integers: Any, column: int) -> None:
    model = make_pipeline(columns, LogisticRegression()).fit(FRAME, LABELS)
    kinds: Any = KINDS
    content = convert(model, column, names=NAMES, kinds=kinds, texts=TEXTS, integers=integers)
    own = score_frame(model, FRAME, column)
    assert _onnx_scores(content, NAMES, kinds, ROWS) == pytest.approx(own, abs=1e-6)
    assert convert(model, column, names=NAMES, kinds=kinds, texts=TEXTS, integers=integers) == content
    unseen = [["castle", 40.0, 3.0]]
    assert _onnx_scores(content, NAMES, kinds, unseen) == pytest.approx(
        score_frame(model, frame_of(NAMES, kinds, unseen), column), abs=1e-6
    )


def test_names_that_are_no_identifiers_keep_their_columns_apart() -> None:
    names, kinds = ["amount of 1", "amount-of 1", "amount of-1"], ["number"] * 3
    matrix = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32).astype(float)
    frame = pd.DataFrame(matrix, columns=names)
    columns = ColumnTransformer([(str(at), StandardScaler(), [names[at]]) for at in (2, 0, 1)])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, matrix @ [1.0, -2.0, 0.5] > 0.2)
    order: Any = [names[1], names[2], names[0]]
    content = convert(model, 1, names=order, kinds=kinds, texts={}, integers="float")  # type: ignore[arg-type]
    rows = frame[order].to_numpy().tolist()
    assert _onnx_scores(content, order, kinds, rows) == pytest.approx(model.predict_proba(frame)[:, 1], abs=1e-6)


def test_columns_in_another_order_and_unused_ones_are_sorted_out() -> None:
    kinds: Any = ["number", "integer", "number"]
    names = ["amount", "count", "unused"]
    frame = pd.DataFrame({"count": FRAME["count"], "amount": FRAME["amount"]})
    model = RandomForestClassifier(10, random_state=1).fit(frame, LABELS)
    content = convert(model, 1, names=names, kinds=kinds, texts={}, integers="float")
    rows = [[row[1], row[2], 7.0] for row in ROWS]
    assert _onnx_scores(content, names, kinds, rows) == pytest.approx(model.predict_proba(frame)[:, 1], abs=1e-6)


def test_a_model_of_a_bare_matrix_takes_all_features_in_order() -> None:
    kinds: Any = ["number", "integer"]
    matrix = FRAME[["amount", "count"]].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, LABELS)
    content = convert(model, 1, names=["amount", "count"], kinds=kinds, texts={}, integers="float")
    rows = matrix.tolist()
    assert _onnx_scores(content, ["amount", "count"], kinds, rows) == pytest.approx(
        model.predict_proba(matrix)[:, 1], abs=1e-6
    )

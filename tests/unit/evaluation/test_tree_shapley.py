"""Exact Shapley values of trees: as the definition says, adding up, and as the reference implementation says."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from pilotage.evaluation.tree_shapley import TreeShapley
from pilotage.evaluation.trees import LEAF, NumberColumn, TableColumn, TreeForm, column_values, raw_scores, score_trees
from pilotage.kernel.rows import Value
from pilotage.releases.tree_form import find_tree_form

NAMES = ["a", "b", "c", "d"]
KINDS = ["x", "y", "z"]


def _raw(form: TreeForm, rows: Any) -> np.ndarray:
    return raw_scores(form, column_values(form, NAMES, rows))


def _by_definition(form: TreeForm, row: Any, background: Any) -> np.ndarray:
    """Shapley's own formula: every coalition, every background row."""
    count = len(NAMES)
    worth: dict[frozenset[int], float] = {}
    for size in range(count + 1):
        for inside in map(frozenset, combinations(range(count), size)):
            mixed = [[row[at] if at in inside else other[at] for at in range(count)] for other in background]
            worth[inside] = float(_raw(form, mixed).mean())
    found = np.zeros(count)
    for inside, value in worth.items():
        for at in set(range(count)) - inside:
            weight = factorial(len(inside)) * factorial(count - len(inside) - 1) / factorial(count)
            found[at] += weight * (worth[inside | {at}] - value)
    return found


@st.composite
def _forests(draw: st.DrawFn) -> TreeForm:
    """Random trees over two columns of numbers (one scaled), one of codes and two indicators of one feature."""
    columns = [
        NumberColumn(feature="a"),
        NumberColumn(feature="b", center=1.0, scale=2.0, fill=0.5),
        TableColumn(feature="c", categories=list(KINDS), values=[0.0, 1.0, 2.0], other=None),
        TableColumn(feature="d", categories=["x"], values=[1.0]),
        TableColumn(feature="d", categories=["y"], values=[1.0], fill="y"),
    ]
    made: dict[str, list[Any]] = {
        each: [] for each in ("roots", "column", "threshold", "left", "right", "missing_left", "value")
    }
    numbers = st.floats(-3, 3, allow_nan=False)

    def grow(depth: int) -> int:
        at = len(made["column"])
        leaf = depth == 0 or draw(st.integers(0, 3)) == 0
        made["column"].append(LEAF if leaf else draw(st.integers(0, len(columns) - 1)))
        made["threshold"].append(draw(numbers))
        made["missing_left"].append(draw(st.booleans()))
        made["value"].append(draw(numbers))
        for side in ("left", "right"):
            made[side].append(0)
        if not leaf:
            made["left"][at] = grow(depth - 1)
            made["right"][at] = grow(depth - 1)
        return at

    for _ in range(draw(st.integers(1, 3))):
        made["roots"].append(grow(draw(st.integers(0, 4))))
    return TreeForm(columns=columns, link="identity", single=draw(st.booleans()), intercept=draw(numbers), **made)


_numbers = st.one_of(st.none(), st.floats(-4, 4, allow_nan=False))
_words = st.sampled_from([*KINDS, "unseen", None])
_rows = st.tuples(_numbers, _numbers, _words, _words)


@given(_forests(), st.lists(_rows, min_size=1, max_size=3), st.lists(_rows, min_size=1, max_size=6))
@settings(max_examples=120, deadline=None)
def test_they_are_what_the_definition_says(form: TreeForm, rows: list[Any], background: list[Any]) -> None:
    made = TreeShapley(form, NAMES, background)
    found = made.contributions(rows)
    for row, own in zip(rows, found, strict=True):
        assert own == pytest.approx(_by_definition(form, row, background), abs=1e-9)
        assert made.contributions([row])[0] == pytest.approx(own, abs=1e-12)


@given(_forests(), st.lists(_rows, min_size=1, max_size=8), st.lists(_rows, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_they_add_up_to_the_score(form: TreeForm, rows: list[Any], background: list[Any]) -> None:
    made = TreeShapley(form, NAMES, background)
    assert made.base == pytest.approx(_raw(form, background).mean(), abs=1e-12)
    assert made.contributions(rows).sum(axis=1) + made.base == pytest.approx(_raw(form, rows), abs=1e-9)


def test_a_feature_that_no_node_asks_earns_nothing() -> None:
    data = np.random.default_rng(0).normal(size=(300, 4))
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(data[:, :2], data[:, 0] > 0)
    form = find_tree_form(model, ["a", "b"], 1)
    assert form.used <= {"a", "b"}
    found = TreeShapley(form, NAMES, data[:50].tolist()).contributions(data[50:60].tolist())
    assert np.all(found[:, 2:] == 0)
    assert np.any(found[:, 0] != 0)


def test_much_work_is_cut_into_pieces_that_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(1).normal(size=(200, 4))
    model = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(data, data[:, 0] * data[:, 1] > 0)
    form = find_tree_form(model, NAMES, 1)
    rows: list[list[Value]] = data[:40].tolist()
    whole = TreeShapley(form, NAMES, rows)
    monkeypatch.setattr("pilotage.evaluation.tree_shapley._CELLS", 500)
    cut = TreeShapley(form, NAMES, rows)
    assert cut.work > 0
    assert cut.contributions(rows) == pytest.approx(whole.contributions(rows), abs=1e-12)


def test_they_are_what_shap_says() -> None:
    shap = pytest.importorskip("shap")
    data = np.random.default_rng(2).normal(size=(400, 4))
    labels = data[:, 0] * data[:, 1] + data[:, 2] > 0
    for model in (
        GradientBoostingClassifier(n_estimators=30, max_depth=4, random_state=0).fit(data, labels),
        RandomForestClassifier(20, max_depth=6, random_state=0).fit(data, labels),
    ):
        form = find_tree_form(model, NAMES, 1)
        oracle = shap.TreeExplainer(model, data[:100], feature_perturbation="interventional")
        theirs = np.asarray(oracle.shap_values(data[100:150]))
        theirs = theirs[..., 1] if theirs.ndim == 3 else theirs
        ours = TreeShapley(form, NAMES, data[:100].tolist()).contributions(data[100:150].tolist())
        assert ours == pytest.approx(theirs, abs=1e-5)  # theirs is float32 inside


def test_scores_are_held_to_the_link() -> None:
    leaf = {"column": [LEAF], "threshold": [0.0], "left": [0], "right": [0], "missing_left": [False]}
    form = TreeForm(columns=[], link="logistic", single=True, intercept=1.0, roots=[0], value=[-1.0], **leaf)  # type: ignore[arg-type]  # one type a list
    assert score_trees(form, NAMES, [(0.0, 0.0, "x", "x")]).tolist() == [0.5]

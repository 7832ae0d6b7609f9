"""Baselines find the one feature that matters; slices add up and are not judged when small."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pilotage.evaluation.baseline import constant_baseline, linear_feature_baseline, single_feature_baseline
from pilotage.evaluation.metrics import auc
from pilotage.evaluation.slices import FEWEST, evaluate_slices


def _rows(count: int, seed: int) -> tuple[list[tuple[float | str | None, ...]], np.ndarray]:
    generator = np.random.default_rng(seed)
    bent, noise = generator.normal(size=count), generator.normal(size=count)
    kinds = generator.choice(["a", "b", "c"], size=count)
    labels = generator.random(count) < np.where(np.abs(bent) > 1, 0.7, 0.1)
    rows = [(None if at % 50 == 0 else float(bent[at]), float(noise[at]), str(kinds[at])) for at in range(count)]
    return rows, labels


def test_bins_find_a_feature_whose_effect_is_no_line() -> None:
    names = ("bent", "noise", "kind")
    rows, labels = _rows(3_000, 1)
    held_out, truth = _rows(1_000, 2)
    name, scores = single_feature_baseline(names, rows, labels, held_out)
    assert name == "bent"
    assert (auc(truth, scores) or 0) > 0.75
    line = linear_feature_baseline(names, rows, labels, held_out)
    assert line is not None
    assert (auc(truth, line[1]) or 0) < 0.6


def test_the_line_is_a_logistic_regression() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=800) * 40 + 500
    labels = generator.random(800) < 1 / (1 + np.exp(-(x - 520) / 20))
    rows = [(float(value),) for value in x]
    found = linear_feature_baseline(("x",), rows, labels, rows[:50])
    assert found is not None
    scaled = ((x - x.mean()) / x.std()).reshape(-1, 1)
    fitted = LogisticRegression(C=1e6).fit(scaled, labels)
    assert found[1] == pytest.approx(fitted.predict_proba(scaled[:50])[:, 1], abs=1e-3)


def test_without_a_number_there_is_no_line() -> None:
    assert linear_feature_baseline(("kind",), [("a",), ("b",)], np.array([True, False]), [("a",)]) is None
    assert constant_baseline(np.array([True, False, False, False]), 2).tolist() == [0.25, 0.25]


def test_slices_add_up_and_small_ones_are_not_judged() -> None:
    generator = np.random.default_rng(4)
    column: list[float | str | None] = ["x"] * 200 + ["y"] * (FEWEST - 1) + [None] * 50
    labels = generator.random(len(column)) < 0.4
    scores = generator.random(len(column))
    entries = {entry["slice"]: entry for entry in evaluate_slices("kind", column, labels, scores, 0.5)}
    assert sum(entry["rows"] for entry in entries.values()) == len(column)
    assert [entries[name]["judged"] for name in ("x", "y", "null")] == [True, False, True]
    assert "auc" not in entries["y"]
    assert entries["x"]["auc"] == auc(labels[:200], scores[:200])


def test_a_column_of_many_numbers_is_cut_in_quarters() -> None:
    column: list[float | str | None] = [float(at) for at in range(400)]
    entries = evaluate_slices("age", column, np.arange(400) % 3 == 0, np.linspace(0, 1, 400), 0.5)
    assert [entry["rows"] for entry in entries] == [100, 100, 100, 100]
    assert entries[0]["slice"].startswith("0 to ")

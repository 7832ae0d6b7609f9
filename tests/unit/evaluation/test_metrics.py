"""Figures against the oracles of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from pilotage.evaluation.metrics import auc, auc_gain, brier, calibration, confusion, intervals, log_loss

_rows = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1).map(lambda score: round(score, 2))), min_size=2, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def _split(rows: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in rows]), np.array([score for _, score in rows])


@given(_rows)
@settings(max_examples=150, deadline=None)
def test_auc_log_loss_and_brier_are_those_of_the_oracle(rows: list[tuple[bool, float]]) -> None:
    labels, scores = _split(rows)
    assert auc(labels, scores) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-12)
    assert brier(labels, scores) == pytest.approx(oracle.brier_score_loss(labels, scores), abs=1e-12)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    assert log_loss(labels, scores) == pytest.approx(oracle.log_loss(labels, clipped), rel=1e-9)


@given(_rows, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_confusion_counts_at_or_above_the_threshold(rows: list[tuple[bool, float]], threshold: float) -> None:
    labels, scores = _split(rows)
    got = confusion(labels, scores, threshold)
    (clear, false), (miss, hit) = oracle.confusion_matrix(labels, scores >= threshold, labels=[False, True])
    counts = [got[name] for name in ("true_negative", "false_positive", "false_negative", "true_positive")]
    assert counts == [clear, false, miss, hit]
    assert got["recall"] == pytest.approx(hit / (hit + miss))
    assert (got["precision"] is None) == (hit + false == 0)


def test_one_class_has_no_auc() -> None:
    labels, scores = np.array([True, True]), np.array([0.2, 0.3])
    assert auc(labels, scores) is None
    assert auc_gain(labels, scores, scores) is None
    assert intervals(labels, scores) == {}


def test_calibration_sees_a_model_that_claims_twice_the_rate() -> None:
    generator = np.random.default_rng(1)
    truth = generator.uniform(0, 0.5, 20_000)
    labels = generator.random(20_000) < truth
    table, error = calibration(labels, truth)
    assert error < 0.01
    assert sum(row["rows"] for row in table) == 20_000
    _, doubled = calibration(labels, truth * 2)
    assert doubled == pytest.approx(0.25, abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for seed in range(60):
        labels = generator.random(400) < 0.3
        scores = 1 / (1 + np.exp(-(generator.normal(size=400) + labels)))
        low, high = intervals(labels, scores, rounds=150, seed=seed)["auc"]
        covered += low <= 0.76025 <= high  # two normals one apart: Phi(1 / sqrt 2)
    assert 51 <= covered <= 60


def test_intervals_are_the_percentiles_of_plain_resampling() -> None:
    generator = np.random.default_rng(3)
    labels = generator.random(150) < 0.4
    scores = np.round(generator.random(150) * 0.6 + labels * 0.2, 2)
    got = intervals(labels, scores, rounds=60, seed=9)
    again = np.random.default_rng(9)
    drawn = [again.integers(0, 150, 150) for _ in range(60)]
    plain = [oracle.roc_auc_score(labels[rows], scores[rows]) for rows in drawn]
    assert got["auc"] == pytest.approx(np.percentile(plain, (2.5, 97.5)), abs=1e-12)
    losses = [brier(labels[rows], scores[rows]) for rows in drawn]
    assert got["brier"] == pytest.approx(np.percentile(losses, (2.5, 97.5)), abs=1e-12)


def test_a_gain_is_seen_and_no_gain_is_not() -> None:
    generator = np.random.default_rng(4)
    labels = generator.random(3_000) < 0.3
    weak = generator.normal(size=3_000) + 0.5 * labels
    better = weak + 0.8 * labels + 0.3 * generator.normal(size=3_000)
    found = auc_gain(labels, better, weak)
    assert found is not None
    assert found[1][0] > 0
    noise = auc_gain(labels, weak + 0.01 * generator.normal(size=3_000), weak)
    assert noise is not None
    assert noise[1][0] < 0 < noise[1][1] or abs(noise[0]) < 0.002

"""The intervals of an AUC and of the gain of one over another, against definitions and a bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.assess.paired_auc import auc_error, auc_gain
from pilotage.evaluation.metrics import auc


def sample(rows: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = generator.random(rows) < 0.3
    strong = generator.normal(size=rows) + 1.2 * labels
    weak = np.round(strong + generator.normal(size=rows) * 1.5, 1)
    return labels, strong, weak


def test_the_gain_is_the_difference_of_the_areas_ties_included() -> None:
    labels, strong, weak = sample()
    gain, low, high = auc_gain(labels, strong, weak)
    assert gain == pytest.approx((auc(labels, strong) or 0) - (auc(labels, weak) or 0))
    assert low < gain < high


def test_the_interval_is_as_wide_as_a_bootstrap_of_the_same_rows() -> None:
    labels, strong, weak = sample()
    generator = np.random.default_rng(1)
    draws = [generator.integers(0, len(labels), len(labels)) for _ in range(400)]
    gains = [(auc(labels[d], strong[d]) or 0) - (auc(labels[d], weak[d]) or 0) for d in draws]
    _, low, high = auc_gain(labels, strong, weak)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(gains), rel=0.12)


def test_a_score_against_itself_gains_nothing_for_certain() -> None:
    labels, strong, _ = sample(100)
    assert auc_gain(labels, strong, strong) == (0, 0, 0)


def test_the_error_of_one_area_is_near_that_of_a_bootstrap() -> None:
    labels, strong, _ = sample()
    generator = np.random.default_rng(2)
    draws = [generator.integers(0, len(labels), len(labels)) for _ in range(400)]
    spread = np.std([auc(labels[d], strong[d]) or 0 for d in draws])
    area = auc(labels, strong) or 0
    assert auc_error(area, int(labels.sum()), int((~labels).sum())) == pytest.approx(spread, rel=0.15)
    assert auc_error(1.0, 10, 10) == 0

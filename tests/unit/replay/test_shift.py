"""The figures of a backtest against their definitions and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp, ttest_rel

from pilotage.evaluation.intervals import wilson
from pilotage.replay.shift import latency, psi, score_shift


@pytest.mark.parametrize(("count", "of"), [(0, 50), (1, 30), (7, 40), (499, 1_000), (50, 50)])
def test_wilson_intervals_are_scipys(count: int, of: int) -> None:
    expected = binomtest(count, of).proportion_ci(method="wilson")
    found = wilson(count, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.rate <= found.high


def test_of_nothing_nothing_is_known() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert score_shift(np.array([0.5]), np.array([0.5])) is None
    assert latency([]).decisions == 0


def test_a_shift_is_what_scipy_says_it_is() -> None:
    chance = np.random.default_rng(5)
    old = chance.beta(2, 5, size=3_000)
    new = np.clip(old + chance.normal(0.03, 0.02, size=3_000), 0, 1)
    found = score_shift(old, new)
    assert found is not None
    assert found.ks == pytest.approx(ks_2samp(old, new).statistic, abs=1e-12)
    interval = ttest_rel(new, old).confidence_interval()
    assert (found.mean_low, found.mean_high) == pytest.approx((interval.low, interval.high), abs=1e-5)
    assert found.psi_low < found.psi < found.psi_high
    assert sum(found.old_cells) == sum(found.new_cells) == 3_000
    assert found.old[3] == pytest.approx(np.median(old))
    assert score_shift(old, new) == found, "the same rows give the same figures"


def test_the_interval_of_the_psi_covers_what_a_large_population_has() -> None:
    """Of samples from one population, at most a few intervals miss its PSI (they aim at 5 %)."""

    def drawn(chance: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        old = chance.uniform(size=size)
        return old, np.clip(old + 0.15 * chance.uniform(size=size), 0, 1)

    whole = score_shift(*drawn(np.random.default_rng(0), 1_000_000))
    assert whole is not None
    missed = 0
    for seed in range(1, 41):
        found = score_shift(*drawn(np.random.default_rng(seed), 2_000))
        assert found is not None
        missed += not found.psi_low <= whole.psi <= found.psi_high
    assert missed <= 8


def test_psi_of_equal_counts_is_zero_and_grows_with_distance() -> None:
    even = np.array([100, 100, 100, 100])
    assert psi(even, even * 3) == 0.0
    assert 0 < psi(even, np.array([90, 100, 100, 110])) < psi(even, np.array([0, 100, 100, 200]))


def test_latency_is_a_median_and_a_tail() -> None:
    found = latency([float(n) for n in range(1, 1_001)])
    assert (found.decisions, found.p50_us) == (1_000, 500.5)
    assert found.p99_us == pytest.approx(990.01)

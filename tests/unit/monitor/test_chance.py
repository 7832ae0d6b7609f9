"""Our own tails agree with scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from pilotage.monitor.chance import binomial_tail, chi2_tail, discoveries, noncentrality

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.floats(0, 2_000), st.integers(1, 400) | st.floats(0.5, 400))
def test_chi2_tail_is_scipys(x: float, df: float) -> None:
    expected = stats.chi2.sf(x, df)
    assert chi2_tail(x, df) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("x", [0.0, 1e-9, 21.0, 1e5, 1e9])
def test_chi2_tail_at_the_ends(x: float) -> None:
    assert chi2_tail(x, 21) == pytest.approx(stats.chi2.sf(x, 21), rel=1e-8, abs=1e-300)


@patient
@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 1))
def test_binomial_tail_is_scipys(count: int, trials: int, p: float) -> None:
    assert binomial_tail(count, trials, p) == pytest.approx(stats.binom.sf(count - 1, trials, p), rel=1e-7, abs=1e-12)


@patient
@given(st.lists(st.floats(1e-6, 1), max_size=40))
def test_discoveries_are_those_of_scipys_adjusted_p_values(p_values: list[float]) -> None:
    if p_values:
        adjusted = stats.false_discovery_control(p_values)
        clear = np.abs(adjusted - 0.05) > 1e-9
        found = np.array(discoveries(p_values, 0.05))
        assert (found[clear] == (adjusted <= 0.05)[clear]).all()
    else:
        assert discoveries(p_values, 0.05) == []


@pytest.mark.parametrize(("df", "level"), [(1, 0.01), (5, 0.0005), (21, 0.0004), (45, 1e-4)])
def test_the_noncentrality_gives_the_power_asked_for(df: int, level: float) -> None:
    size = noncentrality(df, level, 0.8)
    assert stats.ncx2.sf(stats.chi2.isf(level, df), df, size) == pytest.approx(0.8, abs=0.02)

"""Verdicts on windows: no cry of wolf on real data, the shifted columns and no other, honest about small windows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pilotage.monitor.compare import compare
from pilotage.monitor.drift import FEWEST, false_alarm_rate, judge
from pilotage.monitor.model import ColumnVerdict, DriftReport
from pilotage.profiles.build import build_profile
from pilotage.profiles.counts import Counts, count_rows, total
from pilotage.profiles.model import ReferenceProfile

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/credit_default/data/credit_card_default.csv.gz"
SHARED = ROOT.parent / "shared/data/drift"
CATEGORICAL = ("SEX", "EDUCATION", "MARRIAGE")
CHUNK = 20

needs_example = pytest.mark.skipif(not EXAMPLE.exists(), reason="the example's data is not in this checkout")


def numbers(path: Path, leave_out: str) -> tuple[list[str], NDArray[np.float64]]:
    table = duckdb.sql(f"SELECT * EXCLUDE({leave_out}) FROM '{path}'")
    return table.columns, np.array(table.fetchall(), dtype=np.float64)


def rows_of(table: NDArray[np.float64]) -> list[tuple[float, ...]]:
    return [tuple(row) for row in table.tolist()]


def profile_of(names: list[str], table: NDArray[np.float64]) -> ReferenceProfile:
    kinds = {name: "categorical" if name in CATEGORICAL else "numeric" for name in names}
    return build_profile(kinds, rows_of(table))  # type: ignore[arg-type]


def verdicts(report: DriftReport) -> dict[str, str]:
    return {column.label: column.verdict for column in report.columns}


class Credit:
    """The example's rows in a random order: one half is the reference, the other half makes windows."""

    def __init__(self) -> None:
        self.names, table = numbers(EXAMPLE, 'ID, "Default"')
        table = table[np.random.default_rng(7).permutation(len(table))]
        self.profile = profile_of(self.names, table[:15_000])
        self.others = table[15_000:]
        self.chunks = [self.count(self.others[start : start + CHUNK]) for start in range(0, 15_000, CHUNK)]

    def count(self, table: NDArray[np.float64]) -> Counts:
        return count_rows(self.profile, self.names, rows_of(table))

    def shifted(self, rows: int, seed: int) -> DriftReport:
        random = np.random.default_rng(seed)
        window = self.others[random.choice(len(self.others), rows, replace=False)].copy()
        at = self.names.index
        window[:, at("LIMIT_BAL")] = np.minimum(window[:, at("LIMIT_BAL")] * 1.6, 1_000_000)
        window[:, at("AGE")] += 9
        window[:, at("PAY_AMT1")] *= 3
        return judge(self.profile, self.count(window))


@pytest.fixture(scope="module")
def credit() -> Credit:
    return Credit()


@needs_example
@pytest.mark.parametrize("rows", [500, 1_000, 2_000, 5_000])
def test_windows_without_drift_raise_no_alarm(credit: Credit, rows: int) -> None:
    random = np.random.default_rng(rows)
    watched = 0
    effects = []
    for _ in range(200):
        picked = random.choice(len(credit.chunks), rows // CHUNK, replace=False)
        report = judge(credit.profile, total(credit.chunks[index] for index in picked))
        assert report.shifted == []
        watched += bool(report.watched)
        effects.append(max(column.psi for column in report.columns))
        assert all(column.verdict != "not enough data" for column in report.columns)
    assert watched <= 8
    # Without the correction the largest PSI of 23 columns would be about .075 at 500 rows and .01 at 5,000.
    assert np.mean(effects) < {500: 0.035, 1_000: 0.02, 2_000: 0.012, 5_000: 0.006}[rows]


@needs_example
@pytest.mark.parametrize("rows", [500, 1_000, 2_000, 5_000])
def test_the_shifted_columns_are_named_and_no_other(credit: Credit, rows: int) -> None:
    for seed in range(8):
        report = credit.shifted(rows, seed)
        assert report.shifted == ["LIMIT_BAL", "AGE", "PAY_AMT1"]


def normal(rows: int, mean: float = 0.0, seed: int = 1) -> list[tuple[float | None, ...]]:
    return [(float(value),) for value in np.random.default_rng(seed).normal(mean, 1, rows)]


REFERENCE = build_profile({"x": "numeric"}, normal(50_000))


def one(rows: list[tuple[float | None, ...]], aspect: str = "values") -> ColumnVerdict:
    report = judge(REFERENCE, count_rows(REFERENCE, ["x"], rows))
    return next(column for column in report.columns if column.aspect == aspect)


def test_debiased_psi_is_zero_on_average_without_drift_and_true_with_it() -> None:
    shift = 0.5  # PSI of two normals is the squared distance of their means
    for rows in (500, 1_000, 2_000, 5_000):
        same, moved = [], []
        for seed in range(40):
            same.append(one(normal(rows, seed=seed + 10)).psi)
            moved.append(one(normal(rows, shift, seed=seed + 10)).psi)
        assert np.mean(same) < 0.01 * np.sqrt(500 / rows)
        assert np.mean(moved) == pytest.approx(shift**2, rel=0.12)


def test_a_small_true_effect_is_significant_in_a_million_rows_but_below_the_floor() -> None:
    verdict = one(normal(200_000, 0.05))
    assert verdict.p < 1e-6
    assert verdict.verdict == "ok"


def test_size_decides_what_may_be_said() -> None:
    assert one(normal(50)).verdict == "not enough data"
    few = one(normal(150, seed=3))
    assert few.verdict == "not enough data" and few.needed is not None and 150 < few.needed < 1_000
    assert one(normal(5_000, seed=4)).verdict == "ok"
    assert one(normal(5_000, 0.2, seed=4)).verdict == "watch"
    assert one(normal(5_000, 0.5, seed=4)).verdict == "drift"
    assert one(normal(150, 1.5, seed=4)).verdict == "drift"
    assert one(normal(FEWEST - 1, 3.0, seed=4)).verdict == "not enough data"
    assert one([]).verdict == "not enough data"


def test_the_floor_is_found_at_the_rows_said_to_be_needed() -> None:
    needed = one(normal(1_000)).needed
    assert needed is not None
    shift = np.sqrt(0.13)
    found = [one(normal(needed, shift, seed=seed)).p < 0.01 for seed in range(40)]
    assert np.mean(found) >= 0.8


def test_a_small_reference_never_says_ok() -> None:
    profile = build_profile({"x": "numeric"}, normal(150))
    report = judge(profile, count_rows(profile, ["x"], normal(100_000, seed=5)))
    assert verdicts(report) == {"x": "not enough data"}
    assert report.columns[0].needed is None


def test_values_beyond_the_reference_are_drift() -> None:
    report = one([*normal(900, seed=6), *[(1e6,)] * 100])
    assert report.verdict == "drift"
    everything = one([(1e6,)] * 100)
    assert everything.verdict == "drift" and everything.p < 1e-9


def test_nulls_are_a_column_of_their_own() -> None:
    rows = [*normal(1_800, seed=7), *[(None,)] * 200]
    report = judge(REFERENCE, count_rows(REFERENCE, ["x"], rows))
    assert verdicts(report) == {"x": "ok", "x (nulls)": "drift"}
    assert report.shifted == ["x"]
    assert "10.00%" in report.columns[1].findings[0]
    assert one([*normal(2_000, seed=7), *[(None,)] * 2], "nulls").verdict == "ok"


def test_a_new_category_is_found_and_a_stray_one_only_told() -> None:
    profile = build_profile({"c": "categorical"}, [(letter,) for letter in "aaaaabbbc" * 1_000])

    def seen(rows: str) -> ColumnVerdict:
        return judge(profile, count_rows(profile, ["c"], [(letter,) for letter in rows])).columns[0]

    base = "aaaaabbbc" * 200
    assert seen(base + "z" * 100).verdict == "drift"
    assert "100 rows" in seen(base + "z" * 100).findings[0]
    stray = seen(base + "z")
    assert stray.verdict == "ok" and "1 rows" in stray.findings[0]
    assert seen(base).findings == ()
    assert seen("abc" * 600).verdict == "drift"
    assert seen("abc" * 600).ks is None


def test_many_rare_categories_make_no_false_significance() -> None:
    random = np.random.default_rng(11)
    shares = 1 / np.arange(1, 46) ** 2.5
    shares /= shares.sum()
    profile = build_profile({"c": "categorical"}, [(f"{i}",) for i in random.choice(45, 8_000, p=shares)])
    p_values = []
    for _ in range(300):
        window = [(f"{i}",) for i in random.choice(45, 400, p=shares)]
        p_values.append(judge(profile, count_rows(profile, ["c"], window)).columns[0].p)
    assert np.mean(np.array(p_values) < 0.01) <= 0.03
    assert np.mean(np.array(p_values) < 0.5) > 0.2  # and it is no test that never speaks


def test_the_test_is_scipys_two_sample_chi_square_on_full_cells() -> None:
    rows = normal(3_000, 0.03, seed=8)
    column = REFERENCE.columns[0]
    counts = count_rows(REFERENCE, ["x"], rows)["x"]
    inside = slice(1, len(column.cuts) + 2)
    compared = compare(column, counts)[0]
    cells = np.array([column.counts[inside], counts[inside]])
    assert counts[0] == counts[len(column.cuts) + 2] == 0
    assert compared.p == pytest.approx(stats.chi2_contingency(cells, correction=False).pvalue, rel=1e-9)
    gap = stats.ks_2samp([row[0] for row in normal(50_000)], [row[0] for row in rows]).statistic
    assert compared.ks == pytest.approx(gap, abs=0.01)


def test_the_score_is_judged_apart_with_half_the_floors() -> None:
    random = np.random.default_rng(9)
    scores = random.beta(2, 5, 20_000).tolist()
    profile = build_profile({"x": "numeric"}, normal(20_000), scores)
    moved = (random.beta(2, 5, 5_000) * 1.15).clip(0, 1).tolist()
    report = judge(profile, count_rows(profile, ["x"], normal(5_000, seed=10), moved))
    assert report.shifted == []
    assert report.score is not None and report.score.verdict == "drift"
    assert report.score.psi < 0.1


def test_the_self_test_measures_false_alarms() -> None:
    assert false_alarm_rate(REFERENCE, 1_000, windows=60) <= 0.05
    assert false_alarm_rate(REFERENCE, 1_000, windows=60) == false_alarm_rate(REFERENCE, 1_000, windows=60)


@pytest.mark.skipif(not SHARED.exists(), reason="the drift data sets are not beside this checkout (../shared/data)")
def test_concept_drift_alone_moves_no_input() -> None:
    """The labels' rule switches at rows 10,000, 20,000 and 30,000; the inputs stay as they are."""
    names, table = numbers(SHARED / "lobo_sea_0123_abrupto_noise_0.2.csv.gz", '"class"')
    profile = profile_of(names, table[:10_000])
    for start in range(10_000, 40_000, 1_000):
        assert judge(profile, count_rows(profile, names, rows_of(table[start : start + 1_000]))).shifted == []


@pytest.mark.skipif(not SHARED.exists(), reason="the drift data sets are not beside this checkout (../shared/data)")
def test_weeks_of_a_strongly_autocorrelated_series_do_move() -> None:
    """Not a false alarm: prices of one week are not those of two years. It is why season needs its own reference."""
    names, table = numbers(SHARED / "elec2.csv.gz", '"class"')
    profile = profile_of(names, table[:20_000])
    week = judge(profile, count_rows(profile, names, rows_of(table[40_000:40_336])))
    assert "nswprice" in week.shifted or "nswdemand" in week.shifted
    mixed = table[np.random.default_rng(1).permutation(20_000)[:336]]
    assert judge(profile, count_rows(profile, names, rows_of(mixed))).shifted == []

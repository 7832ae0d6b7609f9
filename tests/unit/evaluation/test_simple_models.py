"""The simple models that a pilot must beat, against scikit-learn's; and figures by period."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pilotage.errors import InputError
from pilotage.evaluation.periods import area_estimate, by_period, mean_estimate, times_of
from pilotage.evaluation.redrawn import redrawn
from pilotage.evaluation.simple_models import linear_baseline, tree_baseline

generator = np.random.default_rng(4)
NUMBERS = generator.normal(size=(4_000, 3))
HOMES = generator.choice(["rent", "own", "none"], 4_000)
CHANCE = 1 / (1 + np.exp(-(1.5 * NUMBERS[:, 0] - NUMBERS[:, 1] + 1.2 * (HOMES == "rent") - 0.8)))
LABELS = generator.random(4_000) < CHANCE
ROWS = [(*map(float, numbers), str(home)) for numbers, home in zip(NUMBERS, HOMES, strict=True)]
FITTED, HELD = slice(0, 3_000), slice(3_000, 4_000)


def test_the_line_is_the_oracles() -> None:
    own = linear_baseline(ROWS[FITTED], LABELS[FITTED], ROWS[HELD], 4)
    marks = np.column_stack([each == HOMES for each in np.unique(HOMES)]).astype(float)
    scaler = StandardScaler().fit(np.column_stack([NUMBERS, marks])[FITTED])
    design = scaler.transform(np.column_stack([NUMBERS, marks]))
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=1_000).fit(design[FITTED], LABELS[FITTED])
    assert own == pytest.approx(oracle.predict_proba(design[HELD])[:, 1], abs=1e-4)


def test_the_tree_ranks_as_the_oracles_tree_of_that_depth() -> None:
    own = tree_baseline(ROWS[FITTED], LABELS[FITTED], ROWS[HELD], 4)
    design = np.column_stack([NUMBERS, HOMES == "rent"])
    oracle = DecisionTreeClassifier(max_depth=3, min_samples_leaf=20, random_state=0).fit(
        design[FITTED], LABELS[FITTED]
    )
    theirs = roc_auc_score(LABELS[HELD], oracle.predict_proba(design[HELD])[:, 1])
    assert roc_auc_score(LABELS[HELD], own) == pytest.approx(theirs, abs=0.02)
    assert len(np.unique(own)) <= 8, "three questions give eight leaves"


def test_nulls_and_what_was_never_seen_get_a_score() -> None:
    rows = [(None if at % 3 == 0 else value[0], value[3] if at % 5 else None) for at, value in enumerate(ROWS)]
    asked = [(None, "castle"), (0.5, None), (1e9, "rent")]
    for model in (linear_baseline, tree_baseline):
        found = model(rows[FITTED], LABELS[FITTED], asked, 2)
        assert np.isfinite(found).all() and ((found > 0) & (found < 1)).all()


def test_columns_that_say_nothing_give_the_rate() -> None:
    rows = [(1.0, "a")] * 200
    labels = np.arange(200) < 50
    for model in (linear_baseline, tree_baseline):
        assert model(rows, labels, rows[:3], 2) == pytest.approx([0.25] * 3, abs=1e-3)


def test_a_figure_that_decays_has_a_slope_and_one_that_does_not_has_none() -> None:
    days = np.datetime64("2025-01-01") + np.arange(12_000) // 33
    noise = np.random.default_rng(1).normal(0, 1, 12_000)
    errors = np.abs(noise) * (1 + np.arange(12_000) / 12_000)
    worse, steady = (by_period(days, mean_estimate(each), "mae") for each in (errors, np.abs(noise)))
    assert worse is not None and worse["unit"] == "month" and len(worse["periods"]) == 12
    assert worse["slope"]["interval_95"][0] > 0.03
    assert steady is not None and steady["slope"]["interval_95"][0] < 0 < steady["slope"]["interval_95"][1]


@pytest.mark.parametrize(
    ("step", "unit", "first"),
    [(0.01, "day", "2025-01-01"), (0.2, "week", "2024-12-30"), (1, "month", "2025-01"), (3, "quarter", "2025-Q1")],
)
def test_the_unit_is_the_shortest_that_gives_few_periods(step: float, unit: str, first: str) -> None:
    times = np.datetime64("2025-01-01T00:00") + (np.arange(600) * step * 1_440).astype(int) * np.timedelta64(1, "m")
    found = by_period(times, area_estimate(np.arange(600) % 2 == 0, np.linspace(0, 1, 600)), "auc")
    assert found is not None and found["unit"] == unit and found["periods"][0]["period"] == first
    assert sum(each["rows"] for each in found["periods"]) == 600 and len(found["periods"]) <= 24


def test_times_without_a_date_are_counted() -> None:
    times = times_of("when", ["2025-01-05", "2025-02-05T10:00:00Z", None, "soon", "2025-03-01 09:00"] * 50)
    found = by_period(times, mean_estimate(np.ones(250)), "mae")
    assert found is not None and found["unknown"] == 100
    with pytest.raises(InputError, match="no dates"):
        times_of("when", ["soon", None])


def test_luck_of_the_draw_is_about_the_deviation_that_theory_gives() -> None:
    draw = np.random.default_rng(2)
    scores = draw.random(2_000)
    labels = draw.random(2_000) < scores
    found = redrawn(labels, scores, 0.5)
    areas = [roc_auc_score(labels[half], scores[half]) for half in (draw.permutation(2_000)[:1_000] for _ in range(60))]
    assert found["rows"] == 1_000 and not found["refitted"]
    assert found["figures"]["auc"]["deviation"] == pytest.approx(np.std(areas), rel=0.4)

"""Rates by group and disparities against published figures and the oracles of fairlearn."""

from __future__ import annotations

import csv
import gzip
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fairlearn import metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from pilotage.evaluation.fairness import DISPARITIES, calibration_by_group, fairness_of
from pilotage.systems.model import FairnessLimits

DATA = Path(__file__).parents[4] / "shared" / "data" / "tabular"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside this checkout")


@needs_data
def test_the_error_rates_of_compas_are_those_published() -> None:
    """ProPublica (2016): score 5 and above against two-year recidivism."""
    with gzip.open(DATA / "compas-scores-two-years.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["race"] in ("African-American", "Caucasian")]
    found = fairness_of(
        [row["race"] for row in rows],
        np.array([row["two_year_recid"] == "1" for row in rows]),
        np.array([int(row["decile_score"]) >= 5 for row in rows]),
    )
    rates = {each.group: each for each in found.groups}
    percent = {
        name: tuple(round(100 * rate.rate, 2) for rate in (own.false_positive_rate, own.false_negative_rate) if rate)
        for name, own in rates.items()
    }
    assert percent == {"African-American": (44.85, 27.99), "Caucasian": (23.45, 47.72)}
    odds = found.disparities["equalized_odds_difference"]
    assert odds.value == pytest.approx(0.4485 - 0.2345, abs=1e-4)
    assert (odds.lowest, odds.highest) == ("Caucasian", "African-American")
    assert odds.low < odds.value < odds.high


@needs_data
def test_the_parity_gap_of_german_credit_is_the_published_one() -> None:
    with (DATA / "german_credit.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    good = np.array([row[20] == "1" for row in rows])
    found = fairness_of(["old" if int(row[12]) > 25 else "young" for row in rows], good, good)
    rates = {each.group: each.base_rate.rate for each in found.groups if each.base_rate}
    assert (round(rates["old"], 4), round(rates["young"], 4)) == (0.7284, 0.5789)
    assert round(rates["young"] - rates["old"], 6) == -0.149448
    assert round(found.disparities["demographic_parity_difference"].value, 6) == 0.149448


_people = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), min_size=12, max_size=200)


@given(_people)
@settings(max_examples=15, deadline=None)
def test_disparities_are_those_of_fairlearn(people: list[tuple[str, bool, bool]]) -> None:
    groups = [group for group, _, _ in people]
    truth, chosen = (np.array([each[at] for each in people]) for at in (1, 2))
    found = fairness_of(groups, truth, chosen, rounds=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        facts = {"y_true": truth, "y_pred": chosen, "sensitive_features": groups}
        theirs = {
            "demographic_parity_difference": oracle.demographic_parity_difference(**facts),
            "disparate_impact_ratio": oracle.demographic_parity_ratio(**facts),
        }
        # Where a group has no row of a class, fairlearn counts its rate as 0 and we leave it out.
        if all({True, False} <= {bool(t) for g, t, _ in people if g == group} for group in set(groups)):
            theirs["equalized_odds_difference"] = oracle.equalized_odds_difference(**facts)
            theirs["equal_opportunity_difference"] = oracle.equal_opportunity_difference(**facts)
    if len(set(groups)) == 1:
        assert found.disparities == {}
        return
    for name, value in theirs.items():
        if np.isnan(value):  # nobody was chosen at all
            value = 1.0
        assert found.disparities[name].value == pytest.approx(value, abs=1e-9), name
    for each in found.groups:
        own = np.array([group == each.group for group in groups])
        if each.true_positive_rate is not None:
            assert each.true_positive_rate.rate == pytest.approx(recall_score(truth[own], chosen[own]), abs=1e-9)
        if each.precision is not None:
            assert each.precision.rate == pytest.approx(precision_score(truth[own], chosen[own]), abs=1e-9)


def test_a_small_group_is_told_and_not_judged() -> None:
    groups = ["a"] * 50 + ["b"] * 50 + ["c"] * 5
    truth = np.arange(105) % 2 == 0
    found = fairness_of(groups, truth, np.array([True] * 50 + [False] * 55), fewest=30, rounds=50)
    assert [(each.group, each.rows, each.judged) for each in found.groups] == [
        ("a", 50, True),
        ("b", 50, True),
        ("c", 5, False),
    ]
    parity = found.disparities["demographic_parity_difference"]
    assert (parity.value, parity.lowest, parity.highest) == (1.0, "b", "a")
    assert found.disparities["disparate_impact_ratio"].value == 0.0


def test_limits_can_be_declared_on_what_is_measured() -> None:
    assert {field.name for field in msgspec.structs.fields(FairnessLimits)} == set(DISPARITIES) - {
        "base_rate_difference"
    }


def test_a_score_that_promises_too_much_to_one_group_is_seen() -> None:
    generator = np.random.default_rng(2)
    groups = ["a"] * 2_000 + ["b"] * 2_000
    scores = generator.uniform(0.1, 0.6, 4_000)
    labels = generator.random(4_000) < np.where(np.arange(4_000) < 2_000, scores, scores - 0.1)
    one, other = calibration_by_group(groups, labels, scores)
    assert one["gap_interval_95"][0] < 0 < one["gap_interval_95"][1]
    assert other["gap"] == pytest.approx(0.1, abs=0.03)
    assert other["gap_interval_95"][0] > 0


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """A difference of .2 in selection between two groups of 300, in 1,500 draws: 95 % within 2."""
    generator = np.random.default_rng(4)
    held = 0
    groups = ["a"] * 300 + ["b"] * 300
    for turn in range(1_500):
        chosen = np.r_[generator.random(300) < 0.5, generator.random(300) < 0.3]
        parity = fairness_of(groups, chosen, chosen, rounds=400, seed=turn).disparities["demographic_parity_difference"]
        held += parity.low <= 0.2 <= parity.high
    assert 0.93 <= held / 1_500 <= 0.97

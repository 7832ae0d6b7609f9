"""Intervals hold the truth 95 times in 100: by simulation, from a population whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.evaluation.bootstrap import bootstrap, interval
from pilotage.evaluation.calibrating import calibration_facts
from pilotage.evaluation.costing import cost_facts
from pilotage.evaluation.regression import NAMES as AMOUNTS
from pilotage.evaluation.regression import AmountRows
from pilotage.evaluation.scored import NAMES, ScoredRows
from pilotage.systems.evaluating import Costs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

COSTS = Costs(unit="EUR", false_positive=1, false_negative=5)
ROWS, TIMES, ROUNDS = 1_000, 1_500, 400
LEAST, MOST = 0.93, 0.97


def population(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that rank well and promise too much."""
    x = generator.normal(size=rows)
    labels = generator.random(rows) < 1 / (1 + np.exp(1.3 - 1.2 * x))
    return labels, 1 / (1 + np.exp(1.0 - 1.5 * x - 0.4 * generator.normal(size=rows)))


def test_bootstrap_intervals_of_scores() -> None:
    generator = np.random.default_rng(1)
    labels, scores = population(generator, 4_000_000)
    truth = ScoredRows(labels, scores, 0.5, COSTS).figures(np.ones(len(labels)))
    held = np.zeros(len(NAMES))
    for turn in range(TIMES):
        ranked = ScoredRows(*population(generator, ROWS), 0.5, COSTS)
        point = ranked.figures(np.ones(ROWS))
        draws = bootstrap(ranked.figures, ROWS, rounds=ROUNDS, seed=turn)
        for at, value in enumerate(point):
            span = interval(value, draws[:, at])
            held[at] += span is not None and span[0] <= truth[at] <= span[1]
    shares = dict(zip(NAMES, held / TIMES, strict=True))
    # A maximum: told with an interval only from KS_ROWS rows on.
    shares.pop("ks")
    assert all(LEAST <= share <= MOST for share in shares.values()), shares


def test_a_ks_distance_on_many_rows() -> None:
    generator = np.random.default_rng(2)
    labels, scores = population(generator, 4_000_000)
    truth = ScoredRows(labels, scores, 0.5).figures(np.ones(len(labels)))[NAMES.index("ks")]
    held = 0
    for turn in range(500):
        ranked = ScoredRows(*population(generator, 5_000), 0.5)
        draws = bootstrap(lambda w, r=ranked: r.figures(w)[2:3], 5_000, rounds=300, seed=turn)  # type: ignore[misc]
        span = interval(ranked.figures(np.ones(5_000))[2], draws[:, 0])
        held += span is not None and span[0] <= truth <= span[1]
    assert LEAST - 0.01 <= held / 500 <= MOST + 0.01, held / 500


def test_calibration_and_costs() -> None:
    generator = np.random.default_rng(3)
    labels, scores = population(generator, 4_000_000)
    known, costs = calibration_facts(labels, scores), cost_facts(labels, scores, 0.5, COSTS, seed=1)
    held = dict.fromkeys(("slope", "intercept", "in_the_large", "between", "current", "saving"), 0)
    best = costs["current"]["cost"] - costs["best"]["cost"]
    for turn in range(TIMES):
        labels, scores = population(generator, 2_000)
        own, paid = calibration_facts(labels, scores), cost_facts(labels, scores, 0.5, COSTS, seed=turn)
        for name in ("slope", "intercept", "in_the_large"):
            low, high = own[name]["interval_95"]
            held[name] += low <= known[name]["value"] <= high
        low, high = paid["best"]["between"]
        held["between"] += low <= costs["best"]["threshold"] <= high
        for name, entry, truth in (
            ("current", paid["current"], costs["current"]["cost"]),
            ("saving", paid["saving"], best),
        ):
            held[name] += entry["interval_95"][0] <= truth <= entry["interval_95"][1]
    shares = {name: count / TIMES for name, count in held.items()}
    assert all(LEAST <= share <= MOST for name, share in shares.items() if name != "saving"), shares
    # Counted where it was not chosen, it is a little less than the best that there is.
    assert 0.88 <= shares["saving"] <= MOST, shares


def test_scores_that_are_true_are_within_chance() -> None:
    generator = np.random.default_rng(4)
    beyond = 0
    for turn in range(TIMES):
        chance = generator.beta(1, 4, ROWS)
        found = calibration_facts(generator.random(ROWS) < chance, chance, seed=turn)
        beyond += found["expected_error"] > found["error_by_chance"]
    assert 0.03 <= beyond / TIMES <= 0.07, beyond / TIMES


def test_bootstrap_intervals_of_amounts() -> None:
    generator = np.random.default_rng(5)

    def amounts(rows: int) -> tuple[np.ndarray, np.ndarray]:
        truth = generator.gamma(4, 25, rows)
        return truth, truth * generator.normal(1.02, 0.15, rows)

    truth = AmountRows(*amounts(4_000_000)).figures(np.ones(4_000_000))
    held = np.zeros(len(AMOUNTS))
    for turn in range(TIMES):
        rows = AmountRows(*amounts(ROWS))
        point, draws = rows.figures(np.ones(ROWS)), bootstrap(rows.figures, ROWS, rounds=ROUNDS, seed=turn)
        for at, value in enumerate(point):
            span = interval(value, draws[:, at])
            held[at] += span is not None and span[0] <= truth[at] <= span[1]
    shares = dict(zip(AMOUNTS, held / TIMES, strict=True))
    assert all(LEAST <= share <= MOST for share in shares.values()), shares

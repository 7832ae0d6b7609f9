"""Figures of scores, amounts and rankings against scikit-learn's on random data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from pilotage.evaluation.calibrating import calibration_facts
from pilotage.evaluation.classification import KS_ROWS, classification, gains
from pilotage.evaluation.costing import cost_facts
from pilotage.evaluation.ranking import query_figures, ranking
from pilotage.evaluation.regression import NAMES as AMOUNTS
from pilotage.evaluation.regression import AmountRows, pinball, regression
from pilotage.evaluation.scored import NAMES, ScoredRows
from pilotage.systems.evaluating import Costs

_seeds = st.integers(0, 2**32 - 1)
COSTS = Costs(unit="EUR", true_positive=3, false_positive=10, false_negative=80, true_negative=-2)


def made(seed: int, rows: int = 200, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both classes, scores with ties, whole weights."""
    generator = np.random.default_rng(seed)
    chance = generator.beta(1, 3, rows)
    labels = generator.random(rows) < chance
    assert 0 < labels.sum() < rows
    scores = np.clip(np.round(chance + generator.normal(0, 0.1, rows), digits), 0.001, 0.999)
    return labels, scores, generator.integers(0, 3, rows).astype(float)


@given(_seeds, st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_every_figure_is_the_oracles_under_any_weights(seed: int, threshold: float) -> None:
    labels, scores, weights = made(seed)
    assume(weights[labels].sum() and weights[~labels].sum())
    found = dict(zip(NAMES, ScoredRows(labels, scores, threshold, COSTS).figures(weights), strict=True))
    flagged, kw = scores >= threshold, {"sample_weight": weights}
    rates, cuts, _ = oracle.roc_curve(labels, scores, drop_intermediate=False, **kw)
    assert found["auc"] == pytest.approx(oracle.roc_auc_score(labels, scores, **kw), abs=1e-9)
    assert found["average_precision"] == pytest.approx(oracle.average_precision_score(labels, scores, **kw), abs=1e-9)
    assert found["ks"] == pytest.approx(np.abs(cuts - rates).max(), abs=1e-9)
    assert found["log_loss"] == pytest.approx(oracle.log_loss(labels, scores, **kw), abs=1e-9)
    assert found["brier"] == pytest.approx(oracle.brier_score_loss(labels, scores, **kw), abs=1e-9)
    assert found["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(labels, flagged, **kw), abs=1e-9)
    assert found["f1"] == pytest.approx(oracle.f1_score(labels, flagged, zero_division=0, **kw), abs=1e-9)
    assert found["mcc"] == pytest.approx(oracle.matthews_corrcoef(labels, flagged, **kw), abs=1e-9)
    (clear, false), (miss, hit) = oracle.confusion_matrix(labels, flagged, labels=[False, True], **kw)
    cost = (3 * hit + 10 * false + 80 * miss - 2 * clear) / weights.sum()
    assert found["cost"] == pytest.approx(cost, abs=1e-9)


@given(_seeds)
@settings(max_examples=30)
def test_weights_are_rows_that_many_times(seed: int) -> None:
    labels, scores, weights = made(seed)
    repeated = np.repeat(np.arange(len(labels)), weights.astype(int))
    assume(0 < labels[repeated].sum() < len(repeated))
    own = ScoredRows(labels, scores, 0.4, COSTS)
    other = ScoredRows(labels[repeated], scores[repeated], 0.4, COSTS)
    assert own.figures(weights) == pytest.approx(other.figures(np.ones(len(repeated))), abs=1e-9)
    assert own.area(weights) == pytest.approx(own.figures(weights)[0], abs=1e-12)


def test_scores_that_are_no_probabilities_have_no_loss() -> None:
    labels, scores, _ = made(1)
    found = classification(labels, scores * 10 - 4, 0.0, rounds=100)
    assert "log_loss" not in found["metrics"] and "brier" not in found["metrics"] and found["calibration"] is None
    assert found["metrics"]["auc"] == pytest.approx(oracle.roc_auc_score(labels, scores))


def test_a_ks_distance_has_an_interval_only_on_many_rows() -> None:
    labels, scores, _ = made(3, rows=KS_ROWS)
    assert "ks" in classification(labels, scores, 0.4, rounds=100)["intervals_95"]
    fewer = classification(labels[:-1], scores[:-1], 0.4, rounds=100)
    assert "ks" in fewer["metrics"] and "ks" not in fewer["intervals_95"]


def test_rows_that_go_together_are_drawn_together() -> None:
    labels, scores, _ = made(5, rows=400)
    copies = np.repeat(np.arange(400), 10)
    alone = classification(labels[copies], scores[copies], 0.4, rounds=300)["intervals_95"]["auc"]
    grouped = classification(labels[copies], scores[copies], 0.4, rounds=300, groups=copies)["intervals_95"]["auc"]
    honest = classification(labels, scores, 0.4, rounds=300)["intervals_95"]["auc"]
    assert grouped[1] - grouped[0] > 2.5 * (alone[1] - alone[0]), "ten copies of a row are no ten rows"
    assert grouped[1] - grouped[0] == pytest.approx(honest[1] - honest[0], rel=0.25)


def test_calibration_is_that_of_the_oracles() -> None:
    labels, scores, _ = made(7, rows=3_000, digits=6)
    # Equal scores share a bin here, and straddle borders there.
    scores = np.clip(scores + np.random.default_rng(0).uniform(0, 1e-4, 3_000), 0, 0.9999)
    found = calibration_facts(labels, scores)
    rates, means = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [row["rate"] for row in found["bins"]] == pytest.approx(rates.tolist(), abs=2e-3)
    assert [row["mean_score"] for row in found["bins"]] == pytest.approx(means.tolist(), abs=2e-3)
    odds = np.log(scores / (1 - scores)).reshape(-1, 1)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(odds, labels)
    assert found["slope"]["value"] == pytest.approx(fitted.coef_[0, 0], abs=1e-5)
    assert found["intercept"]["value"] == pytest.approx(fitted.intercept_[0], abs=1e-5)
    parts = found["brier"]
    whole = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert whole == pytest.approx(oracle.brier_score_loss(labels, scores), abs=1e-12)
    assert abs(parts["within_bins"]) < 0.01


def test_true_chances_are_calibrated_and_doubled_ones_are_not() -> None:
    generator = np.random.default_rng(1)
    chance = generator.uniform(0, 0.5, 20_000)
    labels = generator.random(20_000) < chance
    sound, doubled = calibration_facts(labels, chance), calibration_facts(labels, 2 * chance)
    assert sound["expected_error"] <= sound["error_by_chance"] < 0.02
    assert doubled["expected_error"] > 10 * doubled["error_by_chance"]
    assert doubled["in_the_large"]["interval_95"][0] > 0.2


def test_labels_that_scores_part_without_fault_have_no_slope() -> None:
    found = calibration_facts(np.arange(100) >= 50, np.linspace(0.1, 0.9, 100))
    assert found["slope"] is None and found["intercept"] is None


def test_the_cheapest_threshold_is_found_by_trying_all() -> None:
    labels, scores, _ = made(11, rows=500)
    found = cost_facts(labels, scores, 0.5, COSTS, seed=1)

    def cost(threshold: float) -> float:
        flagged = scores >= threshold
        hit, false = (flagged & labels).sum(), (flagged & ~labels).sum()
        miss, clear = (~flagged & labels).sum(), (~flagged & ~labels).sum()
        return float(COSTS.of(hit, false, miss, clear) / len(labels))

    tried = {float(each): cost(each) for each in [*np.unique(scores), 2.0]}
    assert found["best"]["cost"] == pytest.approx(min(tried.values()), abs=1e-12)
    assert cost(found["best"]["threshold"]) == pytest.approx(min(tried.values()), abs=1e-12)
    low, high = found["best"]["between"]
    assert low <= found["best"]["threshold"] <= high
    assert found["current"]["cost"] == pytest.approx(cost(0.5))
    assert found["all_adverse"]["cost"] == pytest.approx(cost(0.0))
    assert found["all_favourable"]["cost"] == pytest.approx(cost(2.0))
    assert found["best"]["elsewhere"] >= found["best"]["cost"], "what was chosen on rows flatters itself there"
    assert found["theoretical"] == pytest.approx(12 / (12 + 77))


def test_answering_nobody_may_be_cheapest() -> None:
    labels, scores, _ = made(13)
    found = cost_facts(labels, scores, 0.5, Costs(unit="h", false_positive=100, false_negative=1), seed=1)
    assert found["best"]["threshold"] > scores.max()
    assert found["best"]["cost"] == pytest.approx(labels.mean())
    assert found["saving"]["interval_95"][0] > 0


def test_gains_add_up_to_all() -> None:
    labels, scores, _ = made(17, rows=1_003)
    table = gains(labels, scores)
    assert sum(row["rows"] for row in table) == 1_003 and table[-1]["caught"] == 1.0
    assert table[0]["lift"] > 1.5 > table[-1]["lift"]
    order = np.argsort(-scores, kind="stable")[: table[0]["rows"]]
    assert table[0]["lowest"] == pytest.approx(scores[order].min())


@given(_seeds)
@settings(max_examples=40)
def test_amounts_are_measured_as_by_the_oracle(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.normal(50, 10, 80)
    predicted = truth + generator.normal(1, 5, 80)
    weights = generator.integers(0, 3, 80).astype(float)
    assume(weights.sum() > 20)
    found = dict(zip(AMOUNTS, AmountRows(truth, predicted).figures(weights), strict=True))
    kw = {"sample_weight": weights}
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, predicted, **kw), abs=1e-9)
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, predicted, **kw), abs=1e-9)
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, predicted, **kw), abs=1e-9)
    assert found["mape"] == pytest.approx(oracle.mean_absolute_percentage_error(truth, predicted, **kw), abs=1e-9)
    assert found["bias"] == pytest.approx(np.average(predicted - truth, weights=weights), abs=1e-9)
    repeated = np.repeat(np.abs(predicted - truth), weights.astype(int))
    assert found["median_error"] == pytest.approx(np.median(repeated), abs=1e-9)
    for share in (0.1, 0.9):
        loss = oracle.mean_pinball_loss(truth, predicted, alpha=share)
        assert pinball(truth, predicted, share).mean() == pytest.approx(loss, abs=1e-9)


def test_a_truth_of_nothing_has_no_percentage() -> None:
    truth, predicted = np.array([0.0, 0.0, 100.0, 200.0] * 10), np.array([1.0, 1.0, 110.0, 180.0] * 10)
    found = regression(truth, predicted, rounds=100)
    assert found["rows_without_mape"] == 20 and found["metrics"]["mape"] == pytest.approx(0.1)


def test_intervals_and_quantiles_are_held_to_their_promise() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(0, 1, 4_000)
    middle = np.zeros(4_000)
    found = regression(
        truth,
        middle,
        quantiles={0.9: middle + 1.2816},
        span=(middle - 1.96, middle + 1.96),
        against={"one off": middle + 1},
        rounds=200,
    )
    low, high = found["intervals_95"]["interval_coverage"]
    assert low < 0.95 < high and found["metrics"]["interval_width"] == pytest.approx(3.92)
    assert found["quantiles"][0]["low"] < 0.9 < found["quantiles"][0]["high"]
    assert found["against"]["one off"]["beaten"] and found["metrics"]["r2"] == pytest.approx(0, abs=0.01)


@given(_seeds, st.sampled_from([3, 5, 10]))
@settings(max_examples=40)
def test_rankings_are_measured_as_by_the_oracle(seed: int, cut: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(2, 15, 12)
    queries = np.repeat(np.arange(12), sizes)
    relevance = generator.integers(0, 4, len(queries)).astype(float) * (generator.random(len(queries)) < 0.4)
    scores = np.round(generator.random(len(queries)), 1)
    shuffled = generator.permutation(len(queries))
    found = query_figures(queries[shuffled], relevance[shuffled], scores[shuffled], [cut])
    for query in range(12):
        own = queries == query
        truth, given_ = relevance[own], scores[own]
        if not truth.any():
            assert all(np.isnan(each[query]) for each in found.values())
            continue
        assert found[f"ndcg_at_{cut}"][query] == pytest.approx(oracle.ndcg_score([truth], [given_], k=cut), abs=1e-9)
        assert found["map"][query] == pytest.approx(oracle.average_precision_score(truth > 0, given_), abs=1e-9)
        orders = [np.lexsort((generator.random(own.sum()), -given_)) for _ in range(300)]
        ranks = [1 / (1 + np.argmax(truth[order] > 0)) for order in orders]
        within = [np.count_nonzero(truth[order][:cut]) for order in orders]
        assert found["mrr"][query] == pytest.approx(np.mean(ranks), abs=0.12)
        assert found[f"precision_at_{cut}"][query] == pytest.approx(np.mean(within) / cut, abs=0.12)
        assert found[f"recall_at_{cut}"][query] == pytest.approx(np.mean(within) / np.count_nonzero(truth), abs=0.3)


def test_a_tie_at_the_top_counts_every_order_alike() -> None:
    found = query_figures(np.zeros(4, dtype=np.int64), np.array([1.0, 0, 0, 0]), np.full(4, 0.5), [2])
    assert found["mrr"][0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found["recall_at_2"][0] == pytest.approx(0.5) and found["precision_at_2"][0] == pytest.approx(0.25)


def test_queries_without_anything_relevant_are_counted_and_left_out() -> None:
    queries = np.repeat(np.arange(60), 5)
    relevance = np.tile([3.0, 0, 1, 0, 0], 60) * (queries >= 20)
    found = ranking(queries, relevance, relevance, against={"none": np.zeros(300)}, rounds=100)
    assert found["queries"] == 60 and found["queries_without_relevant"] == 20
    assert found["metrics"]["ndcg_at_10"] == 1.0 and found["against"]["none"]["beaten"]


def test_a_probability_that_is_a_rounding_over_one_is_still_one() -> None:
    labels = np.arange(400) % 2 == 0
    scores = np.where(labels, 1.0, np.linspace(0, 0.9, 400))
    exact = classification(labels, scores, 0.5, rounds=20)
    rounded = classification(labels, scores + 1.2e-7 * labels, 0.5, rounds=20)
    assert rounded["calibration"] == exact["calibration"]
    assert classification(labels, scores * 3, 0.5, rounds=20)["calibration"] is None

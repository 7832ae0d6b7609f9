"""How stable a model is when it is fitted again: planted luck is found, none is invented, and time is bounded."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pilotage.evaluation.metrics import auc
from pilotage.evaluation.refits import FEWEST, MOST, spread_of_refits
from pilotage.kernel.rows import Rows
from pilotage.releases.data import PilotRows
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.refitting import measure_refits, stability_evidence

ROWS = 800


def rows_of(seed: int = 5) -> tuple[pd.DataFrame, PilotRows]:
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(ROWS, 3))
    labels = table[:, 0] + generator.normal(size=ROWS) > 0
    frame = pd.DataFrame(table, columns=["a", "b", "c"]).assign(y=labels.astype(int))
    held_out = np.arange(ROWS) % 4 == 0
    rows = Rows([table[:, at] for at in range(3)], ROWS)
    return frame, PilotRows(rows=rows, labels=labels, held_out=held_out, sliced={}, refused={})


@pytest.fixture
def boxed(tmp_path: Path) -> Iterator[Any]:
    opened = []

    def open_(model: Any, *, fit: bool = True) -> tuple[PilotModel, PilotRows]:
        frame, rows = rows_of()
        joblib.dump(model.fit(frame[["a", "b", "c"]], frame["y"]) if fit else model, tmp_path / "model.joblib")
        pilot = PilotModel(tmp_path / "model.joblib", names=["a", "b", "c"], kinds=["number"] * 3, positive="1")
        opened.append(pilot)
        return pilot, rows

    yield open_
    for each in opened:
        each.close()


def test_a_model_that_draws_nothing_differs_by_its_rows_alone(boxed: Any) -> None:
    pilot, rows = boxed(make_pipeline(StandardScaler(), LogisticRegression()))
    found = measure_refits(pilot, rows, 0.5, seeds=5, seconds=60)
    assert found["measured"] and (found["rows_fitted"], found["rows"], found["why"]) == (600, 200, "")
    seed, drawn = found["by"]["seed"], found["by"]["rows"]
    assert seed["flips"]["pair"] == 0 and seed["metrics"]["auc"]["deviation"] == 0
    assert drawn["refits"] == 5 and 0 < drawn["metrics"]["auc"]["deviation"] < 0.02
    assert 0 < drawn["flips"]["pair"] < 0.1, "a good line is stable"
    assert stability_evidence("sha256:r", found, 1).passed


def test_a_model_of_luck_is_found_and_equals_the_same_refits_made_here(boxed: Any) -> None:
    model = DecisionTreeClassifier(max_features=1, splitter="random", random_state=0)
    pilot, rows = boxed(model)
    found = measure_refits(pilot, rows, 0.5, seeds=4, seconds=60, seed=10)["by"]["seed"]
    frame, _ = rows_of()
    fitted, held = frame[~rows.held_out], frame[rows.held_out]
    own = [
        DecisionTreeClassifier(max_features=1, splitter="random", random_state=11 + turn)
        .fit(fitted[["a", "b", "c"]], fitted["y"])
        .predict_proba(held[["a", "b", "c"]])[:, 1]
        for turn in range(4)
    ]
    assert found["metrics"]["auc"]["mean"] == pytest.approx(np.mean([auc(held["y"] == 1, each) for each in own]))
    answers = [each >= 0.5 for each in own]
    flips = [np.mean(one != other) for at, one in enumerate(answers) for other in answers[at + 1 :]]
    assert found["flips"]["pair"] == pytest.approx(np.mean(flips)) and found["flips"]["pair"] > 0.2
    ever = np.mean(np.ptp(np.array(answers, dtype=int), axis=0) > 0)
    assert found["flips"]["rows"]["rate"] == pytest.approx(ever)


def test_a_model_without_random_states_is_only_fitted_on_other_rows(boxed: Any) -> None:
    pilot, rows = boxed(KNeighborsClassifier())
    assert set(measure_refits(pilot, rows, 0.5, seconds=60)["by"]) == {"rows"}


def test_what_cannot_be_fitted_again_is_not_measured_and_says_why(boxed: Any) -> None:
    """Its parts were taken out after it was fitted: it answers, and cannot be fitted."""
    frame, _ = rows_of()
    inner = LogisticRegression().fit(frame[["a", "b", "c"]], frame["y"])
    voting = VotingClassifier([("one", inner)], voting="soft").fit(frame[["a", "b", "c"]], frame["y"])
    voting.estimators = []
    pilot, rows = boxed(voting, fit=False)
    found = measure_refits(pilot, rows, 0.5, seconds=60)
    assert not found["measured"] and found["by"] == {}
    assert "ValueError" in found["why"] and "--stability" in found["why"]
    assert not stability_evidence("sha256:r", found, 1).passed


def test_without_rows_to_fit_on_nothing_is_measured(boxed: Any) -> None:
    pilot, rows = boxed(LogisticRegression())
    all_held = dataclasses.replace(rows, held_out=np.ones(ROWS, dtype=bool))
    assert "none to fit on" in measure_refits(pilot, all_held, 0.5)["why"]


def test_time_is_bounded(boxed: Any) -> None:
    pilot, rows = boxed(RandomForestClassifier(n_estimators=20, random_state=0))
    pilot.train(rows.rows[:10], [True, False] * 5, rows.rows[:10], 30)
    started = time.monotonic()
    found = measure_refits(pilot, rows, 0.5, seeds=MOST, seconds=0.4)
    assert time.monotonic() - started < 5
    assert found["measured"] is bool(found["by"]) and found["why"]


@pytest.mark.parametrize("count", range(FEWEST, MOST + 1))
def test_where_one_more_refit_would_lie_is_students_interval(count: int) -> None:
    generator = np.random.default_rng(count)
    labels = generator.random(300) < 0.4
    scores = [np.clip(labels * 0.3 + generator.random(300) * 0.7, 0, 1) for _ in range(count)]
    told = spread_of_refits(labels, scores, 0.5)["metrics"]["auc"]
    areas = [auc(labels, each) for each in scores]
    low, high = stats.t.interval(0.95, count - 1, np.mean(areas), np.std(areas, ddof=1) * np.sqrt(1 + 1 / count))
    assert told["next_95"] == pytest.approx([low, high], abs=1e-7)

"""A release evaluated anew: own rows again, a new file, at its load; and what a build says of costs, age, limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import Engine

from pilotage.errors import InputError, IntegrityError, NotFound
from pilotage.evaluation.refits import rows_of_stability
from pilotage.evidence.store import for_subject, latest
from pilotage.kernel.canonical import canonical_json
from pilotage.releases import again
from pilotage.releases.again import evaluate_again, labelled_rows, measure_load, prove_together
from pilotage.releases.bearing import bear_load
from pilotage.releases.evaluated import evaluate_pilot
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.releases.together import proven_again
from pilotage.runtimes.environment import environment_digest
from pilotage.storage.database import control, open_engine, reading
from pilotage.storage.home import Home
from pilotage.systems.evaluating import Load
from pilotage.web.evaluation_report import evaluation_report
from tests.unit.releases.test_build import FEATURES, _build, _pilot, _table

RULES = {
    "costs": {"unit": "EUR", "false_positive": 10, "false_negative": 60},
    "limits": {"auc": 0.6, "brier": 0.01},
    "time": "decided",
    "load": {"rows_per_second": 100, "p95_ms": 500, "memory_mb": 2_000},
}


def table(rows: int = 900) -> pd.DataFrame:
    made = _table(rows)
    made["decided"] = pd.date_range("2025-01-01", "2025-06-30", periods=rows).strftime("%Y-%m-%d")
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Home, Engine, LoadedRelease]:
    folder = tmp_path_factory.mktemp("again")
    data = table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data[FEATURES], data["bad"])
    path = _pilot(folder / "pilot", model, data, pilot={"ignore": ["decided"]}, evaluation=RULES)
    home = Home(root=folder / "home").create()
    engine = open_engine(f"sqlite:///{home.control_database}")
    control.create_all(engine)
    release = _build(path, home, engine)
    assert _build(path, home, engine).digest == release.digest, "the same inputs, the same digest"
    return path, home, engine, open_release(home.releases, release.digest)


def evaluation(loaded: LoadedRelease) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loaded.file("evaluation.json"))
    return found


def test_a_build_tells_costs_age_luck_limits_and_all_baselines(built: tuple[Path, Home, Engine, LoadedRelease]) -> None:
    _, _, engine, loaded = built
    found = evaluation(loaded)
    assert found["costs"]["unit"] == "EUR" and found["metrics"]["cost"] > 0
    assert (
        found["age"]["unit"] == "month" and sum(p["rows"] for p in found["age"]["periods"]) == found["rows"]["held_out"]
    )
    assert "time travel" not in found["leakage"]["skipped"], "the declared time says which row was before which"
    assert found["redrawn"]["figures"]["auc"]["lowest"] < found["metrics"]["auc"]
    assert {"linear", "shallow_tree", "single_feature", "single_feature_binned", "base_rate"} <= set(found["baselines"])
    assert found["baselines"]["linear"]["auc"] == pytest.approx(found["metrics"]["auc"], abs=0.02), (
        "it is a line itself"
    )
    assert {each["why"] for each in found["degradation"]} >= {"the 95 % interval at the build"}
    assert [(each["name"], each["holds"]) for each in found["limits"]] == [("auc", True), ("brier", False)]
    assert "decided" not in {each["column"] for each in found["slices"]}
    with reading(engine) as connection:
        first = [each for each in for_subject(connection, loaded.digest) if each.check == "evaluation.limits"][-1]
    assert not first.passed and first.figures["broken"] == ["brier"]


def test_its_own_rows_give_the_figures_of_the_build_and_fresh_evidence(
    built: tuple[Path, Home, Engine, LoadedRelease], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, engine, loaded = built
    monkeypatch.chdir(path.parent)
    labelled = labelled_rows(loaded, None)
    assert labelled.own
    done: list[tuple[int, int]] = []
    found = evaluate_again(
        engine,
        loaded,
        "scoring@1",
        labelled,
        rounds=100,
        progress=lambda *at: done.append(at),
        clock=lambda: 9 * 10**17,
    )
    assert found["metrics"] == evaluation(loaded)["metrics"] and found["reproduced"]["largest_difference"] == 0
    assert done[-1] == (found["rows"]["held_out"],) * 2 and found["words"]
    with reading(engine) as connection:
        fresh = latest(connection, loaded.digest, "evaluation.baseline")
    assert fresh is not None and fresh.collected == 9 * 10**17
    assert fresh.figures["own_rows"] and fresh.figures["data"] == loaded.manifest.origin.data


def test_a_new_file_is_judged_whole_by_the_releases_own_answers(
    built: tuple[Path, Home, Engine, LoadedRelease], tmp_path: Path
) -> None:
    _, _, engine, loaded = built
    data = table(400)
    # What was bad is now good: whoever judges the release by this file must see it.
    data["bad"] = 1 - data["bad"]
    data.loc[:9, "income"] = 10**9
    data.to_csv(tmp_path / "new.csv", index=False)
    labelled = labelled_rows(loaded, tmp_path / "new.csv")
    found = evaluate_again(engine, loaded, "scoring@1", labelled, rounds=100, clock=lambda: 10**18)
    assert found["metrics"]["auc"] < 0.4 and found["reproduced"] is None and found["baselines"] == {}
    assert "Fitted again" in evaluation_report(found), "the page of it, with what the build measured"
    assert found["rows"]["held_out"] == 390 and sum(found["rows"]["refused_by_contract"].values()) == 10
    with reading(engine) as connection:
        limits = latest(connection, loaded.digest, "evaluation.limits")
    assert limits is not None and set(limits.figures["broken"]) == {"auc", "brier"}
    assert not limits.figures["own_rows"]


def test_a_release_that_answers_otherwise_than_it_was_built_is_told(
    built: tuple[Path, Home, Engine, LoadedRelease], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, engine, loaded = built

    async def moved(_runtime: Any, rows: Any, *_: Any) -> Any:
        return np.linspace(0, 1, len(rows))

    monkeypatch.setattr(again, "_scores", moved)
    with pytest.raises(IntegrityError, match="otherwise than when it was built"):
        evaluate_again(engine, loaded, "scoring@1", labelled_rows(loaded, path.parent / "data.csv"), rounds=100)


def test_company_is_proven_again_on_the_kinds_of_rows_of_the_build(
    built: tuple[Path, Home, Engine, LoadedRelease], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, engine, loaded = built
    monkeypatch.chdir(path.parent)
    with reading(engine) as connection:
        by_build = latest(connection, loaded.digest, TOGETHER)
    assert by_build is not None and proven_again(by_build) is None
    found = prove_together(engine, loaded, labelled_rows(loaded, None))
    assert set(found.rows) == set(by_build.figures["rows"]) == {"held_out", "messy", "boundary"}
    assert found.rows["boundary"] > 0 and found.environment == environment_digest()
    assert (found.most > 0) == (by_build.figures["most"] > 0) and found.declared == loaded.system().serving.together
    with reading(engine) as connection:
        newest = latest(connection, loaded.digest, TOGETHER)
    assert newest is not None and newest.id != by_build.id and newest.figures["declared"] == found.declared
    assert proven_again(newest) == (min(found.most, found.declared), found.environment if found.most else "")


def test_without_its_data_the_mend_is_said(
    built: tuple[Path, Home, Engine, LoadedRelease], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = built[-1]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match="not here") as raised:
        labelled_rows(loaded, None)
    assert raised.value.code == "no_labelled_data" and "--data" in str(raised.value.mend)
    (tmp_path / "data.csv").write_text("customer,income\na,1\n")
    with pytest.raises(NotFound, match="not here"):
        labelled_rows(loaded, None)
    with pytest.raises(InputError):
        labelled_rows(loaded, tmp_path / "data.csv")


def test_a_load_is_borne_or_not_and_both_are_evidence(built: tuple[Path, Home, Engine, LoadedRelease]) -> None:
    path, _, engine, loaded = built
    found = measure_load(engine, loaded, labelled_rows(loaded, path.parent / "data.csv"), seconds=1.0)
    assert found.rows == 100 and found.faults == 0 and found.holds, found.broken
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms <= found.most_ms
    assert found.memory_mb >= found.base_mb > 10
    rows = list(labelled_rows(loaded, path.parent / "data.csv").rows.rows)[:50]
    hard = Load(rows_per_second=100, p95_ms=0.0001, memory_mb=1)
    broken = bear_load(loaded.folder, loaded.serving, rows, hard, seconds=1.0).broken
    assert len(broken) == 2 and broken[0].startswith("p95_ms") and broken[1].startswith("memory_mb")
    with reading(engine) as connection:
        evidence = latest(connection, loaded.digest, "serving.load")
    assert evidence is not None and evidence.passed and evidence.figures["limits"]["p95_ms"] == 500


@pytest.mark.parametrize(("time", "said"), [("nowhere", "does not have"), ("customer", "no dates")])
def test_a_time_that_is_none_fails_the_build(tmp_path: Path, time: str, said: str) -> None:
    data = table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data[FEATURES], data["bad"])
    path = _pilot(tmp_path / "pilot", model, data, pilot={"ignore": ["decided"]}, evaluation={"time": time})
    home = Home(root=tmp_path / "home").create()
    engine = open_engine(f"sqlite:///{home.control_database}")
    control.create_all(engine)
    with pytest.raises(InputError, match=said):
        _build(path, home, engine)


def test_a_model_is_fitted_again_on_record_where_its_files_still_are(
    built: tuple[Path, Home, Engine, LoadedRelease], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, _, engine, loaded = built
    with reading(engine) as connection:
        at_build = latest(connection, loaded.digest, "evaluation.stability")
    assert at_build is not None and at_build.passed and at_build.figures["by"]["rows"]["refits"] == 3
    labelled = labelled_rows(loaded, path.parent / "data.csv")
    monkeypatch.chdir(path.parent)
    found = again.fit_again(engine, loaded, labelled, seeds=4, seconds=60)
    assert found["by"]["seed"]["refits"] == found["by"]["rows"]["refits"] == 4
    with reading(engine) as connection:
        newest = latest(connection, loaded.digest, "evaluation.stability")
    assert newest is not None and newest.figures == found
    told = rows_of_stability(found)
    assert told[0][:3] == ("other seeds", "4", "AUC") and len(told) == 8
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match="model"):
        again.fit_again(engine, loaded, labelled, seeds=4, seconds=60)
    (tmp_path / "new.csv").write_text((path.parent / "data.csv").read_text() + "\n")
    with pytest.raises(InputError, match="no rows to fit on"):
        again.fit_again(engine, loaded, labelled_rows(loaded, tmp_path / "new.csv"), seeds=4, seconds=60)


def test_a_pilot_is_judged_before_there_is_a_release_as_its_build_judges_it(
    built: tuple[Path, Home, Engine, LoadedRelease],
) -> None:
    path, _, _, loaded = built
    found, at_build = evaluate_pilot(path), evaluation(loaded)
    assert canonical_json(found) == canonical_json(evaluate_pilot(path)), "the same files, the same digest"
    assert found["rows"] == at_build["rows"] and found["source"]["digest"] == loaded.manifest.origin.data
    for name, value in at_build["metrics"].items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-5), name
    assert [each["slice"] for each in found["slices"]] == [each["slice"] for each in at_build["slices"]]

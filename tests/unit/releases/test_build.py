"""Building releases of small pilots: what is served, what is refused, and the same release again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler
from sqlalchemy import Engine

from pilotage.contracts.infer import infer_contract
from pilotage.contracts.odcs import to_odcs
from pilotage.errors import InputError, NotFound, Refused
from pilotage.evaluation.reasons import explain
from pilotage.evidence.store import for_subject, latest
from pilotage.kernel.canonical import canonical_json
from pilotage.ledger.keyring import Keyring
from pilotage.releases.build import build_release
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.sealed_rows import rows_key
from pilotage.releases.together import proven_rows
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.together import SIZES
from pilotage.storage.database import control, open_engine, reading
from pilotage.storage.home import Home

FEATURES = ["income", "late", "age"]


def _table(rows: int = 900) -> pd.DataFrame:
    generator = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "customer": [f"c{at}" for at in range(rows)],
            "income": np.round(generator.exponential(30_000, rows), 2),
            "late": generator.integers(0, 9, rows),
            "age": generator.integers(18, 80, rows),
        }
    )
    odds = -1.5 + 0.5 * table["late"] - table["income"] / 20_000
    table["bad"] = (generator.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    return table


def _pilot(folder: Path, model: Any, table: pd.DataFrame, **changed: Any) -> Path:
    """A pilot's folder with a model fitted on a table; `changed` replaces parts of its declaration."""
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "data.csv", index=False)
    joblib.dump(model, folder / "model.joblib")
    owners = dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org")
    declared: dict[str, Any] = {
        "id": "scoring",
        "name": "Scoring",
        "purpose": "To test builds.",
        "risk_tier": "high",
        "owners": owners,
        "pilot": {
            "artefact": "model.joblib",
            "data": "data.csv",
            "target": "bad",
            "positive": "1",
            "subject": "customer",
            "protected": ["age"],
            "protected_inputs": {"age": "these tests are about other things"},
            "slices": ["late"],
        },
        "answer": {"threshold": 0.4, "adverse": "refer", "favourable": "approve"},
        "reasons": [
            {"code": "LATE", "text": "Payments were late", "features": ["late"]},
            {"code": "INCOME", "text": "Income", "features": ["income"]},
        ],
    }
    for name, value in changed.items():
        declared[name] = {**declared.get(name, {}), **value} if isinstance(value, dict) else value
    path = folder / "pilotage.yaml"
    path.write_text(yaml.safe_dump(declared))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home").create()


@pytest.fixture
def engine(home: Home) -> Engine:
    engine = open_engine(f"sqlite:///{home.control_database}")
    control.create_all(engine)
    return engine


def _build(path: Path, home: Home, engine: Engine) -> Release:
    return build_release(path, home=home, control=engine, keyring=ring(home), author="author")


def ring(home: Home) -> Keyring:
    return Keyring.create_or_open(home.keyring, {})


def lying_in_clear(home: Home, rows: list[list[Any]]) -> set[str]:
    """Files of the home that show a whole row, in the form that rows are written in."""
    texts = [canonical_json(row)[1:-1] for row in rows]
    files = [path for path in home.root.rglob("*") if path.is_file()]
    shown = {path for path in files if any(text in path.read_bytes() for text in texts[:50])}
    return {str(path.relative_to(home.root)) for path in shown}


def prove_encrypted(home: Home, loaded: LoadedRelease, background: list[list[Any]]) -> None:
    assert len(background) > 300 and not lying_in_clear(home, background), "rows of people"
    (home.root / "lost.json").write_bytes(canonical_json(background))
    assert lying_in_clear(home, background) == {"lost.json"}, "the search does find rows in clear"
    with pytest.raises(NotFound, match="encrypted"):
        loaded.background()
    with pytest.raises(NotFound):
        loaded.file("background.json")


def _own(model: Any, rows: pd.DataFrame) -> list[float]:
    return [float(model.predict_proba(rows.iloc[[at]])[0, 1]) for at in range(len(rows))]


@pytest.mark.slow
def test_a_linear_pilot_is_served_in_float64_with_exact_reasons(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    path = _pilot(tmp_path / "pilot", model, table)
    steps: list[tuple[str, float]] = []
    release = build_release(
        path,
        home=home,
        control=engine,
        keyring=ring(home),
        author="author",
        progress=lambda step, share: steps.append((step, share)),
    )
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1] == ("done", 1.0)
    loaded = open_release(home.releases, release.digest)
    assert loaded.serving.numbers == "float64"
    runtime = open_runtime(loaded.folder, loaded.serving)
    sample = table.iloc[:40]
    rows = [tuple(map(float, row)) for row in sample[FEATURES].itertuples(index=False)]
    own = _own(model, sample[FEATURES])
    assert [runtime.score(row) for row in rows] == pytest.approx(own, abs=1e-14)
    adverse = rows[int(np.argmax(own))]
    told = explain(loaded.explainer(), adverse)
    assert told.exact
    assert told.reasons
    assert "age" not in {name for reason in told.reasons for name in reason.features}
    evaluation = json.loads(loaded.file("evaluation.json"))
    assert evaluation["holdout_seen_in_training"] == "unknown"
    assert evaluation["protected_features_used"] == ["age"]
    assert evaluation["metrics"]["auc"] > evaluation["baselines"]["single_feature_binned"]["auc"]
    assert all(count > 0 for count in evaluation["conversion"]["rows"].values())
    card = loaded.file("card.md").decode()
    assert f"{evaluation['metrics']['auc']:.4f}" in card
    with reading(engine) as connection:
        evidence = {each.check: each for each in for_subject(connection, release.digest)}
    # No limit is declared here.
    assert {check for check, each in evidence.items() if not each.passed} == {
        "evaluation.fairness",
        "evaluation.limits",
        "evaluation.messy",
    }
    assert {"conversion.equal", "evaluation.baseline", "explanation.exact"} <= set(evidence)
    judged = evidence["serving.together"]
    assert judged.figures["moved"] > 0 and proven_rows(judged) == (0, ""), "a batch moves the last bits of a line"
    second = _build(path, Home(root=tmp_path / "elsewhere").create(), engine)
    assert second.digest == release.digest


@pytest.mark.slow
def test_a_model_that_cannot_be_converted_is_served_from_its_box(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table()
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression())
    model.fit(table[FEATURES], table["bad"])
    release = _build(_pilot(tmp_path / "pilot", model, table), home, engine)
    loaded = open_release(home.releases, release.digest)
    assert (loaded.serving.runtime, loaded.serving.artefact) == ("process", "model.joblib")
    sample = table.iloc[:5]
    own = _own(model, sample[FEATURES])

    async def scene() -> list[float]:
        runtime = open_runtime(loaded.folder, loaded.serving)
        await runtime.start()
        try:
            return [
                await runtime.score_async(tuple(map(float, row))) for row in sample[FEATURES].itertuples(index=False)
            ]
        finally:
            await runtime.close()

    assert asyncio.run(scene()) == own
    assert loaded.explainer().method == "sampling"
    told = explain(
        loaded.explainer(),
        tuple(map(float, sample[FEATURES].iloc[0])),
        score_rows=lambda rows: model.predict_proba(pd.DataFrame(list(rows), columns=FEATURES))[:, 1],
        background=loaded.background(rows_key(ring(home))),
    )
    assert not told.exact
    assert told.base + sum(told.attributions.values()) == pytest.approx(told.score, abs=0.05)
    attempts = json.loads(loaded.file("evaluation.json"))["conversion"]["attempts"]
    assert all(attempt["failure"] for attempt in attempts)


@pytest.mark.slow
def test_a_conversion_that_flips_decisions_at_the_boundary_is_not_served(
    tmp_path: Path, home: Home, engine: Engine
) -> None:
    table = _table()
    model = make_pipeline(PolynomialFeatures(2), StandardScaler(), LogisticRegression())
    model.fit(table[FEATURES], table["bad"])
    release = _build(_pilot(tmp_path / "pilot", model, table), home, engine)
    loaded = open_release(home.releases, release.digest)
    attempts = json.loads(loaded.file("evaluation.json"))["conversion"]["attempts"]
    assert [attempt["failure"] for attempt in attempts if attempt["name"] == "skl2onnx, float inputs"] == [""]
    assert all(attempt["failure"] or attempt["flips"]["boundary"] > 0 for attempt in attempts)
    assert loaded.serving.runtime == "process"


@pytest.mark.slow
def test_a_forest_is_converted_and_never_decides_otherwise(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table()
    model = RandomForestClassifier(12, max_depth=5, random_state=1).fit(table[FEATURES], table["bad"])
    release = _build(_pilot(tmp_path / "pilot", model, table, answer={"threshold": 0.41}), home, engine)
    loaded = open_release(home.releases, release.digest)
    assert loaded.serving.runtime == "onnx"
    runtime = open_runtime(loaded.folder, loaded.serving)
    rows = [tuple(map(float, row)) for row in table[FEATURES].itertuples(index=False)]
    own = model.predict_proba(table[FEATURES])[:, 1]
    explainer, trees = loaded.explainer(), loaded.trees()
    assert explainer.method == "tree"
    background = loaded.background(rows_key(ring(home)))
    told = explain(explainer, rows[int(np.argmax(own))], trees=trees, background=background)
    prove_encrypted(home, loaded, background)
    assert told.exact
    assert told.unit == "probability"
    assert told.reasons
    assert told.base + sum(told.attributions.values()) == pytest.approx(told.score, abs=1e-12)
    assert told.score == pytest.approx(own.max(), abs=1e-12)
    stability = json.loads(loaded.file("evaluation.json"))["explanation"]["stability"]
    assert stability["same_reasons"] > 0.8
    assert (
        _build(tmp_path / "pilot" / "pilotage.yaml", Home(root=tmp_path / "b").create(), engine).digest
        == release.digest
    )
    assert [runtime.score(row) >= 0.41 for row in rows] == (own >= 0.41).tolist()
    with reading(engine) as connection:
        judged = latest(connection, release.digest, "serving.together")
    assert judged is not None and judged.figures["sizes"] == list(SIZES)
    assert proven_rows(judged) == (64, environment_digest())
    assert judged.figures["rows"].keys() == {"held_out", "messy", "boundary"} and judged.figures["moved"] == 0
    for size in (2, 64):
        together = [runtime.score_together(rows[at : at + size]) for at in range(0, 640, size)]
        assert [score.hex() for part in together for score in part] == [runtime.score(row).hex() for row in rows[:640]]


def test_every_fault_of_the_code_map_is_told_before_anything_is_opened(
    tmp_path: Path, home: Home, engine: Engine
) -> None:
    table = _table(60)
    groups = [
        {"code": "AGE", "text": "Age", "features": ["age"]},
        {"code": "LATE", "text": "Late", "features": ["late", "shoe_size"]},
        {"code": "AGAIN", "text": "Late again", "features": ["late"]},
    ]
    path = _pilot(tmp_path / "pilot", "no model at all", table, reasons=groups)
    with pytest.raises(InputError) as caught:
        _build(path, home, engine)
    said = str(caught.value)
    assert "age" in said
    assert not (home.root / "releases").exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"not": "a model"}, "no probabilities"),
        (LogisticRegression(), "does not know the positive class|not fitted|NotFitted|classes_"),
    ],
)
def test_what_is_no_fitted_classifier_is_refused(
    tmp_path: Path, home: Home, engine: Engine, model: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        _build(_pilot(tmp_path / "pilot", model, _table(200)), home, engine)


def test_a_model_that_fails_within_its_contract_is_refused(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table(300)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    table["income"] = table["income"].where(table.index % 7 > 0)  # nulls that the model was never fitted for
    path = _pilot(tmp_path / "pilot", model, table)
    with pytest.raises(InputError, match="NaN"):
        _build(path, home, engine)


def test_a_column_used_against_its_purpose_fails_the_build(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table()
    model = LogisticRegression().fit(table[FEATURES], table["bad"])
    path = _pilot(tmp_path, model, table, contract="c.yaml", data_use=["credit-risk"])
    held = infer_contract(tmp_path / "data.csv", name="c", target="bad", subject="customer", protected=["age"])
    columns = [
        msgspec.structs.replace(column, purposes=("billing",) if column.name == "late" else ())
        for column in held.columns
    ]
    (tmp_path / "c.yaml").write_text(to_odcs(msgspec.structs.replace(held, columns=tuple(columns))))
    with pytest.raises(Refused, match=r"late \(feature\) may not be used for credit-risk"):
        _build(path, home, engine)


@pytest.mark.slow
def test_what_is_protected_or_prohibited_is_refused_as_an_input(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table(400)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    path = _pilot(tmp_path / "pilot", model, table, pilot={"protected_inputs": {}})
    with pytest.raises(InputError, match="must not turn on") as caught:
        _build(path, home, engine)
    assert "depend on age" in str(caught.value.faults[0]["message"])
    path = _pilot(tmp_path / "pilot", model, table, pilot={"prohibited": ["age"], "protected_inputs": {}})
    with pytest.raises(InputError, match="must not turn on") as caught:
        _build(path, home, engine)
    assert caught.value.got == "age"
    assert not list((home.root / "releases").glob("*"))
    without = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES[:2]], table["bad"])
    for changed in ({"protected_inputs": {}}, {"prohibited": ["age"], "protected": [], "protected_inputs": {}}):
        release = _build(_pilot(tmp_path / "pilot", without, table, pilot=changed), home, engine)
        loaded = open_release(home.releases, release.digest)
        assert ("age" in loaded.serving.names) == ("prohibited" not in changed)
        facts = json.loads(loaded.file("evaluation.json"))["explanation"]
        assert facts["used"] == ["income", "late"]
        assert {entry["column"] for entry in json.loads(loaded.file("evaluation.json"))["slices"]} == {"late", "age"}
        assert "background.json" not in loaded.manifest.files


@pytest.mark.slow
def test_limits_of_fairness_are_judged_for_every_protected_column(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table(900)
    table["group"] = np.where(table["late"] > 4, "x", "y")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    declared = {"protected": ["age", "group"], "ignore": ["group"]}
    release = _build(
        _pilot(tmp_path / "pilot", model, table, pilot=declared, fairness={"disparate_impact_ratio": 0.8}), home, engine
    )
    loaded = open_release(home.releases, release.digest)
    blocks = {each["column"]: each for each in json.loads(loaded.file("evaluation.json"))["fairness"]}
    assert set(blocks) == {"age", "group", "age × group"}
    ratio = blocks["group"]["disparities"]["disparate_impact_ratio"]
    assert (ratio["lowest"], ratio["highest"]) == ("x", "y")
    assert ratio["value"] < 0.7
    with reading(engine) as connection:
        found = latest(connection, release.digest, "evaluation.fairness")
    assert found is not None and not found.passed
    assert "group: disparate_impact_ratio" in found.figures["broken"]
    assert found.figures["without_limits"] == []
    assert "**broken**: disparate_impact_ratio" in loaded.file("card.md").decode()


def test_a_leak_fails_its_check_and_spoilt_rows_are_judged_by_the_declared_limit(
    tmp_path: Path, home: Home, engine: Engine
) -> None:
    table = _table(900)
    table["score"] = table["bad"] * 10 + table["late"] / 10
    features = [*FEATURES, "score"]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[features], table["bad"])
    for name, limit, passed in (("loose", 1.0, True), ("strict", 0.0, False)):
        release = _build(_pilot(tmp_path / name, model, table, messy={"silent": limit}), home, engine)
        with reading(engine) as connection:
            leak = latest(connection, release.digest, "evaluation.leakage")
            messy = latest(connection, release.digest, "evaluation.messy")
        assert leak is not None and not leak.passed and leak.figures["high"] == 1
        assert leak.figures["findings"][0]["columns"] == ["score"]
        assert messy is not None and messy.passed is passed and messy.figures["limit"] == limit
        assert messy.figures["silent"] > 0 and messy.figures["fails"] == 0
    found = json.loads(open_release(home.releases, release.digest).file("evaluation.json"))
    cases = found["messy_cases"]["cases"]
    assert all(bool(each["mend"]) is (each["verdict"] == "silent") for each in cases)
    assert [each["kind"] for each in found["strange"]] == ["held_out", "permuted", "mixed", "random", "corners", "far"]


def test_a_protected_column_without_a_limit_does_not_pass(tmp_path: Path, home: Home, engine: Engine) -> None:
    table = _table(400)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    release = _build(_pilot(tmp_path / "pilot", model, table), home, engine)
    with reading(engine) as connection:
        found = latest(connection, release.digest, "evaluation.fairness")
    assert found is not None and not found.passed
    assert found.figures["without_limits"] == ["age"]


@pytest.mark.slow
def test_without_a_code_map_one_is_made_and_the_gate_says_that_nobody_wrote_it(
    tmp_path: Path, home: Home, engine: Engine
) -> None:
    table = _table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[FEATURES], table["bad"])
    release = _build(_pilot(tmp_path / "pilot", model, table, reasons=[]), home, engine)
    loaded = open_release(home.releases, release.digest)
    assert loaded.explainer().generated == ["INCOME", "LATE"]
    assert "by nobody: generated" in loaded.file("card.md").decode()
    with reading(engine) as connection:
        evidence = {each.check: each for each in for_subject(connection, release.digest)}
    failed = {check for check, each in evidence.items() if not each.passed}
    expected = {"evaluation.fairness", "evaluation.limits", "evaluation.messy", "explanation.exact"}
    assert failed == expected | {"reasons.complete"}
    assert evidence["reasons.stable"].figures["same_reasons"] > 0.7  # 337 rows to explain against


def test_personal_data_without_a_subject_is_refused(tmp_path: Path, home: Home, engine: Engine) -> None:
    path = _pilot(
        tmp_path / "pilot", "no model", _table(60), pilot={"subject": "", "ignore": ["customer"], "personal": ["age"]}
    )
    with pytest.raises(InputError, match="subject"):
        _build(path, home, engine)

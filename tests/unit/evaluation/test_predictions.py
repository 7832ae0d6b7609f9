"""Any file of predictions: what is found in it, what is refused, and figures that others published."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pilotage.errors import InputError, NotFound
from pilotage.evaluation.periods import times_of
from pilotage.evaluation.predictions import Asked, judge_predictions
from pilotage.evaluation.reading import read_columns
from pilotage.systems.evaluating import Costs

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside this checkout")


def written(path: Path, **columns: object) -> Path:
    names = list(columns)
    rows = zip(*columns.values(), strict=True)  # type: ignore[call-overload]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    generator = np.random.default_rng(3)
    chance = generator.beta(1, 3, 1_200)
    months = [f"2026-{1 + at // 200:02d}-{1 + at % 28:02d}" for at in range(1_200)]
    return written(
        tmp_path / "scored.csv",
        truth=["bad" if each else "good" for each in generator.random(1_200) < chance],
        score=np.round(chance, 4),
        other=np.round(generator.random(1_200), 4),
        region=generator.choice(["north", "south"], 1_200),
        decided=months,
    )


@needs_data
def test_the_car_loan_model_has_the_published_auc() -> None:
    """NannyML's quickstart: realised AUC .9710 on the reference, of the car-loan set."""
    path = DATA / "drift" / "nannyml_synthetic_car_loan_reference.csv.gz"
    found = judge_predictions(path, Asked(target="repaid", prediction="y_pred_proba", time="timestamp", rounds=100))
    assert round(found["metrics"]["auc"], 4) == 0.9710 and found["source"]["left_out"] == 0
    assert found["age"]["unit"] == "month" and found["rows"]["held_out"] == 50_000


@needs_data
def test_same_as_last_scores_on_elec2_what_is_published(tmp_path: Path) -> None:
    """Persistence on the New South Wales electricity set is right .8533 of the time (Žliobaitė 2013)."""
    with gzip.open(DATA / "drift" / "elec2.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    label = next(name for name in rows[0] if name in ("class", "target", "y"))
    truth = [row[label] for row in rows]
    path = written(tmp_path / "elec.csv", truth=truth[1:], last=truth[:-1])
    found = judge_predictions(path, Asked(target="truth", prediction="last", rounds=100))
    assert round(found["metrics"]["accuracy"], 4) == 0.8533


def test_classes_with_names_are_judged_with_words_slices_and_months(scored: Path) -> None:
    asked = Asked(
        target="truth",
        prediction="score",
        positive="bad",
        threshold=0.4,
        baselines=("other",),
        slices=("region",),
        time="decided",
        costs=Costs(unit="EUR", false_positive=1, false_negative=5),
        rounds=200,
    )
    found = judge_predictions(scored, asked)
    assert found["kind"] == "classification" and found["positive"] == "bad"
    assert [each["slice"] for each in found["slices"]] == ["north", "south"] and found["age"]["unit"] == "month"
    assert len(found["age"]["periods"]) == 6 and found["age"]["slope"]["periods"] == 6
    assert any("better by more than chance" in each for each in found["words"])
    assert any("EUR" in each for each in found["words"]) and json.dumps(found)
    assert found == judge_predictions(scored, asked), "the same file gives the same figures"


def test_predicted_names_are_no_probabilities(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    truth = generator.choice(["yes", "no"], 300)
    said = np.where(generator.random(300) < 0.8, truth, "no")
    found = judge_predictions(
        written(tmp_path / "named.csv", truth=truth, said=said), Asked(target="truth", prediction="said", rounds=100)
    )
    assert found["calibration"] is None and found["positive"] == "yes"
    assert found["metrics"]["accuracy"] == pytest.approx(np.mean(truth == said))


def test_rows_without_numbers_are_counted_and_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 200).astype(object)
    scores = generator.random(200).astype(object)
    truth[:5], scores[5:12] = "", ""
    found = judge_predictions(
        written(tmp_path / "holes.csv", truth=truth, score=scores),
        Asked(target="truth", prediction="score", rounds=100),
    )
    assert found["source"]["rows"] == 200 and found["source"]["left_out"] == 12
    assert found["rows"]["held_out"] == 188


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_other_forms_of_file_give_the_same(scored: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"scored.{form}"
    duckdb.sql(f"COPY (SELECT * FROM read_csv('{scored}')) TO '{path}'")
    asked = Asked(target="truth", prediction="score", positive="bad", rounds=100)
    assert judge_predictions(path, asked)["metrics"] == judge_predictions(scored, asked)["metrics"]


MOMENTS = {
    "2026-03-01T01:30:00+05:30": "2026-02-28T20:00:00",
    "2026-02-28T23:30:00-01:00": "2026-03-01T00:30:00",
    "2026-03-01T10:00:00.25Z": "2026-03-01T10:00:00.25",
    "2026-03-01 10:00:00 UTC": "2026-03-01T10:00:00",
    "2026-03-01 10:00": "2026-03-01T10:00:00",
    "2026-03-01": "2026-03-01T00:00:00",
    "soon": "NaT",
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "zoned.parquet"])
def test_the_offset_of_a_moment_counts_in_every_form_of_file_and_on_every_machine(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    path = written(tmp_path / "when.csv", when=list(MOMENTS))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        moment = "TRY_CAST(replace(\"when\", ' UTC', 'Z') AS TIMESTAMPTZ)" if form.startswith("zoned") else '"when"'
        table = f"SELECT {moment} AS \"when\" FROM read_csv('{path}', header = true, all_varchar = true)"
        if form.startswith("zoned"):
            # What has no zone was read by the writer's clock: the file holds moments, no texts.
            table += " WHERE \"when\" SIMILAR TO '.*(Z|UTC|[+-][0-9][0-9]:[0-9][0-9])'"
        if form != "csv":
            path = tmp_path / f"when.{form}"
            kind = "JSON" if form == "jsonl" else "PARQUET"
            connection.execute(f"COPY ({table}) TO '{path}' (FORMAT {kind})")
    expected = np.array(list(MOMENTS.values())[: 4 if form.startswith("zoned") else None], dtype="datetime64[us]")
    np.testing.assert_array_equal(read_columns(path, ["when"]).times("when"), expected)


def test_a_build_reads_the_moments_of_texts_as_files_are_read() -> None:
    np.testing.assert_array_equal(times_of("when", list(MOMENTS)), np.array(list(MOMENTS.values()), "datetime64[us]"))


def test_amounts_are_found_to_be_amounts(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    truth = generator.normal(100, 20, 500)
    path = written(tmp_path / "amounts.csv", truth=truth, said=truth + generator.normal(5, 3, 500), half=truth + 9)
    found = judge_predictions(
        path, Asked(target="truth", prediction="said", baselines=("half",), quantiles={0.5: "said"}, rounds=100)
    )
    assert found["kind"] == "regression" and "pinball_0.5" in found["metrics"]
    assert any("too high by" in each for each in found["words"])


def test_a_ranking_wants_its_queries(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    path = written(
        tmp_path / "ranks.csv",
        query=np.repeat([f"q{at}" for at in range(50)], 8),
        worth=generator.integers(0, 3, 400),
        score=generator.random(400),
    )
    asked = Asked(target="worth", prediction="score", kind="ranking", rounds=100)
    with pytest.raises(InputError, match="query by query"):
        judge_predictions(path, asked)
    found = judge_predictions(
        path, Asked(target="worth", prediction="score", kind="ranking", group="query", rounds=100)
    )
    assert found["queries"] == 50 and 0 < found["metrics"]["ndcg_at_10"] < 1


@pytest.mark.parametrize(
    ("columns", "asked", "code", "words"),
    [
        ({"truth": [0, 1] * 20, "score": [0.1] * 40}, {"target": "nope"}, "unknown_column", "does not have"),
        ({"truth": [0, 1] * 10, "score": [0.1] * 20}, {}, "too_few_rows", "too few rows"),
        ({"truth": [1] * 40, "score": [0.1] * 40}, {"positive": "1"}, "not_two_classes", "all of one class"),
        ({"truth": list("abc") * 20, "score": [0.1] * 60}, {}, "not_two_classes", "two values"),
        (
            {"truth": [0, 1] * 20, "score": [0.1] * 40, "when": ["x"] * 40},
            {"time": "when"},
            "invalid_input",
            "no dates",
        ),
        ({"truth": [1.5, 2.5, 3] * 20, "score": ["a"] * 60}, {}, "invalid_input", "no column of numbers"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_mend(
    tmp_path: Path, columns: dict[str, list[object]], asked: dict[str, str], code: str, words: str
) -> None:
    path = written(tmp_path / "odd.csv", **columns)
    with pytest.raises(InputError, match=words) as raised:
        judge_predictions(path, Asked(**{"target": "truth", "prediction": "score", "rounds": 100, **asked}))  # type: ignore[arg-type]
    assert raised.value.code == code and raised.value.mend


def test_a_file_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    asked = Asked(target="truth", prediction="score")
    with pytest.raises(NotFound):
        judge_predictions(tmp_path / "none.csv", asked)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="cannot read"):
        judge_predictions(tmp_path / "bad.parquet", asked)

"""The ML Test Score: points by hand and automatic, the lowest section, and what a folder's tests are seen to touch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.ml_test_score import SECTIONS, ml_test_score
from pilotage.assess.model import Grade, MLTest, MLTestScore, Observation
from pilotage.assess.score import rate
from pilotage.assess.signals.practices import PRACTICES, practices
from tests.unit.assess.planted import BASE, TRAIN
from tests.unit.assess.test_owasp import assessed, written

CRITERIA = load_criteria()


def seen(criterion: str, level: float, grade: Grade = "E2") -> Observation:
    return Observation(criterion=criterion, grade=grade, level=level, summary="seen", collector="test", collected=0)


def scored(pieces: list[Observation], shown: dict[str, str] | None = None) -> MLTestScore:
    ratings = {name: rate(each, [p for p in pieces if p.criterion == name], 0) for name, each in CRITERIA.items()}
    found = ml_test_score(ratings, shown or {}, ["classic"])
    assert found is not None
    return found


def one(found: MLTestScore, name: str) -> MLTest:
    return next(each for each in found.tests if each.id == name)


def test_twenty_eight_tests_in_four_sections_of_seven() -> None:
    found = scored([])
    assert [sum(each.section == name for each in found.tests) for name in SECTIONS] == [7, 7, 7, 7]
    assert (found.score, found.band) == (0, "a research project rather than a system in production")
    assert ml_test_score({}, {}, ["llm"]) is None


@pytest.mark.parametrize(
    ("grade", "level", "done", "points"),
    [
        ("E4", 1, "automatic", 1.0),
        ("E3", 1, "by hand", 0.5),
        ("E2", 1, "by hand", 0.5),
        ("E1", 1, "by hand", 0.5),
        ("E0", 1, "unknown", 0.0),
        ("E3", 0, "no", 0.0),
    ],
)
def test_half_a_point_by_hand_and_one_for_what_recurs(grade: Grade, level: float, done: str, points: float) -> None:
    test = one(scored([seen("model.slices", level, grade)]), "M6")
    assert (test.done, test.points) == (done, points)


def test_a_schema_that_is_checked_at_every_request_counts_in_full() -> None:
    schema = seen("data.schema", 1)
    assert one(scored([schema]), "D1").points == 0.5
    assert one(scored([schema, seen("data.validated", 1)]), "D1").points == 1.0
    assert one(scored([schema, seen("data.validated", 0)]), "D1").points == 0.5


def test_tests_count_in_full_where_ci_runs_them() -> None:
    shown = {"features tested": "tests/test_x.py:3"}
    assert one(scored([], shown), "D7").points == 0.5
    assert one(scored([seen("infrastructure.ci", 1)], shown), "D7").points == 1.0
    assert one(scored([seen("infrastructure.ci", 0)], shown), "D7").points == 0.5
    failing = [seen("infrastructure.ci", 1), seen("infrastructure.tests_pass", 0, "E3")]
    assert one(scored(failing, shown), "D7").done == "no"


pieces = st.tuples(
    st.sampled_from(sorted(CRITERIA)), st.sampled_from([0, 0.5, 1]), st.sampled_from(["E1", "E2", "E3", "E4"])
)


@given(st.lists(pieces, max_size=25), st.sets(st.sampled_from(PRACTICES)))
def test_the_score_is_the_lowest_section_and_a_section_the_sum_of_its_tests(
    drawn: list[tuple[str, float, Grade]], shown: set[str]
) -> None:
    found = scored([seen(*each) for each in drawn], dict.fromkeys(shown, "x.py:1"))
    sums = {name: sum(each.points for each in found.tests if each.section == name) for name in SECTIONS}
    assert found.sections == sums
    assert found.score == min(sums.values()) <= 7
    assert all(each.why and each.points in (0, 0.5, 1) for each in found.tests)


TESTED = """from train import main
from features import prepare
import numpy as np


def test_prepare():
    assert np.isfinite(prepare([1])).all()


def test_whole(tmp_path):
    model = main()
    auc = model.predict([[1]])
    assert auc >= 0.8
"""


def test_practices_are_found_at_their_place(tmp_path: Path) -> None:
    files = {
        "train.py": TRAIN + "\nfrom sklearn.model_selection import GridSearchCV\nsearch = GridSearchCV(main, {})\n",
        "features.py": "def prepare(rows):\n    return rows\n",
        "tests/test_it.py": TESTED,
        ".github/dependabot.yml": "version: 2\n",
        "look.py": "from sklearn.inspection import permutation_importance as look\n\n\nlook(1, 2, 3)\n",
    }
    found = practices(Folder(written(tmp_path, files)))
    assert found["features tested"] == "tests/test_it.py:6"
    assert found["numbers tested"] == "tests/test_it.py:6"
    assert found["model code tested"] == found["pipeline tested"] == "tests/test_it.py:10"
    assert found["quality gate"] == "tests/test_it.py:13"
    assert found["tuned"] == "train.py:28"
    assert found["features judged"] == "look.py:4"
    assert found["dependencies watched"] == ".github/dependabot.yml"
    assert found["speed measured"] == found["groups compared"] == ""


def test_a_test_that_only_reads_a_constant_touches_no_code(tmp_path: Path) -> None:
    found = practices(Folder(written(tmp_path, BASE)))
    assert found["features tested"] == found["model code tested"] == ""


def test_an_assessment_carries_all_of_it(tmp_path: Path) -> None:
    found = assessed(tmp_path, BASE).ml_test_score
    assert found is not None
    assert one(found, "D1").done == "automatic"
    assert one(found, "M5").done == "unknown"
    assert one(found, "D7").why == "looked for and not found: features tested"

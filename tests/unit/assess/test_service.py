"""The whole assessment on the example: six dimensions, the verdict, its flaws at their lines, claims beside facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotage.assess.claims import contradictions
from pilotage.assess.folder import Folder
from pilotage.assess.model import DIMENSIONS, Assessment, Observation
from pilotage.assess.service import assess
from pilotage.errors import NotFound
from pilotage.kernel.canonical import canonical_json

EXAMPLE = Path(__file__).parents[3] / "examples" / "credit_default"


@pytest.fixture(scope="module")
def example() -> Assessment:
    return assess(EXAMPLE)


def states(found: Assessment) -> dict[str, str]:
    return {rating.criterion.id: rating.state for each in found.dimensions for rating in each.ratings}


def test_six_dimensions_and_the_verdict_is_the_lowest(example: Assessment) -> None:
    assert [each.dimension for each in example.dimensions] == list(DIMENSIONS)
    assert example.verdict == min(each.level for each in example.dimensions) == 1
    assert example.required == 2
    document = example.as_dict()
    assert len(document["dimensions"]) == 6
    assert json.loads(canonical_json(document)) == document


def test_the_deliberate_flaws_are_found_where_they_are(example: Assessment) -> None:
    lines = {
        path: (EXAMPLE / path).read_text().splitlines()
        for path in ("train.py", "serve.py", "exploration.ipynb", "README.md")
    }
    found = {
        (finding.file, lines[finding.file][finding.line - 1].strip())
        for each in example.dimensions
        for rating in each.ratings
        for piece in rating.evidence
        for finding in piece.findings
        if finding.line and finding.file in lines
    }
    for place in (
        ("train.py", "X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2)"),
        ("train.py", 'print("accuracy:", accuracy_score(y_train, pred))'),
        ("serve.py", 'model = joblib.load("model.joblib")'),
        ("serve.py", 'app.run(host="0.0.0.0", port=5000, debug=True)'),
        ("serve.py", "except:"),
        ("serve.py", 'print("got", data)'),
    ):
        assert place in found
    assert any(file == "exploration.ipynb" and "/home/analyst" in line for file, line in found)


def test_what_was_run_is_known_and_what_nobody_looked_at_is_unknown(example: Assessment) -> None:
    state = states(example)
    assert state["model.loads"] == state["model.predicts"] == state["model.beats_baseline"] == "holds"
    assert state["governance.protected_inputs"] == state["infrastructure.pins"] == "fails"
    assert state["team.owners"] == "partial"
    assert {name for name, value in state.items() if value == "unknown"} >= {
        "team.skills",
        "team.bus_factor",
        "business.baseline_cost",
        "model.reproduced",
    }


def test_claims_stand_beside_the_facts(example: Assessment) -> None:
    claims = {(each.file, each.claim.split(".")[0]) for each in example.contradictions}
    assert ("README.md", "**Status: production-ready") in claims
    assert any(each.claim.startswith("Fully reproducible") for each in example.contradictions)


def test_the_next_steps_end_with_a_higher_verdict(example: Assessment) -> None:
    assert example.raises[-1].verdict_after == example.verdict + 1
    assert all(step.verdict_after == example.verdict for step in example.raises[:-1])


def test_without_probes_the_model_is_unknown_and_level_2_at_most() -> None:
    heard: list[float] = []
    found = assess(EXAMPLE, probes=False, progress=lambda _what, share: heard.append(share))
    state = states(found)
    assert state["model.loads"] == state["model.beats_baseline"] == "unknown"
    levels = {each.dimension: each.level for each in found.dimensions}
    assert levels["data"] <= 2 and levels["model"] <= 2
    assert state["model.held_out"] == "fails"  # only the pilot's own evaluation is known, on its training rows
    assert any(blocker.knock_out and blocker.criterion == "model.held_out" for blocker in found.blockers)
    assert heard[0] == 0 and heard[-1] == 1 and "not probed" in found.skipped[-1]


def test_claimed_figures_are_held_against_the_measured_ones(tmp_path: Path, example: Assessment) -> None:
    (tmp_path / "README.md").write_text("AUC: 0.93\n\naccuracy of 82 %\n\nnot yet production-ready\n")
    ratings = {rating.criterion.id: rating for each in example.dimensions for rating in each.ratings}
    [found] = contradictions(Folder(tmp_path), example.dimensions, ratings, 1)
    assert (found.line, found.claim) == (1, "AUC: 0.93")
    assert "AUC measured on held-out rows" in found.fact


def test_evidence_from_elsewhere_counts_and_a_weaker_claim_is_contradicted() -> None:
    def said(criterion: str, level: float, grade: str = "E1") -> Observation:
        return Observation(
            criterion=criterion,
            grade=grade,
            level=level,
            summary="said so",
            collector="owner",
            collected=0,  # type: ignore[arg-type]
        )

    known = [said("team.sponsor", 1), said("infrastructure.tests", 1)]
    found = assess(EXAMPLE, probes=False, known=known, clock=lambda: 1)
    assert states(found)["team.sponsor"] == "holds"
    assert states(found)["infrastructure.tests"] == "fails"
    assert ("said so", "no tests") in [(each.claim, each.fact) for each in found.contradictions]


def test_a_later_stage_asks_for_more() -> None:
    assert "governance.four_eyes" not in states(assess(EXAMPLE, probes=False))
    assert "governance.four_eyes" in states(assess(EXAMPLE, probes=False, stage="internal"))


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        assess(tmp_path / "gone")

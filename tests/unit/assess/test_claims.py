"""Claims of a pilot's documents beside the facts: what is contradicted, what is not, and at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.assess.claims import contradictions, load_claims
from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.model import Contradiction, Finding, Observation, Rating
from pilotage.assess.score import rate, rate_all
from tests.unit.assess.planted import Files
from tests.unit.assess.test_owasp import assessed, written

CRITERIA = load_criteria()


def rated(level: float, **figures: dict[str, float]) -> dict[str, Rating]:
    """Every criterion, measured with this result; `figures` by the criterion's last word."""
    found = {}
    for name, each in CRITERIA.items():
        piece = Observation(
            criterion=name,
            grade="E3",
            level=level,
            summary=f"{name} was looked at",
            collector="test",
            collected=0,
            figures=figures.get(name.partition(".")[2], {}),
            findings=[] if level else [Finding(file="serve.py", line=4, message="here")],
        )
        found[name] = rate(each, [piece], 0)
    return found


def said(root: Path, files: Files, ratings: dict[str, Rating], verdict: int = 1) -> list[Contradiction]:
    return contradictions(Folder(written(root, files)), rate_all(set(CRITERIA), CRITERIA, [], 0), ratings, verdict)


def test_every_claim_names_criteria_that_are_asked() -> None:
    assert {name for claim in load_claims() for name in claim.against} <= set(CRITERIA)


@pytest.mark.parametrize(
    ("line", "criterion"),
    [
        ("A **real-time** scoring service", "infrastructure.latency"),
        ("Thoroughly tested and easy to use.", "infrastructure.tests"),
        ("- GDPR compliant", "governance.personal_data"),
        ("Our unbiased model", "governance.bias"),
        ("Every answer is given without hallucinations", "model.evaluation_set"),
        ("Enterprise-grade security out of the box", "governance.secrets"),
        ("Validated on unseen data", "model.held_out"),
        ("State-of-the-art results", "model.beats_baseline"),
        ("With guardrails against prompt injection", "governance.input_guard"),
        ("Fully dockerized", "infrastructure.container"),
        ("CI/CD included", "infrastructure.ci"),
        ("MIT licensed", "governance.licence"),
        ("Multi-tenant search over all documents", "governance.retrieval_rights"),
        ("Every action has a human-in-the-loop", "governance.agent_confirmation"),
    ],
)
def test_a_claim_is_held_against_what_was_measured(tmp_path: Path, line: str, criterion: str) -> None:
    found = said(tmp_path, {"README.md": f"# Scores\n\n{line}\n"}, rated(0))
    assert (criterion, 3, "README.md") in [(each.criterion, each.line, each.file) for each in found]
    assert all(each.claim == line for each in found)
    assert any("serve.py:4 here" in each.fact for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "This is not yet production-ready, nor tested.\n",
        "We aim at a GDPR compliant, well-tested service.\n",
        "## To do\n\n- fully tested\n- real-time answers\n\n### Later\n\nGDPR compliant\n",
        "```\nRun the production-ready image, fully tested\n```\n",
        "- [ ] dockerized\n",
        "Secure the database first.\n",
        "Never store the password here; it should be secure.\n",
    ],
)
def test_a_plan_is_no_claim(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, {"README.md": text}, rated(0)) == []


def test_what_follows_the_plans_is_a_claim_again(tmp_path: Path) -> None:
    found = said(tmp_path, {"README.md": "## Road map\n\nfully tested\n\n## Now\n\nfully tested\n"}, rated(0))
    assert {each.line for each in found} == {7}


def test_what_holds_and_what_nobody_measured_speaks_against_nothing(tmp_path: Path) -> None:
    text = "Production-ready, fully tested, GDPR compliant, real-time, 99% accuracy.\n"
    assert said(tmp_path / "holds", {"README.md": text}, rated(1), verdict=5) == []
    assert said(tmp_path / "unknown", {"README.md": text}, {}, verdict=5) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("99% accuracy on all cases", "accuracy measured on held-out rows: 0.800"),
        ("It is 99.5 % accurate", "accuracy measured on held-out rows: 0.800"),
        ("| AUC | 0.93 |", "AUC measured on held-out rows: 0.700"),
        ("Accuracy: 81 %", ""),
        ("AUC of 0.72", ""),
        ("Predictions in 5 ms", "took 250.0 ms in the box"),
        ("Latency under 1 second", ""),
        ("Responses in 100 ms", "took 250.0 ms in the box"),
    ],
)
def test_figures_are_held_against_the_measured_ones(tmp_path: Path, line: str, told: str) -> None:
    measured = {"auc": 0.7, "auc_low": 0.66, "auc_high": 0.74, "accuracy": 0.8, "rows": 1000}
    ratings = rated(1, held_out=measured, predicts={"ms_per_row": 40.0}, latency={"p95_ms": 250.0})
    found = [each.fact for each in said(tmp_path, {"README.md": line + "\n"}, ratings, verdict=5)]
    assert [fact for fact in found if told and told in fact] == found
    assert bool(found) == bool(told)


def test_a_figure_of_rows_that_were_seen_is_no_figure(tmp_path: Path) -> None:
    found = said(tmp_path, {"README.md": "Accuracy 99 %\n"}, rated(0))
    assert ("data.leakage", "Accuracy 99 %") in [(each.criterion, each.claim) for each in found]
    assert "no such figure is valid" in found[0].fact


def test_docstrings_descriptions_and_other_documents_claim_too(tmp_path: Path) -> None:
    files: Files = {
        "app.py": '"""Scores.\n\nA production-grade service.\n"""\n',
        "pyproject.toml": '[project]\nname = "x"\ndescription = "fully tested scores"\n',
        "docs/about.md": "GDPR compliant\n",
        "tests/test_app.py": '"""Fully tested."""\n',
        "CHANGELOG.md": "- fully tested\n",
    }
    found = {(each.file, each.line) for each in said(tmp_path, files, rated(0))}
    assert found == {("app.py", 3), ("pyproject.toml", 3), ("docs/about.md", 1)}


def test_an_assessment_carries_them(tmp_path: Path) -> None:
    found = assessed(tmp_path, {"README.md": "Fully tested.\n", "train.py": "import os\n"})
    assert [(each.file, each.line, each.criterion) for each in found.contradictions] == [
        ("README.md", 1, "infrastructure.tests"),
        ("README.md", 1, "infrastructure.ci"),
    ]

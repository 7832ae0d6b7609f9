"""Coverage of the OWASP Top 10: what was measured, and that what was not stays unknown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from pilotage.assess.criteria import load_criteria
from pilotage.assess.model import Assessment, Grade, Observation, Risk
from pilotage.assess.owasp import ATLAS, coverage
from pilotage.assess.planning import make_plan
from pilotage.assess.report import as_markdown
from pilotage.assess.score import rate
from pilotage.assess.service import assess
from pilotage.kernel.canonical import canonical_json
from tests.unit.assess.planted import BASE, Files
from tests.unit.assess.planted_llm import AGENT, CHAT, RAG

CRITERIA = load_criteria()
_TOLD = """
import sys
import os
import subprocess
import sys
from pathlib import Path
from pilotage.assess.service import assess
from pilotage.kernel.canonical import canonical_json
found = assess(Path(sys.argv[1]), probes=False, clock=lambda: 1)
sys.stdout.buffer.write(canonical_json(found.as_dict() | {"seconds": 0}))
"""


def written(root: Path, files: Files) -> Path:
    for name, content in files.items():
        if content is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def assessed(root: Path, files: Files) -> Assessment:
    return assess(written(root, files), probes=False, clock=lambda: 1)


def seen(criterion: str, level: float, grade: Grade = "E2") -> Observation:
    return Observation(criterion=criterion, grade=grade, level=level, summary="seen", collector="test", collected=0)


def risk(name: str, pieces: list[Observation], kinds: tuple[str, ...] = ("llm", "rag", "agent")) -> Risk:
    asked = [each for each in CRITERIA.values() if each.applies_if in ("", *kinds)]
    ratings = {each.id: rate(each, [piece for piece in pieces if piece.criterion == each.id], 0) for each in asked}
    found = coverage(ratings, kinds)
    assert found is not None
    return next(each for each in found.risks if each.id == name)


def test_every_risk_has_a_criterion_and_every_technique_a_name() -> None:
    named = {each for criterion in CRITERIA.values() for each in criterion.owasp}
    assert named == {f"LLM{number:02}" for number in range(1, 11)}
    assert {each for criterion in CRITERIA.values() for each in criterion.atlas} <= set(ATLAS)
    own = [each for each in CRITERIA.values() if each.applies_if in ("llm", "rag", "agent")]
    assert len(own) >= 20
    assert len({each.dimension for each in own}) >= 5
    assert all(each.owasp for each in own)
    assert all(each.proof in get_args(Grade) for each in own)


def test_what_was_not_measured_is_unknown_and_says_what_is_missing() -> None:
    found = risk("LLM07", [])
    assert (found.state, found.measured) == ("unknown", [])
    assert found.not_measured == [
        "nobody tried to get the system prompt out of it",
        "No secret stands in a prompt or on the screen",
        "The system prompt does not come out when it is asked for",
    ]


def test_reading_alone_never_says_that_a_risk_is_met() -> None:
    assert risk("LLM07", [seen("governance.prompt_secrets", 1)]).state == "partial"
    assert risk("LLM07", [seen("governance.prompt_secrets", 0)]).state == "fails"
    half = risk("LLM07", [seen("governance.prompt_secrets", 1), seen("governance.prompt_secrets", 1, "E3")])
    assert half.state == "partial"
    tested = risk("LLM07", [seen(name, 1, "E3") for name in ("governance.prompt_secrets", "governance.prompt_kept")])
    assert (tested.state, tested.not_measured) == ("holds", [])


def test_a_risk_does_not_apply_without_what_it_is_about() -> None:
    assert not risk("LLM08", [], ("llm",)).applies
    assert not risk("LLM06", [], ("llm", "rag")).applies
    assert risk("LLM08", [], ("llm", "rag")).applies


@pytest.mark.parametrize(
    ("files", "kinds", "absent"),
    [
        (CHAT, ["llm"], {"LLM06", "LLM08"}),
        (RAG, ["llm", "rag"], {"LLM06"}),
        (AGENT, ["agent", "llm"], {"LLM08"}),
    ],
    ids=["chat", "rag", "agent"],
)
def test_a_pilot_is_told_by_its_code(tmp_path: Path, files: Files, kinds: list[str], absent: set[str]) -> None:
    found = assessed(tmp_path, files)
    assert found.makeup.kinds == kinds
    assert found.makeup.models == ["gpt-4o-2024-08-06"]
    assert found.owasp is not None and found.ml_test_score is None
    assert {each.id for each in found.owasp.risks if not each.applies} == absent
    assert found.owasp.tested == 0
    asked = {rating.criterion.id for each in found.dimensions for rating in each.ratings}
    assert not asked & {"model.held_out", "data.leakage", "business.threshold"}
    assert "model.evaluation_set" in asked


def test_a_classic_pilot_is_asked_nothing_about_language_models(tmp_path: Path) -> None:
    found = assessed(tmp_path, BASE)
    asked = [rating.criterion for each in found.dimensions for rating in each.ratings]
    assert found.makeup.kinds == ["classic"] and found.owasp is None
    assert not [each.id for each in asked if each.applies_if in ("llm", "rag", "agent")]


def test_a_pilot_of_both_is_asked_for_both(tmp_path: Path) -> None:
    found = assessed(tmp_path, {**CHAT, "train.py": BASE["train.py"], "data/claims.csv": BASE["data/claims.csv"]})
    assert found.makeup.kinds == ["classic", "llm"]
    assert found.owasp is not None and found.ml_test_score is not None


def test_the_same_files_give_the_same_report(tmp_path: Path) -> None:
    told = []
    for name in ("one", "two"):
        found = assessed(tmp_path / name, {**RAG, **AGENT, "rag.py": RAG["rag.py"]})
        document = found.as_dict() | {"path": "", "seconds": 0}
        told.append(canonical_json(document))
    assert told[0] == told[1]


def test_the_order_of_sets_shows_nowhere(tmp_path: Path) -> None:
    written(tmp_path, {**RAG, **AGENT, "rag.py": RAG["rag.py"]})
    told = {
        subprocess.run(
            [sys.executable, "-c", _TOLD, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1 and told != {b""}


def test_the_report_shows_each_risk_and_what_was_not_measured(tmp_path: Path) -> None:
    found = assessed(tmp_path, RAG)
    text = as_markdown(found, make_plan(tmp_path, found))
    assert "What it is: asks a language model, retrieves for it" in text
    assert "OWASP LLM Top 10 (2025)" in text
    assert "| LLM06 Excessive Agency | | does not apply" in text
    assert "no search was made as somebody without rights" in text

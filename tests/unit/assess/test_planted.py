"""The scanner against planted faults: what it finds, at which line, and what it says of look-alikes that are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.scan import SIGNALS, scan
from pilotage.assess.score import applies
from pilotage.assess.signals.llm.reading import read
from tests.unit.assess.planted import BASE, CASES, Case, Files

Place = tuple[str, str, int]
CRITERIA = load_criteria()


def reported(root: Path, files: Files, base: Files = BASE) -> set[Place]:
    """Every place of a finding, and every criterion that fails as a whole."""
    for name, content in {**base, **files}.items():
        if content is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    folder = Folder(root)
    asked = {
        each.id
        for each in CRITERIA.values()
        if applies(each, "pilot", {*folder.once(read).facts, "notebook", "upstream"})
    }
    seen = [each for each in scan(folder, CRITERIA, at=0) if each.criterion in asked]
    places = {(each.criterion, item.file, item.line) for each in seen for item in each.findings if each.level < 1}
    return places | {(each.criterion, "", 0) for each in seen if each.level < 1 and not each.findings}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> set[Place]:
    return reported(tmp_path_factory.mktemp("ground"), {})


def test_the_sound_pilot_has_no_finding(ground: set[Place]) -> None:
    assert {place for place in ground if place[1]} == set()


def test_recall_and_precision_over_the_corpus(tmp_path: Path, ground: set[Place]) -> None:
    hit, missed, false = 0, [], []
    for number, case in enumerate(CASES):
        expected = case.expected()
        found = reported(tmp_path / f"{number}-planted", case.planted) - ground
        twin = reported(tmp_path / f"{number}-clean", case.clean) - ground
        hit += len(expected & found)
        missed += [(case.name, place) for place in sorted(expected - found)]
        false += [(case.name, place) for place in sorted(found - expected)]
        false += [(f"{case.name}, clean", place) for place in sorted(twin)]
    recall, precision = hit / (hit + len(missed)), hit / (hit + len(false))
    print(f"\n{len(CASES)} faults: {hit} hit, {len(missed)} missed, {len(false)} false")
    print(f"recall {recall:.3f}, precision {precision:.3f}")
    for word, places in (("missed", missed), ("false", false)):
        for name, place in places:
            print(f"  {word}: {name}: {place}")
    assert len(CASES) >= 40
    assert recall >= 0.95
    assert precision >= 0.9


def test_every_criterion_of_the_corpus_is_one_that_is_asked() -> None:
    assert {criterion for case in CASES for criterion, _, _ in case.where} <= set(CRITERIA)
    assert len(SIGNALS) >= 25


@pytest.mark.parametrize("case", CASES[:1], ids=lambda case: case.name)
def test_a_finding_says_what_why_and_how_to_mend(tmp_path: Path, case: Case) -> None:
    reported(tmp_path, case.planted)
    [found] = [item for each in scan(Folder(tmp_path), CRITERIA, at=0) for item in each.findings if each.level < 1]
    assert found.message and found.risk and found.mend and found.digest

"""The scanner against faults planted in pilots that ask a language model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from pilotage.assess.criteria import load_criteria
from tests.unit.assess.planted import Case
from tests.unit.assess.planted_llm import GROUNDS, LLM_CASES, ground_of
from tests.unit.assess.planted_llm_unseen import FIFTH, FOURTH, SECOND, THIRD, UNSEEN
from tests.unit.assess.test_planted import Place, reported

CRITERIA = load_criteria()
Told = list[tuple[str, Place]]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Place]]:
    return {name: reported(tmp_path_factory.mktemp(name), {}, files) for name, files in GROUNDS.items()}


def measured(cases: Iterable[tuple[str, Case]], root: Path, grounds: dict[str, set[Place]]) -> tuple[float, float]:
    """Recall and precision over cases, each planted in the sound pilot named with it."""
    missed: Told = []
    false: Told = []
    hit = 0
    for number, (kind, case) in enumerate(cases):
        base = GROUNDS[kind]
        expected = case.expected(base)
        found = reported(root / f"{number}-planted", case.planted, base) - grounds[kind]
        twin = reported(root / f"{number}-clean", case.clean, base) - grounds[kind]
        hit += len(expected & found)
        missed += [(case.name, place) for place in sorted(expected - found)]
        false += [(case.name, place) for place in sorted(found - expected)]
        false += [(f"{case.name}, clean", place) for place in sorted(twin)]
    recall, precision = hit / (hit + len(missed)), hit / (hit + len(false))
    print(f"\n{hit} hit, {len(missed)} missed, {len(false)} false: recall {recall:.3f}, precision {precision:.3f}")
    for word, places in (("missed", missed), ("false", false)):
        for name, place in places:
            print(f"  {word}: {name}: {place}")
    return recall, precision


def test_the_sound_pilots_have_no_finding(grounds: dict[str, set[Place]]) -> None:
    assert [place for found in grounds.values() for place in found if place[1]] == []


@pytest.mark.slow
def test_recall_and_precision_over_the_corpus(tmp_path: Path, grounds: dict[str, set[Place]]) -> None:
    cases = [(ground_of(case), case) for case in LLM_CASES]
    for held in (UNSEEN, SECOND, THIRD, FOURTH, FIFTH):
        cases += [(kind, case) for kind, group in held.items() for case in group]
    recall, precision = measured(cases, tmp_path, grounds)
    assert len(cases) >= 100
    assert (recall, precision) == (1.0, 1.0), "each case is known by now: none may be lost again"
    assert {criterion for _, case in cases for criterion, _, _ in case.where} <= set(CRITERIA)

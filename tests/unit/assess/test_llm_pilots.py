"""Whole pilots of several modules and a page: every place marked in their texts is reported, and no other.

A pilot is a text: `=== path` begins a file, and `<<< criterion, ...` at the end of a line names what is wrong there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.scan import scan
from tests.unit.assess.test_planted import Place

CRITERIA = load_criteria()
PILOTS = sorted((Path(__file__).parents[2] / "data" / "llm_pilots").glob("*.txt"))


def unfolded(text: str, root: Path) -> set[Place]:
    """The files of a pilot, written below a folder, and the places that are marked."""
    marked: set[Place] = set()
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("=== "):
            lines = files.setdefault(line[4:], [])
            continue
        code, _, criteria = line.partition("  <<< ")
        lines.append(code)
        marked |= {(each, list(files)[-1], len(lines)) for each in criteria.split(", ") if each}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(content) + "\n")
    return marked


@pytest.mark.parametrize("pilot", PILOTS, ids=lambda path: path.stem)
def test_every_marked_place_and_no_other(tmp_path: Path, pilot: Path) -> None:
    marked = unfolded(pilot.read_text(), tmp_path)
    found = {
        (each.criterion, item.file, item.line)
        for each in scan(Folder(tmp_path), CRITERIA, at=0)
        for item in each.findings
        if CRITERIA[each.criterion].applies_if in ("llm", "rag", "agent") and each.level < 1
    }
    assert found == marked


def test_the_pilots_hold_faults_and_sound_ones() -> None:
    marks = [pilot.read_text().count("  <<< ") for pilot in PILOTS]
    assert len(PILOTS) >= 15
    assert sum(marks) >= 50
    assert 0 in marks

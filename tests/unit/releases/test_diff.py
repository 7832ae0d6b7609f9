"""What differs between two releases, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from pilotage.releases.diff import diff_releases
from pilotage.storage.home import Home
from pilotage.testing.releases import COLUMNS, make_release


def test_a_release_does_not_differ_from_itself(tmp_path: Path) -> None:
    made = make_release(Home(root=tmp_path), evaluated=True)
    found = diff_releases(made, made)
    assert not any((found.contract, found.serving, found.reasons, found.packages, found.environment, found.files))
    assert not found.origin
    assert found.same_data and found.metrics and found.fairness
    assert not [each.name for each in (*found.metrics, *found.fairness) if each.apart or each.old != each.new]


def test_what_differs_is_told_with_what_breaks(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    narrow = tuple(msgspec.structs.replace(each, maximum=65) if each.name == "age" else each for each in COLUMNS)
    old, new = make_release(home, evaluated=True), make_release(home, columns=narrow, threshold=0.7, evaluated=True)
    there, back = diff_releases(old, new), diff_releases(new, old)
    assert [(each.path, each.breaking) for each in there.contract] == [("age", True)]
    assert [(each.path, each.breaking) for each in back.contract] == [("age", False)]
    assert [(each.name, each.old, each.new) for each in there.serving] == [("threshold", "0.5", "0.7")]
    assert "serving.json" in {each.name for each in there.files} and not there.packages
    origin = msgspec.structs.replace(new.manifest.origin, artefact="sha256:other")
    fitted_anew = replace(new, manifest=msgspec.structs.replace(new.manifest, origin=origin))
    assert [(e.name, e.new) for e in diff_releases(new, fitted_anew).origin] == [
        ("artefact of the pilot", "sha256:other")
    ]
    gone = {each.name: (each.old, each.new) for each in there.reasons}
    assert gone["reason LATE-PAYMENTS"][1] == "" and "background" in gone
    flipped = {each.name: each for each in back.metrics}
    for each in there.metrics:
        assert (flipped[each.name].old, flipped[each.name].apart) == (each.new, each.apart)
        spans = each.old_interval, each.new_interval
        if spans[0] and spans[1]:
            assert each.apart == (max(spans[0][0], spans[1][0]) > min(spans[0][1], spans[1][1]))

"""The probes on real models in a real box: what works is shown to work, what is broken or hostile is a finding."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pilotage.assess.folder import Folder
from pilotage.assess.probes import Probed, guess_target, probe
from pilotage.assess.service import assess
from pilotage.errors import NotFound
from pilotage.sandbox.model import Limits

YAML = """
id: toy
name: Toy
purpose: none
risk_tier: low
owners: {business: b, model: m, operations: o, risk: r}
pilot: {artefact: m.joblib, data: d.csv, target: y, positive: "1", slices: [g], protected: [g]}
"""


def data(rows: int = 1600) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=rows), generator.normal(size=rows)
    g = generator.integers(0, 2, rows)
    y = (generator.random(rows) < 1 / (1 + np.exp(-(1.5 * a + 1.5 * b)))).astype(int)
    return pd.DataFrame({"a": a, "b": b, "g": g, "y": y})


def pilot(root: Path, frame: pd.DataFrame, model: Any = None) -> Folder:
    """A folder with data, a declaration and a fitted or given model."""
    frame.to_csv(root / "d.csv", index=False)
    (root / "pilotage.yaml").write_text(YAML)
    if model is None:
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame.drop(columns="y"), frame["y"])
    joblib.dump(model, root / "m.joblib")
    return Folder(root)


def levels(probed: Probed) -> dict[str, float]:
    return {step.criterion: step.level for step in probed.steps}


def test_a_sound_model_loads_predicts_and_beats_the_baselines(tmp_path: Path) -> None:
    probed = probe(pilot(tmp_path, data()))
    found = levels(probed)
    assert not probed.skipped
    for name in (
        "model.loads",
        "model.predicts",
        "model.held_out",
        "model.beats_baseline",
        "model.simpler",
        "data.leakage",
    ):
        assert found[name] == 1, name
    assert found["model.messy_input"] == 0.0  # no imputer: a null breaks it
    assert found["governance.protected_inputs"] == 0
    assert probed.isolation["seccomp"]
    [held] = [step for step in probed.steps if step.criterion == "model.held_out"]
    assert held.figures["rows"] == 400
    assert held.figures["auc_low"] < held.figures["auc"] < held.figures["auc_high"]


def test_a_model_of_noise_beats_nothing(tmp_path: Path) -> None:
    frame = data().assign(y=np.random.default_rng(5).integers(0, 2, 1600))
    found = levels(probe(pilot(tmp_path, frame)))
    assert (found["model.predicts"], found["model.beats_baseline"], found["model.simpler"]) == (1, 0, 0)


def test_an_input_that_gives_the_answer_away_is_leakage(tmp_path: Path) -> None:
    frame = data()
    found = levels(probe(pilot(tmp_path, frame.assign(a=frame["y"] + 0.01 * frame["a"]))))
    assert found["data.leakage"] == 0


def test_poor_data_is_named(tmp_path: Path) -> None:
    frame = data(400)
    frame = pd.concat([frame, frame.head(50)]).assign(g=1)
    found = {step.criterion: step for step in probe(pilot(tmp_path, frame)).steps}
    assert found["data.quality"].level == 0
    assert found["data.quality"].figures["constant"] == ["g"] and found["data.quality"].figures["duplicates"] == 50
    assert found["data.volume"].level == 0.5


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch $HOME/exploded exploded; echo out of the box",)


class Ender:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


@pytest.mark.parametrize("model", [Bomb(), {"not": "a model"}])
def test_what_is_no_model_fails_and_harms_nothing(tmp_path: Path, model: Any) -> None:
    found = levels(probe(pilot(tmp_path, data(200), model)))
    assert found["model.predicts"] == 0
    assert found["data.present"] == 1
    assert not list(tmp_path.glob("**/exploded"))


def test_an_unreadable_artefact_does_not_load(tmp_path: Path) -> None:
    folder = pilot(tmp_path, data(200))
    (tmp_path / "m.joblib").write_bytes(b"garbage")
    found = levels(probe(folder))
    assert found["model.loads"] == 0 and "model.predicts" not in found


def test_a_probe_that_is_killed_leaves_unknown_not_no(tmp_path: Path) -> None:
    probed = probe(pilot(tmp_path, data(200), Ender()))
    assert "model.loads" not in levels(probed) and levels(probed)["data.present"] == 1
    assert any("ended early after data" in line for line in probed.skipped)
    late = probe(Folder(tmp_path), Limits(wall_s=0.2))
    assert not late.steps and "wall" in late.skipped[-1]


def test_a_package_that_is_missing_here_is_unknown_not_no(tmp_path: Path) -> None:
    folder = pilot(tmp_path, data(200))
    (tmp_path / "m.joblib").write_bytes(b"cno_such_package\nModel\n.")
    probed = probe(folder)
    assert "model.loads" not in levels(probed)
    assert any("lacks no_such_package" in line for line in probed.skipped)


def test_without_a_declaration_target_and_model_are_found_in_the_code(tmp_path: Path) -> None:
    pilot(tmp_path, data(400))
    model = joblib.load(tmp_path / "m.joblib")
    for name in ("m.joblib", "pilotage.yaml"):
        (tmp_path / name).unlink()
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    (tmp_path / "train.py").write_text("df = read('d.csv')\ny = df['y']\n")
    folder = Folder(tmp_path)
    assert (folder.artefact, folder.table, guess_target(folder)) == ("m.pkl", "d.csv", "y")
    assert levels(probe(folder))["model.held_out"] == 1


def test_a_pickle_in_the_pilots_own_classes_is_opened_with_its_folder_on_the_path(tmp_path: Path) -> None:
    folder = pilot(tmp_path, data(200))
    (tmp_path / "own.py").write_text(
        "class Half:\n    def predict_proba(self, X):\n        return [[1 - v, v] for v in X['a']]\n"
    )
    (tmp_path / "m.joblib").write_bytes(b"cown\nHalf\n)\x81.")
    found = levels(probe(folder))
    assert (found["model.loads"], found["model.predicts"], found["model.held_out"]) == (1, 1, 0.5)


def test_an_empty_folder_is_not_probed(tmp_path: Path) -> None:
    assert probe(Folder(tmp_path)).skipped
    with pytest.raises(NotFound, match="nothing to assess"):
        assess(tmp_path, probes=False)

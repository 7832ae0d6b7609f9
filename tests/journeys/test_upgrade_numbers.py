"""An upgrade that really changes numbers: the same releases on another kernel of the BLAS, no record touched.

Which release differs and by how much is said, its evidence goes stale, the others' stays; where the decisions were
served, every one is still exact.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pilotage.releases.build import build_release
from pilotage.releases.model import Release
from tests.journeys.live import LiveHome, Up, post, running

pytestmark = pytest.mark.slow

DECISIONS = 150
FEATURES = [f"f{at}" for at in range(8)]
KERNELS = ("Nehalem", "Haswell", "Prescott", "SkylakeX")
_DIFFERS = """
import numpy as np
random = np.random.default_rng(1)
print((random.normal(size=(40, 8)) @ random.normal(size=(8, 48))).tobytes().hex())
"""


def other_kernel() -> str:
    """A kernel of the BLAS that rounds otherwise than the one chosen here by itself."""

    def product(kernel: str) -> str:
        environ = {**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", _DIFFERS], env=environ, capture_output=True, text=True, check=True)
        return done.stdout

    own = product("")
    found = [kernel for kernel in KERNELS if product(kernel) != own]
    if not found:
        pytest.skip("this machine's BLAS has one kernel only")
    return found[0]


def table() -> pd.DataFrame:
    chance = np.random.default_rng(5)
    made = pd.DataFrame({name: np.round(chance.uniform(0, 100, 500), 3) for name in FEATURES})
    odds = (made["f0"] - made["f1"] + made["f2"] - made["f3"]) / 15 + chance.normal(size=500)
    return made.assign(customer=[f"c{at}" for at in range(500)], bad=(odds > 0).astype(int))


def released(live: LiveHome, folder: Path, name: str, data: pd.DataFrame, tolerance: float, *, boxed: bool) -> Release:
    """A pilot built, approved and live: a network in its own runtime, or a linear model converted."""
    if boxed:
        network = MLPClassifier((48,), max_iter=400, random_state=0, tol=1e-3)
        model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), network)
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(data[FEATURES], data["bad"])
    folder.mkdir()
    data.to_csv(folder / "data.csv", index=False)
    joblib.dump(model, folder / "model.joblib")
    declared = {
        "id": name,
        "name": name,
        "purpose": "To be upgraded.",
        "risk_tier": "low",
        "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
        "pilot": {
            "artefact": "model.joblib",
            "data": "data.csv",
            "target": "bad",
            "positive": "1",
            "subject": "customer",
        },
        "answer": {"threshold": 0.5, "adverse": "refer", "favourable": "approve", "tolerance": tolerance},
        "explanation": {"background": 20},
    }
    (folder / "pilotage.yaml").write_text(yaml.safe_dump(declared))
    installation, author = live.installation, live.people["ml_engineer"]
    made = build_release(
        folder / "pilotage.yaml",
        home=installation.home,
        control=installation.control,
        keyring=installation.keyring,
        author=author.id,
    )
    assert made.runtime == ("process" if boxed else "onnx")
    live.governed.evidence(made)
    live.governed.approve(made)
    installation.rollout.promote(author, name, made.digest, "internal")
    return made


def decide(up: Up, system: str, data: pd.DataFrame) -> None:
    rows = data.drop(columns="bad").iloc[:DECISIONS].to_dict("records")
    for start in range(0, DECISIONS, 30):
        reply = post(f"{up.gateway}/v1/systems/{system}/decide", up.live.key, {"inputs": rows[start : start + 30]})
        assert reply.status == 200
        assert {each["outcome"] for each in reply.body["decisions"]} == {"answered"}


def called(live: LiveHome, *words: str, kernel: str = "", fine: tuple[int, ...] = (0,)) -> Any:
    environ = {**os.environ, "PILOTAGE_TOKEN": live.token("ml_engineer")}
    environ |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    done = subprocess.run(live.command(*words, "--json"), capture_output=True, text=True, env=environ, timeout=300)
    assert done.returncode in fine, (done.returncode, done.stdout[-2_000:], done.stderr[-2_000:])
    return json.loads(done.stdout)


def test_another_kernel_changes_numbers_and_it_is_said_of_which_release_and_by_how_much(tmp_path: Path) -> None:
    kernel = other_kernel()
    live, data = LiveHome(root=tmp_path / "home"), table()
    kinds = {"exact": (0.0, True), "tolerant": (1e-9, True), "converted": (1e-12, False)}
    releases = {
        name: released(live, tmp_path / name, name, data, tolerance, boxed=boxed)
        for name, (tolerance, boxed) in kinds.items()
    }
    with running(live) as up:
        up.wait_until_all_live()
        for name in releases:
            decide(up, name, data)
        assert up.end() == 0, up.logs()

    upgraded = called(live, "decisions", "replay", "--check-upgrade", kernel=kernel, fine=(1,))
    checked = {each["system"]: each for each in upgraded if each["system"] in releases}
    for name, each in checked.items():
        assert each["release"] == releases[name].digest and sum(each["environments"].values()) == DECISIONS
        assert each["environment"] not in each["environments"], "it says that it is another environment"
    exact, tolerant, converted = (checked[name]["found"] for name in kinds)
    assert 0 < exact["differs"] <= DECISIONS and exact["differs"] + exact["bit_exact"] == DECISIONS
    assert 0 < exact["worst"] < 1e-12, "the last bits, really computed"
    assert (tolerant["within_tolerance"], tolerant["differs"]) == (exact["differs"], 0)
    assert converted["bit_exact"] == DECISIONS and converted["worst"] == 0.0
    assert "conversion.equal" in checked["exact"]["stale"]
    assert checked["tolerant"]["stale"] == checked["converted"]["stale"] == []
    for name, release in releases.items():
        gate = called(live, "gate", "check", "--release", release.digest, "--to", "internal", fine=(0, 3))
        states = {each["check"]: each["state"] for each in gate["checks"]}
        assert (states["conversion.equal"] == "stale") == (name == "exact")
    print(f"{kernel}: {exact['differs']} of {DECISIONS} differ, worst {exact['worst']:.3g}")

    # What is on record was not touched: where it was served, every decision is exact.
    for name in releases:
        again = called(live, "decisions", "replay", "--last", str(DECISIONS), "--system", name)
        assert again["bit_exact"] == DECISIONS
    live.close()

"""A thousand real decisions of each runtime, replayed to the last bit; also by an installation of other versions."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from pilotage.errors import Unavailable
from pilotage.releases.build import build_release
from pilotage.releases.model import Release
from pilotage.replay.environments import Environments
from pilotage.replay.interpreters import install, make_venv
from tests.journeys.live import LiveHome, Up, running

pytestmark = pytest.mark.slow

DECISIONS = 1_000
BATCH = 25
NUMBERS = ["income", "late", "account"]
TOWNS = ["Zürich", "東京", "nai\u0308ve", "ship 🚢", "a:b"]
EXACT = 2**53 - 1
OTHER = {"numpy": "2.3.5", "onnxruntime": "1.28.0"}
"""Versions to upgrade to (backwards: what counts is that they are others)."""


def _table(rows: int = 900) -> pd.DataFrame:
    chance = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "customer": [f"c{at}" for at in range(rows)],
            "income": np.round(chance.exponential(30_000, rows), 2),
            "late": chance.integers(0, 9, rows),
            "account": chance.integers(0, EXACT, rows),
            "town": chance.choice(TOWNS, rows),
        }
    )
    table.loc[0, "account"], table.loc[1, "account"], table.loc[2, "income"] = 0, EXACT, 0.0
    odds = -1.5 + 0.5 * table["late"] - table["income"] / 20_000
    table["bad"] = (chance.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    table.loc[chance.random(rows) < 0.05, "income"] = None
    return table


def _release(live: LiveHome, folder: Path, name: str, table: pd.DataFrame, *, boxed: bool) -> Release:
    """A pilot built as a release, approved and live: a linear one goes inline, one with a function of its own boxed."""
    steps = [SimpleImputer(strategy="median"), *([FunctionTransformer(np.log1p)] if boxed else []), StandardScaler()]
    parts = [("n", make_pipeline(*steps), NUMBERS), ("t", OneHotEncoder(handle_unknown="ignore"), ["town"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=1_000))
    model.fit(table[[*NUMBERS, "town"]], table["bad"])
    folder.mkdir()
    table.to_csv(folder / "data.csv", index=False)
    joblib.dump(model, folder / "model.joblib")
    declared = {
        "id": name,
        "name": name,
        "purpose": "To be replayed.",
        "risk_tier": "medium",
        "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
        "pilot": {
            "artefact": "model.joblib",
            "data": "data.csv",
            "target": "bad",
            "positive": "1",
            "subject": "customer",
            "categorical": ["town"],
        },
        "answer": {"threshold": 0.5, "adverse": "refer", "favourable": "approve", "tolerance": 1e-12},
        "reasons": [{"code": "LATE", "text": "Payments were late", "features": ["late"]}],
    }
    (folder / "pilotage.yaml").write_text(yaml.safe_dump(declared))
    author = live.people["ml_engineer"]
    installation = live.installation
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


def _row(chance: random.Random, number: int) -> str:
    """One row as JSON text: most of them odd in some way, and about one in six against the contract."""
    income = chance.choice(["0", "-0.0", "1e3", "12345.678901234567", "null", "0.1", "5e-324", f"{chance.random()}"])
    account = chance.choice(["0", str(EXACT), str(EXACT - 1), "9007199254740990.0", "-0", str(chance.randrange(EXACT))])
    late, town = str(chance.randrange(9)), json.dumps(chance.choice(TOWNS), ensure_ascii=chance.random() < 0.5)
    match number % 24:
        case 0:
            income = "NaN"
        case 1:
            account = str(2**60)
        case 2:
            town = '"Zurich"'
        case 3:
            late = "true"
    return f'{{"customer": "c-é-{number}", "income": {income}, "late": {late}, "account": {account}, "town": {town}}}'


def _decide(up: Up, system: str, count: int) -> int:
    """Ask the gateway; how many rows it answered rather than rejected."""
    chance, answered = random.Random(system), 0
    for start in range(0, count, BATCH):
        rows = ", ".join(_row(chance, number) for number in range(start, start + BATCH))
        request = urllib.request.Request(
            f"{up.gateway}/v1/systems/{system}/decide",
            data=f'{{"inputs": [{rows}]}}'.encode(),
            headers={"Authorization": f"Bearer {up.live.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            made = json.loads(response.read())["decisions"]
        assert len(made) == BATCH
        answered += sum(each["outcome"] == "answered" for each in made)
    return answered


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveHome, dict[str, Release]]]:
    """A home in which real gateways made `DECISIONS` decisions of each runtime."""
    folder = tmp_path_factory.mktemp("replay")
    live = LiveHome(root=folder / "home")
    table = _table()
    releases = {name: _release(live, folder / name, name, table, boxed=name == "boxed") for name in ("inline", "boxed")}
    with running(live) as up:
        up.wait_until_all_live()
        for name in releases:
            answered = _decide(up, name, DECISIONS)
            assert DECISIONS * 0.7 < answered < DECISIONS, "odd rows are answered, and some are rejected"
        assert up.end() == 0, up.logs()
    yield live, releases
    live.close()


def _replay(live: LiveHome, *words: str, python: str = sys.executable, fine: tuple[int, ...] = (0,)) -> Any:
    command = live.command("decisions", "replay", "--json", *words)
    environ = {**os.environ, "PILOTAGE_TOKEN": live.token("ml_engineer"), "PYTHONPATH": ""}
    done = subprocess.run([python, *command[1:]], capture_output=True, text=True, env=environ, timeout=300)
    assert done.returncode in fine, (done.returncode, done.stdout[-2_000:], done.stderr[-2_000:])
    return json.loads(done.stdout)


def test_a_thousand_of_each_runtime_are_bit_exact(decided: tuple[LiveHome, dict[str, Release]]) -> None:
    live, releases = decided
    for name, release in releases.items():
        found = _replay(live, "--window", "2020-01-01..", "--system", name)
        (of_release,) = found["releases"]
        assert (of_release["release"], of_release["runtime"]) == (release.digest, release.runtime)
        assert (found["decisions"], found["bit_exact"]) == (DECISIONS, DECISIONS), of_release["reasons"]
        print(f"{name}: {DECISIONS / found['seconds']:,.0f} decisions/s replayed")


def test_another_installation_rebuilds_the_environment_that_served(
    decided: tuple[LiveHome, dict[str, Release]], tmp_path: Path
) -> None:
    live, releases = decided
    environments = Environments(live.installation.home)
    (name,) = environments.known()
    kept = environments.kept(name)
    pins = [line for line in kept.lock.splitlines() if not line.startswith("pilotage==")]
    pins = [f"{each}=={OTHER.get(each, version)}" for each, version in (pin.split("==") for pin in pins)]
    site = make_venv(getattr(sys, "_base_executable", sys.executable), tmp_path / "venv")
    try:
        install(tmp_path / "venv", pins, tmp_path / "requirements.txt")
    except Unavailable as error:
        pytest.skip(f"no package index: {error.got}")
    with zipfile.ZipFile(BytesIO(live.installation.objects.get(kept.code))) as wheel:
        wheel.extractall(site)
    upgraded = str(tmp_path / "venv" / "bin" / "python")
    for system in releases:
        found = _replay(live, "--last", "150", "--system", system, python=upgraded)
        assert found["bit_exact"] == 150, found["releases"][0]["reasons"]
    assert [path.parent.parent.name for path in live.installation.home.environments.glob("*/venv/proven")] == [name[7:]]
    checked = _replay(live, "--check-upgrade", python=upgraded, fine=(0, 1))
    by_system = {each["system"]: each for each in checked}
    assert by_system["inline"]["environments"] == {name: 200}
    for each in checked:
        found = each["found"]
        assert each["environment"] != name
        assert bool(each["stale"]) == bool(found["differs"] or found["unreplayable"])
        assert found["worst"] > 0 or not found["differs"]
        print(
            f"{each['system']}: {found['bit_exact']} bit exact, {found['differs']} differ, worst {found['worst']:.3g}"
        )

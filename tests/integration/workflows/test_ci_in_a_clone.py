"""The files that `pilotage init --ci` writes, run as a CI service runs them: their own lines, in a fresh clone.

Only the line that installs Pilotage from a package index is left out: what is tested is the one that is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from pilotage.contracts.infer import infer_contract
from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.workflows.ci import PLACES

TRAIN = """
import os
import joblib, pandas
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
data = pandas.read_csv("data.csv")
model = make_pipeline(StandardScaler(), LogisticRegression(random_state=int(os.environ["PILOTAGE_SEED"])))
joblib.dump(model.fit(data[["paid", "owed"]], data["bad"]), "model.joblib")
"""
DECLARED = {
    "id": "loans",
    "name": "Loans",
    "purpose": "says who will not pay",
    "risk_tier": "low",
    "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
    "contract": "contract.odcs.yaml",
    "pilot": {"artefact": "model.joblib", "data": "data.csv", "target": "bad", "positive": "1", "subject": "id"},
    "pipeline": {
        "steps": [
            {"name": "validate", "do": "validate"},
            {
                "name": "train",
                "run": ["python", "train.py"],
                "inputs": ["train.py", "data.csv"],
                "outputs": ["model.joblib"],
            },
            {"name": "judge", "do": "evaluate"},
            {"name": "build", "do": "build"},
        ]
    },
}


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


def environ(**more: str) -> dict[str, str]:
    """A job's: nothing of the caller's but the interpreter and Pilotage on the path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", "CI": "true", **more}


def lines_of(clone: Path, service: str) -> dict[str, str]:
    """The lines of the committed file by the names of steps, without the installation; GitLab's have no names."""
    document = yaml.safe_load((clone / PLACES[service]).read_text())
    if service == "gitlab":
        return {str(at): line for at, line in enumerate(document["pilotage"]["script"]) if "pip install" not in line}
    steps = document["jobs"]["pilotage"]["steps"]
    return {step["name"]: step["run"] for step in steps if "run" in step and step["name"] != "install"}


def run(line: str, clone: Path, service: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As the service starts a line: GitHub by `bash -e`, GitLab's in `sh`."""
    shell = ["bash", "-e", "-c", line] if service == "github" else ["sh", "-e", "-c", line]
    return subprocess.run(shell, cwd=clone, env=environ(**variables), capture_output=True, text=True, check=False)


def bounded(contract: DataContract, most: float) -> str:
    """The contract's file with another maximum of `paid`."""
    columns = [
        msgspec.structs.replace(each, maximum=most) if each.name == "paid" else each for each in contract.columns
    ]
    return to_odcs(msgspec.structs.replace(contract, columns=tuple(columns)))


@pytest.fixture(scope="module", params=sorted(PLACES))
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A repository with a small pilot in a folder whose name has a space, and the workflow file that init wrote."""
    root = tmp_path_factory.mktemp(request.param) / "origin"
    pilot = root / "my pilot"
    pilot.mkdir(parents=True)
    generator = np.random.default_rng(1)
    paid, owed = generator.uniform(0, 100, 800).round(2), generator.uniform(0, 100, 800).round(2)
    bad = (owed - paid + generator.normal(0, 25, 800) > 0).astype(int)
    table = pd.DataFrame({"id": [f"c{at}" for at in range(800)], "paid": paid, "owed": owed, "bad": bad})
    table.to_csv(pilot / "data.csv", index=False)
    (pilot / "train.py").write_text(TRAIN)
    (pilot / "pilotage.yaml").write_text(yaml.safe_dump(DECLARED, sort_keys=False))
    inferred = infer_contract(pilot / "data.csv", name="loans", target="bad", subject="id")
    (pilot / "contract.odcs.yaml").write_text(to_odcs(inferred))
    written = subprocess.run(
        ["pilotage", "init", "my pilot", "--ci", request.param], cwd=root, env=environ(), capture_output=True, text=True
    )
    assert written.returncode == 0, written.stderr
    git(root, "init")
    git(root, "add", "-A")
    git(root, "commit", "-m", "a pilot")
    return request.param, root


def cloned(root: Path, to: Path) -> Path:
    git(to.parent, "clone", "--depth", "1", f"file://{root}", str(to))
    return to


BASE = {"github": "BASE_BRANCH", "gitlab": "CI_DEFAULT_BRANCH"}


@pytest.mark.slow
def test_every_line_runs_in_a_fresh_clone_and_leaves_its_papers(repository: tuple[str, Path], tmp_path: Path) -> None:
    service, root = repository
    clone = cloned(root, tmp_path / "clone")
    lines = lines_of(clone, service)
    assert len(lines) == 7
    for name, line in lines.items():
        done = run(line, clone, service, {BASE[service]: "main"})
        assert done.returncode == 0, f"{name}: {line}\n{done.stdout}\n{done.stderr}"
    papers = clone / "papers"
    assert json.loads((papers / "contract-diff.json").read_text()) == {"breaking": False, "changes": []}
    assert json.loads((papers / "contract.json").read_text())["holds"]
    ran = json.loads((papers / "run.json").read_text())
    assert ran["release"] and ran["state"] == "succeeded"
    assert json.loads((papers / "gate.json").read_text())["go"] is False, "nobody has approved"
    assert "# " in (papers / "model-card.md").read_text() and (papers / "lineage.jsonl").stat().st_size > 1_000


def test_a_change_of_the_contract_that_breaks_callers_stops_the_job(
    repository: tuple[str, Path], tmp_path: Path
) -> None:
    service, root = repository
    clone = cloned(root, tmp_path / "clone")
    (line,) = [each for each in lines_of(clone, service).values() if "contract diff" in each]
    (clone / "papers").mkdir()
    path = clone / "my pilot" / "contract.odcs.yaml"
    held = from_odcs(path.read_text())
    path.write_text(bounded(held, 50))
    known = {BASE[service]: "main"}
    stopped = run(line, clone, service, known)
    assert stopped.returncode != 0
    assert json.loads((clone / "papers" / "contract-diff.json").read_text())["breaking"] is True
    assert run(line, clone, service, known | {"CONTRACT_MAY_BREAK": "yes"}).returncode == 0
    path.write_text(bounded(held, 500))
    assert run(line, clone, service, known).returncode == 0
    assert json.loads((clone / "papers" / "contract-diff.json").read_text())["changes"], "told, and breaks nobody"


@pytest.mark.slow
def test_a_contract_that_the_branch_does_not_have_yet_breaks_nothing(
    repository: tuple[str, Path], tmp_path: Path
) -> None:
    service, root = repository
    bare = tmp_path / "origin"
    git(tmp_path, "clone", f"file://{root}", str(bare))
    git(bare, "rm", "my pilot/contract.odcs.yaml")
    git(bare, "commit", "-m", "as it was before")
    clone = cloned(bare, tmp_path / "clone")
    (clone / "my pilot" / "contract.odcs.yaml").write_text((root / "my pilot" / "contract.odcs.yaml").read_text())
    (clone / "papers").mkdir()
    (line,) = [each for each in lines_of(clone, service).values() if "contract diff" in each]
    done = run(line, clone, service, {BASE[service]: "main"})
    assert (done.returncode, done.stdout.strip()) == (0, "no contract there yet")
    assert run(line, clone, service, {BASE[service]: "no-such-branch"}).returncode != 0

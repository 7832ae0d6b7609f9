"""What a scaffold makes runs: its own tests, and its pipeline to a release."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pilotage.assess.service import assess
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.table import check_table
from pilotage.releases.load import open_release
from pilotage.scaffold.adopting import adopt
from pilotage.scaffold.placing import place
from pilotage.scaffold.starting import new_system, production_first
from pilotage.storage.database import reading
from pilotage.workflows.store import steps_of
from tests.unit.assess.planted import notebook
from tests.unit.workflows.small import make_pipelines

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[3] / "examples" / "credit_default"
OWNERS = {role: f"{role}@example.org" for role in ("business", "model", "operations", "risk")}


NOTEBOOK = notebook(
    (1, "import pandas as pd\ndf = pd.read_csv('/Users/maria/Desktop/usage.csv')"),
    (2, "%matplotlib inline\ndf.describe()"),
    (3, "from sklearn.compose import make_column_transformer\nfrom sklearn.ensemble import RandomForestClassifier\n"
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import OneHotEncoder\n"
        "y = df['churned']\nprep = make_column_transformer((OneHotEncoder(), ['plan']), remainder='passthrough')\n"
        "clf = make_pipeline(prep, RandomForestClassifier(20, max_depth=4))\nclf.fit(df[['usage', 'plan']], y)"),
)  # fmt: skip


def own_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def run_to_release(folder: Path, home: Path) -> dict[str, dict[str, str]]:
    """The outputs of each step of the folder's pipeline, each command run twice."""
    pipelines = make_pipelines(home)
    run = pipelines.run(folder / "pilotage.yaml", "engineer", twice=True)
    with reading(pipelines.control) as connection:
        steps = steps_of(connection, run.id)
    assert run.state == "succeeded", [(step.name, step.error, step.facts) for step in steps if step.error]
    open_release(pipelines.home.releases, run.release)
    return {step.name: step.outputs for step in steps}


def test_an_example_runs_to_a_release(tmp_path: Path) -> None:
    system = new_system("Loan default", purpose="Says who is likely to default", owners=OWNERS)
    folder = tmp_path / "loan-default"
    place(folder, production_first(system, ci="github", example=True))
    tested = own_tests(folder)
    assert tested.returncode == 0, tested.stdout
    outputs = run_to_release(folder, tmp_path / "home")
    assert [*outputs] == ["ingest", "validate", "train", "evaluate", "build"]


def test_without_data_its_own_tests_hold(tmp_path: Path) -> None:
    place(tmp_path / "new", production_first(new_system("new"), ci="github"))
    tested = own_tests(tmp_path / "new")
    assert tested.returncode == 0 and "1 skipped" in tested.stdout, tested.stdout


def test_rows_with_gaps_and_words_run_to_a_release(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = ["customer,gender,amount,segment,active,left"]
    for at in range(900):
        amount = "" if at % 11 == 0 else str(at * 37 % 200)
        left = "yes" if (at * 37 % 200) + (at * 53 % 90) > 150 else "no"
        lines.append(f"{at},{'fm'[at % 2]},{amount},{['a', 'b', 'c', ''][at % 4]},{['true', 'false'][at % 2]},{left}")
    rows.write_text("\n".join(lines) + "\n")
    system = new_system("churn", purpose="Says who may leave", owners=OWNERS, target="left", positive="yes",
                        subject="customer")  # fmt: skip
    place(tmp_path / "churn", production_first(system, ci="github", data=rows))
    run_to_release(tmp_path / "churn", tmp_path / "home")


def test_the_example_pilot_is_adopted_assessed_checked_and_run_to_a_release(tmp_path: Path) -> None:
    made = adopt(EXAMPLE, tmp_path / "into", new_system("x"), ci="github")
    place(tmp_path / "into", made.files)
    for path in made.bring:
        (tmp_path / "into" / path).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / path, tmp_path / "into" / path)
    before, after = (assess(folder, probes=False) for folder in (EXAMPLE, tmp_path / "into"))
    assert after.findings < before.findings and len(after.blockers) < len(before.blockers)
    contract = from_odcs((tmp_path / "into/contract.odcs.yaml").read_text())
    assert check_table(tmp_path / "into" / made.bring[0], contract).holds
    tested = own_tests(tmp_path / "into")
    assert tested.returncode == 0, tested.stdout
    assert [*run_to_release(tmp_path / "into", tmp_path / "home")] == ["validate", "train", "build"]


def test_a_notebook_that_nobody_declared_is_adopted_and_run_to_a_release(tmp_path: Path) -> None:
    pilot = tmp_path / "pilot"
    (pilot / "nb").mkdir(parents=True)
    lines = [
        f"R{at:05},{at * 37 % 200},{['basic', 'pro'][at % 2]},{int(at * 37 % 200 > at % 90 + 60)}" for at in range(900)
    ]
    (pilot / "usage.csv").write_text("row_id,usage,plan,churned\n" + "\n".join(lines) + "\n")
    (pilot / "nb/churn.ipynb").write_text(NOTEBOOK)
    system = new_system("churn", purpose="Says who may leave", owners=OWNERS)
    made = adopt(pilot, tmp_path / "into", system, ci="github")
    assert made.open_fields == made.bring == []
    place(tmp_path / "into", made.files)
    assert own_tests(tmp_path / "into").returncode == 0
    assert [*run_to_release(tmp_path / "into", tmp_path / "home")] == ["validate", "train", "build"]

"""The environment of the probes: what the pilot asks for, at its date, from wheels; else ours where it agrees."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from pilotage.assess.folder import Folder
from pilotage.assess.probes import probe
from pilotage.assess.probing import environment as environments
from pilotage.assess.probing.declared import declared
from pilotage.assess.probing.environment import environment_for
from pilotage.assess.service import assess
from pilotage.cli.main import Chosen
from pilotage.cli.roadmap import roadmap
from pilotage.sandbox.box import run_boxed
from tests.unit.assess.pilots import FASTAPI, README, rows, trained, write

HERE = importlib.metadata.version("scikit-learn")
OF_2024 = "scikit-learn==1.4.2\npandas<3\njoblib\n"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _index() -> bool:
    """Whether packages can be fetched here."""
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "-"]
    return subprocess.run(command, input=b"six", capture_output=True, check=False).returncode == 0


def commit(root: Path, date: str) -> None:
    settings = {**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "m"]):
        subprocess.run(["git", *words], cwd=root, env=settings, check=True)


def test_only_names_and_versions_reach_the_installer(tmp_path: Path) -> None:
    asked = """
flask==2.2.5 \\
    --hash=sha256:00
pandas >= 1.5 ; python_version >= "3.8"   # rows
-r /etc/passwd
--index-url https://packages.example.test/simple
-e .
evil @ file:///etc
git+https://example.test/evil.git
./local
"""
    write(
        tmp_path,
        {
            "requirements.txt": asked,
            "requirements-dev.txt": "pytest-mock\n",
            "docs/requirements.txt": "sphinx\n",
            "requirements-docs.txt": "sphinx\n",
            "Dockerfile": "FROM python:3.9-slim\n",
        },
    )
    found = declared(Folder(tmp_path))
    assert [str(each) for each in found.packages] == ["flask==2.2.5", 'pandas>=1.5; python_version >= "3.8"']
    assert [str(each) for each in found.for_tests] == ["pytest-mock"]
    assert found.python == "3.9"
    assert [line.split(": ", 1)[1] for line in found.left_out] == [
        "evil @ file:///etc",
        "git+https://example.test/evil.git",
    ]


def test_conda_and_project_files_are_read_too(tmp_path: Path) -> None:
    conda = "dependencies:\n  - python=3.10\n  - pandas=1.5\n  - pip\n  - pip:\n    - flask>=2\n"
    write(tmp_path, {"environment.yml": conda, "pyproject.toml": '[project]\nname = "x"\ndependencies = ["numpy<2"]\n'})
    found = declared(Folder(tmp_path))
    assert sorted(map(str, found.packages)) == ["flask>=2", "numpy<2", "pandas==1.5.*"]
    assert found.python == "3.10"


def test_without_a_list_or_where_all_is_met_it_is_our_own(tmp_path: Path) -> None:
    assert environment_for(Folder(write(tmp_path / "a", {"a.py": ""})), install=True).why == "it names no packages"
    met = environment_for(Folder(write(tmp_path / "b", {"requirements.txt": f"scikit-learn=={HERE}\n"})), install=True)
    assert not met.own and not met.why and "meets all" in met.said
    assert not (tmp_path / "cache").exists()


def test_a_model_is_not_opened_with_other_versions_than_it_asks_for(tmp_path: Path) -> None:
    trained(tmp_path)
    write(tmp_path, {"requirements.txt": "scikit-learn==0.24.2\n"})
    found = assess(tmp_path)
    said = f"the model: scikit-learn {HERE} is installed here, the pilot asks for ==0.24.2"
    assert f"not probed: {said}" in found.skipped
    assert "not probed: its own environment: installing was turned off" in found.skipped
    states = {rating.criterion.id: rating.state for each in found.dimensions for rating in each.ratings}
    assert states["model.loads"] == states["infrastructure.installs"] == "unknown"
    assert states["data.present"] == "holds"


def test_a_roadmap_is_probed_as_an_assessment_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = "def test_it():\n    assert 1 + 1 == 2\n"
    folder = write(tmp_path / "pilot", {"requirements.txt": "scikit-learn==0.24.2\n", "tests/test_a.py": tests})
    monkeypatch.setattr(environments.shutil, "which", lambda *_a, **_k: None)

    def why(command: str, *words: str) -> list[str]:
        done = CliRunner().invoke(roadmap, [command, *words, str(folder)], obj=Chosen(), catch_exceptions=False)
        return [line.rpartition(": ")[2] for line in done.output.splitlines() if "its own environment" in line]

    [tried] = why("make")
    assert tried.startswith("uv is not installed")
    assert why("status") == [tried]
    assert why("status", "--no-install") == ["installing was turned off"]
    assert why("status", "--no-probes") == []


def test_a_model_made_with_another_minor_version_is_unknown_too(tmp_path: Path) -> None:
    frame = rows(200)
    model = LogisticRegression().fit(frame[["a", "b"]], frame["y"])
    joblib.dump(model, tmp_path / "m.joblib")
    content = (tmp_path / "m.joblib").read_bytes()
    assert HERE.encode() in content
    (tmp_path / "m.joblib").write_bytes(content.replace(HERE.encode(), b"1.0.2"[: len(HERE)].ljust(len(HERE), b"0")))
    probed = probe(Folder(tmp_path))
    assert not probed.steps and any("the artefact was made with 1.0.2" in line for line in probed.skipped)


def test_without_an_installer_or_a_network_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"requirements.txt": "no-such-thing-as-this==1\n", "d.csv": "a,y\n" + "1,0\n2,1\n" * 50})
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    probed = probe(Folder(tmp_path), install=True)
    assert any("its packages cannot be resolved" in line for line in probed.skipped), probed.skipped
    assert {step.criterion for step in probed.steps} >= {"data.present", "data.quality"}
    assert not list((tmp_path / "cache/pilotage/environments").glob("*/ready"))
    monkeypatch.setattr(environments.shutil, "which", lambda *_a, **_k: None)
    assert "uv is not installed" in environment_for(Folder(tmp_path), install=True).why


@pytest.mark.slow
def test_a_pilot_of_2024_runs_with_the_versions_of_its_date(tmp_path: Path) -> None:
    if not _index():
        pytest.skip("packages cannot be fetched here")
    root = tmp_path / "pilot"
    root.mkdir()
    rows(400).to_csv(root / "d.csv", index=False)
    files = {
        "requirements.txt": f"{OF_2024}fastapi\n",
        "train.py": "y = df['y']\n",
        "setup.py": "open('/tmp/ran', 'w')\n",
    }
    write(
        root,
        files | {"serve.py": FASTAPI, "README.md": README, "tests/test_it.py": "def test_a(): assert 1 + 1 == 2\n"},
    )
    commit(root, "2024-06-01T00:00:00Z")
    made = environment_for(Folder(root), install=True)
    assert made.own and "as of 2024-06-01" in made.said, made
    fit = (
        "import joblib, pandas as pd; from sklearn.linear_model import LogisticRegression as L;"
        f"f = pd.read_csv('{root}/d.csv'); joblib.dump(L().fit(f[['a', 'b']], f['y']), 'm.joblib')"
    )
    work = tmp_path / "work"
    assert run_boxed([made.python, "-c", fit], work=work, readable=[root, *made.readable], env=made.env).ok
    (work / "m.joblib").rename(root / "m.joblib")
    commit(root, "2024-06-01T00:00:00Z")
    probed = probe(Folder(root))  # kept: nothing is fetched again, nor need be allowed
    level = {step.criterion: step.level for step in probed.steps}
    assert not probed.skipped
    for name in ("installs", "tests_pass", "starts", "answers", "latency"):
        assert level[f"infrastructure.{name}"] == 1, name
    assert level["model.loads"] == level["model.predicts"] == level["model.held_out"] == level["data.validated"] == 1
    lock = next((tmp_path / "cache/pilotage/environments").glob("*/lock.txt")).read_text()
    assert "scikit-learn==1.4.2" in lock and "numpy==1.26.4" in lock and "fastapi==0.111.0" in lock


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("wget==3.2\n", "cannot be resolved"),
        ("numpy==1.19.5\n", "cannot be resolved"),
        ("pandas==2.2.2\nnumpy==1.21.0\n", "cannot be resolved"),
    ],
    ids=["source only", "no wheel for this Python", "at odds"],
)
def test_what_cannot_be_resolved_from_wheels_is_unknown(tmp_path: Path, asked: str, said: str) -> None:
    if not _index():
        pytest.skip("packages cannot be fetched here")
    write(tmp_path, {"requirements.txt": asked})
    made = environment_for(Folder(tmp_path), install=True)
    assert not made.own and said in made.why

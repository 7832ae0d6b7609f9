"""Every static signal on a planted fault and on its clean twin: the fault is found at its line, the twin is clean."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotage.assess.folder import Folder
from pilotage.assess.signals import (
    artefacts,
    container,
    governance,
    history,
    licences,
    notebooks,
    packaging,
    personal,
    secrets,
    serving,
    training,
)
from pilotage.assess.signals.seen import Seen

Signal = Callable[[Folder], Iterator[Seen]]
Files = dict[str, str | bytes]

SERVER = """from flask import Flask, request
import joblib
app = Flask(__name__)
{top}
@app.route("/predict", methods=["POST"])
def predict():
    {body}
"""
SAFE = SERVER.format(
    top="model = joblib.load('m.joblib')\nimport logging\n@app.route('/health')\ndef health():\n    return 'ok'\n",
    body="row = Row.model_validate(request.json); return model.predict([row.age])",
)


def server(body: str, top: str = "") -> Files:
    return {"serve.py": SERVER.format(top=top, body=body), "m.joblib": "x"}


def notebook(*cells: tuple[int | None, str]) -> str:
    made = [
        {
            "cell_type": "code",
            "execution_count": n,
            "metadata": {},
            "outputs": [],
            "source": s.splitlines(keepends=True),
        }
        for n, s in cells
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1",)


TOKEN = "ghp_" + "a1B2" * 9
CSV = "id,{}\n1,2\n3,4\n"
PORT_80 = "FROM a:1\nEXPOSE 80\nUSER 9\nCMD b"
CARD = (
    "# Model card\nPurpose: rank cases for review. Not intended for anything else. " * 4 + "Evaluated on held-out rows."
)

# (signal, criterion, planted, where, clean); `where` is (file, line) of the first finding, or None when it has none
TWINS: list[tuple[Signal, str, Files, tuple[str, int] | None, Files]] = [
    (
        training.held_out, "model.held_out",
        {"t.py": "from sklearn.metrics import roc_auc_score\nprint(roc_auc_score(y_train, p))"}, ("t.py", 2),
        {"t.py": "print(roc_auc_score(y_train, p))\nprint(roc_auc_score(y_test, q))"},
    ),
    (
        training.held_out, "model.held_out",
        {"t.py": "y_pred = m.predict(X)\nprint(m.score(X, y_pred))\nprint(f1_score(y_pred, y_pred))"}, ("t.py", 3),
        {"t.py": "print(accuracy_score(y_test, y_pred))"},
    ),
    (
        training.seeded, "model.seeded",
        {"t.py": "a, b = train_test_split(X)\nk = KFold(5)"}, ("t.py", 1),
        {"t.py": "a, b = train_test_split(X, random_state=1)\nk = KFold(5)"},
    ),
    (
        training.fit_after_split, "model.fit_after_split",
        {"t.py": "X = StandardScaler().fit_transform(X)\na, b = train_test_split(X)"}, ("t.py", 1),
        {"t.py": "y = LabelEncoder().fit_transform(y)\na, b = train_test_split(X)\na = Scaler().fit_transform(a)"},
    ),
    (
        notebooks.order, "model.notebook_order",
        {"n.ipynb": notebook((2, "a = 1"), (1, "b = 2"))}, ("n.ipynb", 9),
        {"n.ipynb": notebook((1, "a = 1"), (2, "b = 2"))},
    ),
    (
        packaging.pins, "infrastructure.pins",
        {"requirements.txt": "# packages\nnumpy==2.0.0\npandas>=2\n"}, ("requirements.txt", 3),
        {"requirements.txt": "numpy==2.0.0\npandas==2.2.3  # pinned\n"},
    ),
    (
        packaging.pins, "infrastructure.pins",
        {"requirements.txt": "sklearn==0.0\n"}, ("requirements.txt", 1),
        {"pyproject.toml": '[project]\ndependencies = ["numpy>=2"]\n', "uv.lock": "locked"},
    ),
    (
        packaging.tests, "infrastructure.tests",
        {"m.py": "x = 1", "tests/test_m.py": "def test_m():\n    print(1)"}, ("tests/test_m.py", 1),
        {"m.py": "x = 1", "tests/test_m.py": "def test_m():\n    assert x == 1"},
    ),
    (
        packaging.ci, "infrastructure.ci",
        {"m.py": "", ".github/workflows/ci.yml": "steps: [echo]"}, (".github/workflows/ci.yml", 0),
        {"m.py": "", ".github/workflows/ci.yml": "run: pytest"},
    ),
    (
        container.container, "infrastructure.container",
        {"m.py": "", "Dockerfile": ""}, ("Dockerfile", 0),
        {"m.py": "", "Dockerfile": "FROM python:3.11\nUSER 9\nCMD [\"python\", \"m.py\"]"},
    ),
    (
        container.container, "infrastructure.container",
        {"s.py": "import flask\napp = flask.Flask('x')\napp.run(port=5000)", "Dockerfile": PORT_80},
        ("s.py", 3),
        {"s.py": "import flask\napp = flask.Flask('x')\napp.run(port=80)", "Dockerfile": PORT_80},
    ),
    (
        packaging.paths, "infrastructure.paths",
        {"m.py": "a = 1\nd = open('/home/kim/x.csv')"}, ("m.py", 2),
        {"m.py": "d = open('data/home/x.csv')"},
    ),
    (
        packaging.complete, "infrastructure.complete",
        {"m.py": "import joblib\nm = joblib.load('gone.joblib')"}, ("m.py", 2),
        {"m.py": "import joblib\njoblib.dump(m, 'made.joblib')\nm = joblib.load('out/made.joblib')"},
    ),
    (
        packaging.complete, "infrastructure.complete",
        {"m.py": "import os\nimport lightgbm", "requirements.txt": "numpy==1"}, ("m.py", 2),
        {"m.py": "import os\nimport numpy, h.x", "h/x.py": "", "requirements.txt": "numpy==1"},
    ),
    (
        packaging.complete, "infrastructure.complete",
        {"m.py": "", "requirements.txt": ""}, ("requirements.txt", 0),
        {"m.py": "", "requirements.txt": "numpy"},
    ),
    (
        packaging.handover, "team.handover",
        {"m.py": "", "README.md": "Run:\n```\npython train.py\n```"}, ("README.md", 3),
        {"train.py": "", "README.md": "Run:\n```\npython train.py\n```"},
    ),
    (
        serving.validated, "data.validated",
        server("return m.predict([request.json['a']])"), ("serve.py", 6), {"serve.py": SAFE},
    ),
    (
        serving.validated, "data.validated",
        server("return m.predict(validate([float(v) for v in request.form.values()]))"), ("serve.py", 7),
        {"serve.py": SAFE},
    ),
    (
        serving.server, "infrastructure.server",
        server("return joblib.load('m.joblib').predict(1)"), ("serve.py", 7), {"serve.py": SAFE},
    ),
    (
        serving.server, "infrastructure.server",
        {"serve.py": SAFE + "\napp.run(debug=True)\n"}, ("serve.py", 14), {"serve.py": SAFE + "\napp.run()\n"},
    ),
    (
        serving.server, "infrastructure.server",
        {"serve.py": SAFE + "\ntry:\n    x()\nexcept:\n    y = 0\n"}, ("serve.py", 16),
        {"serve.py": SAFE + "\ntry:\n    x()\nexcept ValueError:\n    y = 0\n"},
    ),
    (
        serving.observable, "infrastructure.observable",
        server("print(1)"), ("serve.py", 7), {"serve.py": SAFE},
    ),
    (
        serving.upstream, "infrastructure.upstream",
        {"m.py": "import requests\nrequests.get('http://a')"}, ("m.py", 2),
        {"m.py": "import requests\nrequests.get('http://a', timeout=3)\n{}.get('x')"},
    ),
    (
        secrets.secrets, "governance.secrets",
        {"m.py": f"a = 1\nt = '{TOKEN}'"}, ("m.py", 2), {"m.py": "t = os.environ['TOKEN']"},
    ),
    (
        secrets.secrets, "governance.secrets",
        {"c.yaml": "db_password: 'k3v9Qw7LmZ'"}, ("c.yaml", 1),
        {"c.yaml": "db_password: 'your-password-here'\napi_key: '${KEY}'"},
    ),
    (
        secrets.secrets, "governance.secrets",
        {"m.py": "u = 'postgresql://risk:hunter22@db.bank.example/x'"}, ("m.py", 1),
        {"m.py": "u = 'postgresql://postgres:postgres@localhost/x'"},
    ),
    (
        artefacts.artefact, "governance.artefact_safe",
        {"m.pkl": pickle.dumps(Bomb())}, ("m.pkl", 0), {"m.pkl": pickle.dumps({"a": 1})},
    ),
    (
        artefacts.artefact, "infrastructure.environment",
        {"m.pkl": pickle.dumps({"_sklearn_version": "0.2"}), "requirements.txt": "scikit-learn==1.5"}, ("m.pkl", 0),
        {"m.pkl": pickle.dumps({"_sklearn_version": "1.5"}), "requirements.txt": "scikit-learn==1.5"},
    ),
    (
        governance.schema, "data.schema",
        {"m.py": "x = 1"}, None, {"m.py": "x = 1", "schema.json": '{"properties": {"a": {"type": "number"}}}'},
    ),
    (
        governance.data_present, "data.present",
        {"m.py": "x = 1"}, None, {"d.csv": "a,b\n1,2\n"},
    ),
    (
        governance.lineage, "data.lineage",
        {"d.csv": "a\n1\n"}, None, {"d.csv": "a\n1\n", "d.csv.dvc": "md5: 1"},
    ),
    (
        personal.personal_data, "governance.personal_data",
        {"d.csv": CSV.format("email")}, ("d.csv", 1), {"d.csv": CSV.format("amount")},
    ),
    (
        governance.protected_inputs, "governance.protected_inputs",
        {"d.csv": CSV.format("gender")}, ("d.csv", 1), {"d.csv": CSV.format("amount")},
    ),
    (
        licences.licence, "governance.licence",
        {"m.py": "", "LICENSE": ""}, None, {"m.py": "", "LICENSE": "Apache License, Version 2.0, January 2004 " * 3},
    ),
    (
        governance.model_card, "governance.model_card",
        {"m.pkl": "x", "MODEL_CARD.md": "to do"}, None, {"m.pkl": "x", "MODEL_CARD.md": CARD},
    ),
]  # fmt: skip


def folder(root: Path, files: Files) -> Folder:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Folder(root)


def one(signal: Signal, criterion: str, pilot: Folder) -> Seen:
    return next(seen for seen in signal(pilot) if seen.criterion == criterion)


@pytest.mark.parametrize("case", TWINS, ids=lambda case: f"{case[0].__name__}-{next(iter(case[2]))}")
def test_a_planted_fault_is_found_and_its_clean_twin_is_not(
    tmp_path: Path, case: tuple[Signal, str, Files, tuple[str, int] | None, Files]
) -> None:
    signal, criterion, planted, where, clean = case
    found = one(signal, criterion, folder(tmp_path / "planted", planted))
    assert found.level < 1
    assert found.summary
    if where:
        assert where in [(each.file, each.line) for each in found.findings]
    twin = one(signal, criterion, folder(tmp_path / "clean", clean))
    assert (twin.level, twin.findings) == (1, [])


@pytest.mark.parametrize("signal", sorted({case[0] for case in TWINS}, key=lambda each: each.__name__))
def test_an_empty_folder_says_nothing(tmp_path: Path, signal: Signal) -> None:
    assert list(signal(folder(tmp_path, {"notes.txt": "hello"}))) in ([], list(secrets.secrets(Folder(tmp_path))))


def test_a_secret_is_found_inside_a_compressed_artefact_and_never_repeated(tmp_path: Path) -> None:
    import joblib

    joblib.dump({"url": f"https://x:{TOKEN}@git.example"}, tmp_path / "m.joblib", compress=3)
    found = one(secrets.secrets, "governance.secrets", Folder(tmp_path))
    assert {each.file for each in found.findings} == {"m.joblib"}
    assert TOKEN not in str(found)


def test_a_path_in_a_comment_or_notebook_is_half_as_bad_as_in_code(tmp_path: Path) -> None:
    mild = folder(tmp_path / "a", {"m.py": "# was /home/kim/x.csv", "n.ipynb": notebook((1, "f = '/Users/kim/x'"))})
    assert one(packaging.paths, "infrastructure.paths", mild).level == 0.5
    severe = folder(tmp_path / "b", {"m.py": "open('C:\\\\Users\\\\kim\\\\x.csv')"})
    assert one(packaging.paths, "infrastructure.paths", severe).level == 0


def test_a_request_in_the_log_is_named(tmp_path: Path) -> None:
    pilot = folder(tmp_path, server("data = request.json; print('got', data); return '1'"))
    found = one(personal.personal_data, "governance.personal_data", pilot)
    assert found.level == 0.5 and [(each.file, each.line) for each in found.findings] == [("serve.py", 7)]


def test_notebook_findings_carry_the_line_of_the_file(tmp_path: Path) -> None:
    source = notebook((1, "# hello\nimport os"), (2, "%matplotlib inline\nx = 1\nsplit = train_test_split(x)"))
    pilot = folder(tmp_path, {"n.ipynb": source})
    [found] = one(training.seeded, "model.seeded", pilot).findings
    assert "train_test_split" in source.splitlines()[found.line - 1]
    assert found.digest.startswith("sha256:")


def test_what_cannot_be_read_is_listed_as_skipped(tmp_path: Path) -> None:
    files: Files = {"broken.py": "def", "latin.py": "# \xe9".encode("latin-1"), "n.ipynb": "{}", "ok.py": "x = 1"}
    pilot = folder(tmp_path, files)
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert [module.path for module in pilot.modules] == ["ok.py"]
    assert {line.split(":")[0] for line in [*pilot.skipped, *Folder(tmp_path).skipped]} == {
        "broken.py",
        "latin.py",
        "n.ipynb",
        "link",
    }


def test_an_unread_pickle_is_unknown_not_safe(tmp_path: Path) -> None:
    pilot = folder(tmp_path, {"m.pkl": b"no pickle at all"})
    assert list(artefacts.artefact(pilot)) == []


def test_own_history_gives_the_bus_factor_and_a_folder_within_another_repository_none(tmp_path: Path) -> None:
    import subprocess

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@x"] if "b" not in words else []
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "sub").mkdir()
    for number in range(4):
        author = "one <one@x>" if number < 3 else "two <two@x>"
        git("commit", "-q", "--allow-empty", "-m", "m", f"--author={author}")
    found = one(history.history, "team.bus_factor", Folder(tmp_path))
    assert (found.level, found.figures["people"], found.figures["share_of_first"]) == (1, 2, 0.75)
    assert list(history.history(Folder(tmp_path / "sub"))) == []

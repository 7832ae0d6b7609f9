"""A tiny pilot with a pipeline of three commands, and an installation to run it in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pilotage.ledger.keyring import Keyring
from pilotage.storage.database import control, open_engine
from pilotage.storage.home import Home
from pilotage.workflows.service import Pipelines

__all__ = ["declare", "make_pipelines", "tiny_steps"]

CLEAN = """
rows = open("data/raw.csv").read().split()
open("clean.csv", "w").write("\\n".join([rows[0], *sorted(set(rows[1:]))]) + "\\n")
print("kept", len(rows) - 1)
"""
TRAIN = """
import os, random
random.seed(int(os.environ["PILOTAGE_SEED"]))
rows = open("clean.csv").read().split()[1:]
open("model.txt", "w").write(f"{sum(float(r.split(',')[1]) for r in rows) + random.random()!r} {hash('a')}")
"""
JUDGE = "open('report.json', 'w').write(repr([open('model.txt').read()]))"


def tiny_steps() -> list[dict[str, Any]]:
    """ingest, train and judge: each reads what the one before made."""
    return [
        {
            "name": "ingest",
            "run": ["python", "clean.py"],
            "inputs": ["clean.py", "data/raw.csv"],
            "outputs": ["clean.csv"],
        },
        {
            "name": "train",
            "run": ["python", "train.py"],
            "inputs": ["train.py", "clean.csv"],
            "outputs": ["model.txt"],
        },
        {"name": "judge", "run": ["python", "-c", JUDGE], "inputs": ["model.txt"], "outputs": ["report.json"]},
    ]


def declare(folder: Path, steps: list[dict[str, Any]] | None = None, **pipeline: Any) -> Path:
    """The pilot's folder with its files; the path of its declaration."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    raw = folder / "data" / "raw.csv"
    if not raw.exists():
        raw.write_text("id,amount\n" + "".join(f"c{at},{at * 7 % 11}\n" for at in range(40)))
    (folder / "clean.py").write_text(CLEAN)
    (folder / "train.py").write_text(TRAIN)
    owners = dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org")
    document = {
        "id": "tiny",
        "name": "Tiny",
        "purpose": "shows how a pipeline runs",
        "risk_tier": "low",
        "owners": owners,
        "pilot": {"artefact": "model.txt", "data": "clean.csv", "target": "amount", "positive": "1"},
        "pipeline": {"steps": tiny_steps() if steps is None else steps, **pipeline},
    }
    path = folder / "pilotage.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def make_pipelines(root: Path, environ: Mapping[str, str] | None = None) -> Pipelines:
    """Pipelines over a fresh home."""
    home = Home(root=root).create()
    engine = open_engine(f"sqlite:///{home.control_database}")
    control.create_all(engine)
    return Pipelines(home=home, control=engine, keyring=Keyring.create(), environ=environ or {})

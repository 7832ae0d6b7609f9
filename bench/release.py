"""Build a release of a large pilot: how long, how much processor's time, how much memory, by step.

    make bench-release                                 1M rows x 30 columns
    make bench-release ARGS="--rows 200000"

The pilot is made once: numbers and categories with gaps in a Parquet file, a scikit-learn pipeline fitted on a part.
The build runs in a process of its own, like `pilotage release build`; its peak memory and that of its box count.
The last line on standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pilotage.ledger.keyring import Keyring
from pilotage.releases.build import build_release
from pilotage.storage.database import open_engine, url_of
from pilotage.storage.home import Home
from pilotage.storage.migrate import migrate

BENCH = Path(__file__).resolve().parent
TEXTS = 5
FITTED = 50_000

YAML = """id: large
name: A large pilot
purpose: Tells how long the build of a release takes.
risk_tier: high
author: bench
owners: {business: b@bench.example, model: m@bench.example, operations: o@bench.example, risk: r@bench.example}
pilot:
  artefact: model.joblib
  data: data.parquet
  target: target
  positive: "1"
  subject: id
  protected: [t0]
  slices: [t1]
  protected_inputs: {t0: as its author left it}
  holdout: 0.25
  seed: 7
answer: {threshold: 0.3, adverse: refer, favourable: approve}
reasons:
  - {code: ALL, text: What the numbers say, features: [%s]}
"""


def make_pilot(folder: Path, rows: int, columns: int, kind: str) -> None:
    """Write data, model and declaration."""
    chance = np.random.default_rng(3)
    table = pd.DataFrame({"id": np.arange(rows)})
    names = [f"n{at}" for at in range(columns - TEXTS)]
    total = np.zeros(rows)
    for at, name in enumerate(names):
        values = chance.normal(size=rows) if at % 2 else chance.integers(0, 200, size=rows).astype(float)
        total += (values - values.mean()) / values.std() * chance.normal() / 3
        table[name] = np.where(chance.random(rows) < 0.02, np.nan, np.round(values, 4)) if at % 5 == 0 else values
    texts = [f"t{at}" for at in range(TEXTS)]
    for name in texts:
        table[name] = chance.choice(["a", "b", "c", "d"], size=rows)
    table["target"] = (total + chance.logistic(size=rows) > 1).astype(int)
    inputs = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), names), (OneHotEncoder(handle_unknown="ignore"), texts)
    )
    last = LogisticRegression(max_iter=200) if kind == "linear" else HistGradientBoostingClassifier(random_state=1)
    model = Pipeline([("inputs", inputs), ("model", last)])
    model.fit(table[names + texts][:FITTED], table["target"][:FITTED])
    joblib.dump(model, folder / "model.joblib")
    with duckdb.connect() as connection:
        connection.register("made", table)
        connection.execute("COPY made TO ? (FORMAT parquet)", [str(folder / "data.parquet")])
    (folder / "pilotage.yaml").write_text(YAML % ", ".join([*names, *texts[1:]]))


def peak_mib() -> int:
    """The most memory of this process since it began; `ru_maxrss` would include the parent's at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def build(folder: Path) -> dict[str, float]:
    """Build it in this process; seconds by step."""
    home = Home(root=folder / "home").create()
    keyring = Keyring.create_or_open(home.keyring)
    engine = open_engine(url_of(home, "control"))
    migrate(engine, "control")
    steps: dict[str, float] = {}
    last = ["", time.perf_counter()]

    def tell(step: str, _share: float) -> None:
        now = time.perf_counter()
        if last[0]:
            steps[str(last[0])] = round(now - float(last[1]), 2)
            memory = peak_mib()
            print(f"  {last[0]}: {steps[str(last[0])]} s, peak {memory} MiB so far", file=sys.stderr, flush=True)
        last[:] = [step, now]

    build_release(folder / "pilotage.yaml", home=home, control=engine, keyring=keyring, author="bench", progress=tell)
    engine.dispose()
    return steps


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--kind", choices=("linear", "trees"), default="linear")
    parser.add_argument("--dir", type=Path, default=BENCH / "results")
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.folder:
        began = time.perf_counter()
        steps = build(chosen.folder)
        own, box = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        figures = {
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_s": round(own.ru_utime + own.ru_stime, 1),
            "box_cpu_s": round(box.ru_utime + box.ru_stime, 1),
            "peak_mib": peak_mib(),
            "box_peak_mib": box.ru_maxrss // 1024,
        }
        print(
            json.dumps({"rows": chosen.rows, "columns": chosen.columns, "kind": chosen.kind, **figures, "steps": steps})
        )
        return 0
    chosen.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix="release-") as made:
        make_pilot(Path(made), chosen.rows, chosen.columns, chosen.kind)
        return subprocess.run([sys.executable, __file__, *sys.argv[1:], "--in", made], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""What answering rows together gains: one worker with the build's proof and one without, turn about, in one run.

    .venv/bin/python bench/together.py [--seconds 4] [--rounds 3]

A forest of 60 trees on 20 numbers, as ONNX inline and as the pilot's own model in a boxed process. The last line on
standard output is one JSON object: by runtime and concurrency the medians of both, and the medians of the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pandas as pd
import yaml
from columns import KEY, SYSTEM
from gateway import Server, ask, count_recorded, measure, say, start, stop
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pilotage.evidence.store import latest
from pilotage.gateway.plan import Key, Route, ServingPlan, Together, decode_plan
from pilotage.gateway.store import add_plan, newest_plan
from pilotage.kernel.clock import now_us
from pilotage.ledger.keyring import Keyring
from pilotage.releases.build import build_release
from pilotage.releases.model import folder_name
from pilotage.releases.together import CHECK, proven_rows
from pilotage.storage.database import open_engine, reading, url_of, writing
from pilotage.storage.home import Home
from pilotage.storage.migrate import migrate
from pilotage.systems.serving import Bulkhead

NAMES = [f"f{at}" for at in range(20)]
BOTH = ("together", "alone")


def built(root: Path, runtime: str) -> tuple[Home, dict[str, object]]:
    """A home with one release of a forest, and a plan that uses the proof that its build made."""
    generator = np.random.default_rng(1)
    table = pd.DataFrame({name: generator.integers(0, 1_000, 2_000).astype(float) for name in NAMES})
    table["bad"] = (table["f0"] + table["f1"] * table["f2"] / 500 + generator.normal(0, 200, 2_000) > 900).astype(int)
    forest = RandomForestClassifier(60, max_depth=8, random_state=1)
    model = forest if runtime == "onnx" else make_pipeline(FunctionTransformer(np.log1p), forest)
    pilot = root / "pilot"
    pilot.mkdir(parents=True)
    joblib.dump(model.fit(table[NAMES], table["bad"]), pilot / "model.joblib")
    table.to_csv(pilot / "data.csv", index=False)
    declared = {
        "id": SYSTEM, "name": "Bench", "purpose": "To be measured.", "risk_tier": "low",
        "owners": dict.fromkeys(("business", "model", "operations", "risk"), "role@example.org"),
        "pilot": {"artefact": "model.joblib", "data": "data.csv", "target": "bad", "positive": "1"},
    }  # fmt: skip
    (pilot / "pilotage.yaml").write_text(yaml.safe_dump(declared))
    home = Home(root=root / "home").create()
    keyring = Keyring.create_or_open(home.keyring)
    engine = open_engine(url_of(home, "control"))
    migrate(engine, "control")
    release = build_release(pilot / "pilotage.yaml", home=home, control=engine, keyring=keyring, author="bench")
    if release.runtime != runtime:
        raise SystemExit(f"the build made a release of runtime {release.runtime}, not {runtime}")
    with reading(engine) as connection:
        judged = latest(connection, release.digest, CHECK)
    rows, environment = proven_rows(judged)
    route = Route(
        system=SYSTEM,
        release=release.digest,
        folder=folder_name(release.digest),
        stage="internal",
        contract=release.contract,
        policy=release.policy,
        together=Together(rows=rows, environment=environment),
        # Room for all 64: alone they would wait longer than the usual tenth of a second, and four in five be refused.
        bulkhead=Bulkhead(calls=64, wait=5.0),
    )
    key = Key(id="bench", sha256=hashlib.sha256(KEY.encode()).hexdigest(), scopes=[f"decide:{SYSTEM}"])
    steward = keyring.steward_public.hex()
    plan = ServingPlan(version=1, created=now_us(), steward_key=steward, routes=[route], keys=[key])
    with writing(engine) as connection:
        add_plan(connection, plan)
    engine.dispose()
    return home, judged.figures if judged else {}


def without(home: Home, root: Path) -> Home:
    """The same home, whose plan lets no rows go together."""
    shutil.copytree(home.root, root)
    other = Home(root=root)
    engine = open_engine(url_of(other, "control"))
    with writing(engine) as connection:
        stored = newest_plan(connection)
        assert stored is not None
        plan = decode_plan(stored.body)
        routes = [msgspec.structs.replace(route, together=Together()) for route in plan.routes]
        add_plan(connection, msgspec.structs.replace(plan, version=2, routes=routes))
    engine.dispose()
    return other


def main() -> int:
    """Build, measure turn about, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, object] = {}
    for runtime in ("onnx", "process"):
        with tempfile.TemporaryDirectory() as root:
            found[runtime] = compared(Path(root), runtime, options.seconds, options.rounds)
    print(json.dumps(found))
    return 0


def compared(root: Path, runtime: str, seconds: float, rounds: int) -> dict[str, object]:
    """The figures of one runtime."""
    home, judged = built(root, runtime)
    homes = {"together": home, "alone": without(home, root / "other")}
    row = root / "row.json"
    row.write_text(json.dumps({"inputs": dict.fromkeys(NAMES, 500.0)}))
    servers: dict[str, Server] = {}
    for name in BOTH:
        log = root / f"{name}.log"
        servers[name] = start("governed", homes[name].root, 0, log, row)
        servers[name].name = name
        ask(servers[name], log)
    say(f"{runtime}: the build found {judged}")
    for _ in range(rounds):
        for concurrency in (1, 64):
            for server in servers.values():
                measure(server, concurrency, seconds, 1)
    for name in BOTH:
        stop(servers[name])
        recorded = count_recorded(homes[name].root)
        if recorded < servers[name].answered:
            raise SystemExit(f"{name}: {servers[name].answered} answered, {recorded} recorded")
    return {"built": judged.get("gain"), **{f"c{c}": figures(servers, c) for c in (1, 64)}}


def figures(servers: dict[str, Server], concurrency: int) -> dict[str, object]:
    """Medians of each, and of the ratios round by round."""
    of = {name: servers[name].loads[concurrency] for name in BOTH}
    told: dict[str, object] = {}
    for name in BOTH:
        for what in ("rps", "p50_ms", "p99_ms"):
            told[f"{name}_{what}"] = round(statistics.median(getattr(load, what) for load in of[name]), 2)
        told[f"{name}_cpu_us"] = round(statistics.median(servers[name].cpu_us[concurrency]), 1)
    pairs = list(zip(of["together"], of["alone"], strict=True))
    told["ratio_rps"] = round(statistics.median(one.rps / other.rps for one, other in pairs), 3)
    told["ratio_p50"] = round(statistics.median(one.p50_ms / other.p50_ms for one, other in pairs), 3)
    return told


if __name__ == "__main__":
    raise SystemExit(main())

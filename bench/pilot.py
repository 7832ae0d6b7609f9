"""What every server of the benchmark answers from: one model of 23 columns, as a release, as ONNX, as scikit-learn."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from columns import COLUMNS, FEATURES, KEY, SYSTEM
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pilotage.evaluation.explainer import NumberTerm
from pilotage.gateway.plan import Key, Route, ServingPlan
from pilotage.gateway.store import add_plan
from pilotage.kernel.clock import now_us
from pilotage.ledger.keyring import Keyring
from pilotage.releases.load import LoadedRelease
from pilotage.releases.model import folder_name
from pilotage.storage.database import open_engine, url_of, writing
from pilotage.storage.home import Home
from pilotage.storage.migrate import migrate
from pilotage.testing.releases import make_release, make_rows

__all__ = ["make_home", "row_body"]


def make_home(root: Path) -> Home:
    """A home with a keyring, one release, one serving plan with one key, and `model.joblib` of the same model."""
    home = Home(root=root).create()
    keyring = Keyring.create_or_open(home.keyring)
    release = make_release(home, system=SYSTEM, columns=COLUMNS)
    joblib.dump(_as_sklearn(release), root / "model.joblib")
    route = Route(
        system=SYSTEM,
        release=release.digest,
        folder=folder_name(release.digest),
        stage="internal",
        contract=release.contract.digest(),
        policy=release.policy,
    )
    key = Key(id="bench", sha256=hashlib.sha256(KEY.encode()).hexdigest(), scopes=[f"decide:{SYSTEM}"])
    plan = ServingPlan(
        version=1, created=now_us(), steward_key=keyring.steward_public.hex(), routes=[route], keys=[key]
    )
    engine = open_engine(url_of(home, "control"))
    migrate(engine, "control")
    with writing(engine) as connection:
        add_plan(connection, plan)
    engine.dispose()
    (root / "bench.json").write_text(json.dumps({"folder": str(release.folder)}))
    return home


def row_body() -> bytes:
    """The body of every request: one row of random values that fit."""
    values = make_rows(COLUMNS, 1)[0]
    row: dict[str, Any] = {"ID": 104_729}
    for column, value in zip(FEATURES, values, strict=True):
        assert isinstance(value, float)
        row[column.name] = int(value) if column.type == "integer" else round(value, 2)
    return json.dumps({"inputs": row}).encode()


def _as_sklearn(release: LoadedRelease) -> Pipeline:
    """The release's linear form as a fitted scikit-learn pipeline that takes a plain array, its fastest input."""
    form = release.explainer().form
    assert form is not None
    terms = [term for term in form.terms if isinstance(term, NumberTerm)]
    assert [term.feature for term in terms] == [column.name for column in FEATURES]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    chance = np.random.default_rng(1)
    pipeline.fit(chance.normal(size=(50, len(terms))), np.arange(50) % 2)
    scaler, model = pipeline[0], pipeline[1]
    scaler.mean_ = np.array([term.center for term in terms])
    scaler.scale_ = np.array([term.scale for term in terms])
    scaler.var_ = scaler.scale_**2
    model.coef_ = np.array([[term.weight for term in terms]])
    model.intercept_ = np.array([form.intercept])
    return pipeline

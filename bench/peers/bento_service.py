"""BentoML as its documentation has it: one worker, a typed row, scikit-learn."""

import json
import os
from pathlib import Path

import bentoml
import joblib
import numpy as np
from pydantic import create_model

HOME = Path(os.environ["BENCH_HOME"])
NAMES = json.loads((HOME / "columns.json").read_text())
Row = create_model("Row", **dict.fromkeys(NAMES, (float, ...)))


@bentoml.service(workers=1, traffic={"timeout": 30})
class Service:
    """One address: a row in, a score out."""

    def __init__(self) -> None:
        self._model = joblib.load(HOME / "model.joblib")

    @bentoml.api
    def predict(self, row: Row) -> dict[str, float]:
        values = np.array([[getattr(row, name) for name in NAMES]])
        return {"score": float(self._model.predict_proba(values)[0, 1])}

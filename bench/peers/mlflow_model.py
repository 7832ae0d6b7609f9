"""Save the model as MLflow's own flavour with a signature: `mlflow models serve` answers from it."""

import json
import os
import sys
from pathlib import Path

import joblib
import mlflow
import pandas as pd
from mlflow.models import infer_signature

home = Path(os.environ["BENCH_HOME"])
row = json.loads((home / "row.json").read_text())["inputs"]
names = json.loads((home / "columns.json").read_text())
frame = pd.DataFrame([{name: float(row[name]) for name in names}])
model = joblib.load(home / "model.joblib")
mlflow.sklearn.save_model(
    model,
    sys.argv[1],
    signature=infer_signature(frame, model.predict_proba(frame.to_numpy())),
    pyfunc_predict_fn="predict_proba",
    pip_requirements=["scikit-learn"],
    serialization_format="cloudpickle",
)

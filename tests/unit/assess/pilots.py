"""Small pilots as teams write them, made of real data or of drawn rows, for the probes to run."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["FASTAPI", "FASTAPI_LOOSE", "README", "rows", "trained", "write"]

FASTAPI = """
import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()
model = joblib.load("m.joblib")


class Row(BaseModel):
    a: float = Field(ge=-100, le=100, allow_inf_nan=False, strict=True)
    b: float = Field(ge=-100, le=100, allow_inf_nan=False, strict=True)


@app.get("/health")
def health():
    return {"ok": True}


@app.post("/predict")
def predict(row: Row):
    return {"p": float(model.predict_proba(pd.DataFrame([row.model_dump()]))[0, 1])}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="0.0.0.0", port=8123)
"""

FASTAPI_LOOSE = """
import joblib
import pandas as pd
from fastapi import FastAPI, Request

app = FastAPI(debug=True)
model = joblib.load("m.joblib")


@app.post("/score")
async def score(request: Request):
    data = await request.json()
    if data == 7:
        raise SystemExit
    a = data.get("a", 0)
    b = data["b"]
    try:
        return {"p": float(model.predict_proba(pd.DataFrame([{"a": a, "b": b}]))[0, 1])}
    except ValueError:
        return {"p": 0.0}
"""

README = """
# Toy

    curl -X POST http://localhost:8123/predict -H 'Content-Type: application/json' -d '{"a": 0.5, "b": -1.5}'
"""


def rows(count: int = 600) -> pd.DataFrame:
    """Two inputs, and an outcome that hangs on both."""
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=count), generator.normal(size=count)
    return pd.DataFrame({"a": a, "b": b, "y": (generator.random(count) < 1 / (1 + np.exp(-(a + b)))).astype(int)})


def trained(root: Path) -> None:
    """Data, and a model fitted on it."""
    frame = rows()
    frame.to_csv(root / "d.csv", index=False)
    joblib.dump(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(frame[["a", "b"]], frame["y"]), root / "m.joblib"
    )
    (root / "train.py").write_text("import pandas as pd\n\ndf = pd.read_csv('d.csv')\ny = df['y']\n")


def write(root: Path, files: dict[str, str]) -> Path:
    """The files of a pilot."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root

"""Small pilots with one planted fault each, and clean twins that look like it. A sound pilot is the ground of all."""

# ruff: noqa: E501 - a pilot in a line: the fault beside its twin

from __future__ import annotations

import json
import pickle
import zlib
from dataclasses import dataclass, field
from typing import Any

Files = dict[str, "str | bytes | None"]

KEY = "AKIA" + "Q7ZJ4M2XW9LT5VRB"
TOKEN = "ghp_" + "k2Vd9QmX7rTz4LwB8sNf3HcY6pJg1aUe5RtZ"

TRAIN = '''"""Fit the model and say how good it is."""
import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["visits", "amount", "months"]


def main():
    frame = pd.read_csv("data/claims.csv")
    X, y = frame[FEATURES], frame["label"]
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=7)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(X_train, y_train)
    score = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])
    joblib.dump(model, "model.joblib")
    return score


if __name__ == "__main__":
    main()
'''
SERVE = '''"""Answer claims."""
import logging
import os

import joblib
import pandas as pd
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field

logger = logging.getLogger(__name__)
app = FastAPI()
model = joblib.load("model.joblib")
THRESHOLD = float(os.environ["THRESHOLD"])
header = APIKeyHeader(name="x-api-key")


class Claim(BaseModel):
    visits: int = Field(ge=0)
    amount: float = Field(ge=0)
    months: int = Field(ge=0)


def caller(key: str = Depends(header)):
    if key != os.environ["CALLER_KEY"]:
        raise HTTPException(401)


@app.get("/health")
def health():
    return {"ok": True}


@app.post("/predict", dependencies=[Depends(caller)])
def predict(claim: Claim):
    row = pd.DataFrame([claim.model_dump()])
    score = float(model.predict_proba(row)[0, 1])
    return {"score": score, "review": score >= THRESHOLD}
'''
FLASK = '''"""Answer claims."""
import logging
import os

import joblib
from flask import Flask, abort, request

from schema import Claim

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 65536
model = joblib.load("model.joblib")
THRESHOLD = float(os.environ["THRESHOLD"])


@app.before_request
def caller():
    if request.path != "/health" and request.headers.get("Authorization") != os.environ["CALLER"]:
        abort(401)


@app.get("/health")
def health():
    return {"ok": True}


@app.post("/predict")
def predict():
    claim = Claim.model_validate(request.get_json())
    return {"review": bool(model.predict_proba([[claim.visits]])[0, 1] >= THRESHOLD)}
'''
DOCKER = """FROM python:3.11.9-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
USER 1000
EXPOSE 8000
CMD ["uvicorn", "serve:app", "--host", "0.0.0.0", "--port", "8000"]
"""
CI = """on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: pip install -r requirements.txt
      - run: pytest
"""
REQUIREMENTS = """fastapi==0.115.0
joblib==1.4.2
pandas==2.2.3
pydantic==2.9.2
pytest==8.3.3
scikit-learn==1.5.2
uvicorn==0.30.6
"""
ROWS = "visits,amount,months,label\n" + "".join(f"{i % 7},{i * 3.5},{i % 24},{i % 2}\n" for i in range(60))
README = """# Claims

Ranks claims for review.

```
pip install -r requirements.txt
python train.py
```
"""
CARD = """# Model card

Purpose: ranks claims for review by a person. Not intended for anything else, and not for claims of other countries.
Evaluated on held-out rows of March; limits: few claims over 24 months, so its scores there are uncertain.
"""
BASE: Files = {
    "train.py": TRAIN,
    "serve.py": SERVE,
    "tests/test_train.py": "from train import FEATURES\n\n\ndef test_features():\n    assert len(FEATURES) == 3\n",
    "requirements.txt": REQUIREMENTS,
    ".python-version": "3.11.9\n",
    "Dockerfile": DOCKER,
    ".github/workflows/ci.yml": CI,
    "LICENSE": "Apache License, Version 2.0, January 2004, https://www.apache.org/licenses/\n" * 2,
    "README.md": README,
    "data/claims.csv": ROWS,
    "data/README.md": "Extract of the claims system of March, licence: internal use, owner: the claims department. "
    * 2,
    "MODEL_CARD.md": CARD,
    "schema.json": '{"properties": {"visits": {"type": "integer"}, "amount": {"type": "number"}}}',
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """`where` are (criterion, file, a piece of the line), with an empty piece for the whole file and an empty file for
    a criterion that fails as a whole."""

    name: str
    planted: Files
    where: list[tuple[str, str, str]]
    clean: Files = field(default_factory=dict)

    def expected(self, base: Files | None = None) -> set[tuple[str, str, int]]:
        files = {**(BASE if base is None else base), **self.planted}
        return {(criterion, file, _line(files.get(file), piece)) for criterion, file, piece in self.where}


def _line(content: str | bytes | None, piece: str) -> int:
    if not piece:
        return 0
    if isinstance(content, str):
        content = content.encode()
    assert content is not None
    wanted = piece.encode()
    assert content.count(wanted) == 1, (piece, content.count(wanted))
    before = content[: content.index(wanted)]
    return before.replace(b"\r\n", b"\n").count(b"\n") + 1


def edit(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def train(old: str, new: str) -> Files:
    return {"train.py": edit(TRAIN, old, new)}


def serve(old: str, new: str) -> Files:
    return {"serve.py": edit(SERVE, old, new)}


def flask(*edits: tuple[str, str]) -> Files:
    text = FLASK
    for old, new in edits:
        text = edit(text, old, new)
    listed = REQUIREMENTS + "flask==3.0.3\n"
    return {"serve.py": text, "schema.py": "from pydantic import BaseModel\n\n\nclass Claim(BaseModel):\n    visits: int\n",
            "requirements.txt": listed}  # fmt: skip


def docker(old: str, new: str) -> Files:
    return {"Dockerfile": edit(DOCKER, old, new)}


def notebook(*cells: tuple[int | None, str] | tuple[int | None, str, list[Any]], indent: int | None = 1) -> str:
    made = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A look\n", "import os  # no code"]},
        *(
            {
                "cell_type": "code",
                "execution_count": cell[0],
                "metadata": {},
                "outputs": cell[2] if len(cell) > 2 else [],
                "source": cell[1].splitlines(keepends=True),
            }
            for cell in cells
        ),
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=indent)


def stream(text: str) -> list[Any]:
    return [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}]


class Calls:
    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("true",)


SECRET, UNSAFE, SERVER = "governance.secrets", "infrastructure.unsafe_calls", "infrastructure.server"
OBSERVABLE, ACCESS, CONTAINER = "infrastructure.observable", "infrastructure.access", "infrastructure.container"
HELD, PERSONAL, PINS = "model.held_out", "governance.personal_data", "infrastructure.pins"
NOTEBOOK, LICENCE, PATHS = "model.notebook_order", "governance.licence", "infrastructure.paths"
OBSERVED = "data.observed"
LEAK, PREPARED, COMPLETE = "data.leakage", "model.preprocessing", "infrastructure.complete"

SECRETS = [
    Case(name="key in code", planted={"io.cfg.py": f'import os\n\nregion = "eu"\nkey = "{KEY}"\n'},
         where=[(SECRET, "io.cfg.py", "key =")], clean={"io.cfg.py": 'key = "AKIAIOSFODNN7EXAMPLE"\n'}),
    Case(name="key put together", planted={"store.py": 'key = (\n    "AK" + "IA"\n    + "Q7ZJ4M2X" + "W9LT5VRB"\n)\n'},
         where=[(SECRET, "store.py", '"AK"')], clean={"store.py": 'key = "AK" + "IA" + "XXXXXXXXXXXXXXXX"\n'}),
    Case(name="token in a notebook output", planted={"look.ipynb": notebook((1, "import os\nos.environ", stream(f"TOKEN {TOKEN}\n")))},
         where=[(SECRET, "look.ipynb", TOKEN)], clean={"look.ipynb": notebook((1, "import os\nos.environ", stream("TOKEN ghp_" + "x" * 36)))}),
    Case(name="token in notebook code", planted={"look.ipynb": notebook((1, f"import os\ntoken = '{TOKEN}'"))},
         where=[(SECRET, "look.ipynb", TOKEN)], clean={"look.ipynb": notebook((1, "import os\ntoken = os.environ['TOKEN']"))}),
    Case(name="unquoted in .env", planted={".env": "# local\nTHRESHOLD=0.5\nDB_PASSWORD=k3v9Qw7LmZ\n"},
         where=[(SECRET, ".env", "DB_PASSWORD")], clean={".env.example": "THRESHOLD=0.5\nDB_PASSWORD=<your-password>\nAPI_KEY=changeme\nSECRET=${SECRET}\n"}),
    Case(name="unquoted in YAML", planted={"conf/app.yaml": "db:\n  user: claims\n  password: k3v9Qw7LmZ\n"},
         where=[(SECRET, "conf/app.yaml", "password")],
         clean={"conf/app.yaml": "db:\n  password: ${DB_PASSWORD}\n  password_file: /run/secrets/db\nmax_tokens: 512\ntokenizer: bert-base-uncased\n"}),
    Case(name="inside a compressed artefact", planted={"cache.joblib": zlib.compress(pickle.dumps({"url": f"https://x:{TOKEN}@git.bank.com"}))},
         where=[(SECRET, "cache.joblib", "")], clean={"cache.joblib": zlib.compress(pickle.dumps({"url": "https://git.bank.com"}))}),
    Case(name="in ENV of a Dockerfile", planted=docker("USER 1000", "ENV API_KEY=q8Zr2LmX0vTn5\nUSER 1000"),
         where=[(SECRET, "Dockerfile", "API_KEY")], clean=docker("USER 1000", "ARG API_KEY\nENV API_KEY_FILE=/run/secrets/key\nUSER 1000")),
    Case(name="password in an address", planted={"db.py": "URL = (\n    'postgresql://risk:hunter22@db.bank.com/claims'\n)\n"},
         where=[(SECRET, "db.py", "hunter22")], clean={"db.py": '"""Such as postgresql://user:password@host/db."""\nURL = "postgresql://postgres:postgres@localhost/x"\n'}),
    Case(name="private key", planted={"certs/server.pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow" + "q8Zr2LmX" * 8 + "\n"},
         where=[(SECRET, "certs/server.pem", "BEGIN")], clean={"certs/server.pem": "-----BEGIN CERTIFICATE-----\nMIIEow\n", "check.py": 'BAD = "PRIVATE KEY"\n'}),
    Case(name="in Latin-1, CRLF", planted={"old.ini": "[db]\r\n; für alle\r\npassword = k3v9Qw7LmZ\r\n".encode("latin-1")},
         where=[(SECRET, "old.ini", "password")], clean={"old.ini": "[db]\r\n; für alle\r\npassword = \r\n".encode("latin-1")}),
    Case(name="in a file that does not parse", planted={"old/load.py": 'print "loading"\npassword = "k3v9Qw7LmZ"\n'},
         where=[(SECRET, "old/load.py", "password"), (COMPLETE, "old/load.py", "print")], clean={"old/load.txt": 'print "loading"\n'}),
    Case(name="keyword argument", planted={"db.py": 'import sqlite3\n\n\ndef connect(login):\n    return login(user="x",\n        passwd="k3v9Qw7LmZ")\n'},
         where=[(SECRET, "db.py", "passwd")], clean={"tests/test_login.py": 'def test_login(login):\n    assert login(passwd="k3v9Qw7LmZ")\n'}),
]  # fmt: skip
UNSAFES = [
    Case(name="eval in the service", planted=serve("    row =", "    eval(claim.rule)\n    row ="), where=[(UNSAFE, "serve.py", "eval(")],
         clean=serve("    row =", '    """Never eval(claim.rule)."""\n    # exec(x)\n    row =')),
    Case(name="shell by an alias", planted={"job.py": "import subprocess as sp\n\n\ndef run(name):\n    return sp.run(\n        f'cat {name}',\n        shell=True,\n    )\n"},
         where=[(UNSAFE, "job.py", "sp.run")], clean={"job.py": "import subprocess\n\n\ndef run(name):\n    return subprocess.run(['cat', name], check=True)\n"}),
    Case(name="os.system by from-import", planted={"job.py": "from os import system as go\n\n\ndef run(name):\n    go('cat ' + name)\n"},
         where=[(UNSAFE, "job.py", "go('cat")], clean={"job.py": "import os\n\n\ndef run():\n    return os.cpu_count()\n"}),
    Case(name="pickle from the network", planted={"fetch.py": "import pickle\nfrom urllib.request import urlopen\n\n\ndef fetch(url):\n    body = urlopen(url, timeout=9).read()\n    return pickle.loads(body)\n"},
         where=[(UNSAFE, "fetch.py", "pickle.loads")],
         clean={"fetch.py": "import hashlib\nimport pickle\nfrom urllib.request import urlopen\n\n\ndef fetch(url, expected):\n    body = urlopen(url, timeout=9).read()\n    if hashlib.sha256(body).hexdigest() != expected:\n        raise ValueError(url)\n    return pickle.loads(body)\n"}),
    Case(name="pandas reads a foreign pickle", planted={"fetch.py": "import pandas as p\n\nframe = p.read_pickle('https://files.bank.com/rows.pkl')\n"},
         where=[(UNSAFE, "fetch.py", "read_pickle")], clean={"fetch.py": "import pandas as p\n\nframe = p.read_csv('https://files.bank.com/rows.csv')\n"}),
    Case(name="no TLS check", planted={"fetch.py": "import requests\n\n\ndef fetch(url):\n    return requests.get(url, timeout=3, verify=False)\n", "requirements.txt": REQUIREMENTS + "requests==2.32.3\n"},
         where=[(UNSAFE, "fetch.py", "requests.get")], clean={"fetch.py": "import requests\n\n\ndef fetch(url):\n    return requests.get(url, timeout=3, verify='ca.pem')\n", "requirements.txt": REQUIREMENTS + "requests==2.32.3\n"}),
    Case(name="yaml.load", planted={"conf.py": "import yaml\n\nconf = yaml.load(open('a.txt'), Loader=yaml.Loader)\n", "requirements.txt": REQUIREMENTS + "pyyaml==6.0.2\n"},
         where=[(UNSAFE, "conf.py", "yaml.load(")], clean={"conf.py": "import yaml\n\nconf = yaml.load(open('a.txt'), Loader=yaml.SafeLoader)\n", "requirements.txt": REQUIREMENTS + "pyyaml==6.0.2\n"}),
    Case(name="artefact that calls", planted={"m.pkl": pickle.dumps(Calls())}, where=[("governance.artefact_safe", "m.pkl", "")],
         clean={}),
]  # fmt: skip
SERVERS = [
    Case(name="debug", planted=flask(("model = joblib", "if __name__ == '__main__':\n    app.run(\n        debug=True)\nmodel = joblib")),
         where=[(SERVER, "serve.py", "app.run(")], clean=flask(("model = joblib", "if __name__ == '__main__':\n    app.run(debug=False)\nmodel = joblib"))),
    Case(name="no authentication", planted=flask(('@app.before_request\ndef caller():\n    if request.path != "/health" and request.headers.get("Authorization") != os.environ["CALLER"]:\n        abort(401)\n\n\n', "")),
         where=[(ACCESS, "serve.py", "def predict")], clean=flask()),
    Case(name="no authentication in FastAPI", planted=serve(', dependencies=[Depends(caller)]', ""),
         where=[(ACCESS, "serve.py", "def predict")], clean=serve("app = FastAPI()", "app = FastAPI(title='claims')")),
    Case(name="swallowed errors", planted=serve("    row = pd.DataFrame([claim.model_dump()])", "    try:\n        row = pd.DataFrame([claim.model_dump()])\n    except Exception:\n        row = None"),
         where=[(SERVER, "serve.py", "except Exception")],
         clean=serve("    row = pd.DataFrame([claim.model_dump()])", "    try:\n        row = pd.DataFrame([claim.model_dump()])\n    except Exception:\n        logger.exception('no row')\n        raise")),
    Case(name="prints", planted=serve("    row =", "    print('asked')\n    row ="), where=[(OBSERVABLE, "serve.py", "print(")],
         clean=serve("    row =", "    logger.info('asked')\n    row =")),
    Case(name="no health address", planted=serve('"/health"', '"/about"'), where=[(OBSERVABLE, "serve.py", "app = FastAPI")],
         clean=serve('"/health"', '"/api/v1/healthz"')),
    Case(name="model loaded for each request", planted=serve("    row =", "    model = joblib.load('model.joblib')\n    row ="),
         where=[(SERVER, "serve.py", "    model = joblib")], clean=serve("    row =", "    import json\n    json.loads('1')\n    row =")),
    Case(name="model loaded by a function for each request",
         planted=serve("    row =", "    model = get_model()\n    row =") | {"serve.py": edit(edit(SERVE, "    row =", "    model = get_model()\n    row ="), "class Claim", "def get_model():\n    return joblib.load('model.joblib')\n\n\nclass Claim")},
         where=[(SERVER, "serve.py", "    return joblib.load")],
         clean={"serve.py": edit(edit(SERVE, "    row =", "    model = get_model()\n    row ="), "class Claim", "@functools.lru_cache\ndef get_model():\n    return joblib.load('model.joblib')\n\n\nclass Claim").replace("import logging\n", "import functools\nimport logging\n")}),
    Case(name="no input validation", planted=flask(("Claim.model_validate(request.get_json())", "request.get_json()"), ("claim.visits", "claim['visits']"), ("from schema import Claim\n\n", "")),
         where=[("data.validated", "serve.py", "def predict")], clean=flask()),
    Case(name="unbounded body", planted=flask(('app.config["MAX_CONTENT_LENGTH"] = 65536\n', "")), where=[("infrastructure.limits", "serve.py", "app = Flask")],
         clean=flask(('app.config["MAX_CONTENT_LENGTH"] = 65536\n', "app.config.update(\n    MAX_CONTENT_LENGTH=65536,\n)\n"))),
    Case(name="buried threshold", planted=serve("score >= THRESHOLD", "score >= 0.37"), where=[("business.threshold", "serve.py", "0.37")],
         clean=serve("score >= THRESHOLD", "score >= THRESHOLD if score > 0 else False")),
    Case(name="fit while serving", planted=serve("    score =", "    row = StandardScaler().fit_transform(row)\n    score =") | {"serve.py": edit(edit(SERVE, "    score =", "    row = StandardScaler().fit_transform(row)\n    score ="), "from pydantic", "from sklearn.preprocessing import StandardScaler\nfrom pydantic")},
         where=[(PREPARED, "serve.py", "fit_transform")],
         clean={"serve.py": edit(edit(SERVE, "    score =", "    row = scaler.transform(row)\n    score ="), "class Claim", "scaler = joblib.load('scaler.joblib')\n\n\nclass Claim"), "train.py": edit(TRAIN, "    return score", "    joblib.dump(StandardScaler().fit(X_train), 'scaler.joblib')\n    return score")}),
    Case(name="filled otherwise while serving", planted=train('    X, y =', "    frame = frame.fillna(-1)\n    X, y =") | serve("    score =", "    row = row.fillna(0)\n    score ="),
         where=[(PREPARED, "serve.py", "fillna(0)")], clean=train('    X, y =', "    frame = frame.fillna(-1)\n    X, y =") | serve("    score =", "    row = row.fillna(-1)\n    score =")),
    Case(name="no time limit", planted={"fetch.py": "import requests as r\n\n\ndef fetch(url):\n    return r.post(\n        url,\n    )\n", "requirements.txt": REQUIREMENTS + "requests==2.32.3\n"},
         where=[("infrastructure.upstream", "fetch.py", "r.post")], clean={"fetch.py": "import requests as r\n\n\ndef fetch(url):\n    return r.post(\n        url,\n        timeout=3,\n    )\n", "requirements.txt": REQUIREMENTS + "requests==2.32.3\n"}),
    Case(name="another port", planted=docker("EXPOSE 8000", "EXPOSE 80"), where=[(CONTAINER, "Dockerfile", "EXPOSE 80")], clean=docker("EXPOSE 8000", "EXPOSE 8000/tcp")),
]  # fmt: skip
TRAINING = [
    Case(name="train is test", planted=train("    score = roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])", "    score = roc_auc_score(y_train, model.predict_proba(X_train)[:, 1])"),
         where=[(HELD, "train.py", "score = roc_auc")], clean=train("    joblib.dump", "    fit = roc_auc_score(y_train, model.predict_proba(X_train)[:, 1])\n    joblib.dump")),
    Case(name="all rows fitted and scored, by an alias",
         planted={"train.py": "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression\nfrom sklearn.metrics import roc_auc_score as auc\n\nframe = pd.read_csv('data/claims.csv')\ninputs, label = frame[['visits']], frame['label']\nmodel = LogisticRegression()\nmodel.fit(inputs, label)\nquality = auc(\n    label,\n    model.predict_proba(inputs)[:, 1],\n)\n", "serve.py": None, "tests/test_train.py": "def test_sum():\n    assert 1 + 1 == 2\n"},
         where=[(HELD, "train.py", "quality = auc")],
         clean={"train.py": "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression\nfrom sklearn.metrics import roc_auc_score as auc\n\nframe = pd.read_csv('data/claims.csv')\nold, new = frame[:40], frame[40:]\nmodel = LogisticRegression()\nmodel.fit(old[['visits']], old['label'])\nquality = auc(\n    new['label'],\n    model.predict_proba(new[['visits']])[:, 1],\n)\n", "serve.py": None, "tests/test_train.py": "def test_sum():\n    assert 1 + 1 == 2\n"}),
    Case(name="label in the features", planted=train('FEATURES = ["visits", "amount", "months"]', 'FEATURES = ["visits", "amount", "months", "label"]') | {"tests/test_train.py": "def test_sum():\n    assert 1 + 1 == 2\n"},
         where=[(LEAK, "train.py", "X, y = frame")], clean=train('FEATURES = ["visits", "amount", "months"]', 'FEATURES = ["visits", "amount", "labelled_before"]')),
    Case(name="label left in the frame", planted=train("X, y = frame[FEATURES], frame[\"label\"]", "X, y = frame, frame[\"label\"]"),
         where=[(LEAK, "train.py", "X, y = frame")], clean=train("X, y = frame[FEATURES], frame[\"label\"]", "X, y = frame.drop(columns=[\"label\"]), frame[\"label\"]")),
    Case(name="a GPU taken for granted", planted={"net.py": "import torch\n\nnet = torch.nn.Linear(3, 1)\nnet = net.to('cuda:0')\n"},
         where=[("infrastructure.hardware", "net.py", "cuda:0")], clean={"net.py": "import torch\n\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'\nnet = torch.nn.Linear(3, 1).to(device)\nrow = torch.zeros(3, device=device)\n"}),
    Case(name="weights loaded onto a GPU", planted={"net.py": "import torch\n\nnet = torch.nn.Linear(3, 1)\nnet.load_state_dict(torch.load('net.pth', map_location='cuda', weights_only=True))\n", "net.pth": "x"},
         where=[("infrastructure.hardware", "net.py", "map_location")], clean={"net.py": "import torch\n\nnet = torch.nn.Linear(3, 1)\nnet.load_state_dict(torch.load('net.pth', map_location='cpu', weights_only=True))\n", "net.pth": "x"}),
    Case(name="labels drawn at random", planted=train("    X, y =", "    frame[\"label\"] = np.random.randint(0, 2, len(frame))\n    X, y =") | {"train.py": edit(TRAIN, "    X, y =", "    frame[\"label\"] = np.random.randint(0, 2, len(frame))\n    X, y =").replace("import joblib", "import joblib\nimport numpy as np")},
         where=[(OBSERVED, "train.py", "np.random.randint")], clean={"train.py": edit(TRAIN, "    X, y =", "    frame[\"label\"] = (frame[\"label\"] > np.random.uniform()).astype(int)\n    frame[\"noise\"] = np.random.normal(size=len(frame))\n    X, y =").replace("import joblib", "import joblib\nimport numpy as np")}),
    Case(name="labels cut from a draw", planted={"train.py": edit(TRAIN, "X, y = frame[FEATURES], frame[\"label\"]", "X = frame[FEATURES]\n    rng = np.random.default_rng(7)\n    y = np.where(rng.random(len(frame)) > 0.7, 1, 0)").replace("import joblib", "import joblib\nimport numpy as np")},
         where=[(OBSERVED, "train.py", "np.where")], clean={"train.py": edit(TRAIN, "X, y = frame[FEATURES], frame[\"label\"]", "X = frame[FEATURES]\n    rng = np.random.default_rng(7)\n    rows = rng.choice(frame[\"label\"].to_numpy(), len(frame))\n    y = np.where(frame[\"label\"] > 0.7, 1, 0)").replace("import joblib", "import joblib\nimport numpy as np")}),
    Case(name="rows of a generator", planted={"train.py": edit(TRAIN, "    X, y = frame[FEATURES], frame[\"label\"]", "    X, y = make_classification(1000, random_state=1)").replace("import joblib", "import joblib\nfrom sklearn.datasets import make_classification")},
         where=[(OBSERVED, "train.py", "make_classification(1000")], clean={"tests/test_shape.py": "from sklearn.datasets import make_classification\n\nfrom train import main\n\n\ndef test_main():\n    X, y = make_classification(10)\n    assert main() > 0 and len(X) == len(y)\n"}),
    Case(name="no seed", planted=train(", random_state=7", ""), where=[("model.seeded", "train.py", "= train_test_split(")], clean=train("random_state=7", "random_state=SEED")),
    Case(name="forest without a seed", planted=train("from sklearn.linear_model import LogisticRegression", "from sklearn.ensemble import RandomForestClassifier as Forest") | {"train.py": edit(TRAIN, "from sklearn.linear_model import LogisticRegression", "from sklearn.ensemble import RandomForestClassifier as Forest").replace("LogisticRegression()", "Forest(n_estimators=50)")},
         where=[("model.seeded", "train.py", "Forest(n_")], clean={"train.py": edit(TRAIN, "from sklearn.linear_model import LogisticRegression", "from sklearn.ensemble import RandomForestClassifier as Forest").replace("LogisticRegression()", "Forest(random_state=1)")}),
    Case(name="scaled before the split", planted=train("    X_train, X_test", "    X = StandardScaler().fit_transform(X)\n    X_train, X_test"),
         where=[("model.fit_after_split", "train.py", "X = StandardScaler")], clean=train("    model.fit(", "    StandardScaler().fit_transform(X_train)\n    model.fit(")),
    Case(name="scored against itself", planted=train("roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])", "model.score(X_test, y_pred)"),
         where=[(HELD, "train.py", "y_pred")], clean=train("roc_auc_score(y_test, model.predict_proba(X_test)[:, 1])", "model.score(X_test, y_test)")),
    Case(name="absolute path", planted=train('"data/claims.csv"', 'r"C:\\Users\\kim\\claims.csv"'), where=[(PATHS, "train.py", "kim")],
         clean=train('"data/claims.csv"', '"data/home/claims.csv"')),
    Case(name="preparation only in a notebook", planted={"prep.ipynb": notebook((1, "import pandas as pd\nfrom sklearn.preprocessing import OneHotEncoder\nframe = pd.read_csv('data/claims.csv')\nencoder = OneHotEncoder()\nready = encoder.fit_transform(frame)")), "train.py": TRAIN.replace("make_pipeline(StandardScaler(), LogisticRegression())", "LogisticRegression()").replace("from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n", "")},
         where=[(PREPARED, "prep.ipynb", "encoder.fit_transform")], clean={"prep.ipynb": notebook((1, "import pandas as pd\nframe = pd.read_csv('data/claims.csv')\nframe.describe()"))}),
    Case(name="cells out of order", planted={"look.ipynb": notebook((2, "a = 1"), (1, "b = 2"))}, where=[(NOTEBOOK, "look.ipynb", "a = 1")],
         clean={"look.ipynb": notebook((1, "a = 1"), (2, "b = 2"))}),
    Case(name="hidden state", planted={"look.ipynb": notebook((1, "%matplotlib inline\nimport math"), (2, "x = 1\nmath.sqrt(gone)"))}, where=[(NOTEBOOK, "look.ipynb", "gone")],
         clean={"look.ipynb": notebook((1, "%load_ext autoreload\nimport math"), (2, "def f(n):\n    return later(n)"), (3, "def later(n):\n    return [m for m in range(n)]\ndisplay(math.pi, _)"))}),
    Case(name="used before it is defined", planted={"look.ipynb": notebook((1, "total = rows + 1"), (2, "rows = 3"))}, where=[(NOTEBOOK, "look.ipynb", "total = rows")],
         clean={"look.ipynb": notebook((1, "rows = 3"), (2, "total = rows + 1"))}),
    Case(name="an output of no run", planted={"look.ipynb": notebook((1, "a = 1"), (None, "print(a)", stream("1\n")))}, where=[(NOTEBOOK, "look.ipynb", "print(a)")],
         clean={"look.ipynb": notebook((1, "a = 1"), (2, "print(a)", stream("1\n")))}),
    Case(name="ended in an error, one line of JSON", planted={"look.ipynb": notebook((1, "a = 1"), (2, "a / 0", [{"output_type": "error", "ename": "ZeroDivisionError", "evalue": "", "traceback": []}]), indent=None)},
         where=[(NOTEBOOK, "look.ipynb", "cells")], clean={"look.ipynb": notebook((1, "a = 1"), (2, "a / 1"), indent=None)}),
]  # fmt: skip
REST = [
    Case(name="not pinned", planted={"requirements.txt": REQUIREMENTS.replace("pandas==2.2.3", "pandas>=2")}, where=[(PINS, "requirements.txt", "pandas")],
         clean={"requirements.txt": REQUIREMENTS.replace("pandas==2.2.3", "pandas==2.2.3 ; python_version >= '3.9'  # >= 2")}),
    Case(name="star pin", planted={"requirements.txt": REQUIREMENTS.replace("pandas==2.2.3", "pandas==2.*")}, where=[(PINS, "requirements.txt", "pandas")],
         clean={"requirements.txt": ("\ufeff" + REQUIREMENTS).encode("utf-8")}),
    Case(name="not asked for", planted={"plot.py": "import os\n\nimport lightgbm\n"}, where=[(COMPLETE, "plot.py", "lightgbm")], clean={"plot.py": "import os\n\nimport numpy\n"}),
    Case(name="model file missing", planted=serve('joblib.load("model.joblib")', 'joblib.load("final_v2.joblib")'), where=[(COMPLETE, "serve.py", "final_v2")], clean={}),
    Case(name="Python not pinned", planted={".python-version": None, "Dockerfile": edit(DOCKER, "python:3.11.9-slim", "registry.bank.com/base:7")}, where=[("infrastructure.python", "", "")],
         clean={".python-version": None, "pyproject.toml": "[project]\nname = 'x'\nrequires-python = '==3.11.*'\n"}),
    Case(name="root in the container", planted=docker("USER 1000\n", ""), where=[(CONTAINER, "Dockerfile", "CMD")], clean=docker("USER 1000", "USER app:app")),
    Case(name="root at the end", planted=docker("EXPOSE", "USER root\nEXPOSE"), where=[(CONTAINER, "Dockerfile", "USER root")], clean=docker("WORKDIR", "USER root\nWORKDIR")),
    Case(name="latest image", planted=docker("python:3.11.9-slim", "python:latest"), where=[(CONTAINER, "Dockerfile", "FROM")],
         clean=docker("FROM python:3.11.9-slim", "# was python:latest\nFROM python:3.11.9-slim AS build\nFROM build")),
    Case(name="image without a tag", planted=docker("python:3.11.9-slim", "python"), where=[(CONTAINER, "Dockerfile", "FROM")], clean=docker("python:3.11.9-slim", "reg.bank.com:5000/python@sha256:" + "a" * 64)),
    Case(name="tests that assert nothing", planted={"tests/test_train.py": "from train import main\n\n\ndef test_main():\n    main()\n"}, where=[("infrastructure.tests", "tests/test_train.py", "def test_main")],
         clean={"tests/test_train.py": "import pytest\n\nfrom train import main\n\n\ndef test_main():\n    with pytest.raises(OSError):\n        main()\n"}),
    Case(name="assert True", planted={"tests/test_train.py": "def test_main():\n    assert True\n"}, where=[("infrastructure.tests", "tests/test_train.py", "def test_main")],
         clean={"tests/test_train.py": "import unittest\n\n\nclass TestMain(unittest.TestCase):\n    def test_main(self):\n        self.assertEqual(1 + 1, 2)\n"}),
    Case(name="CI runs no tests", planted={".github/workflows/ci.yml": CI.replace("pytest", "ruff check")}, where=[("infrastructure.ci", ".github/workflows/ci.yml", "")],
         clean={".github/workflows/ci.yml": CI.replace("pytest", "make check")}),
    Case(name="CI names tests in a comment", planted={".github/workflows/ci.yml": CI.replace("- run: pytest", "# - run: pytest")}, where=[("infrastructure.ci", ".github/workflows/ci.yml", "")],
         clean={".github/workflows/ci.yml": CI.replace("- run: pytest", "- run: |\n          python -m pytest -q")}),
    Case(name="CI that cannot fail", planted={".github/workflows/ci.yml": CI.replace("pytest", "pytest || true")}, where=[("infrastructure.ci", ".github/workflows/ci.yml", "|| true")],
         clean={".github/workflows/ci.yml": CI.replace("- run: pytest", "- run: rm old || true\n      - run: pytest")}),
    Case(name="personal columns", planted={"data/people.csv": "visits,email,amount\n1,a@x.com,3\n"}, where=[(PERSONAL, "data/people.csv", "email")], clean={"data/people.csv": "visits,email_count,amount\n1,2,3\n"}),
    Case(name="personal values", planted={"data/people.csv": "c1;c2\r\n1;2\r\n".replace(";", ",") + "kim@bank.com,1\nbo@bank.com,2\n"}, where=[(PERSONAL, "data/people.csv", "c1,c2")], clean={"data/people.csv": "c1,c2\n1.2.3,2\n"}),
    Case(name="personal data in JSON", planted={"data/people.json": json.dumps([{"id": 1, "first_name": "Kim"}], indent=1)}, where=[(PERSONAL, "data/people.json", "first_name")],
         clean={"data/people.json": json.dumps({"name": "claims", "version": 1}, indent=1)}),
    Case(name="addresses in an output", planted={"look.ipynb": notebook((1, "import os\nos", stream("0 kim@bank.com\n1 bo@bank.com\n2 li@bank.com\n")))}, where=[(PERSONAL, "look.ipynb", "import os\\n")],
         clean={"look.ipynb": notebook((1, "import os\nos", stream("0 kim at bank\n")))}),
    Case(name="no licence", planted={"LICENSE": None}, where=[(LICENCE, "", "")], clean={"LICENSE": None, "COPYING": "Copyright the claims department, all rights reserved.\n"}),
    Case(name="copyleft dependency", planted={"requirements.txt": REQUIREMENTS + "PyMuPDF==1.24.0\n"}, where=[("governance.dependency_licences", "requirements.txt", "PyMuPDF")],
         clean={"requirements.txt": REQUIREMENTS + "# not PyMuPDF==1.24.0\npypdf==5.0.0\n"}),
    Case(name="README names what is not there", planted={"README.md": README.replace("python train.py", "python fit.py")}, where=[("team.handover", "README.md", "fit.py")], clean={}),
]  # fmt: skip
CASES = [*SECRETS, *UNSAFES, *SERVERS, *TRAINING, *REST]

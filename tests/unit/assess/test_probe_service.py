"""The service of a pilot is started in a box and called: what works is shown to work, what is wrong is placed."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from pilotage.assess import probes
from pilotage.assess.folder import Folder
from pilotage.assess.probes import probe
from pilotage.assess.probing.boxed_garbage import spoilt
from pilotage.assess.probing.calling import calls, commands, exposed, health_paths, places, serves
from pilotage.assess.probing.environment import environment_for
from pilotage.assess.probing.told import Step
from pilotage.assess.service import assess
from pilotage.sandbox.box import run_boxed
from tests.unit.assess.pilots import FASTAPI, FASTAPI_LOOSE, README, trained, write

needs_loopback = pytest.mark.skipif(
    run_boxed(["/bin/true"], loopback=True).isolation.network != "loopback",
    reason="this machine gives a box no network of its own",
)

FLASK = """
from flask import Flask, request
app = Flask(__name__)

@app.route("/predict", methods=["POST"])
def predict():
    data = request.get_json()
    return {"p": model.predict([[data["a"], data.get("b")]])[0]}

@app.route("/form", methods=["POST"])
def form():
    return str(request.form["a"])

@app.route("/healthz")
def health():
    return "ok"
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_LOAD_S", 1.0)


def found(root: Path, **options: float) -> tuple[dict[str, Step], list[str]]:
    probed = probe(Folder(root), **options)  # type: ignore[arg-type]
    return {step.criterion: step for step in probed.steps}, probed.skipped


# ---- what is read of it


def test_commands_come_from_the_recipe_first_and_no_shell_is_run(tmp_path: Path) -> None:
    start = 'EXPOSE 9000\nCMD ["uvicorn", "app:app", "--port", "9"]\n'
    recipe = f"FROM python:3.11\nENV MODE=x\nENV LD_PRELOAD=/evil.so\n{start}"
    write(tmp_path, {"api/Dockerfile": recipe, "api/app.py": FASTAPI, "Procfile": "web: gunicorn app:app && rm -rf /"})
    made = commands(Folder(tmp_path))
    assert made[0].argv == ["python", "-m", "uvicorn", "app:app", "--port", "9"]
    assert (made[0].cwd, made[0].said, made[0].env) == ("api", "api/Dockerfile:5", {"MODE": "x"})
    assert made[1].argv == ["python", "app.py"] and made[1].cwd == "api"
    assert not any("rm" in each.argv for each in made)
    assert exposed(Folder(tmp_path)) == [("api/Dockerfile", 4, 9000)]


def test_a_server_without_a_start_is_started_by_its_framework(tmp_path: Path) -> None:
    write(tmp_path, {"src/app.py": FLASK})
    made = [(each.argv, each.cwd) for each in commands(Folder(tmp_path))]
    ends = ["run", "--host", "127.0.0.1", "--port", "8000"]
    assert made == [
        (["python", "-m", "flask", "--app", "app:app", *ends], "src"),
        (["python", "-m", "flask", "--app", "src.app:app", *ends], ""),
    ]


def test_running_a_command_is_no_start_of_a_server(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": FASTAPI.partition("if __name__")[0] + "import subprocess\nsubprocess.run(['true'])\n"})
    assert [each.argv[2] for each in commands(Folder(tmp_path))] == ["uvicorn"]


def test_requests_are_made_of_what_handlers_read_and_of_a_row(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": FLASK, "README.md": README.replace("8123", "5000")})
    folder = Folder(tmp_path)
    made = calls(folder, {"a": 2.5, "b": 3, "y": 1}, ["a", "b"])
    assert (made[0].path, made[0].body, made[0].stated, made[0].file, made[0].line) == (
        "/predict",
        {"a": 0.5, "b": -1.5},
        True,
        "README.md",
        4,
    )
    assert (made[1].path, made[1].kind, made[1].body, made[1].line) == ("/predict", "json", {"a": 2.5, "b": 3}, 6)
    assert any((each.path, each.kind, each.body) == ("/form", "form", {"a": 2.5}) for each in made)
    assert health_paths(folder)[0] == "/healthz"
    assert places(folder)["/form"] == ("app.py", 11)
    assert serves(folder) and not serves(Folder(write(tmp_path / "x", {"a.py": "import flask\n"})))


def test_every_input_is_spoilt_and_what_may_be_left_out_need_not_be_refused() -> None:
    example = {"kind": "json", "body": {"a": 1, "rows": [[1.5, 2]], "name": "x"}}
    made = {what: (must, change) for what, must, change in spoilt(example, {"name"})}
    assert made["without a"] == (True, {"body": {"rows": [[1.5, 2]], "name": "x"}})
    assert made["without name"][0] is False
    assert made["text as a"][1]["body"]["a"] == "abc"
    assert made["rows: a text where a number belongs"] == (
        True,
        {"body": {"a": 1, "rows": [["abc", 2]], "name": "x"}},
    )
    assert made["odd letters as name"][0] is False and made["an object as name"][0] is True
    assert made["no JSON"][1] == {"raw": b'{"a": '}


# ---- what it does


PLAIN = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
if False:
    from fastapi import FastAPI

class App:
    def post(self, path): return lambda function: function

app = App()

@app.post("/predict")
def predict(data):
    return {"p": 0.1 * float(data["a"])}

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): ...

    def do_GET(self):
        self.answer(200 if self.path == "/ping" else 404, {})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            data = json.loads(content)
            self.answer(200, predict(data))
        except Exception as error:
            self.answer(STATUS, {"error": str(error)})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(HTTPServer):
    def serve(self): self.serve_forever()

Server(("127.0.0.1", 8765), Handler).serve()
"""


@needs_loopback
@pytest.mark.parametrize(("status", "level"), [(422, 1.0), (500, 0.5)])
def test_a_service_is_started_called_and_sent_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, level: float
) -> None:
    monkeypatch.setattr(probes, "_LOAD_S", 0.3)
    write(tmp_path, {"serve.py": PLAIN.replace("STATUS", str(status))})
    steps, skipped = found(tmp_path)
    assert steps["infrastructure.starts"].figures["port"] == 8765
    assert steps["infrastructure.starts"].figures["address"] == "127.0.0.1"
    assert steps["infrastructure.answers"].figures["health"] == "/ping"
    assert steps["data.validated"].level == level and not steps["data.validated"].figures["taken"]
    assert steps["infrastructure.latency"].figures["calls"] == 3
    assert not skipped


@needs_loopback
def test_a_service_that_wants_a_key_is_unknown_to_a_stranger(tmp_path: Path) -> None:
    guarded = PLAIN.replace("self.answer(200, predict(data))", "self.answer(401, {})").replace("STATUS", "422")
    write(tmp_path, {"serve.py": guarded, "README.md": README.replace("8123", "8765")})
    steps, skipped = found(tmp_path)
    assert "infrastructure.answers" not in steps
    assert any("infrastructure.answers" in each and "401" in each for each in skipped), skipped


@pytest.mark.slow
@needs_loopback
def test_a_sound_service_starts_answers_refuses_and_keeps_its_time(tmp_path: Path) -> None:
    trained(tmp_path)
    write(tmp_path, {"serve.py": FASTAPI, "README.md": README})
    (tmp_path / "d.csv").rename(tmp_path / "rows.txt")  # the model alone is probed elsewhere
    steps, skipped = found(tmp_path, rate=20.0)
    assert steps["infrastructure.starts"].figures["port"] == 8123
    assert steps["infrastructure.starts"].figures["address"] == "every address"
    assert "its own example" in steps["infrastructure.answers"].summary
    assert steps["infrastructure.answers"].figures["health"] == "/health"
    assert steps["data.validated"].level == 1, steps["data.validated"]
    assert steps["data.validated"].figures["tried"] > 15
    latency = steps["infrastructure.latency"]
    assert latency.level == 1 and latency.figures["calls"] == 20 and "(stated)" in latency.summary
    assert 0 < latency.figures["p50_ms"] <= latency.figures["p95_ms"] < 500
    assert "infrastructure.server" not in steps and "infrastructure.container" not in steps
    assert not skipped


@pytest.mark.slow
@needs_loopback
def test_a_loose_service_is_found_out_at_its_line(tmp_path: Path) -> None:
    trained(tmp_path)
    recipe = 'FROM python:3.11\nEXPOSE 80\nCMD ["uvicorn", "api:app", "--port", "8000"]\n'
    write(tmp_path, {"api.py": FASTAPI_LOOSE, "Dockerfile": recipe, "README.md": README.replace("predict", "score2")})
    steps, _ = found(tmp_path)
    line = FASTAPI_LOOSE.splitlines().index("async def score(request: Request):") + 1
    checked = steps["data.validated"]
    assert checked.level == 0
    assert {(each.file, each.line) for each in checked.findings} == {("api.py", line)}
    assert "text as a" in checked.figures["taken"] and any(
        "without b: 500" in each for each in checked.figures["broken"]
    )
    assert steps["infrastructure.container"].findings[0].line == 2
    assert "port 80" in steps["infrastructure.container"].summary
    assert steps["infrastructure.server"].level == 0 and "tracebacks" in steps["infrastructure.server"].summary
    debug = FASTAPI_LOOSE.splitlines().index("app = FastAPI(debug=True)") + 1
    assert [each.line for each in steps["infrastructure.server"].findings] == [debug]
    answers = steps["infrastructure.answers"]
    assert answers.level == 0.5 and [(each.file, each.line) for each in answers.findings] == [("README.md", 4)]
    assert "a default of ours" in steps["infrastructure.latency"].summary


@needs_loopback
@pytest.mark.parametrize(
    ("first", "level", "said"),
    [
        ("open('weights.bin')", 0.0, "FileNotFoundError"),
        ("import no_such_package_here", None, "no_such_package_here is not installed here"),
        ("import os; os.environ['SECRET_TOKEN']", None, "needs the setting SECRET_TOKEN"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 1)", None, "wants a network"),
    ],
)
def test_a_service_that_does_not_start_fails_or_stays_unknown(
    tmp_path: Path, first: str, level: float | None, said: str
) -> None:
    write(tmp_path, {"serve.py": f"import fastapi\n{first}\n\n@app.get('/x')\ndef x(): ...\n\nuvicorn.run(app)\n"})
    steps, skipped = found(tmp_path)
    if level is None:
        assert not steps and any(said in line for line in skipped), skipped
    else:
        [step] = steps.values()
        assert step.criterion == "infrastructure.starts" and step.level == level and said in step.summary
        assert (step.findings[0].file, step.findings[0].line) == ("serve.py", 2)


@needs_loopback
def test_a_service_that_never_listens_is_unknown_within_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_BOOT_S", 1.0)
    write(
        tmp_path, {"serve.py": "import fastapi, time\ntime.sleep(600)\n\n@app.get('/x')\ndef x(): ...\n\napp.run()\n"}
    )
    steps, skipped = found(tmp_path)
    assert not steps and "nothing listened within 1 s" in skipped[-1]


# ---- hostile services, and pilots whole


HOSTILE = """
import os, socket, sys, threading, time
if False:
    import fastapi
for pid in (1, os.getppid()):
    try: os.kill(pid, 9)
    except OSError: pass
try: socket.create_connection(("192.0.2.1", 80), 1); reached = "net"
except OSError: reached = "nothing"
read = [p for p in ("/etc/passwd", PLACE) if os.path.exists(p)]
if reached != "nothing" or read: sys.exit(f"out of the box: {reached} {read}")

@app.post("/predict")
def predict(data): ...
"""


@needs_loopback
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("b'HTTP/1.1 200 OK\\r\\nContent-Length: 99999999999\\r\\n\\r\\n' + b'x' * (64 << 20)", ""),
        ("b'HTTP/1.1 200 OK\\r\\n' + b'A: b\\r\\n' * 500000", "no example that it takes could be made"),
        ("b'\\x1b]0;owned\\x07\\x1b[2J' * 1000", "no example that it takes could be made"),
    ],
    ids=["endless body", "endless headers", "no HTTP"],
)
def test_a_hostile_service_is_called_in_time_and_nothing_of_it_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, said: str
) -> None:
    monkeypatch.setattr(probes, "_LOAD_S", 0.3)
    serve = f"""
class App:
    def post(self, path): return lambda function: function

app = App()
{HOSTILE.replace("PLACE", repr(__file__))}
server = socket.create_server(("127.0.0.1", 7000))

def answer(connection):
    try:
        connection.recv(65536)
        connection.sendall({reply})
        connection.close()
    except OSError: pass

def run():
    sys.stdout.write("\\x1b[2J" * 1000000)
    while True:
        threading.Thread(target=answer, args=(server.accept()[0],)).start()

app.run = run
app.run()
"""
    write(tmp_path, {"serve.py": serve})
    started = time.monotonic()
    probed = probe(Folder(tmp_path), seconds=60)
    assert time.monotonic() - started < 70
    assert {step.criterion for step in probed.steps} >= {"infrastructure.starts"}, probed.skipped
    assert not set(str(probed)) & set("\x1b\x07")
    if said:
        assert any(said in line for line in probed.skipped)


@needs_loopback
def test_the_time_for_probes_is_kept_and_what_it_left_out_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    write(tmp_path, {"serve.py": FASTAPI, "test_it.py": "def test_a():\n    assert 1\n"})
    heard: list[str] = []
    started = time.monotonic()
    probed = probe(Folder(tmp_path), seconds=1.0, progress=lambda what, _share: heard.append(what))
    assert time.monotonic() - started < 15
    assert "not probed: starting its service: the time for probes (1 s) was used up" in probed.skipped
    assert heard[1] == "running the model"


def test_a_pilot_that_is_only_a_script_has_nothing_to_start(tmp_path: Path) -> None:
    write(tmp_path, {"batch.py": "import csv\n\nprint(sum(float(r['a']) for r in csv.DictReader(open('d.csv'))))\n"})
    probed = probe(Folder(tmp_path))
    assert probed.skipped == ["not probed: neither a model, data, tests nor a service in the folder"]
    states = {r.criterion.id for d in assess(tmp_path).dimensions for r in d.ratings}
    assert not states & {"infrastructure.starts", "infrastructure.answers", "infrastructure.latency"}


FLASK_APP = """
import pickle

from flask import Flask, jsonify, request

app = Flask(__name__)
with open("model.pkl", "rb") as file:
    model = pickle.load(file)


@app.route("/score", methods=["POST"])
def score():
    data = request.get_json()
    values = [[data["age"], data["duration"], data["credit_amount"]]]
    return jsonify({"bad": float(model.predict_proba(values)[0][1])})


if __name__ == "__main__":
    app.run(port=5055, debug=True)
"""


TRAIN = """
import pickle

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

df = pd.read_csv("credits.csv")
y = df["bad"]
X_train, X_test, y_train, y_test = train_test_split(df.drop(columns="bad").values, y, random_state=1)
pickle.dump(LogisticRegression(max_iter=500).fit(X_train, y_train), open("model.pkl", "wb"))
"""


@pytest.mark.slow
@needs_loopback
def test_a_flask_pilot_on_real_credits_is_run_whole_with_its_own_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).parents[4] / "shared" / "data" / "tabular" / "german_credit.csv"
    if not source.is_file():
        pytest.skip(f"the data is not here: {source}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "pilot"
    tests = """
from app import app

def test_scores():
    sent = {"age": 30, "duration": 12, "credit_amount": 1000}
    assert 0 < app.test_client().post("/score", json=sent).json["bad"] < 1

def test_refuses():
    assert app.test_client().post("/score", json={"age": 30}).status_code == 422
"""
    asked = "flask==3.0.3\nscikit-learn==1.5.2\npandas==2.2.3\nnumpy==1.26.4\n"
    recipe = 'FROM python:3.11-slim\nCOPY . .\nEXPOSE 5000\nCMD ["python", "app.py"]\n'
    write(root, {"app.py": FLASK_APP, "train.py": TRAIN, "tests/test_app.py": tests, "requirements.txt": asked})
    write(root, {"Dockerfile": recipe})
    credits = pd.read_csv(source, header=None)[[12, 1, 4, 20]]
    credits.columns = pd.Index(["age", "duration", "credit_amount", "bad"])
    credits.assign(bad=credits["bad"] - 1).to_csv(root / "credits.csv", index=False)
    made = environment_for(Folder(root), install=True)
    if not made.own:
        pytest.skip(f"packages cannot be fetched here: {made.why}")
    fit = run_boxed([made.python, "train.py"], work=root, readable=made.readable, env=made.env)
    assert fit.ok, fit.stderr
    probed = probe(Folder(root))
    steps = {step.criterion: step for step in probed.steps}
    assert probed.skipped == []
    assert steps["model.loads"].level == steps["model.predicts"].level == 1
    held = steps["model.held_out"].figures
    assert 0.55 < held["auc_low"] < held["auc"] < 0.75  # age, duration and amount tell little of 1,000 credits
    assert steps["model.beats_baseline"].level == 1
    assert steps["infrastructure.tests_pass"].figures == {"passed": 1, "failed": 1, "skipped": 0, "apart": 0}
    [failed] = steps["infrastructure.tests_pass"].findings
    assert (failed.file, failed.line) == ("tests/test_app.py", 8)
    assert steps["infrastructure.starts"].figures["port"] == 5055
    assert steps["infrastructure.container"].findings[0].message == "it opens port 5000, the service listens on 5055"
    assert "an example made of its code and data" in steps["infrastructure.answers"].summary
    assert steps["infrastructure.server"].summary == "debug mode is on: a caller is given a debugger"
    assert steps["data.validated"].level < 1 and steps["data.validated"].findings[0].line == 12
    assert steps["infrastructure.latency"].level == 1

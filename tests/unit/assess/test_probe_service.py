"""The service of a pilot is started in a box and called: what works is shown to work, what is wrong is placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.assess import probes
from pilotage.assess.folder import Folder
from pilotage.assess.probes import probe
from pilotage.assess.probing.boxed_garbage import spoilt
from pilotage.assess.probing.calling import calls, commands, exposed, health_paths, places, serves
from pilotage.assess.probing.told import Step
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

"""A schedule set by command is run by the steward's side once for each due time; a CI file runs as it is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from pilotage.access.service import add_person, create_first_admin, issue_token
from pilotage.cli.main import root
from pilotage.ledger.sealing import Steward
from pilotage.storage.database import reading, writing
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.schedules import run_schedules
from pilotage.wiring.settings import Settings
from pilotage.workflows.ci import PLACES, ci_commands, ci_file
from pilotage.workflows.store import keep_schedule, list_runs, list_schedules
from tests.unit.workflows.small import declare

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "credit_default"


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = open_installation(Settings.read({}, home=str(tmp_path / "home")), create=True)
    admin = create_first_admin(made.control)
    engineer = add_person(made.control, admin, name="engineer", roles=["ml_engineer"])
    monkeypatch.setenv("PILOTAGE_TOKEN", issue_token(made.control, engineer, by=admin).text)
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "home"))
    return made


def call(*words: str) -> Any:
    return CliRunner().invoke(root, list(words))


def test_what_is_due_is_run_once_and_what_was_missed_is_told(installation: Installation, tmp_path: Path) -> None:
    path = declare(tmp_path / "pilot")
    set_ = call("pipeline", "schedule", "--system", "tiny", "--cron", "* * * * *", "--path", str(path))
    assert set_.exit_code == 0, set_.output
    with writing(installation.control) as connection:
        (planned,) = list_schedules(connection)
        since = planned.since - 180_000_000
        keep_schedule(connection, msgspec.structs.replace(planned, since=since))
    stop = threading.Event()
    steward = cast("Steward", SimpleNamespace(active=True))
    thread = threading.Thread(target=run_schedules, args=(installation, steward, stop, 0.2))
    thread.start()
    deadline = time.monotonic() + 60
    runs: list[Any] = []
    while time.monotonic() < deadline and not any(run.ended for run in runs):
        time.sleep(0.2)
        with reading(installation.control) as connection:
            runs = list_runs(connection)
    stop.set()
    thread.join()
    assert runs and runs[-1].state == "succeeded" and runs[-1].due and runs[-1].plan.missed >= 1
    assert len({run.due for run in runs}) == len(runs), "each due time is run once"
    told = json.loads(call("pipeline", "schedule", "--json").stdout)
    assert told[0]["missed"] >= 1 and told[0]["next"] > told[0]["last"]
    assert call("pipeline", "schedule", "--system", "tiny", "--off").exit_code == 0
    assert json.loads(call("pipeline", "schedule", "--json").stdout) == []


def test_nothing_is_run_before_it_is_due(installation: Installation, tmp_path: Path) -> None:
    path = declare(tmp_path / "pilot")
    assert call("pipeline", "schedule", "--system", "tiny", "--cron", "0 0 1 1 *", "--path", str(path)).exit_code == 0
    assert call("pipeline", "scheduled", "--system", "tiny").exit_code == 0
    with reading(installation.control) as connection:
        assert list_runs(connection) == []


@pytest.mark.parametrize("service", sorted(PLACES))
def test_a_ci_file_is_yaml_whose_lines_call_commands_that_exist(service: str) -> None:
    document = yaml.safe_load(ci_file(service, Path("pilots/my pilot"), "data.csv", "contract.yaml"))
    if service == "github":
        lines = [step["run"] for step in document["jobs"]["pilotage"]["steps"] if "run" in step]
        assert document[True] == ["push", "pull_request"], "YAML reads `on` as true"
    else:
        lines = document["pilotage"]["script"]
    commands = [line for _, line in ci_commands(Path("pilots/my pilot"), "data.csv", "contract.yaml")]
    assert "pilotage contract check 'pilots/my pilot/contract.yaml' 'pilots/my pilot/data.csv'" in "".join(commands)
    assert [line.strip() for line in lines][1:] == commands
    assert "'pilots/my pilot'" in "".join(commands)
    for line in lines:
        assert subprocess.run(["sh", "-n", "-c", line]).returncode == 0
        for words in line.split("pilotage ")[1:]:
            if words.split()[0] in root.list_commands(None):  # type: ignore[arg-type]
                group = root.get_command(None, words.split()[0])  # type: ignore[arg-type]
                assert group is not None
                assert getattr(group, "commands", {words.split()[1]: 1}).get(words.split()[1])


def test_init_writes_it_once(tmp_path: Path) -> None:
    declare(tmp_path / "pilot")
    out = tmp_path / "ci.yml"
    assert call("init", str(tmp_path / "pilot"), "--ci", "gitlab", "--out", str(out)).exit_code == 0
    assert "pipeline run" in out.read_text()
    again = call("init", str(tmp_path / "pilot"), "--ci", "gitlab", "--out", str(out))
    assert again.exception is not None and "already" in str(again.exception)


@pytest.mark.slow
@pytest.mark.parametrize("service", sorted(PLACES))
def test_the_lines_of_a_ci_file_run_and_leave_papers(service: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "pilot")
    document = yaml.safe_load(ci_file(service, Path("pilot")))
    lines = (
        [step["run"] for step in document["jobs"]["pilotage"]["steps"] if "run" in step]
        if service == "github"
        else document["pilotage"]["script"]
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**{k: v for k, v in os.environ.items() if not k.startswith("PILOTAGE_")}, "PATH": path}
    for line in lines[1:]:
        done = subprocess.run(["sh", "-e", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    papers = tmp_path / "papers"
    assert {each.name for each in papers.iterdir()} >= {"run.json", "lineage.jsonl", "gate.json", "model-card.md"}
    assert json.loads((papers / "run.json").read_text())["release"]
    assert json.loads((papers / "gate.json").read_text())

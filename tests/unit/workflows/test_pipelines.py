"""Runs of a tiny pipeline: what a step sees, what is reused, what a rerun says, who may run at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pilotage.errors import Conflict, InputError, NotFound
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.processes import this_process
from pilotage.workflows import store
from pilotage.workflows.model import Run, StepRun
from pilotage.workflows.pruning import prune
from pilotage.workflows.service import Pipelines
from pilotage.workflows.shown import log_tail, reasons, state_of
from tests.unit.workflows.small import declare, make_pipelines, tiny_steps


@pytest.fixture
def pipelines(tmp_path: Path) -> Pipelines:
    return make_pipelines(tmp_path / "home")


def steps(pipelines: Pipelines, run: Run) -> list[StepRun]:
    with reading(pipelines.control) as connection:
        return store.steps_of(connection, run.id)


def states(pipelines: Pipelines, run: Run) -> list[str]:
    return [step.state for step in steps(pipelines, run)]


def why(pipelines: Pipelines, run: Run) -> list[tuple[str, str]]:
    with reading(pipelines.control) as connection:
        found = reasons(connection, pipelines.objects, run, store.steps_of(connection, run.id))
    return [(each.step, each.what) for each in found.reasons]


def command(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "only", "run": ["python", "-c", script], **more}


def test_every_step_is_on_record_and_two_homes_make_the_same(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    made = pipelines.run(path, "somebody")
    other = make_pipelines(tmp_path / "other").run(path, "somebody else")
    assert made.state == other.state == "succeeded"
    assert made.digest == other.digest != ""
    found = steps(pipelines, made)
    assert [list(step.outputs) for step in found] == [["clean.csv"], ["model.txt"], ["report.json"]]
    assert pipelines.objects.get(found[0].log) == b"kept 40\n"
    with reading(pipelines.control) as connection:
        events = [event for event in waiting(connection) if event.kind.startswith("pipeline.")]
    assert [event.kind for event in events] == ["pipeline.started", *["pipeline.step_ended"] * 3, "pipeline.ended"]
    assert events[1].facts["outputs"] == found[0].outputs
    assert events[-1].facts["digest"] == made.digest


def test_a_step_sees_only_what_it_declared_and_nothing_else_is_kept(tmp_path: Path, pipelines: Pipelines) -> None:
    script = "import os; open('seen.txt','w').write(repr(sorted(os.listdir('.')))); open('stray.txt','w')"
    path = declare(tmp_path / "pilot", [command(script, inputs=["clean.py"], outputs=["seen.txt"])])
    (step,) = steps(pipelines, pipelines.run(path, "x"))
    assert pipelines.objects.get(step.outputs["seen.txt"]) == b"['clean.py', 'seen.txt']"
    assert step.facts["undeclared"] == ["stray.txt"]
    assert not (tmp_path / "pilot" / "seen.txt").exists()


def test_what_was_done_is_reused_until_an_input_changes(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    first = pipelines.run(path, "x")
    again = pipelines.run(path, "x")
    assert states(pipelines, again) == ["reused"] * 3 and again.digest == first.digest
    assert why(pipelines, again) == []
    assert states(pipelines, pipelines.run(path, "x", fresh=True)) == ["succeeded"] * 3
    (tmp_path / "pilot" / "data" / "raw.csv").write_text("id,amount\nc1,5\n")
    changed = pipelines.run(path, "x")
    assert states(pipelines, changed) == ["succeeded"] * 3
    assert why(pipelines, changed) == [("ingest", "input"), ("train", "input"), ("judge", "input")]


def test_a_change_that_comes_to_nothing_stops_there(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    first = pipelines.run(path, "x")
    raw = tmp_path / "pilot" / "data" / "raw.csv"
    raw.write_text(raw.read_text() + "c1,7\n")
    again = pipelines.run(path, "x")
    assert states(pipelines, again) == ["succeeded", "reused", "reused"] and again.digest == first.digest


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda steps: steps[1].update(seed=9), "seed"),
        (lambda steps: steps[1].update(env={"A": "1"}), "settings"),
        (lambda steps: steps[1].update(run=["python", "-X", "utf8", "train.py"], seed=8), "command"),
    ],
)
def test_a_rerun_says_why_it_differs(
    tmp_path: Path, pipelines: Pipelines, change: Callable[[list[dict[str, Any]]], None], what: str
) -> None:
    pipelines.run(declare(tmp_path / "pilot", tiny_steps()[:2]), "x")
    changed = tiny_steps()[:2]
    change(changed)
    run = pipelines.run(declare(tmp_path / "pilot", changed), "x")
    told = why(pipelines, run)
    if what == "settings":
        assert told == [], "other settings that came to the same bytes are no difference"
    else:
        assert ("train", what) in told and all(step == "train" for step, _ in told)


def test_chance_is_found_by_running_twice_and_by_comparing(tmp_path: Path, pipelines: Pipelines) -> None:
    script = "import os; open('out.csv','w').write('a,b\\n1,' + os.urandom(8).hex() + '\\n')"
    path = declare(tmp_path / "pilot", [command(script, outputs=["out.csv"])])
    run = pipelines.run(path, "x", twice=True)
    (step,) = steps(pipelines, run)
    assert run.state == "failed"
    assert "not deterministic" in step.error and "out.csv: row 1, b" in step.error
    pipelines.run(path, "x", fresh=True)
    run = pipelines.run(path, "x", fresh=True)
    with reading(pipelines.control) as connection:
        found = reasons(connection, pipelines.objects, run, steps(pipelines, run))
    assert [each.what for each in found.reasons] == ["not_deterministic"]
    assert "row 1, b" in found.reasons[0].text
    fixed = declare(tmp_path / "pilot")
    assert pipelines.run(fixed, "x", twice=True).state == "succeeded"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (command("raise SystemExit(3)", outputs=["a"]), "status 3"),
        (command("open('b','w')", outputs=["a"]), "did not write a; it wrote instead: b"),
        (command("import os; os.symlink('/etc/hostname', 'a')", outputs=["a"]), "a is no file"),
        (command("import os; os.symlink('/etc', 'd')", outputs=["d/hostname"]), "status 1"),
        (command("import time; time.sleep(60)", outputs=["a"], timeout="1s"), "longer than 1s"),
        (command("x = bytearray(900 << 20)", outputs=["a"], memory_mb=200), "memory"),
        (command("import socket; socket.create_connection(('127.0.0.1', 9))", outputs=["a"]), "status 1"),
        (command("pass", secrets=["NOWHERE_TO_BE_FOUND"]), "NOWHERE_TO_BE_FOUND"),
        ({"name": "only", "run": ["no-such-program"]}, "status 127"),
    ],
)
def test_a_step_that_fails_says_how(tmp_path: Path, pipelines: Pipelines, step: dict[str, Any], said: str) -> None:
    run = pipelines.run(declare(tmp_path / "pilot", [step]), "x")
    (found,) = steps(pipelines, run)
    assert run.state == "failed" and found.state == "failed" and found.outputs == {}
    assert said in found.error


def test_a_failing_step_is_tried_again_and_ends_the_run(tmp_path: Path, pipelines: Pipelines) -> None:
    failing = command("raise SystemExit(1)", retries=2) | {"name": "failing"}
    run = pipelines.run(declare(tmp_path / "pilot", [failing, command("pass")]), "x")
    assert states(pipelines, run) == ["failed", "waiting"]
    assert steps(pipelines, run)[0].facts["tries"] == 3
    pipelines.run(declare(tmp_path / "pilot", [command("pass")]), "x")
    run = pipelines.run(declare(tmp_path / "pilot", [failing, command("pass")]), "x")
    with reading(pipelines.control) as connection:
        compared = reasons(connection, pipelines.objects, run, steps(pipelines, run))
    assert compared.run == "", "a run that failed is not said to have made the same"


def test_secrets_are_passed_on_and_kept_nowhere(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    script = "import os; print(os.environ['DB_PASSWORD']); print(os.environ.get('OTHER'))"
    pipelines = make_pipelines(tmp_path / "home", {"DB_PASSWORD": secret, "OTHER": "not passed on"})
    run = pipelines.run(declare(tmp_path / "pilot", [command(script, secrets=["DB_PASSWORD"])]), "x")
    (step,) = steps(pipelines, run)
    assert log_tail(pipelines.objects, step) == "***\nNone\n"
    pipelines.control.dispose()
    kept = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept and not any(secret.encode() in content for content in kept)


def test_a_log_is_bounded_and_harmless(tmp_path: Path, pipelines: Pipelines) -> None:
    script = "print('x' * 500_000); print('\\x1b[31mred')"
    (step,) = steps(pipelines, pipelines.run(declare(tmp_path / "pilot", [command(script)]), "x"))
    told = log_tail(pipelines.objects, step)
    assert len(told) <= 65_536 and told.endswith("\ufffd[31mred\n")


def test_a_run_works_on_the_files_that_it_began_with(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    raw = tmp_path / "pilot" / "data" / "raw.csv"
    expected = pipelines.run(path, "x").digest

    def meddle(_step: StepRun, _count: int) -> None:
        raw.write_text("id,amount\nc1,999\n")
        path.write_text("nothing")

    assert pipelines.run(path, "x", fresh=True, tell=meddle).digest == expected


def test_one_run_of_a_system_at_a_time(tmp_path: Path, pipelines: Pipelines) -> None:
    path, second = declare(tmp_path / "pilot"), []

    def meanwhile(step: StepRun, _count: int) -> None:
        if step.at == 1 and not second:
            with pytest.raises(Conflict) as refused:
                pipelines.run(path, "x")
            second.append(refused.value.code)

    assert pipelines.run(path, "x", tell=meanwhile).state == "succeeded"
    assert second == ["pipeline_busy"]


def test_who_was_taken_over_writes_nothing_more(tmp_path: Path, pipelines: Pipelines) -> None:
    def take_over(step: StepRun, _count: int) -> None:
        if step.at == 1 and not step.ended:
            with writing(pipelines.control) as connection:
                connection.execute(update(store.leases).values(epoch=store.leases.c.epoch + 1))

    with pytest.raises(Conflict) as lost:
        pipelines.run(declare(tmp_path / "pilot"), "x", tell=take_over)
    assert lost.value.code == "pipeline_taken"
    with reading(pipelines.control) as connection:
        (run,) = store.list_runs(connection)
        assert store.steps_of(connection, run.id)[1].state == "running"


def test_a_stopped_run_is_interrupted_then_resumed_then_over(tmp_path: Path, pipelines: Pipelines) -> None:
    class Killed(BaseException):
        pass

    def kill(step: StepRun, _count: int) -> None:
        if step.at == 1 and not step.ended:
            raise Killed

    path = declare(tmp_path / "pilot")
    with pytest.raises(Killed):
        pipelines.run(path, "x", tell=kill)
    (left,) = pipelines.unfinished("tiny")
    with reading(pipelines.control) as connection:
        assert state_of(connection, left, pipelines.clock()) == "interrupted"
    (tmp_path / "pilot" / "data" / "raw.csv").write_text("id,amount\n")
    done = pipelines.resume(left.id[-8:])
    assert done.state == "succeeded" and pipelines.unfinished() == []
    with pytest.raises(Conflict) as over:
        pipelines.resume(done.id)
    assert over.value.code == "pipeline_ended"
    with pytest.raises(NotFound):
        pipelines.resume("%%%%%%%%")


def test_a_lost_object_is_made_again(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    first = pipelines.run(path, "x")
    pipelines.objects.path(steps(pipelines, first)[1].outputs["model.txt"]).unlink()
    again = pipelines.run(path, "x")
    assert states(pipelines, again) == ["reused", "succeeded", "reused"] and again.digest == first.digest


def test_what_git_says_is_recorded(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    git = ["git", "-C", str(path.parent), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, env={"PATH": os.environ["PATH"]})
    clean = pipelines.run(path, "x").plan
    assert len(clean.commit) == 40 and not clean.dirty
    (path.parent / "train.py").write_text((path.parent / "train.py").read_text() + "#")
    dirty = pipelines.run(path, "x").plan
    assert dirty.commit == clean.commit and dirty.dirty


@pytest.mark.parametrize(
    ("steps", "path", "said"),
    [
        ([{"name": "A b", "run": ["x"]}], "pipeline.steps[0].name", "not usable"),
        ([{"name": "a", "run": ["x"]}, {"name": "a", "run": ["x"]}], "pipeline.steps[0].name", "twice"),
        ([{"name": "a"}], "pipeline.steps[0].run", "needed"),
        ([{"name": "a", "do": "build", "run": ["x"]}], "pipeline.steps[0].run", "ours"),
        ([{"name": "a", "do": "build", "network": True}], "pipeline.steps[0].do", "network"),
        ([{"name": "a", "run": ["x"], "inputs": ["../up"]}], "pipeline.steps[0].inputs", "leaves"),
        ([{"name": "a", "run": ["x"], "outputs": ["/tmp/x"]}], "pipeline.steps[0].outputs", "leaves"),
        ([{"name": "a", "run": ["x"], "env": {"PYTHONPATH": "x"}}], "pipeline.steps[0].env", "cannot be set"),
        ([{"name": "a", "run": ["x"], "timeout": "soon"}], "pipeline.steps[0].timeout", "no length of time"),
        ([{"name": "a", "run": ["x"], "retries": 99}], "pipeline.steps[0].retries", "out of range"),
        ([{"name": "a", "run": ["x"], "inputs": ["gone.py"]}], "pipeline.steps[0].inputs", "there is no gone.py"),
        ([{"name": "a", "run": ["x"], "inputs": ["later"]}], "pipeline.steps[0].inputs", "there is no later"),
    ],
)
def test_every_fault_of_a_declaration_is_named(
    tmp_path: Path, pipelines: Pipelines, steps: list[dict[str, Any]], path: str, said: str
) -> None:
    with pytest.raises(InputError) as wrong:
        pipelines.run(declare(tmp_path / "pilot", steps), "x")
    assert any(fault["path"] == path and said in str(fault["message"]) for fault in wrong.value.faults)


def test_a_link_among_the_inputs_is_refused(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot", [command("pass", inputs=["linked/hostname"])])
    (path.parent / "linked").symlink_to("/etc")
    with pytest.raises(InputError) as wrong:
        pipelines.run(path, "x")
    assert "is a link" in str(wrong.value)


def test_no_pipeline_is_said(tmp_path: Path, pipelines: Pipelines) -> None:
    with pytest.raises(InputError) as wrong:
        pipelines.run(declare(tmp_path / "pilot", []), "x")
    assert wrong.value.code == "no_pipeline"


def test_the_lock_is_held_against_what_is_installed(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot", [command("pass")], lock="lock.txt")
    (path.parent / "lock.txt").write_text("msgspec==0.0.1 \\\n    --hash=sha256:00\nno-such-thing==1\n")
    with pytest.raises(InputError) as wrong:
        pipelines.run(path, "x")
    assert wrong.value.code == "pipeline_environment"
    assert [fault["path"] for fault in wrong.value.faults] == ["msgspec", "no-such-thing"]


def test_an_interpreter_of_the_pilots_own(tmp_path: Path, pipelines: Pipelines) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "pilot" / "env")], check=True)
    script = "import json, sys; json.dump([sys.prefix, sys.path], open('at.json', 'w'))"
    path = declare(tmp_path / "pilot", [command(script, outputs=["at.json"])], python="env/bin/python")
    (step,) = steps(pipelines, pipelines.run(path, "x"))
    prefix, paths = json.loads(pipelines.objects.get(step.outputs["at.json"]))
    assert prefix == str(tmp_path / "pilot" / "env")
    assert not any("pilotage" in each for each in paths), "our own package is not on its way"
    with pytest.raises(InputError) as wrong:
        pipelines.run(declare(tmp_path / "pilot", [command("pass")], python="nowhere/python"), "x")
    assert wrong.value.code == "pipeline_python"


def test_a_holder_elsewhere_is_waited_for_until_it_is_silent(pipelines: Pipelines) -> None:
    with writing(pipelines.control) as connection:
        assert store.take_lease(connection, "tiny", "r1", "elsewhere", 0) == 1
        with pytest.raises(Conflict):
            store.take_lease(connection, "tiny", "r2", this_process(), store.SILENT_US - 1)
        assert store.take_lease(connection, "tiny", "r2", this_process(), store.SILENT_US) == 2


def test_pruning_keeps_what_the_newest_runs_need(tmp_path: Path, pipelines: Pipelines) -> None:
    path = declare(tmp_path / "pilot")
    first = pipelines.run(path, "x")
    raw = tmp_path / "pilot" / "data" / "raw.csv"
    raw.write_text("id,amount\nc1,5\n")
    second = pipelines.run(path, "x")
    later = pipelines.clock() / 1e6 + 90_000
    assert prune(pipelines.control, pipelines.objects, 1, later - 90_000) == (0, 0), "they are young"
    files, size = prune(pipelines.control, pipelines.objects, 1, later)
    # The raw file, three outputs and the line that was printed: of both runs, code and declaration are the same.
    assert files == 5 and size > 0
    assert not pipelines.objects.path(first.plan.sources["data/raw.csv"]).exists()
    assert pipelines.run(path, "x").digest == second.digest
    assert states(pipelines, pipelines.run(path, "x")) == ["reused"] * 3

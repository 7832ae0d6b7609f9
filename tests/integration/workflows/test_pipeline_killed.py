"""Runs that are killed at any moment, with all that they started, and gone on with: the digest is the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflows.small import declare

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "credit_default"


class Desk:
    """The command line over one home, as an engineer."""

    def __init__(self, home: Path) -> None:
        self.environ = {**os.environ, "PILOTAGE_HOME": str(home)}
        for name, role in (("boss", "admin"), ("engineer", "ml_engineer")):
            added = self.call("people", "add", name, "--role", role, "--token")
            self.environ["PILOTAGE_TOKEN"] = added.stdout.strip()

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pilotage", *words],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=280)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def killed(self, after_s: float, *words: str) -> bool:
        """Whether it was killed before it ended by itself."""
        process = self.start(*words)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=after_s)
            return False
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True

    def json(self, *words: str) -> Any:
        done = self.call(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def slowed(folder: Path) -> Path:
    """The tiny pilot, whose steps take long enough to be killed in."""
    path = declare(folder)
    for name in ("clean.py", "train.py"):
        (folder / name).write_text("import time; time.sleep(1)\n" + (folder / name).read_text())
    return path


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_with_the_same_digest(tmp_path: Path) -> None:
    path = slowed(tmp_path / "pilot")
    expected = Desk(tmp_path / "calm").json("pipeline", "run", str(path))
    desk = Desk(tmp_path / "home")
    begun = desk.start("pipeline", "run", str(path))
    assert begun.stderr is not None
    assert "ingest: succeeded" in begun.stderr.readline()
    begun.kill()
    begun.communicate()
    (left,) = desk.json("pipeline", "list")
    assert left["state"] == "interrupted"
    desk.killed(1.2, "pipeline", "resume")
    done = desk.json("pipeline", "resume")
    assert done["digest"] == expected["digest"]
    assert done["id"] == left["id"] and [step["state"] for step in done["steps"]] == ["succeeded"] * 3
    again = desk.call("pipeline", "resume")
    assert again.returncode == 1 and "no run waits to be resumed" in again.stderr


@pytest.mark.slow
def test_killed_at_fifty_random_moments_it_ends_with_the_same_digest(tmp_path: Path) -> None:
    draw = random.Random(7)
    path = slowed(tmp_path / "pilot")
    expected = Desk(tmp_path / "calm").json("pipeline", "run", str(path))["digest"]
    desk, kills = Desk(tmp_path / "home"), 0
    while kills < 50:
        words = ["pipeline", "run", str(path), "--fresh"]
        while desk.killed(draw.uniform(0.3, 5.0), *words):
            kills += 1
            listed = desk.json("pipeline", "list", "--limit", "1")
            if listed and listed[0]["state"] == "interrupted":
                words = ["pipeline", "resume"]
        assert desk.json("pipeline", "list", "--limit", "1")[0]["digest"] == expected


@pytest.mark.slow
def test_the_example_makes_one_release_in_two_homes_and_after_kills(tmp_path: Path) -> None:
    pilot = tmp_path / "pilot"
    shutil.copytree(EXAMPLE, pilot)
    calm = Desk(tmp_path / "one")
    one = calm.json("pipeline", "run", str(pilot), "--twice")
    begun = time.monotonic()
    assert calm.json("pipeline", "run", str(pilot), "--fresh")["digest"] == one["digest"]
    takes = time.monotonic() - begun
    assert one["release"] and one["steps"][1]["facts"]["twice"]
    desk, draw = Desk(tmp_path / "two"), random.Random(11)
    words, kills, deadline = ["pipeline", "run", str(pilot)], 0, time.monotonic() + 1200
    while desk.killed(draw.uniform(0.2, 0.8) * takes, *words) and time.monotonic() < deadline:
        kills += 1
        listed = desk.json("pipeline", "list", "--limit", "1")
        words = ["pipeline", "resume"] if listed and listed[0]["state"] == "interrupted" else words
    other = desk.json("pipeline", "list", "--limit", "1")[0]
    assert kills and other["digest"] == one["digest"] and other["release"] == one["release"]

"""A demo that stops everything leaves a home in which its user can go on, by what it printed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from pilotage.cli.demo import _tell_how_to_go_on
from pilotage.cli.demo.journey import Journey
from pilotage.cli.demo.shell import Shell


def test_what_is_printed_at_the_end_works_as_typed(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    screen = Console(file=io.StringIO(), width=80, highlight=False)
    shell = Shell(home=home, screen=screen)
    admin = shell.run("people", "add", "admin", "--role", "admin", show=False)
    auditor = shell.run("people", "add", "auditor", "--role", "auditor", token=admin["token"], show=False)
    journey = Journey(shell=shell, pilot=tmp_path, people={"admin": admin, "auditor": auditor})
    _tell_how_to_go_on(home, journey, screen)
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    as_admin, as_auditor = (line for line in lines if line.startswith("export "))
    [listing] = [line for line in lines if line.endswith("decisions list")]
    [signing] = [line for line in lines if " sign-in " in line]
    bin_first = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for token, command in ((as_auditor, listing), (as_admin, signing)):
        done = subprocess.run(["sh", "-c", f"{token}\n{command}"], env=bin_first, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "/sign-in/link?code=" in done.stdout

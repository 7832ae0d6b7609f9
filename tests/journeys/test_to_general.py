"""A system climbs from pilot to general by commands alone: each piece of evidence that a gate asks for is made.

Only the clock of the promotions is turned back: the days that a stage takes cannot be waited for in a test.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotage.access.service import issue_token
from pilotage.kernel.clock import now_us
from pilotage.rollout.service import live
from pilotage.storage.home import Home
from pilotage.testing.governance import GovernedHome
from pilotage.value.sheet import parse_sheet
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.realising import CHECK, keep_value, realised_value
from pilotage.wiring.settings import Settings
from tests.journeys.live import post, running

SYSTEM = "loan-default"
DAY = 86_400_000_000
SHEET = """
name: Loan default
currency: EUR
years: 2
inputs:
  volume: {low: 20000, likely: 30000, high: 40000}
  adoption: {low: 0.5, likely: 0.8, high: 1}
  minutes: {low: 5, likely: 10, high: 15}
  wage: {low: 40, likely: 50, high: 60}
  investment: {low: 1000, likely: 2000, high: 3000}
"""


@dataclass
class World:
    """An installation with a person in each role, and the folder of a scaffolded system."""

    root: Path
    installation: Installation
    governed: GovernedHome
    folder: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pilotage", "--home", str(self.root), *words]

    def call(self, *words: str, role: str = "ml_engineer", fine: tuple[int, ...] = (0,)) -> Any:
        person = self.governed.people[role]
        environ = {**os.environ, "PILOTAGE_TOKEN": issue_token(self.installation.control, person, by=person).text}
        done = subprocess.run(
            self.command(*words, "--json"), cwd=self.folder, env=environ, capture_output=True, text=True, timeout=300
        )
        assert done.returncode in fine, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def build(self, name: str) -> str:
        """A release under this name of the system; another name is another release."""
        path = self.folder / "pilotage.yaml"
        declared = yaml.safe_load(path.read_text())
        declared["name"] = name
        path.write_text(yaml.safe_dump(declared, sort_keys=False))
        return str(self.call("pipeline", "run", ".")["release"])

    def missing(self, release: str, stage: str) -> list[str]:
        """The checks that a gate lacks, by its own word."""
        found = self.call("gate", "check", "--release", release, "--to", stage, fine=(0, 3))
        return sorted(each["check"] for each in found["checks"] if each["state"] != "fresh")

    def climb(self, release: str, stage: str, *roles: str, days_ago: int) -> None:
        """Approve as each role, by commands; then promote as if so many days ago."""
        assert self.missing(release, stage) == []
        for role in roles:
            self.call("approve", "--release", release, "--to", stage, role=role)
        rollout = replace(self.installation.rollout, clock=lambda: now_us() - days_ago * DAY)
        rollout.promote(self.governed.people["ml_engineer"], SYSTEM, release, stage)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root, folder = tmp_path / "home", tmp_path / SYSTEM
    settings = Settings(home=Home(root=root), workers=2, node="n1")
    installation = open_installation(settings, create=True)
    made = World(root, installation, GovernedHome(root, installation.control), folder)
    made.governed.rollout = installation.rollout
    owners = [word for role in ("business", "model", "operations", "risk") for word in ("--owner", f"{role}=team")]
    purpose = "Says who is likely to default, so that an officer looks at it."
    words = ["init", str(folder), "--production-first", "--example", "--risk-tier", "low", "--purpose", purpose]
    subprocess.run(made.command(*words, *owners), check=True, capture_output=True)
    yield made
    installation.close()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The example's rows as a client sends them."""
    kinds = {"income": float, "debt": float, "late_payments": int, "months_known": int}
    with next(folder.glob("data/*.csv")).open() as file:
        return [
            {
                name: (kinds[name](text) if text else None) if name in kinds else text
                for name, text in row.items()
                if name not in ("age_group", "defaulted")
            }
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_system_climbs_to_general_on_evidence_that_commands_made(world: World) -> None:
    first, second = world.build("Loan default"), world.build("Loan default, again")
    assert first != second
    validator, owner = "model_validator", "business_owner"
    world.climb(first, "internal", validator, days_ago=25)
    world.climb(second, "internal", validator, days_ago=20)
    assert world.missing(second, "limited") == ["monitoring.stable", "operation.internal"]
    assert world.missing(second, "general") == ["drill.rollback", "monitoring.stable", "operation.limited"]
    lacks = world.call("monitor", "keep", "--system", SYSTEM, fine=(3,))["lacks"]
    assert set(lacks) == {"operation.internal", "monitoring.stable"}, "nobody asked it anything yet"
    key = world.installation.rollout.issue_key(
        world.governed.people["operator"], name="shop", scopes=[f"decide:{SYSTEM}"]
    )
    rows = rows_of(world.folder)
    with running(world) as up:
        up.wait_until_all_live()
        url = f"{up.gateway}/v1/systems/{SYSTEM}/decide"
        for at in range(0, len(rows), 50):
            assert post(url, key.text, {"inputs": rows[at : at + 50]}).status == 200
        drilled = world.call("drill", "rollback", "--system", SYSTEM, role="operator")
        assert (drilled["release"], drilled["to"], drilled["passed"]) == (second, first, True)
    kept = world.call("monitor", "keep", "--system", SYSTEM)
    days = next(each["figures"]["days"] for each in kept["made"] if each["check"] == "operation.internal")
    assert 19.9 < days < 20.1, "the seconds of the drill are nothing"
    sheet = world.folder / "business-case.yaml"
    sheet.write_text(SHEET)
    worth = world.call("value", "realised", "--system", SYSTEM, "--sheet", str(sheet), "--keep")
    assert sum(each["seen"]["eligible"] for each in worth["months"]) == len(rows), "a drill brings nothing"
    assert (worth["verdict"], worth["evidence"]) == ("too early", None), "no whole month is over"
    world.climb(second, "limited", validator, owner, days_ago=8)
    assert world.missing(second, "general") == ["operation.limited"]
    world.call("monitor", "keep", "--system", SYSTEM)
    world.climb(second, "general", validator, owner, days_ago=0)
    now = live(world.installation.control, SYSTEM)
    assert now is not None and (now.release, now.stage) == (second, "general")
    later = now_us() + 120 * DAY
    found = realised_value(world.installation, SYSTEM, parse_sheet(SHEET.encode(), "sheet"), later)
    kept = keep_value(world.installation, world.governed.people["ml_engineer"], SYSTEM, found, "sha256:0", later)
    assert found.verdict == "exit plan", "whole months in which nobody asked it anything"
    assert kept is not None and (kept.check, kept.grade, kept.passed, kept.subject) == (CHECK, "E4", False, second)

"""An upgrade of the installation: kept environments, releases asked again, evidence that goes stale by event."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilotage.cli.main import main
from pilotage.errors import IntegrityError, NotFound, Unavailable
from pilotage.gates.service import check
from pilotage.kernel.clock import now_us
from pilotage.ledger.queries import DecisionFilter
from pilotage.replay.environments import Environments, KeptEnvironment, differences, keep_environment
from pilotage.replay.service import replay
from pilotage.replay.upgrade import REASON
from pilotage.runtimes.environment import environment_digest, serving_environment
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from pilotage.storage.outbox import waiting
from pilotage.testing.releases import COLUMNS, make_rows
from pilotage.wiring.upgrade import check_upgrade, watch_environment
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

ELSEWHERE = "sha256:" + "1" * 64


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path)
    yield made
    made.close()


def states(world: ConsoleWorld) -> dict[str, tuple[str, str]]:
    verdict = check(world.installation.control, SYSTEM, world.release.digest, "internal")
    return {each.check: (each.state, each.detail) for each in verdict.checks}


def events(world: ConsoleWorld, kind: str) -> list[dict[str, Any]]:
    with reading(world.installation.control) as connection:
        return [each.facts for each in waiting(connection) if each.kind == kind]


def nudged(world: ConsoleWorld, by: float) -> None:
    """Decisions as another environment would have answered them, off by so much."""
    world.environment = ELSEWHERE
    rows = make_rows(COLUMNS, 20, 11)
    frames = world.answered(20, seed=11)
    scores = [msgspec.msgpack.decode(secret[32:])["score"] for _, _, secret in frames]
    changed = [score + by if score < 0.45 or score > 0.55 else score for score in scores]
    world.seal(
        [
            world._answered(row, score, subject=f"n-{n}", at=1_780_000_000_000_000 + n)
            for n, (row, score) in enumerate(zip(rows, changed, strict=True))
        ]
    )


def test_an_upgrade_that_changes_answers_makes_evidence_stale(world: ConsoleWorld) -> None:
    nudged(world, 1e-4)
    assert {state for state, _ in states(world).values()} == {"fresh"}
    (found,) = check_upgrade(world.installation)
    assert found.differs and found.found["worst"] == pytest.approx(1e-4)
    assert found.environments == {ELSEWHERE: 20}
    assert "conversion.equal" in found.stale and "contract.valid" not in found.stale
    after = states(world)
    assert {name for name, (state, _) in after.items() if state == "stale"} == set(found.stale) & set(after)
    assert after["conversion.equal"] == ("stale", REASON)
    assert after["contract.valid"][0] == "fresh"
    assert not check(world.installation.control, SYSTEM, world.release.digest, "internal").go
    (facts,) = events(world, "upgrade.checked")
    assert facts["stale"] == found.stale and facts["differs"] == found.found["differs"]
    world.governed.now = now_us()
    world.governed.evidence(world.release, "conversion.equal")
    assert states(world)["conversion.equal"][0] == "fresh", "newer evidence counts again"


@pytest.mark.slow
def test_an_upgrade_within_tolerance_is_told_and_changes_nothing(world: ConsoleWorld) -> None:
    nudged(world, 1e-12)
    (found,) = check_upgrade(world.installation)
    assert not found.differs and found.found["within_tolerance"] > 0 and not found.stale
    assert {state for state, _ in states(world).values()} == {"fresh"}


def test_the_steward_checks_once_when_the_environment_is_another(world: ConsoleWorld) -> None:
    nudged(world, 1e-4)
    watch_environment(world.installation).join(60)
    assert (len(events(world, "environment.kept")), events(world, "upgrade.checked")) == (1, [])
    noted = world.installation.home.environments / "checked"
    assert noted.read_text().strip() == environment_digest()
    noted.write_text(ELSEWHERE)
    for _ in range(2):
        watch_environment(world.installation).join(60)
    assert len(events(world, "upgrade.checked")) == 1
    assert states(world)["conversion.equal"][0] == "stale"


@pytest.mark.slow
def test_the_command_checks_too(world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def call(role: str) -> tuple[int, str]:
        monkeypatch.setenv("PILOTAGE_TOKEN", world.token(role))
        home = str(world.installation.home.root)
        line = ["pilotage", "--home", home, "decisions", "replay", "--check-upgrade", "--json"]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr()[0]

    world.seal(world.answered(5))
    code, out = call("ml_engineer")
    assert (code, json.loads(out)[0]["found"]["bit_exact"]) == (0, 5)
    nudged(world, 1e-4)
    assert call("ml_engineer")[0] == 1
    assert call("auditor") == (1, "")


class TestKept:
    @pytest.mark.slow
    def test_the_running_environment_is_kept_once_with_its_code(self, tmp_path: Path) -> None:
        home = Home(root=tmp_path).create()
        environments = Environments(home)
        name, new = environments.keep_running()
        assert (name, new) == (environment_digest(), True)
        assert environments.keep_running() == (name, False)
        assert environments.known() == [name]
        kept = environments.kept(name)
        assert kept.environment == serving_environment()
        assert {"numpy", "onnxruntime"} <= set(kept.contents) and "pilotage" not in kept.contents
        wheel = zipfile.ZipFile(BytesIO(environments._objects.get(kept.code)))
        assert "pilotage/replay/answer.py" in wheel.namelist()
        assert not any("__pycache__" in each for each in wheel.namelist())

    @pytest.mark.slow
    def test_what_was_changed_is_not_rebuilt(self, tmp_path: Path) -> None:
        home = Home(root=tmp_path).create()
        environments = Environments(home)
        name, _ = environments.keep_running()
        path = home.environments / name[7:] / "kept.json"
        kept = msgspec.json.decode(path.read_bytes(), type=KeptEnvironment)
        for changed in (
            msgspec.structs.replace(kept, lock=kept.lock + "evil==1\n"),
            msgspec.structs.replace(kept, environment={**kept.environment, "threads": 2}),
        ):
            path.write_bytes(msgspec.json.encode(changed))
            with pytest.raises(IntegrityError):
                environments.rebuild(name, serving_environment())
        path.write_bytes(b"{")
        with pytest.raises(IntegrityError):
            environments.kept(name)
        for unknown in (ELSEWHERE, "../../etc", ""):
            with pytest.raises(NotFound):
                environments.kept(unknown)

    @pytest.mark.slow
    def test_another_machine_is_named_before_anything_is_built(self, tmp_path: Path) -> None:
        environments = Environments(Home(root=tmp_path).create())
        name, _ = environments.keep_running()
        here = {**serving_environment(), "machine": "riscv64"}
        with pytest.raises(Unavailable) as raised:
            environments.rebuild(name, here)
        assert "machine: " in str(raised.value) and "riscv64" in str(raised.value)

    @pytest.mark.slow
    def test_replay_says_why_there_is_no_such_environment(self, world: ConsoleWorld) -> None:
        world.environment = ELSEWHERE
        (id_,) = world.seal(world.answered(1))
        installation = world.installation
        verdict = replay(installation.ledger().decision(id_), installation.releases, installation.environments)
        assert verdict.verdict == "unreplayable"
        assert "nothing was kept of this environment" in verdict.reason and ELSEWHERE in verdict.reason

    def test_differences_are_named(self) -> None:
        assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "b: 2 then, 3 here; c: None then, 4 here"


@pytest.mark.slow
def test_keeping_is_put_on_record(world: ConsoleWorld) -> None:
    assert keep_environment(world.installation.home, world.installation.control) == environment_digest()
    assert events(world, "environment.kept") == [{"environment": environment_digest()}]
    assert world.installation.ledger().decisions(DecisionFilter()) == []

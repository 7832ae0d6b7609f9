"""From a build's thresholds over sealed decisions and their outcomes to a verdict: by API, on the page, in words."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pilotage.cli.performance import show_performance
from pilotage.kernel.clock import now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.said import OUTCOME
from pilotage.monitor.outcomes import realised_performance
from pilotage.storage.database import writing
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

DECISIONS = 500


def lived(folder: Path, seed: int, told: float) -> ConsoleWorld:
    """A world whose decisions turned out by their score, `told` of the way; the rest by a coin."""
    world = make_console_world(folder)
    ids = world.seal(world.answered(DECISIONS, at=now_us(), step_us=60_000_000))
    draw, ledger = random.Random(seed), world.installation.ledger()
    scores = {id_: ledger.decision(id_).row.score or 0.0 for id_ in ids}
    with writing(world.installation.control) as connection:
        for id_, score in scores.items():
            chance = score if draw.random() < told else 0.5
            private = {"value": int(draw.random() < chance), "at": now_us(), "source": "tests", "by": "p1"}
            key = world.installation.keyring.steward_public
            emit_about(connection, key, OUTCOME, id_, system=SYSTEM, private=private)
    world.steward.seal_all()
    return world


@pytest.mark.parametrize(("told", "states"), [(1.0, {"holds", "near"}), (0.0, {"broken"})])
def test_a_release_that_lives_as_it_was_built_holds_and_one_that_does_not_is_degraded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: float, states: set[str]
) -> None:
    world = lived(tmp_path, seed=5, told=told)
    try:
        with TestClient(create_app(world.installation)) as client:
            client.headers["authorization"] = f"Bearer {world.token('auditor')}"
            found = client.get(f"/api/v1/systems/{SYSTEM}/outcomes").json()
            page = client.get(f"/systems/{SYSTEM}").text
        assert found["state"] in states, found["degradation"]
        fixed = {(each["threshold"]["metric"], each["threshold"]["why"]) for each in found["degradation"]}
        assert ("auc", "the 95 % interval at the build") in fixed and (
            "auc",
            "what income alone achieves",
        ) in fixed
        assert all(each["value"] is not None for each in found["degradation"])
        assert ("Degraded" in page) == (found["state"] == "broken")
        own = realised_performance(
            world.installation.control,
            Outcomes(world.installation.ledger_engine),
            world.installation.releases,
            SYSTEM,
            world.release.digest,
            now=now_us(),
        )
        show_performance(own)
        said = capsys.readouterr().out
        assert ("degraded" in said) == (found["state"] == "broken") and "auc must be at least" in said
    finally:
        world.close()

"""Drills on a running installation: what they change comes back, what they ask does not count, what they saw stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.evidence.store import latest
from pilotage.rollout.service import history, live
from pilotage.storage.database import reading
from pilotage.systems.serving import ServingRules
from pilotage.wiring.endpoints import endpoints
from tests.journeys.live import SYSTEM, WORKERS, LiveHome, Up, running

pytestmark = pytest.mark.slow

RULES = b'version: "1"\nrules:\n  - {name: any, when: late_payments >= 0, answer: refer}\n'


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = LiveHome(root=tmp_path_factory.mktemp("drills") / "home")
    answers = ServingRules(fallback=["previous", "rules"], rules="fallback.yaml")
    made.governed.promoted(0.3, answers=answers, rules=RULES)
    with running(made) as up:
        up.wait_until_all_live()
        yield up
    made.close()


def drilled(up: Up, *words: str, fine: tuple[int, ...] = (0,), role: str = "operator") -> dict[str, Any]:
    done = up.live.call("drill", *words, "--system", SYSTEM, "--json", token=up.live.token(role), fine=fine)
    return json.loads(done.stdout) if fine != (1,) else {"error": done.stderr}


def evidence(up: Up, check: str, release: str) -> Any:
    with reading(up.live.installation.control) as connection:
        return latest(connection, release, check)


def modes(up: Up, at_least: int) -> set[tuple[str, str]]:
    """(mode, outcome) of what is on record, once so many decisions of drills are."""
    end = time.monotonic() + 20
    while True:
        rows = [row for row in up.live.installation.ledger().decisions(limit=100_000) if row.mode == "drill"]
        if len(rows) >= at_least:
            return {(row.mode, row.outcome) for row in rows}
        assert time.monotonic() < end, len(rows)
        time.sleep(0.1)


def test_a_rollback_is_rehearsed_and_the_release_is_live_again(up: Up) -> None:
    control = up.live.installation.control
    before = live(control, SYSTEM)
    found = drilled(up, "rollback", "--hold", "0.5")
    print(found)
    now = live(control, SYSTEM)
    assert before is not None and now is not None
    assert (now.release, now.stage) == (before.release, before.stage) == (found["release"], "internal")
    assert [act.action for act in history(control, SYSTEM)][-2:] == ["rollback", "promote"]
    assert history(control, SYSTEM)[-2].release == up.live.release.digest == found["to"]
    assert (found["passed"], found["failures"], found["workers"]) == (True, 0, WORKERS)
    assert 0 < found["seconds"] < 10 and 0 < found["return_seconds"] < 10 and found["answered_before"] > 0
    fact = evidence(up, "drill.rollback", now.release)
    assert (fact.grade, fact.passed) == ("E3", True)
    assert fact.figures["seconds"] == found["seconds"] and fact.figures["by"] == up.live.people["operator"].id
    assert (fact.expires - fact.collected) / 86_400_000_000 == 180
    assert up.ask().body["release"] == now.release
    modes(up, found["requests"])
    events = up.live.installation.ledger().events(kind="drill.ended", limit=5)
    assert events, "the drill is on record"


def test_nothing_that_a_drill_asks_counts(up: Up) -> None:
    found = drilled(up, "fallback", "--hold", "0.5")
    assert ("drill", "fallback") in modes(up, found["requests"])
    assert up.live.installation.ledger().stats(SYSTEM).decisions < 30 < found["requests"], "a drill is no traffic"


def test_a_model_that_is_away_is_noticed_by_the_drill_alone_and_comes_back(up: Up) -> None:
    now = live(up.live.installation.control, SYSTEM)
    assert now is not None
    found = drilled(up, "fallback", "--hold", "1")
    print(found)
    assert (found["passed"], found["failures"], found["unmarked"], found["workers"]) == (True, 0, 0, WORKERS)
    assert found["fallbacks"] > 20 and found["answered_by"] == {"previous": found["fallbacks"]}
    assert found["away_seconds"] >= 1 and found["recovery_seconds"] < 10
    assert evidence(up, "drill.fallback", now.release).passed
    assert {up.ask().body["outcome"] for _ in range(6)} == {"answered"}
    keys = [key for key in json.loads(up.live.call("key", "list", "--json").stdout) if "drill" in key["name"]]
    assert keys and all(key["revoked"] for key in keys), "no key of a drill is left"


def test_a_drill_begins_only_where_it_can_be_made(up: Up, tmp_path: Path) -> None:
    acts = len(history(up.live.installation.control, SYSTEM))
    assert "may not do" in drilled(up, "rollback", fine=(1,), role="reviewer")["error"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"income": 1}\n')
    told = drilled(up, "rollback", "--rows", str(rows), fine=(1,))["error"]
    assert "drill_unanswered" in told and "nothing was changed" in told
    assert len(history(up.live.installation.control, SYSTEM)) == acts
    assert endpoints(up.live.installation.home.run)["gateway"] == up.gateway


def test_a_key_that_only_drills_counts_nothing(up: Up) -> None:
    rollout, operator = up.live.installation.rollout, up.live.people["operator"]
    key = rollout.issue_key(operator, name="load", scopes=[f"drill:{SYSTEM}"])
    end = time.monotonic() + 10
    while up.ask(key=key.text).status != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    id_ = up.ask(key=key.text).body["id"]
    modes(up, 1)
    end = time.monotonic() + 10
    while id_ not in (found := {row.id: row.mode for row in up.live.installation.ledger().decisions(limit=100)}):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert found[id_] == "drill"

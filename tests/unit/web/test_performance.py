"""Realised performance: figures that the rows give too, coverage by age, too little data said, by API and page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pilotage.evaluation.metrics import auc, confusion
from pilotage.evaluation.realised import FEWEST, truth
from pilotage.kernel.clock import day, now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.said import OUTCOME
from pilotage.profiles.slices import slice_cell, slice_labels
from pilotage.storage.database import reading, writing
from pilotage.systems.store import declare_system, find_system
from pilotage.web.console.app import create_app
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

DAY_US = 86_400_000_000
DECISIONS = 240
PATH = f"/api/v1/systems/{SYSTEM}/outcomes"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """Decisions of 240 days; the older, the more of them with an outcome, which the score says something about."""
    world = make_console_world(tmp_path_factory.mktemp("told"))
    declare(world, "home", "age", "shoe_size")
    frames = world.answered(DECISIONS, at=now_us(), step_us=DAY_US)
    ids = world.seal([*frames, *world.rejected(3)])[:DECISIONS]
    draw = random.Random(3)
    with writing(world.installation.control) as connection:
        for number, id_ in enumerate(ids[:200]):
            score = world.installation.ledger().decision(id_).row.score or 0.0
            value: object = 1 if draw.random() < 0.2 + 0.6 * score else "0"
            value = 0.25 if number % 40 == 7 else value
            tell(connection, world, id_, value)
    world.steward.seal_all()
    yield world
    world.close()


def declare(world: ConsoleWorld, *slices: str) -> None:
    control = world.installation.control
    with writing(control) as connection:
        system = find_system(connection, SYSTEM)
        pilot = msgspec.structs.replace(system.pilot, slices=list(slices))
        declare_system(connection, msgspec.structs.replace(system, pilot=pilot), by="p1")
    world.steward.seal_all()


def tell(connection: Any, world: ConsoleWorld, id_: str, value: object) -> None:
    private = {"value": value, "at": now_us(), "source": "tests", "by": "p1"}
    emit_about(connection, world.installation.keyring.steward_public, OUTCOME, id_, system=SYSTEM, private=private)


@pytest.fixture(scope="module")
def client(told: ConsoleWorld) -> Iterator[TestClient]:
    with TestClient(create_app(told.installation)) as made:
        made.headers["authorization"] = f"Bearer {told.token('auditor')}"
        yield made


def rows(world: ConsoleWorld) -> list[tuple[bool, float, str, dict[str, Any]]]:
    """(positive, score, label, features) of each outcome that counts, from the rows alone."""
    found = []
    for row in Outcomes(world.installation.ledger_engine).list(state="current", limit=1_000):
        payload = world.installation.ledger().decision(row.decision).payload
        assert payload is not None and row.score is not None
        if row.value != "0.25":
            features = dict(zip(payload.names, payload.features, strict=True))
            found.append((row.value == "1", row.score, row.label or "", features))
    return found


def test_the_figures_are_those_of_the_rows(told: ConsoleWorld, client: TestClient) -> None:
    found, expected = client.get(PATH).json(), rows(told)
    labels = np.array([each[0] for each in expected])
    scores = np.array([each[1] for each in expected])
    own = confusion(labels, scores, told.loaded.serving.threshold)
    whole = found["whole"]
    for name in ("true_positive", "false_positive", "false_negative", "true_negative"):
        assert whole[name] == own[name]
    assert whole["recall"]["rate"] == own["recall"] and whole["accuracy"]["rate"] == own["accuracy"]
    assert whole["accuracy"]["low"] < own["accuracy"] < whole["accuracy"]["high"]  # type: ignore[operator]  # numbers
    exact = auc(labels, scores)
    assert exact is not None and abs(found["auc"]["area"] - exact) < 0.01
    assert found["auc"]["low"] < exact < found["auc"]["high"]
    assert sum(each["decisions"] for each in found["bins"]) == len(expected)
    assert found["unclear"] == 5 and found["outcomes"]["number"] == 5


def test_each_slice_has_the_figures_of_its_rows(told: ConsoleWorld, client: TestClient) -> None:
    found = {(each["slice"], each["value"]): each["figures"] for each in client.get(PATH).json()["slices"]}
    seen, every = 0, rows(told)
    for name in ("home", "age"):
        column = told.loaded.profile.column(name)
        assert column is not None
        words = slice_labels(column)
        for value in words:
            mine = [each for each in every if words[slice_cell(column, each[3][name])] == value]
            if not mine:
                assert (name, value) not in found
                continue
            figures = found[name, value]
            right = sum(positive == (label == told.loaded.serving.adverse) for positive, _, label, _ in mine)
            assert figures["decisions"] == len(mine)
            assert figures["true_positive"] + figures["true_negative"] == right
            assert (figures["accuracy"] is None) == (len(mine) < FEWEST)
            seen += figures["accuracy"] is not None
    assert seen >= 3
    assert client.get(PATH).json()["left_out"].keys() == {"shoe_size"}
    assert "make it an input of the next release" in client.get(PATH).json()["left_out"]["shoe_size"]


def test_coverage_says_how_much_is_known_by_age(client: TestClient) -> None:
    found = client.get(PATH).json()
    known = {each["age"]: (each["known"]["count"], each["known"]["of"]) for each in found["coverage"]}
    assert sum(of for _, of in known.values()) == DECISIONS
    assert known["under 7 days"] == (0, 7) and known["7 to 29 days"] == (0, 23)
    assert known["30 to 89 days"][1] == 60 and known["90 to 179 days"] == (90, 90)
    assert (found["known"]["count"], found["known"]["of"]) == (200, DECISIONS)


def test_days_choose_the_decisions(client: TestClient) -> None:
    since, until = (day(now_us() - days * DAY_US) for days in (100, 61))
    found = client.get(PATH, params={"since": since, "until": until}).json()
    assert found["known"]["of"] == 40 and found["known"]["count"] == 40
    few = client.get(PATH, params={"since": day(now_us() - 50 * DAY_US)}).json()
    assert few["whole"]["accuracy"] is None and few["auc"] is None
    assert any("not enough data" in note for note in few["notes"])


def test_what_cannot_be_asked(told: ConsoleWorld, client: TestClient) -> None:
    assert client.get(PATH, params={"since": "last week"}).status_code == 422
    assert client.get(PATH, params={"release": "none@9"}).status_code == 404
    assert client.get("/api/v1/systems/none/outcomes").status_code == 404
    named = client.get(PATH, params={"release": told.release.digest}).json()
    assert named == client.get(PATH).json()
    witness = {"authorization": f"Bearer {told.token('witness')}"}
    assert client.get(PATH, headers=witness).status_code == 403


def test_the_page_shows_it(told: ConsoleWorld, client: TestClient) -> None:
    client.get(f"/sign-in?code={told.link('auditor')}")
    page = client.get(f"/systems/{SYSTEM}").text
    assert "What became of its decisions" in page and "83.3 % of 240 have an outcome" in page
    assert "Worst slice" in page and "not enough data" in page and "home: " in page


def test_what_counts_as_positive() -> None:
    said = {"positive": "1", "adverse": "refer"}
    assert [truth(each, **said) for each in ("1", "1.0", "true", "refer")] == [True] * 4
    assert [truth(each, **said) for each in ("0", "false", "approve", "no")] == [False] * 4
    assert truth("number", **said) is None
    assert truth("default", positive="default", adverse="refer") is True


def test_a_system_that_nothing_was_told_of(tmp_path: Path) -> None:
    world = make_console_world(tmp_path)
    world.seal(world.answered(3))
    with TestClient(create_app(world.installation)) as client:
        client.headers["authorization"] = f"Bearer {world.token('auditor')}"
        found = client.get(PATH).json()
        assert found["known"] == {"count": 0, "of": 3, "rate": 0.0, "low": 0.0, "high": found["known"]["high"]}
        assert found["bins"] == [] and found["whole"]["accuracy"] is None
        client.get(f"/sign-in?code={world.link('auditor')}")
        assert "No outcome of the live release is told yet" in client.get(f"/systems/{SYSTEM}").text
    with reading(world.installation.control) as connection:
        assert find_system(connection, SYSTEM).pilot.slices == []
    world.close()

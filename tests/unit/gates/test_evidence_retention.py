"""Retention of evidence: what nothing refers to goes, all else stays, and no verdict of a gate changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pilotage.evidence.model import Evidence
from pilotage.evidence.stale import make_stale
from pilotage.evidence.store import find, for_subject, record
from pilotage.gates import service
from pilotage.gates.retiring import finish_evidence, retire_evidence, survey_evidence
from pilotage.gates.store import gate_passages
from pilotage.ledger.erasure import place_hold, release_hold
from pilotage.ledger.retention import Floor
from pilotage.ledger.retiring import Policy
from pilotage.releases.model import Release
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import Objects
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows
from pilotage.testing.governance import GovernedHome
from tests.ledger_world import World, make_world

DAY = 86_400_000_000
YEAR = Policy(payloads=Floor(months=12), of="evidence")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


@pytest.fixture
def house(world: World) -> Iterator[GovernedHome]:
    yield GovernedHome(world.home.root, world.control)


@pytest.fixture
def objects(world: World) -> Objects:
    return Objects(root=world.home.objects)


def aged(house: GovernedHome, objects: Objects, release: Release, *checks: str, passed: bool = True) -> list[Evidence]:
    """Evidence of checks as they are now, each with a raw result of its own."""
    made = []
    with writing(house.control) as connection:
        for check in checks:
            artefact = objects.put(f"{check} {house.clock()}".encode())
            fact = house._fact(check, release.digest, passed, 0)
            made.append(msgspec.structs.replace(fact, artefact=artefact))
            record(connection, made[-1])
    return made


def gone(house: GovernedHome, facts: list[Evidence]) -> list[bool]:
    with reading(house.control) as connection:
        return [find(connection, fact.id) is None for fact in facts]


def retire(house: GovernedHome, objects: Objects, *living: str, policy: Policy = YEAR, days: int = 400) -> int:
    return retire_evidence(house.control, objects, policy, set(living), house.clock() + days * DAY, "officer")


def test_what_nothing_refers_to_goes_with_its_raw_result_and_on_record(house: GovernedHome, objects: Objects) -> None:
    release, other = house.register(1), house.register(2)
    old = aged(house, objects, release, "a", "b")
    assert retire(house, objects, policy=Policy(of="evidence")) == 0, "without an end nothing goes"
    assert retire(house, objects, days=300) == 0
    floor = Policy(payloads=Floor(months=12), regimes=("sebi_cp",), of="evidence")
    assert retire(house, objects, policy=floor) == 0, "a law's floor is longer"
    house.now += 390 * DAY
    new = aged(house, objects, other, "a")
    assert retire(house, objects, days=10) == 2
    assert gone(house, old) == [True, True] and gone(house, new) == [False]
    assert [objects.path(fact.artefact).exists() for fact in (*old, *new)] == [False, False, True]
    with reading(house.control) as connection:
        told = waiting(connection)
        assert told[-1].kind == "retention.evidence" and told[-1].facts["evidence"] == 2
        assert not list(changed_rows(connection, service.ATTESTED, told)), "an event tells of each deletion"
    assert retire(house, objects, days=10) == 0


def test_a_verdict_never_changes_because_evidence_went(house: GovernedHome, objects: Objects) -> None:
    release = house.register(1)
    passed = aged(house, objects, release, "a", "c")
    failed = aged(house, objects, release, "a", passed=False)
    with writing(house.control) as connection:
        make_stale(connection, release.digest, prefixes=["c"], reason="r", figures={}, at=house.clock())
    house.now += 390 * DAY
    young = aged(house, objects, release, "b")
    assert retire(house, objects, days=10) == 1, "only what a newer one of its check took the place of"
    assert gone(house, [*passed, *failed, *young]) == [True, False, False, False]
    with reading(house.control) as connection:
        assert {fact.check for fact in for_subject(connection, release.digest)} == {"a", "b", "c", "evidence.stale"}
    assert retire(house, objects, release.digest) == 0, "the newest about what is live stays"
    assert retire(house, objects) == 4


def test_what_an_approval_or_a_gate_binds_stays_whatever_its_age(house: GovernedHome, objects: Objects) -> None:
    release = house.register(1, tier="medium")
    bound = house.evidence(release)
    newer = house.evidence(release)
    house.approve(release)
    assert retire(house, objects) == len(bound), "older ones of the same checks, which nobody approved"
    assert not any(gone(house, newer))
    with reading(house.control) as connection:
        found = survey_evidence(connection, YEAR, set(), house.clock() + 400 * DAY)
    assert {each.why for each in found} == {"an approval or a gate binds it"}
    with writing(house.control) as connection:
        service.pass_gate(connection, release, "internal", house.clock())
        connection.execute(service.store.approvals.delete())
        assert connection.execute(gate_passages.select()).all()
    assert retire(house, objects) == 0, "the passage binds it, too"


def test_a_hold_wins_and_a_kill_leaves_no_raw_result(house: GovernedHome, objects: Objects, world: World) -> None:
    old = aged(house, objects, house.register(1), "a")
    hold = place_hold(house.control, world.keyring, "file 12", "officer", system="example")
    assert retire(house, objects) == 0 and gone(house, old) == [False]
    release_hold(house.control, hold, "officer")
    content = objects.get(old[0].artefact)
    assert retire(house, objects) == 1
    assert objects.put(content) == old[0].artefact, "as if it had been killed before the file went"
    world.steward().seal_all()
    assert finish_evidence(house.control, world.ledger, objects) == 1 and not objects.path(old[0].artefact).exists()
    assert finish_evidence(house.control, world.ledger, objects) == 0

"""Retention: what is over goes, floors and holds win, the tree and old proofs still verify, a kill costs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotage.ledger.erasure import erase, place_hold, release_hold
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.retention import Floor
from pilotage.ledger.retiring import Policy, StoredSegment, finish, retire, survey
from pilotage.ledger.segment_set import DENIALS
from pilotage.ledger.tables import day_keys, decisions, events, subject_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading, writing
from tests.ledger_world import START, World, decision, event, frame_id, in_killed_process, make_world

DAY = 86_400_000_000
SHORT = {"credit": Policy(payloads=Floor(days=30))}
LATER = START + 40 * DAY


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def filled(world: World) -> dict[str, list[object]]:
    """Old and new decisions of two systems; ann and old Bob among the old, ann among the new."""
    frames = {
        "old": [decision("ann"), decision("bob"), decision()],
        "new": [decision("ann", at=START + 35 * DAY)],
        "other": [decision("cleo", system="other")],
    }
    for some in frames.values():
        world.write(some)  # type: ignore[arg-type]
        world.steward().seal_all()
    return frames  # type: ignore[return-value]


def due(world: World, policies: dict[str, Policy] = SHORT, now: int = LATER) -> list[StoredSegment]:
    return [segment for segment in survey(world.ledger, world.control, policies) if segment.due(now)]


def verified(world: World) -> None:
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def count(world: World, table: object) -> int:
    with reading(world.ledger) as connection:
        return len(connection.execute(table.select()).all())  # type: ignore[attr-defined]


def test_what_is_over_goes_and_the_tree_and_proofs_hold(world: World) -> None:
    frames = filled(world)
    early = world.queries.prove(frame_id(frames["old"][0]))
    files, keys, days = world.segment_files(), count(world, subject_keys), count(world, day_keys)
    done = retire(world.steward(), due(world), "officer")
    assert (done.segments, done.records, done.keys) == (1, 3, 2), "bob's key and that of the day, not ann's"
    assert len(world.segment_files()) == len(files) and count(world, subject_keys) == keys - 1
    assert count(world, day_keys) == days, "one went, one came with the event"
    for frame in frames["old"]:
        found = world.queries.decision(frame_id(frame))
        assert found.payload is None and found.unreadable == "erased"
        assert (found.row.subject, found.row.score, found.row.label) == (None, None, None)
    assert [row.id for row in world.queries.decisions(DecisionFilter(subject="ann"))] == [frame_id(frames["new"][0])]
    assert world.queries.decision(frame_id(frames["other"][0])).payload is not None
    verify_proof(early, frames["old"][0][1], world.vkey)
    verify_proof(world.queries.prove(frame_id(frames["old"][0])), frames["old"][0][1], world.vkey)
    verified(world)
    assert verify_ledger(world.home, world.ledger, world.keyring).retired == 3
    assert due(world) == [], "it went once"
    assert erase("ann", "request", "officer", steward=world.steward()).unreadable == 1
    verified(world)


def test_without_a_wish_all_is_kept_and_a_floor_wins_over_a_wish(world: World) -> None:
    filled(world)
    assert due(world, {}) == [] and due(world, {"credit": Policy()}) == []
    floored = {"credit": Policy(payloads=Floor(days=30), regimes=("cert_in",))}
    assert due(world, floored) == []
    assert len(due(world, floored, START + 182 * DAY)) == 1
    assert due(world, now=START + 29 * DAY) == []


@pytest.mark.parametrize("hold", [{"subject": "bob"}, {"system": "credit"}, {}])
def test_a_hold_wins_over_deletion_also_one_placed_meanwhile(world: World, hold: dict[str, str]) -> None:
    filled(world)
    ready = due(world)
    id_ = place_hold(world.control, world.keyring, "court", "officer", **hold)
    assert due(world) == [] and {segment.held for segment in survey(world.ledger, world.control, SHORT)} >= {id_}
    assert retire(world.steward(), ready, "officer").segments == 0
    release_hold(world.control, id_, "officer")
    assert retire(world.steward(), due(world), "officer").segments == 1


def test_a_hold_on_somebody_else_does_not(world: World) -> None:
    filled(world)
    place_hold(world.control, world.keyring, "court", "officer", subject="cleo")
    assert len(due(world)) == 1


@pytest.mark.parametrize("at", ["written", "committed", "published"])
def test_a_killed_deletion_goes_on(world: World, at: str) -> None:
    filled(world)
    before = world.segment_files()

    def killed() -> None:
        retire(world.steward(step=lambda name: os._exit(9) if name == at else None), due(world), "officer")

    world.control.dispose()  # a connection of ours must not be the child's too
    world.ledger.dispose()
    assert in_killed_process(killed) == 9
    world.steward().seal_all()
    left = due(world)
    assert len(left) == (1 if at == "written" else 0)
    if at != "written":
        report = verify_ledger(world.home, world.ledger, world.keyring)
        assert any("yet it is there" in fault.what for fault in report.faults), "the file outlived its deletion"
        assert finish(world.home.ledger, world.ledger) == 1
    retire(world.steward(), left, "officer")
    assert set(before) - set(world.segment_files())
    verified(world)


@pytest.mark.parametrize("edit", ["file", "row", "facts", "score", "key"])
def test_nothing_else_may_be_missing(world: World, edit: str) -> None:
    filled(world)
    retire(world.steward(), due(world), "officer")
    [gone] = world.queries.events("retention.enforced")
    [path] = gone.facts["segments"]
    if edit == "file":
        (world.home.ledger / world.segment_files()[0]).unlink()
    with writing(world.ledger) as connection:
        [old, *_] = connection.execute(decisions.select().where(decisions.c.segment == path)).all()
        if edit == "row":
            connection.execute(decisions.delete().where(decisions.c.leaf == old.leaf))
        if edit == "facts":
            other = {
                **gone.facts,
                "segments": {**gone.facts["segments"], world.segment_files()[0]: "sha256:" + "0" * 64},
            }
            connection.execute(events.update().where(events.c.leaf == gone.leaf).values(facts=other))
        if edit == "score":
            connection.execute(decisions.update().where(decisions.c.leaf == old.leaf).values(score=0.5))
        if edit == "key":
            connection.execute(decisions.update().where(decisions.c.leaf == old.leaf).values(key_id="ab" * 16))
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert not report.ok


def test_whom_gateways_turned_away_is_forgotten_and_the_event_stays(world: World) -> None:
    """An address is in the private part; it lies apart from what control events keep for ever."""
    denied, kept = event(code="forbidden", count=3), decision("ann")
    world.write([denied, kept])
    steward = world.steward()
    hold = place_hold(world.control, world.keyring, "file 12", "officer", system="credit")
    steward.seal_all()
    policies = {DENIALS: Policy(payloads=Floor(months=13), of="denials")}
    assert due(world, policies, START + 390 * DAY) == []
    [segment] = due(world, policies, START + 400 * DAY)
    assert segment.path.startswith("segments/~denials/") and segment.records == 1
    assert world.queries.event(frame_id(denied)).private == {"source": "10.0.0.9"}
    done = retire(world.steward(), [segment], "officer")
    assert (done.segments, done.records) == (1, 1) and not (world.home.ledger / segment.path).exists()
    found = world.queries.event(frame_id(denied))
    assert found.private is None and found.row.facts == {"code": "forbidden", "count": 3}
    assert world.queries.decision(frame_id(kept)).payload is not None
    assert [row.kind for row in world.queries.events(limit=9)].count("legal_hold.placed") == 1
    verified(world)
    verify_proof(world.queries.prove(frame_id(denied)), denied[1], world.vkey)
    release_hold(world.control, hold, "officer")

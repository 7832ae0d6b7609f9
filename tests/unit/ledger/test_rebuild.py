"""The index made anew equals the one that sealing made, row by row; what is not what the tree says changes nothing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, select

from pilotage.errors import IntegrityError, NotFound
from pilotage.gateway.record import event_frame
from pilotage.ledger import tables
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.rebuild import RebuildReport, rebuild_index
from pilotage.ledger.retention import Floor
from pilotage.ledger.retiring import Policy, retire, survey
from pilotage.ledger.said import OUTCOME, OVERRIDE
from pilotage.ledger.tables import REBUILDABLE
from pilotage.ledger.verify import verify_ledger
from pilotage.profiles.build import build_profile
from pilotage.storage.database import reading, writing
from tests.ledger_world import (
    RELEASE,
    START,
    Frame,
    World,
    chunk,
    decision,
    event,
    frame_id,
    make_world,
    opened,
    rejected,
)

OVER = 90 * 86_400_000_000
OPERATIONAL = {tables.lease.name}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = make_world(tmp_path, url)
    rows = [[n, n * 100.0] for n in range(20, 60)]
    made.profile = build_profile({"age": "numeric", "income": "numeric"}, rows, [n / 40 for n in range(40)])
    fill(made)
    yield made
    made.control.dispose()
    made.ledger.dispose()


def fill(world: World) -> None:
    """Several batches: subjects and none, faults, events, traces, a stream that broke off and one still open."""
    steward, chance = world.steward(), random.Random(1)
    for n in range(3):
        frames = [decision(f"p{k % 4}" if k % 3 else "", score=k / 40, at=START + k * 10**9) for k in range(40)]
        chance.shuffle(frames)
        told = [outcome(frame_id(frame), f"value {k % 3}") for k, frame in enumerate(frames[:9])]
        world.write([*frames, rejected("p1"), event(), decision(trace="t", turn=n, mode="shadow"), *told[:5]])
        with writing(world.control) as connection:
            private = {"value": "favourable", "reason": "asked", "person": f"person-{n}", "name": "R"}
            key = world.keyring.steward_public
            emit_about(connection, key, OVERRIDE, frame_id(frames[0]), system="credit", private=private, at=START)
        steward.seal_all()
        world.write([*told[5:], outcome(frame_id(frames[0]), "corrected")])
        steward.seal_all()
    world.write([opened("broken-1", "p2"), chunk("broken-1", 0, "so ")], close=False)
    world.write([opened("open-1", "p3")], worker=1, close=False)
    steward.seal_all()


def outcome(about: str, value: str) -> Frame:
    """What became of a decision, as a gateway journals it."""
    private = {"value": value, "at": START, "source": "", "by": "key:k"}
    plain, secret = event_frame(OUTCOME, START, os.urandom(32), {"decision": about}, private, system="credit")
    return FrameKind.event, plain, secret


def everything(world: World) -> dict[str, list[dict[str, Any]]]:
    with reading(world.ledger) as connection:
        return {
            table.name: [dict(row) for row in connection.execute(_all(table)).mappings()]
            for table in tables.decisions.metadata.sorted_tables
            if table.name not in OPERATIONAL
        }


def _all(table: Table) -> Any:
    return select(table).order_by(*table.primary_key.columns)


def rebuilt(world: World) -> RebuildReport:
    steward = world.steward("rebuilder")
    report = rebuild_index(steward, lambda release: world.profile if release == RELEASE else None)
    steward.release()
    return report


def same(world: World, before: dict[str, list[dict[str, Any]]]) -> None:
    after = everything(world)
    for name, rows in before.items():
        assert after[name] == rows, name
    assert verify_ledger(world.home, world.ledger, world.keyring).faults == ()


def test_the_rows_are_those_of_sealing(world: World) -> None:
    before = everything(world)
    assert all(before[table.name] for table in REBUILDABLE), "each table has something to lose"
    report = rebuilt(world)
    assert (report.decisions, report.uncounted) == (len(before["decisions"]), ())
    same(world, before)
    assert not list(world.home.run.glob("rebuild*")), "the scratch database holds pseudonyms and must go"


def test_after_an_erasure_nothing_of_the_person_comes_back(world: World) -> None:
    steward = world.steward()
    erase("p1", "asked", "tests", steward=steward)
    before = everything(world)
    report = rebuilt(world)
    assert report.erased > 0 and report.uncounted == ()
    same(world, before)


@pytest.mark.slow
def test_after_retention_what_it_left_stays(world: World) -> None:
    policies = {"credit": Policy(payloads=Floor(days=30))}
    steward = world.steward()
    due = [each for each in survey(world.ledger, world.control, policies) if each.due(START + OVER)]
    assert retire(steward, due, "tests").records > 50
    steward.release()
    before = everything(world)
    report = rebuilt(world)
    assert report.erased > 50 and report.uncounted == ()
    same(world, before)
    with writing(world.ledger) as connection:
        connection.execute(delete(tables.decisions).where(tables.decisions.c.segment == due[0].path))
    with pytest.raises(IntegrityError, match="no row that retention left"):
        rebuilt(world)


@pytest.mark.slow
def test_only_heads_and_keys_survived(world: World) -> None:
    before = everything(world)
    kept = {"heads", "subject_keys", "day_keys", "erased_keys", "held_frames", "lease"}
    with writing(world.ledger) as connection:
        for table in tables.decisions.metadata.sorted_tables:
            if table.name not in kept:
                connection.execute(delete(table))
        tables.profile_counts.drop(connection)
    rebuilt(world)
    after = everything(world)
    for table in REBUILDABLE:
        assert after[table.name] == before[table.name], table.name
    assert verify_ledger(world.home, world.ledger, world.keyring).faults == ()
    late = decision("p1")
    world.write([late])
    report = world.steward().seal_all()
    assert report.decisions == 1 and not report.gaps, "sealing goes on, nothing is sealed twice"
    assert verify_ledger(world.home, world.ledger, world.keyring).faults == ()


@pytest.mark.slow
def test_changed_rows_are_mended(world: World) -> None:
    before = everything(world)
    with writing(world.ledger) as connection:
        connection.exec_driver_sql("UPDATE decisions SET score = 0.9, outcome = 'refused' WHERE score < 0.3")
        connection.exec_driver_sql("DELETE FROM decision_sums WHERE span = 60")
        connection.exec_driver_sql("DELETE FROM events")
    rebuilt(world)
    same(world, before)


def _segment(world: World) -> None:
    path = world.home.ledger / world.segment_files()[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _bundle(world: World) -> None:
    path = max((world.home.ledger / "tile" / "entries").rglob("*.p/*"), key=lambda path: int(path.name))
    path.write_bytes(path.read_bytes().replace(b'"credit"', b'"crexit"', 1))


def _key(world: World) -> None:
    with writing(world.ledger) as connection:
        connection.execute(delete(tables.subject_keys))


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_segment, _bundle, _key])
def test_what_the_tree_does_not_say_changes_nothing(world: World, harm: Callable[[World], None]) -> None:
    harm(world)
    before = everything(world)
    with pytest.raises(IntegrityError):
        rebuilt(world)
    assert everything(world) == before
    assert not list(world.home.run.glob("rebuild*"))


@pytest.mark.slow
def test_a_subject_erased_while_rows_were_made_stays_erased(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = world.steward("other")
    steward = world.steward("rebuilder")
    real = steward.acquire

    def acquire(*, steal: bool = False) -> bool:
        other.acquire(steal=True)
        erase("p1", "asked", "tests", steward=other)
        return real(steal=steal)

    monkeypatch.setattr(steward, "acquire", acquire)
    rebuild_index(steward, lambda release: world.profile if release == RELEASE else None)
    assert world.queries.decisions() and verify_ledger(world.home, world.ledger, world.keyring).faults == ()


@pytest.mark.slow
def test_an_empty_ledger_has_nothing_to_rebuild(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        rebuilt(make_world(tmp_path))

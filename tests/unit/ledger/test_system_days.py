"""Many systems over many days: each system-day has one key, whatever batches it is sealed in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from pilotage.ledger.erasure import erase
from pilotage.ledger.rotation import new_master, rewrap
from pilotage.ledger.tables import day_keys, decisions
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading
from tests.ledger_world import START, Frame, World, decision, frame_id, make_world

SYSTEMS, DAYS = 16, 20
DAY_US = 86_400_000_000


def frames_of(day: int) -> list[Frame]:
    at = START + day * DAY_US
    return [
        decision(subject, at=at + n, system=f"system-{system}")
        for system in range(SYSTEMS)
        for n, subject in enumerate(["", "", f"person-{system}"])
    ]


def keys_by_day(world: World) -> dict[str, str]:
    with reading(world.ledger) as connection:
        return {row.key_id: row.lookup for row in connection.execute(select(day_keys))}


def check(world: World) -> None:
    """Verified as a whole."""
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.faults == ()


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_hundreds_of_system_days(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else ""
    world = make_world(tmp_path, url)
    steward = world.steward()
    made = [frames_of(day) for day in range(DAYS)]
    world.write([frame for day in made for frame in day])  # one batch of more system-days than it may have segments
    while steward.seal().more:
        pass
    keys = keys_by_day(world)
    assert len(keys) == SYSTEMS * DAYS == len(set(keys.values()))
    again = [frames_of(day) for day in range(0, DAYS, 3)]
    world.write([frame for day in again for frame in day])
    steward.seal()
    assert keys_by_day(world) == keys, "a system-day keeps its key"
    check(world)
    erased = erase("person-3", "request", "officer", steward=steward)
    assert erased.unreadable == len(made) + len(again)
    world.keyring = new_master(world.keyring, os.urandom(32))
    rewrap(world.ledger, world.keyring)
    check(world)
    assert keys.items() <= keys_by_day(world).items(), "the erasure's own event has one too"
    person = 3 * 3 + 2
    for day in (*made, *again):
        for n in (0, SYSTEMS * 3 - 1, person):
            found = world.queries.decision(frame_id(day[n]))
            assert (found.payload is None) == (n == person), found.unreadable
    for engine in (world.control, world.ledger):
        engine.dispose()


def test_a_system_days_payload_is_under_no_other_days_key(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write([frame for day in range(3) for frame in frames_of(day)])
    world.steward().seal()
    with reading(world.ledger) as connection:
        rows = connection.execute(select(decisions).where(decisions.c.subject.is_(None))).all()
    found = {(row.system, row.at // DAY_US): set[str]() for row in rows}
    for row in rows:
        found[row.system, row.at // DAY_US].add(row.key_id)
    assert len(found) == SYSTEMS * 3 and all(len(ids) == 1 for ids in found.values())
    assert len(set().union(*found.values())) == len(found)
